package oauth

import (
	"strings"
	"testing"
)

func TestIsTrustDomain(t *testing.T) {
	for name, want := range map[string]bool{
		"inside.example": true, "inside": true, "a-1.b": true, "1.example": true, strings.Repeat("a", 63) + ".b": true,
		"": false, "Inside.example": false, "https://inside.example": false, "inside.example/": false, "inside.example:443": false,
		".inside": false, "inside.": false, "a..b": false, "-a": false, "a-": false, "in side": false, "in_side": false, "inside\n": false,
		"insidé": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 130) + "a": false,
	} {
		if got := IsTrustDomain(name); got != want {
			t.Errorf("IsTrustDomain(%q) = %t, want %t", name, got, want)
		}
	}
}
