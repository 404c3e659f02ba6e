package guard

import (
	"testing"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/token"
)

// What a token can be named by must be spelled as rules are, or none would hit.
func TestNamesAreKindsOfRules(t *testing.T) {
	c := &token.Claims{
		Issuer: "i", ID: "v", GrantID: "v", SessionID: "v", Subject: "v", ClientID: "v", Audience: []string{"v"},
		Confirmation: &token.Confirmation{KeyThumbprint: "v", CertThumbprint: "v"}, Actor: &token.Actor{Issuer: "i", Subject: "v"},
	}
	want := []feed.Kind{
		feed.KindToken, feed.KindGrant, feed.KindSession, feed.KindSubject, feed.KindClient, feed.KindPair, feed.KindResource,
		feed.KindProofKey, feed.KindCert, feed.KindActor, feed.KindSubject, feed.KindClient,
	}
	n := 0
	for name := range c.Names() {
		if got := feed.Pair(c.Subject, c.ClientID); name.Kind == string(feed.KindPair) && name.Value != got {
			t.Errorf("pair = %q, want %q", name.Value, got)
		}
		if feed.Kind(name.Kind) != want[n] {
			t.Errorf("kind %d = %q, want %q", n, name.Kind, want[n])
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d names, want %d", n, len(want))
	}
}
