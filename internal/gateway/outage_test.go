package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// TestHourWithoutTheIssuer: two-hour tokens and allow of two hours live through an hour
// without the issuer, at the gateway, at a service and at the service behind that, also
// tokens that nobody saw before, on routes that nobody used. Where a token must be
// exchanged first, the answer says when to come again.
func TestHourWithoutTheIssuer(t *testing.T) {
	const (
		hour, twoHours = time.Hour, 2 * time.Hour
		outside        = "https://api.example"
		callers        = 8
	)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	issuer := guardtest.NewIssuer(t)
	domain := issuer.TrustDomain("orders:read")
	allow := guard.Stale{Do: guard.Allow, For: twoHours}
	quiet := slog.New(slog.DiscardHandler)
	watch := func() *guard.Guard {
		g, err := guard.New(ctx, guard.Config{
			Issuer: issuer.URL(), Audience: inside, Credential: issuer.Credential, TrustDomain: domain, WhenStale: allow, Now: now, Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	front, back := watch(), watch()
	stock := httptest.NewServer(back.Require("orders:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, guard.From(r.Context()).Subject)
	})))
	defer stock.Close()
	next := &http.Client{Transport: relay.Forward([]string{stock.URL}, nil)}
	orders := httptest.NewServer(front.Require("orders:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, stock.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := next.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})))
	defer orders.Close()

	server := httptest.NewUnstartedServer(nil)
	route := func(path string, p Propagate) Route {
		r := Route{Path: path, Audience: outside, Rules: []Rule{{Scopes: []string{"orders:read"}}}, Upstream: orders.URL, Propagate: p, WhenStale: &allow}
		if p == Exchange {
			r.UpstreamAudience = inside
		}
		return r
	}
	routes := []Route{route("/exchange", Exchange)}
	for n := range 60 {
		routes = append(routes, route(fmt.Sprintf("/%d", n), Transaction))
	}
	gateway, err := New(ctx, Config{
		Issuer: issuer.URL(), URL: "http://" + server.Listener.Addr().String(), ClientID: "gateway", ClientSecret: "s", TrustDomain: domain,
		Routes: routes, Now: now, Logger: quiet, rhythm: rhythm{hear: 10 * time.Millisecond},
	})
	if err != nil {
		server.Close()
		t.Fatal(err)
	}
	server.Config.Handler = gateway
	server.Start()
	defer server.Close()
	soon, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for _, ready := range []func(context.Context) error{gateway.Ready, front.Ready, back.Ready} {
		if err := ready(soon); err != nil {
			t.Fatal("not ready: ", err)
		}
	}

	// People come with tokens of before the outage, each for the first time at a moment of
	// its own and then again and again.
	began := now()
	people := make([]string, 240)
	for n := range people {
		people[n] = issuer.Token(token.Claims{
			Subject: fmt.Sprintf("person-%d", n), ClientID: "app", GrantID: fmt.Sprintf("grant-%d", n), Audience: []string{outside},
			Scope: scope.Set{"orders:read"}, IssuedAt: began, Expiry: began.Add(twoHours),
		})
	}
	call := func(path, compact string) (int, string, http.Header) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+compact)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err.Error(), nil
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body), res.Header
	}
	for range 200 { // until the services know the gateway's key
		if status, _, _ := call("/0", people[0]); status == http.StatusOK {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	issuer.SetDown(true)

	var served, exchanged atomic.Int64
	for minute := range 60 {
		ahead.Store(int64(time.Duration(minute+1) * hour / 60))
		var load sync.WaitGroup
		for caller := range callers {
			load.Go(func() {
				for n := caller; n <= 4*minute+3; n += callers { // the last four are new, and so is the route
					status, body, _ := call(fmt.Sprintf("/%d", minute), people[n])
					if want := fmt.Sprintf("person-%d", n); status != http.StatusOK || body != want {
						t.Errorf("minute %d, token %d: %d %q, want 200 %q", minute, n, status, body, want)
						return
					}
					served.Add(1)
				}
			})
		}
		load.Wait()
		if t.Failed() {
			return
		}
		status, body, header := call("/exchange", people[minute])
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			t.Fatalf("minute %d, exchange: %d, Retry-After %q, %s, want 503 with one", minute, status, header.Get("Retry-After"), body)
		}
		exchanged.Add(1)
	}
	t.Logf("%d requests served through gateway and two services in an hour without the issuer, none failed; %d that need an exchange were told to come again", served.Load(), exchanged.Load())

	ahead.Store(int64(twoHours + 2*time.Minute)) // past the tokens' own end, and past the allowance
	if status, body, _ := call("/0", people[0]); status != http.StatusUnauthorized {
		t.Errorf("an expired token: %d %s, want 401", status, body)
	}
}
