package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestOrigins: scripts may call from where a registered public client lives and
// from nowhere else, never with cookies, and never the pages that people see.
func TestOrigins(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	const spa = "https://spa.example"
	open := []string{"/token", "/revoke", "/userinfo", "/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}
	shut := []string{"/authorize", "/login", "/consent", "/account", "/logout", "/introspect", "/feed/events", "/feed/state", "/admin/v1/clients", "/"}
	for _, method := range []string{http.MethodOptions, http.MethodGet, http.MethodPost} {
		for _, path := range slices.Concat(open, shut) {
			for _, origin := range []string{spa, "https://thief.example", "https://web.example", "http://spa.example", spa + ":8443", "https://spa.example.thief.example", "null"} {
				q := ask{method: method, path: path, header: http.Header{"Origin": {origin}}}
				if method == http.MethodOptions {
					q.header.Set("Access-Control-Request-Method", http.MethodPost)
					q.header.Set("Access-Control-Request-Headers", "authorization,content-type,dpop")
				}
				r := a.send(t, q)
				want := ""
				if origin == spa && slices.Contains(open, path) {
					want = spa
				}
				if got := r.header.Get("Access-Control-Allow-Origin"); got != want {
					t.Errorf("%s %s from %s: Access-Control-Allow-Origin = %q, want %q", method, path, origin, got, want)
				}
				if got := r.header.Get("Access-Control-Allow-Credentials"); got != "" {
					t.Errorf("%s %s from %s: Access-Control-Allow-Credentials = %q", method, path, origin, got)
				}
				if slices.Contains(open, path) && !strings.Contains(strings.Join(r.header.Values("Vary"), ","), "Origin") {
					t.Errorf("%s %s: Vary = %q, want Origin in it", method, path, r.header.Values("Vary"))
				}
			}
		}
	}
}

// TestPreflight: what a browser asks before a script's request may be sent.
func TestPreflight(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	q := ask{method: http.MethodOptions, path: "/token", header: http.Header{
		"Origin": {"https://spa.example"}, "Access-Control-Request-Method": {"POST"},
		"Access-Control-Request-Headers": {"content-type,dpop"},
	}}
	r := a.send(t, q)
	if r.status != http.StatusNoContent {
		t.Errorf("status = %d, want 204", r.status)
	}
	if got := r.header.Get("Access-Control-Allow-Methods"); !strings.Contains(got, "POST") {
		t.Errorf("Access-Control-Allow-Methods = %q, want POST in it", got)
	}
	allowed := strings.ToLower(r.header.Get("Access-Control-Allow-Headers"))
	for _, name := range []string{"content-type", "dpop", "authorization"} {
		if !strings.Contains(allowed, name) {
			t.Errorf("Access-Control-Allow-Headers = %q, want %s in it", allowed, name)
		}
	}
	t.Run("and then the request", func(t *testing.T) {
		q := refreshing("spa", "nothing")
		q.header.Set("Origin", "https://spa.example")
		r := a.send(t, q)
		if r.code() != "invalid_grant" || r.header.Get("Access-Control-Allow-Origin") != "https://spa.example" {
			t.Errorf("status %d, body %s, header %v: a script could not read the refusal", r.status, r.body, r.header)
		}
	})
}
