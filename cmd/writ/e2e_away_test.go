package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestServerAway takes the server away until a gateway's revocation state is too old,
// and gives it back. Routes that deny refuse with a hint meanwhile, and serve again
// within a second of its return, without anybody's doing.
func TestServerAway(t *testing.T) {
	t.Parallel()
	rounds, limit := 2, patience // this machine may be busy
	if os.Getenv("WRIT_SOAK") != "" {
		rounds, limit = 30, time.Second
	}
	d := newDomain(t)
	if err := d.gateway.stop(); err != nil {
		t.Fatal(err)
	}
	d.write(t, "hasty.yaml", fmt.Sprintf("gateway:\n  issuer: %s\n  url: %s\n  client_id: edge\n  client_secret_file: %s\n"+
		"  max_staleness: 2s\n  routes:\n"+
		"    - {path: /orders, upstream: '%s', propagate: none, rules: [{scopes: [orders:read]}]}\n"+
		"    - {path: /allowed, audience: '%s/orders', upstream: '%[5]s', propagate: none, when_stale: {do: allow, for: 1h}, rules: [{scopes: [orders:read]}]}\n",
		d.issuer, d.url, d.file("edge.secret"), d.orders.url, d.url))
	gateway := run(t, "gateway", "--config", d.file("hasty.yaml"), "--listen", strings.TrimPrefix(d.url, "http://"))
	gateway.answers(t, d.http, d.url+"/readyz")
	// The service gets no token and says so; only the gateway's own refusal is a 503.
	serves := func(path, token string) error {
		r := d.call(t, http.MethodGet, d.url+path, token)
		if r.status == http.StatusServiceUnavailable {
			return fmt.Errorf("%d, Retry-After %q, %s", r.status, r.header.Get("Retry-After"), r.body)
		}
		return nil
	}
	var worst, sum time.Duration
	for range rounds {
		token := d.token(t, "robot")
		if err := serves("/orders", token); err != nil {
			t.Fatal(err)
		}
		d.kill()
		eventually(t, "a route that denies refuses", func() error {
			r := d.call(t, http.MethodGet, d.url+"/orders", token)
			if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
				return fmt.Errorf("%d, Retry-After %q", r.status, r.header.Get("Retry-After"))
			}
			return nil
		})
		if err := serves("/allowed", token); err != nil {
			t.Errorf("a route that allows: %v", err)
		}
		time.Sleep(rand.N(2 * time.Second)) // anywhere in the pauses of those who try to connect
		d.begin()
		back := time.Now()
		within(t, limit, "the gateway serves again", func() error { return serves("/orders", token) })
		took := time.Since(back)
		worst, sum = max(worst, took), sum+took
	}
	t.Logf("served again %v after the server was, %v at most, in %d rounds", sum/time.Duration(rounds), worst, rounds)
}
