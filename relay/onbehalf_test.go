package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const (
	orders = "https://orders.example"
	stock  = "https://stock.example"
)

// house is two services with a guard each: orders calls stock on behalf of its
// caller and answers what stock said.
type house struct {
	issuer *guardtest.Issuer
	orders http.Handler
	asked  atomic.Int64 // token requests
	header atomic.Value // http.Header that stock got last
}

func newHouse(t *testing.T, scopes ...string) *house {
	t.Helper()
	h := &house{issuer: guardtest.NewIssuer(t)}
	stockGuard := h.guard(t, stock)
	backend := httptest.NewServer(stockGuard.Require("stock:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.header.Store(r.Header)
		who := guard.From(r.Context())
		fmt.Fprintf(w, "%s via %s with %s", who.Subject, who.Actor.Subject, who.Scope)
	})))
	t.Cleanup(backend.Close)
	client, err := relay.New(relay.Config{
		Issuer: h.issuer.URL(), ClientID: "orders", Secret: "s",
		HTTPClient: &http.Client{Transport: counting{&h.asked}},
	})
	if err != nil {
		t.Fatal(err)
	}
	call := &http.Client{Transport: client.OnBehalf(relay.Target{Resource: stock, Scopes: scopes, Origins: []string{backend.URL}}, nil)}
	h.orders = h.guard(t, orders).Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), "GET", backend.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", r.Header.Get("Authorization")) // the mistake that relay makes harmless
		res, err := call.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		if _, err := io.Copy(w, res.Body); err != nil {
			t.Error(err)
		}
	}))
	return h
}

func (h *house) guard(t *testing.T, audience string) *guard.Guard {
	t.Helper()
	g, err := guard.New(t.Context(), guard.Config{
		Issuer: h.issuer.URL(), Audience: audience, Credential: h.issuer.Credential, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return g
}

func (h *house) get(r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	h.orders.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func (h *house) caller(subject string, scopes ...string) *http.Request {
	return h.issuer.Request("GET", orders, token.Claims{Subject: subject, Audience: []string{orders}, Scope: scope.Set(scopes)})
}

// counting counts token requests.
type counting struct{ n *atomic.Int64 }

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == "POST" {
		c.n.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestOnBehalf(t *testing.T) {
	h := newHouse(t, "stock:read")
	alice := h.caller("alice", "stock:read", "stock:write")
	for range 3 {
		status, body := h.get(alice)
		if want := "alice via orders with stock:read"; status != 200 || body != want {
			t.Fatalf("answer = %d %q, want 200 %q", status, body, want)
		}
	}
	if got := h.asked.Load(); got != 1 {
		t.Errorf("exchanges = %d, want 1", got)
	}
	inner := h.header.Load().(http.Header)["Authorization"]
	if len(inner) != 1 || inner[0] == alice.Header.Get("Authorization") {
		t.Error("stock got the caller's own token")
	}
}

func TestCallersDoNotShareTokens(t *testing.T) {
	h := newHouse(t, "stock:read")
	var all sync.WaitGroup
	for i := range 8 {
		subject := fmt.Sprintf("user-%d", i)
		r := h.caller(subject, "stock:read")
		for range 8 {
			all.Go(func() {
				if status, body := h.get(r.Clone(r.Context())); status != 200 || !strings.HasPrefix(body, subject+" ") {
					t.Errorf("answer to %s = %d %q", subject, status, body)
				}
			})
		}
	}
	all.Wait()
	if got := h.asked.Load(); got != 8 {
		t.Errorf("exchanges = %d, want 8, one a caller", got)
	}
}

func TestIssuerNarrowsOrRefuses(t *testing.T) {
	h := newHouse(t, "stock:read", "stock:write")
	if status, body := h.get(h.caller("bob", "stock:read")); status != http.StatusBadGateway || !strings.Contains(body, "invalid_scope") {
		t.Errorf("answer = %d %q, want the issuer's invalid_scope", status, body)
	}
}

func TestHeldTokenOutlivesTheIssuer(t *testing.T) {
	h := newHouse(t, "stock:read")
	alice, bob := h.caller("alice", "stock:read"), h.caller("bob", "stock:read")
	if status, body := h.get(alice); status != 200 {
		t.Fatalf("answer = %d %q, want 200", status, body)
	}
	h.issuer.SetDown(true)
	if status, body := h.get(alice); status != 200 {
		t.Errorf("issuer down, token held: %d %q, want 200", status, body)
	}
	if status, _ := h.get(bob); status != http.StatusBadGateway {
		t.Errorf("issuer down, no token held: %d, want 502", status)
	}
}

func TestEndedCallerGetsNoToken(t *testing.T) {
	h := newHouse(t, "stock:read")
	client, err := relay.New(relay.Config{Issuer: h.issuer.URL(), ClientID: "orders", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	call := client.OnBehalf(relay.Target{Resource: stock}, nil)
	c := token.Claims{Subject: "eve", ID: "stolen", Audience: []string{orders}}
	h.guard(t, orders).Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h.issuer.Revoke(token.Claims{ID: "stolen"}) // between guard and exchange
		req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), "GET", stock, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = call.RoundTrip(req)
		if e, ok := errors.AsType[*relay.Error](err); !ok || e.Code != "invalid_request" || e.Unavailable() {
			t.Errorf("error = %v, want invalid_request", err)
		}
	})).ServeHTTP(httptest.NewRecorder(), h.issuer.Request("GET", orders, c))
}

func BenchmarkOnBehalf(b *testing.B) {
	issuer := guardtest.NewIssuer(b)
	g, err := guard.New(b.Context(), guard.Config{
		Issuer: issuer.URL(), Audience: orders, Credential: issuer.Credential, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := g.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	client, err := relay.New(relay.Config{Issuer: issuer.URL(), ClientID: "orders", Secret: "s"})
	if err != nil {
		b.Fatal(err)
	}
	answer := &http.Response{StatusCode: 200, Body: http.NoBody}
	call := client.OnBehalf(relay.Target{Resource: stock}, base(func(*http.Request) (*http.Response, error) { return answer, nil }))
	g.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), "GET", stock, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := call.RoundTrip(req); err != nil {
				b.Fatal(err)
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), issuer.Request("GET", orders, token.Claims{Audience: []string{orders}}))
}

type base func(*http.Request) (*http.Response, error)

func (f base) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
