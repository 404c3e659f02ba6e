package guardtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const audience = "https://api.example/orders"

// newGuard is a guard for i that is ready.
func newGuard(t *testing.T, i *guardtest.Issuer, change func(*guard.Config)) *guard.Guard {
	t.Helper()
	cfg := guard.Config{
		Issuer: i.URL(), Audience: audience, Credential: i.Credential,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	g, err := guard.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatalf("guard is not ready: %v", err)
	}
	return g
}

// present asks g about a compact token.
func present(g *guard.Guard, compact string) (*token.Claims, error) {
	r := httptest.NewRequest(http.MethodGet, audience, nil)
	r.Header.Set("Authorization", "Bearer "+compact)
	return g.Verify(r, guard.Need{})
}

// admitted fails the test unless the verdict of g on compact is want.
func admitted(t *testing.T, g *guard.Guard, compact, what string, want bool) {
	t.Helper()
	if _, err := present(g, compact); (err == nil) != want {
		t.Errorf("%s: verdict %v, want admitted = %t", what, err, want)
	}
}

var alice = token.Claims{
	Subject: "alice", ClientID: "app", Audience: []string{audience},
	Scope: scope.Set{"orders:read", "orders:write"}, GrantID: "g-1", SessionID: "s-1",
}

func TestEveryForgeryIsRefused(t *testing.T) {
	i := guardtest.NewIssuer(t)
	bare := token.Claims{Audience: []string{audience}}
	several := alice
	several.Audience = []string{audience, "https://api.example/other"}
	for name, c := range map[string]token.Claims{"full": alice, "bare": bare, "several audiences": several} {
		t.Run(name, func(t *testing.T) {
			g, uncached := newGuard(t, i, nil), newGuard(t, i, func(c *guard.Config) { c.CacheTokens = -1 })
			admitted(t, g, i.Token(c), "good twin", true)
			seen := make(map[string]bool)
			for forgery, compact := range i.Forgeries(c) {
				if seen[forgery] {
					t.Errorf("two forgeries are called %q", forgery)
				}
				seen[forgery] = true
				for range 2 { // the second time past the caches
					admitted(t, g, compact, forgery, false)
					admitted(t, uncached, compact, forgery, false)
				}
			}
			if len(seen) < 100 {
				t.Errorf("%d forgeries, want 100 or more", len(seen))
			}
			admitted(t, g, i.Token(c), "good twin", true)
		})
	}
}

// A forgery must fail for what its name says, not because it cannot be sent.
func TestForgeriesFitAHeader(t *testing.T) {
	i := guardtest.NewIssuer(t)
	var got atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got.Add(1) }))
	defer srv.Close()
	n := int64(0)
	for name, compact := range i.Forgeries(alice) {
		r, err := http.NewRequest(http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+compact)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		res.Body.Close()
		n++
	}
	if got.Load() != n {
		t.Errorf("%d of %d forgeries arrived", got.Load(), n)
	}
}

func TestTokenFillsIn(t *testing.T) {
	i := guardtest.NewIssuer(t)
	c, err := present(newGuard(t, i, nil), i.Token(token.Claims{Audience: []string{audience}}))
	if err != nil {
		t.Fatal(err)
	}
	if c.Issuer != i.URL() || len(c.ID) != 24 || c.Subject == "" || c.ClientID == "" {
		t.Errorf("claims = %+v, want issuer, id of 24 characters, subject and client", c)
	}
	if left := time.Until(c.Expiry); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("token lives %s, want 5 min", left)
	}
}

func TestRevokeReturnsWhenEveryGuardRefuses(t *testing.T) {
	i := guardtest.NewIssuer(t)
	var guards []*guard.Guard
	for range 4 {
		guards = append(guards, newGuard(t, i, nil))
	}
	for what, target := range map[string]token.Claims{
		"token": {ID: "t-1"}, "grant": {GrantID: "g-1"}, "session": {SessionID: "s-1"},
		"subject": {Subject: "alice"}, "client": {ClientID: "app"},
	} {
		c := alice
		c.ID = target.ID
		old := i.Token(c)
		for _, g := range guards {
			admitted(t, g, old, what+" before", true)
		}
		i.Revoke(target)
		for _, g := range guards {
			admitted(t, g, old, what+" after", false)
			admitted(t, g, i.Token(alice), what+" issued afterwards", true)
		}
	}
}

func TestRevokeWaitsForPollingGuards(t *testing.T) {
	if testing.Short() {
		t.Skip("polls take seconds")
	}
	t.Parallel()
	i := guardtest.NewIssuer(t)
	g := newGuard(t, i, func(c *guard.Config) { c.Credential = nil })
	old := i.Token(alice)
	admitted(t, g, old, "before", true)
	i.Revoke(token.Claims{GrantID: "g-1"})
	admitted(t, g, old, "after", false)
	admitted(t, g, i.Token(alice), "issued afterwards", true)
}

