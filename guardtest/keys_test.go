package guardtest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// kidOf is the id of the key that signed a token.
func kidOf(t *testing.T, compact string) string {
	t.Helper()
	m, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.KeyID
}

func TestRemoveKeyReturnsWhenEveryGuardRefuses(t *testing.T) {
	i := guardtest.NewIssuer(t)
	var guards []*guard.Guard
	for range 3 {
		guards = append(guards, newGuard(t, i, nil))
	}
	old := i.Token(alice)
	credential, err := i.Credential(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i.RotateKey()
	next := i.Token(alice)
	for _, g := range guards {
		admitted(t, g, old, "before", true)
		admitted(t, g, next, "new key before", true)
	}
	i.RemoveKey(kidOf(t, old))
	for _, g := range guards {
		admitted(t, g, old, "signed with the removed key", false)
		admitted(t, g, next, "signed with the key that stays", true)
	}
	res := ask(t, http.MethodPost, i.URL()+"/feed/state", credential, `{"instance":"x","epoch":"y"}`)
	if res.StatusCode != http.StatusNoContent {
		t.Errorf("credential for the feed signed with the removed key: status %d, want 204", res.StatusCode)
	}
}

// ending records what ends a test instead of ending it.
type ending struct {
	testing.TB
	fatal []string
}

func (e *ending) Fatalf(format string, args ...any) {
	e.fatal = append(e.fatal, fmt.Sprintf(format, args...))
}

func TestRemoveKeyNeedsAnotherKeyThatSigns(t *testing.T) {
	e := &ending{TB: t}
	i := guardtest.NewIssuer(e)
	i.RemoveKey(kidOf(t, i.Token(alice)))
	i.RemoveKey("unknown")
	if len(e.fatal) != 2 {
		t.Errorf("RemoveKey of the key that signs and of no key says %q, want two complaints", e.fatal)
	}
	admitted(t, newGuard(t, i, nil), i.Token(alice), "afterwards", true)
}

func TestSignSignsWhatItIsGiven(t *testing.T) {
	i := guardtest.NewIssuer(t)
	g := newGuard(t, i, nil)
	segments := strings.Split(i.Token(token.Claims{Audience: []string{audience}}), ".")
	var parts [2]string
	for n := range parts {
		part, err := base64.RawURLEncoding.DecodeString(segments[n])
		if err != nil {
			t.Fatal(err)
		}
		parts[n] = string(part)
	}
	admitted(t, g, i.Sign(parts[0], parts[1]), "the parts of a good token", true)
	admitted(t, g, i.Sign(parts[0], parts[1]+" "), "the same with space behind", true)
	admitted(t, g, i.Sign(strings.Replace(parts[0], "at+jwt", "JWT", 1), parts[1]), "another typ", false)
	admitted(t, g, i.Sign(parts[0], "{}"), "no claims", false)
}
