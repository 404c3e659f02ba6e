package gateway

import (
	"net/http"
	"testing"
	"time"

	"github.com/writ-auth/writ/token"
)

// twice puts a token to all doors, and again, so that the second time their caches
// hold it if they ever will.
func (c *court) twice(t *testing.T, compact, want string) {
	t.Helper()
	for range 2 {
		c.judge(t, letter{row: row{Want: want}, token: compact}, c.doors)
	}
}

// The next request with a token that was ended is refused at both doors. One
// signed later with the same claims passes, unless what ended is the token
// itself or a token it came from.
func TestHeldThenEnded(t *testing.T) {
	c := newCourt(t)
	c.asking(t)
	const revoked = "401 invalid_token revoked"
	for _, r := range []struct {
		name  string
		ends  func(c token.Claims) token.Claims
		later string
	}{
		{"token", func(c token.Claims) token.Claims { return token.Claims{ID: c.ID} }, revoked},
		{"grant", func(c token.Claims) token.Claims { return token.Claims{GrantID: c.GrantID} }, "200"},
		{"session", func(c token.Claims) token.Claims { return token.Claims{SessionID: c.SessionID} }, "200"},
		{"subject", func(c token.Claims) token.Claims { return token.Claims{Subject: c.Subject} }, "200"},
		{"client", func(c token.Claims) token.Claims { return token.Claims{ClientID: c.ClientID} }, "200"},
		{"token it came from", func(c token.Claims) token.Claims { return token.Claims{ID: c.Via[0]} }, revoked},
		{"grant it came from", func(c token.Claims) token.Claims { return token.Claims{GrantID: c.Via[1]} }, "200"},
		{"client that acts", func(c token.Claims) token.Claims { return token.Claims{ClientID: c.Actor.Subject} }, "200"},
		{"client that acted before", func(c token.Claims) token.Claims { return token.Claims{ClientID: c.Actor.Actor.Subject} }, "200"},
	} {
		t.Run(r.name, func(t *testing.T) {
			id := func(of string) string { return of + " of " + r.name }
			claims := c.claims(row{})
			claims.ID, claims.GrantID, claims.SessionID, claims.ClientID = id("token"), id("grant"), id("session"), id("client")
			claims.Via = []string{id("first token"), id("first grant")}
			claims.Actor = &token.Actor{Subject: id("actor"), Actor: &token.Actor{Subject: id("first actor")}}
			held := c.issuer.Token(claims)
			c.twice(t, held, "200")
			c.issuer.Revoke(r.ends(claims))
			c.twice(t, held, revoked)
			c.twice(t, c.issuer.Token(claims), r.later)
		})
	}
}

func TestHeldThenExpired(t *testing.T) {
	c := newCourt(t)
	held := c.issuer.Token(c.claims(row{}))
	c.twice(t, held, "200")
	c.ahead.Store(int64(6 * time.Minute))
	c.twice(t, held, "401 invalid_token expired")
	claims := c.claims(row{})
	claims.Expiry = time.Now().Add(20 * time.Minute)
	c.twice(t, c.issuer.Token(claims), "200")
}

func TestHeldThenKeyRemoved(t *testing.T) {
	c := newCourt(t)
	held := c.issuer.Token(c.claims(row{}))
	c.twice(t, held, "200")
	c.issuer.RotateKey()
	next := c.issuer.Token(c.claims(row{}))
	c.twice(t, held, "200")
	c.twice(t, next, "200")
	c.issuer.RemoveKey(c.kid)
	c.twice(t, held, "401 invalid_token key")
	c.twice(t, next, "200")
}

// TestConnectionTakesNothingAway names in Connection what the gateway itself
// tells the upstream, in every spelling, with and without a change of protocol.
// What a caller says of identity goes all the same.
func TestConnectionTakesNothingAway(t *testing.T) {
	w := newWorld(t, nil)
	for n, lines := range []string{
		"Connection: close, Authorization, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto",
		"connection: close,authorization,x-forwarded-for,x-forwarded-host,x-forwarded-proto",
		"CONNECTION: close\nConnection: AUTHORIZATION\nconnection: X-FORWARDED-FOR\nConnection: X-Forwarded-Host , X-Forwarded-Proto",
		"Connection: close, , Authorization\t,X-Forwarded-For;a, X-Forwarded-For\nProxy-Connection: Authorization, X-Forwarded-Host\nKeep-Alive: Authorization\nTE: Authorization",
		"Connection: Upgrade, Authorization, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		outer := w.request("GET", "/orders", "/orders", "orders:read").Header.Get("Authorization")
		res, body := w.raw("GET /orders HTTP/1.1\nHost: gw.example\nAuthorization: " + outer + "\n" + lines +
			"\nX-User: admin\nx_user: admin\nX-USER-ID: admin\nX-Forwarded-User: admin\nRemote_User: admin\nX-Forwarded-For: 10.0.0.1\n\n")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%q: %s %s, want 200", lines, res.Status, body)
		}
		h := w.service.got(t, n+1).Header
		if got := h["Authorization"]; len(got) != 1 || got[0] == outer {
			t.Errorf("%q: %d Authorization headers, the caller's own %t, want the inner token alone", lines, len(got), len(got) > 0 && got[0] == outer)
		}
		for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "gw.example", "X-Forwarded-Proto": "http"} {
			if got := h[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%q: %s = %q, want %s", lines, name, got, want)
			}
		}
		for name, values := range h {
			if values[0] == "admin" {
				t.Errorf("%q: %s = %q reached the upstream", lines, name, values)
			}
		}
	}
}
