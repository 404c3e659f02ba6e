package guardtest

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// Only a client itself says that one of its guards has left.
func TestGuardsThatLeave(t *testing.T) {
	i := NewIssuer(t)
	say := func(client, body string) {
		t.Helper()
		r := i.Request("POST", i.URL()+"/feed/state", token.Claims{
			Subject: client, ClientID: client, Audience: []string{i.URL() + "/feed"}, Scope: scope.Set{"feed:read"},
		})
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusNoContent {
			t.Errorf("%s says %s: %s, want 204", client, body, res.Status)
		}
	}
	held := func() int {
		i.mu.Lock()
		defer i.mu.Unlock()
		return len(i.held)
	}
	say("one", `{"instance":"a","epoch":"guardtest","position":0,"kids":[]}`)
	say("two", `{"instance":"a","gone":true}`)
	if got := held(); got != 1 {
		t.Errorf("after another's word %d guards are held, want 1", got)
	}
	say("one", `{"instance":"a","gone":true}`)
	if got := held(); got != 0 {
		t.Errorf("after its own word %d guards are held, want 0", got)
	}
}

// The issuer answers introspection as the real one: to guards, about what lives.
func TestIntrospection(t *testing.T) {
	i := NewIssuer(t)
	g, err := guard.New(t.Context(), guard.Config{
		Issuer: i.URL(), Audience: "https://api.example", Credential: i.Credential,
		MaxStaleness: time.Nanosecond, WhenStale: guard.Stale{Do: guard.Introspect},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	api := []string{"https://api.example"}
	if _, err := g.Verify(i.Request("GET", "https://api.example/", token.Claims{Audience: api}), guard.Need{}); err != nil {
		t.Errorf("a living token is refused: %v", err)
	}
	ended := i.Request("GET", "https://api.example/", token.Claims{Audience: api, ID: "ended"})
	i.Revoke(token.Claims{ID: "ended"})
	if _, err := g.Verify(ended, guard.Need{}); err == nil {
		t.Error("an ended token is admitted")
	}
	res, err := http.PostForm(i.URL()+"/introspect", url.Values{"token": {i.Token(token.Claims{Audience: api})}})
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("introspection by nobody: %s, want 401", res.Status)
	}
}