func TestRevokeDoesNotWaitForGuardsThatLeft(t *testing.T) {
	i := guardtest.NewIssuer(t)
	ctx, cancel := context.WithCancel(t.Context())
	g, err := guard.New(ctx, guard.Config{Issuer: i.URL(), Audience: audience, Credential: i.Credential, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	began := time.Now()
	i.Revoke(alice)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Revoke took %s with no guard left", took)
	}
}

// failing records what would end the test.
type failing struct {
	testing.TB
	errors []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func TestRevokeTellsOfGuardsThatDoNotHoldTheRule(t *testing.T) {
	if testing.Short() {
		t.Skip("waits five seconds")
	}
	t.Parallel()
	f := &failing{TB: t}
	i := guardtest.NewIssuer(f)
	credential, err := i.Credential(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res := ask(t, http.MethodGet, i.URL()+"/feed/events", credential, "") // connects and says nothing
	defer res.Body.Close()
	i.Revoke(alice)
	if len(f.errors) != 1 || !strings.Contains(f.errors[0], "1 connected guards") {
		t.Errorf("Revoke says %q, want one word of the guard that did not report", f.errors)
	}
}

func TestRotateKey(t *testing.T) {
	i := guardtest.NewIssuer(t)
	g := newGuard(t, i, nil)
	old := i.Token(alice)
	admitted(t, g, old, "before the rotation", true)
	kid := i.RotateKey()
	admitted(t, g, i.Token(alice), "signed with the new key", true)
	admitted(t, g, old, "signed with the old key", true)
	found := false
	for _, k := range g.State().Keys {
		found = found || k.ID == kid
	}
	if !found {
		t.Errorf("guard holds keys %v, want %s among them", g.State().Keys, kid)
	}
}

func TestSetDown(t *testing.T) {
	i := guardtest.NewIssuer(t)
	g := newGuard(t, i, nil)
	compact := i.Token(alice)
	i.SetDown(true)
	i.SetDown(true)
	if res := ask(t, http.MethodGet, i.URL()+"/jwks", "", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("issuer that is down answers %d, want 503", res.StatusCode)
	}
	admitted(t, g, compact, "while the issuer is down", true)
	i.Revoke(alice) // nobody is connected: returns at once, and reaches g when the issuer is back
	i.SetDown(false)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := present(g, compact); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("rule made while the issuer was down did not arrive in 5 s")
		}
	}
}

// ask sends a request with a bearer token and a form or JSON body.
func ask(t *testing.T, method, url, credential, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestFeedAsksForAToken(t *testing.T) {
	i := guardtest.NewIssuer(t)
	feed := i.URL() + "/feed"
	for name, credential := range map[string]string{
		"none":          "",
		"not a token":   "secret",
		"another aud":   i.Token(alice),
		"without scope": i.Token(token.Claims{Audience: []string{feed}}),
	} {
		for method, url := range map[string]string{http.MethodGet: feed + "/events", http.MethodPost: feed + "/state"} {
			res := ask(t, method, url, credential, `{"instance":"x"}`)
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with credential %s: status %d, want 401", method, url, name, res.StatusCode)
			}
		}
	}
	credential, err := i.Credential(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res := ask(t, http.MethodPost, feed+"/state", credential, `{"epoch":"x"}`); res.StatusCode != http.StatusBadRequest {
		t.Errorf("report without instance: status %d, want 400", res.StatusCode)
	}
}

// trade asks the token endpoint as client orders and returns status and answer.
func trade(t *testing.T, i *guardtest.Issuer, form url.Values) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, i.URL()+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("orders", "secret")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&answer); err != nil {
		t.Fatalf("answer %s: %v", body, err)
	}
	return res.StatusCode, answer
}

const stock = "https://api.example/stock"

func TestExchange(t *testing.T) {
	i := guardtest.NewIssuer(t)
	form := func(change func(url.Values)) url.Values {
		v := url.Values{
			"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token":      {i.Token(alice)},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			"resource":           {stock},
			"scope":              {"orders:read"},
		}
		if change != nil {
			change(v)
		}
		return v
	}
	status, answer := trade(t, i, form(nil))
	if status != http.StatusOK || answer["issued_token_type"] != "urn:ietf:params:oauth:token-type:access_token" {
		t.Fatalf("exchange: %d %v", status, answer)
	}
	g := newGuard(t, i, func(c *guard.Config) { c.Audience = stock })
	compact, _ := answer["access_token"].(string)
	c, err := present(g, compact)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "alice" || c.Actor == nil || c.Actor.Subject != "orders" || len(c.Via) != 1 || c.Scope.String() != "orders:read" || c.GrantID != "g-1" {
		t.Errorf("claims = %+v, want alice's, by orders, of grant g-1, via one token", c)
	}
	i.Revoke(token.Claims{ID: c.Via[0]})
	admitted(t, g, compact, "exchanged token when the first has ended", false)

	ended := i.Token(alice)
	i.Revoke(token.Claims{Subject: "alice"})
	for name, change := range map[string]func(url.Values){
		"wider scope":     func(v url.Values) { v.Set("scope", "admin") },
		"no resource":     func(v url.Values) { v.Del("resource") },
		"forged token":    func(v url.Values) { v.Set("subject_token", v.Get("subject_token")+"x") },
		"ended token":     func(v url.Values) { v.Set("subject_token", ended) },
		"wrong type":      func(v url.Values) { v.Set("subject_token_type", "jwt") },
		"malformed scope": func(v url.Values) { v.Set("scope", `"`) },
		"another grant":   func(v url.Values) { v.Set("grant_type", "password") },
	} {
		if status, answer := trade(t, i, form(change)); status != http.StatusBadRequest || answer["error"] == "" {
			t.Errorf("%s: %d %v, want 400 and an error", name, status, answer)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	i := guardtest.NewIssuer(t)
	status, answer := trade(t, i, url.Values{"grant_type": {"client_credentials"}, "resource": {stock}, "scope": {"b a"}})
	compact, _ := answer["access_token"].(string)
	c, err := token.InsecureParse(compact)
	if err != nil {
		t.Fatalf("%d %v: %v", status, answer, err)
	}
	if c.Subject != "orders" || c.ClientID != "orders" || c.Scope.String() != "a b" || answer["scope"] != "a b" {
		t.Errorf("claims = %+v, answer %v; want client orders with scope a b", c, answer)
	}
	res := ask(t, http.MethodPost, i.URL()+"/token", "", "")
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a secret: %d, want 401 with a challenge", res.StatusCode)
	}
}
