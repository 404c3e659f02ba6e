package jose

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"testing"
)

// TestLowOrderKeysAreRefused forges a signature for each such key, without any
// secret, that crypto/ed25519 verifies; ParseKey must not hand the key out.
func TestLowOrderKeysAreRefused(t *testing.T) {
	var points [][]byte
	for _, y := range lowOrder {
		for _, sign := range []byte{0, 0x80} {
			point, err := hex.DecodeString(y)
			if err != nil {
				t.Fatal(err)
			}
			point[31] |= sign
			points = append(points, point)
		}
	}
	for _, point := range points {
		forged := false
		for n := range 100 { // each text gives each of eight points one chance in eight
			text := fmt.Appendf(nil, `{"sub":"u_%d"}`, n)
			for _, r := range points {
				forged = forged || ed25519.Verify(point, text, append(r, make([]byte, 32)...))
			}
		}
		if !forged {
			t.Errorf("%x: no signature could be forged, so the list is wrong", point)
		}
		raw := with(t, rfc8037Ed, map[string]any{"x": strict.EncodeToString(point)})
		if key, err := ParseKey([]byte(raw)); err == nil {
			t.Errorf("%x parsed as %+v, want an error", point, key)
		}
	}
	if len(points) != 14 {
		t.Errorf("tried %d keys, want 14", len(points))
	}
}
