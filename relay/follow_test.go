package relay_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
)

// A secret read from a file with its line break would be refused by the issuer,
// request by request; it is refused where it is set.
func TestPaddedSecretIsRefused(t *testing.T) {
	for secret, good := range map[string]bool{"s": true, "s\n": false, " s": false, "a b": true} {
		_, err := relay.New(relay.Config{Issuer: "https://as.example", ClientID: "c", Secret: secret})
		if (err == nil) != good {
			t.Errorf("secret %q: %v, want it taken: %v", secret, err, good)
		}
		if err != nil && strings.Contains(err.Error(), secret+`"`) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

// The credential is kept while it is good and asked for anew once it was refused:
// a guard must not go blind because its own token was ended.
func TestFollow(t *testing.T) {
	var issued atomic.Int64
	var asked atomic.Value
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			_, _ = w.Write([]byte(`{"issuer":"` + server.URL + `","token_endpoint":"` + server.URL + `/token"}`))
			return
		}
		_ = r.ParseForm()
		asked.Store(r.PostForm.Get("resource") + " " + r.PostForm.Get("scope"))
		n := strconv.FormatInt(issued.Add(1), 10)
		_, _ = w.Write([]byte(`{"access_token":"t` + n + `","token_type":"Bearer","expires_in":300,"scope":"feed:read usage:write"}`))
	}))
	t.Cleanup(server.Close)
	client, err := relay.New(relay.Config{Issuer: server.URL, ClientID: "c", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Follow(guard.Config{Audience: "https://api.example"})
	if cfg.Audience != "https://api.example" {
		t.Errorf("Audience = %q: Follow must keep the rest", cfg.Audience)
	}
	get := func(want string) {
		t.Helper()
		if got, err := cfg.Credential(context.Background()); err != nil || got != want {
			t.Errorf("credential = %q, %v, want %q", got, err, want)
		}
	}
	get("t1")
	get("t1")
	cfg.Refused("another")
	get("t1")
	cfg.Refused("t1")
	get("t2")
	if want := server.URL + "/feed feed:read usage:write"; asked.Load() != want {
		t.Errorf("asked for %q, want %q", asked.Load(), want)
	}
}
