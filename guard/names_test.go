package guard

import (
	"testing"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/token"
)

// What a token can be named by must be spelled as rules are, or none would hit.
func TestNamesAreKindsOfRules(t *testing.T) {
	c := &token.Claims{Issuer: "i", ID: "v", GrantID: "v", SessionID: "v", Subject: "v", ClientID: "v"}
	want := []feed.Kind{feed.KindToken, feed.KindGrant, feed.KindSession, feed.KindSubject, feed.KindClient}
	n := 0
	for name := range c.Names() {
		if feed.Kind(name.Kind) != want[n] {
			t.Errorf("kind %d = %q, want %q", n, name.Kind, want[n])
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d names, want %d", n, len(want))
	}
}
