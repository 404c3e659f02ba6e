package relay_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/token"
)

// An Exchange gives what OnBehalf would send, keeps it, and gets another one
// after the service refused it; without a caller it gives nothing.
func TestExchange(t *testing.T) {
	h := newHouse(t)
	client, err := relay.New(relay.Config{Issuer: h.issuer.URL(), ClientID: "orders", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := client.Exchange(relay.Target{Resource: stock, Scopes: []string{"stock:read"}})
	if err != nil {
		t.Fatal(err)
	}
	if value, err := e.Authorization(t.Context()); value != "" || !errors.Is(err, relay.ErrNoCaller) {
		t.Errorf("without a caller: %d bytes, %v, want ErrNoCaller", len(value), err)
	}
	alice := h.caller("alice", "stock:read", "stock:write")
	h.guard(t, orders).Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		get := func() string {
			t.Helper()
			value, err := e.Authorization(r.Context())
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
		first := get()
		inner, err := token.InsecureParse(strings.TrimPrefix(first, "Bearer "))
		if err != nil || inner.Subject != "alice" || inner.Audience[0] != stock || inner.Scope.String() != "stock:read" {
			t.Errorf("token for %v, %v, want alice's for %s with stock:read", inner, err, stock)
		}
		if guard.Presented(r.Context()) == strings.TrimPrefix(first, "Bearer ") {
			t.Error("the caller's own token was given")
		}
		e.Refused(r.Context(), "Bearer another")
		if get() != first {
			t.Error("another token, want the one that is kept")
		}
		e.Refused(r.Context(), first)
		if get() == first {
			t.Error("the same token, want another one after the service refused it")
		}
	})).ServeHTTP(httptest.NewRecorder(), alice)
}

func TestExchangeWithoutResource(t *testing.T) {
	client, err := relay.New(relay.Config{Issuer: "https://as.example", ClientID: "orders", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Exchange(relay.Target{Resource: "stock"}); err == nil {
		t.Error("no error, want one for a resource that is no URI")
	}
}
