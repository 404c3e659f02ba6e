package main_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

// subject asks for a token of the service, which the gateway may exchange.
func (a *authority) subject(t *testing.T, scope string) string {
	t.Helper()
	return a.grant(t, own("service", api, scope)).Access
}

// TestExchangeRequests: exchange only narrows (RFC 8693), and only for those who
// guard the resource that the token is for.
func TestExchangeRequests(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	gateway := func(t *testing.T) ask { return exchanging("gateway", a.subject(t, ""), inner, "") }
	reading := func(t *testing.T) ask {
		return exchanging("gateway", a.subject(t, "orders:read"), inner, "orders:read")
	}
	const bad = http.StatusBadRequest
	for _, s := range []spoiled{
		{"no subject token", gateway, dropParam("subject_token"), bad, "invalid_request"},
		{"no subject token type", gateway, dropParam("subject_token_type"), bad, "invalid_request"},
		{"an ID token by its type", gateway, setParam("subject_token_type", oauth.TypeID), bad, "invalid_request"},
		{"an ID token by a false type", gateway, func(q *ask) {
			q.form.Set("subject_token", a.grant(t, alice.allow(t, "web", "openid")).ID)
		}, bad, "invalid_request"},
		{"a refresh token", gateway, func(q *ask) {
			q.form.Set("subject_token", a.grant(t, alice.allow(t, "web", "openid offline_access")).Refresh)
		}, bad, "invalid_request"},
		{"no token at all", gateway, setParam("subject_token", "x.y.z"), bad, "invalid_request"},
		{"a changed token", gateway, func(q *ask) {
			q.form.Set("subject_token", swapSignature(q.form.Get("subject_token"), a.subject(t, "")))
		}, bad, "invalid_request"},
		{"a token for somebody else", gateway, setParam("subject_token", a.grant(t, own("service", stock, "")).Access), bad, "invalid_request"},
		{"the token of the inner service", gateway, func(q *ask) {
			q.form.Set("subject_token", a.grant(t, exchanging("gateway", a.subject(t, ""), inner, "")).Access)
		}, bad, "invalid_request"},
		{"a client that guards something else", gateway, as("inner"), bad, "invalid_request"},
		{"a client that may not exchange", gateway, as("service"), bad, "unauthorized_client"},
		{"a public client", gateway, func(q *ask) { q.id = ""; q.form.Set("client_id", "spa") }, bad, "unauthorized_client"},
		{"an actor token", gateway, func(q *ask) {
			q.form.Set("actor_token", a.subject(t, ""))
			q.form.Set("actor_token_type", oauth.TypeAccess)
		}, bad, "invalid_request"},
		{"an actor token type alone", gateway, setParam("actor_token_type", oauth.TypeAccess), bad, "invalid_request"},
		{"asking for a refresh token", gateway, setParam("requested_token_type", oauth.TypeRefresh), bad, "invalid_request"},
		{"no resource", gateway, dropParam("resource"), bad, "invalid_target"},
		{"two resources", gateway, setParam("resource", inner, stock), bad, "invalid_target"},
		{"a resource not this client's", gateway, setParam("resource", stock), bad, "invalid_target"},
		{"the admin API", gateway, setParam("resource", a.issuer+"/admin"), bad, "invalid_target"},
		{"userinfo", gateway, setParam("resource", a.issuer+"/userinfo"), bad, "invalid_target"},
		{"the feed", gateway, setParam("resource", a.issuer+"/feed"), bad, "invalid_target"},
		{"a wider scope", reading, setParam("scope", "orders:read orders:write"), bad, "invalid_scope"},
		{"another scope", reading, setParam("scope", "orders:write"), bad, "invalid_scope"},
		{"a scope nobody knows", reading, setParam("scope", "orders:delete"), bad, "invalid_scope"},
	} {
		s.run(t, a)
	}
	t.Run("an ended token", func(t *testing.T) {
		good := reading(t)
		a.revoke(t, "service", good.form.Get("subject_token"))
		if r := a.send(t, good); r.status != bad || r.code() != "invalid_request" {
			t.Errorf("status %d, body %s, want 400 invalid_request", r.status, r.body)
		}
	})
}

// swapSignature puts the payload of one token under the signature of another.
func swapSignature(payload, signature string) string {
	p, s := strings.Split(payload, "."), strings.Split(signature, ".")
	return p[0] + "." + p[1] + "." + s[2]
}

// revoke gives a token up, as its client.
func (a *authority) revoke(t *testing.T, id, token string) {
	t.Helper()
	if r := a.send(t, post("/revoke", id, url.Values{"token": {token}})); r.status != http.StatusOK {
		t.Fatalf("revocation: status %d, body %s", r.status, r.body)
	}
}

// TestExchangedToken checks who an exchanged token speaks for and what it hangs on.
func TestExchangedToken(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	outer := a.grant(t, a.person(t, "alice").allow(t, "web", "openid orders:read orders:write"))
	first := a.grant(t, exchanging("gateway", outer.Access, inner, ""))
	second := a.grant(t, exchanging("inner", first.Access, stock, ""))
	if first.IssuedType != oauth.TypeAccess || first.Refresh != "" || first.ID != "" {
		t.Errorf("answer = %q, refresh %q, id %q, want an access token alone", first.IssuedType, first.Refresh, first.ID)
	}
	from, err := token.InsecureParse(outer.Access)
	if err != nil {
		t.Fatal(err)
	}
	to, err := token.InsecureParse(second.Access)
	if err != nil {
		t.Fatal(err)
	}
	if to.Subject != "u_alice" || to.ClientID != "web" || to.GrantID != from.GrantID || to.SessionID != from.SessionID {
		t.Errorf("sub %s, client_id %s, grant %s, sid %s: not those of %+v", to.Subject, to.ClientID, to.GrantID, to.SessionID, from)
	}
	if to.Audience[0] != stock || to.Scope.String() != "orders:read" {
		t.Errorf("aud %v, scope %q, want the one scope that stock knows", to.Audience, to.Scope)
	}
	if to.Expiry.After(from.Expiry) || to.Rev > from.Rev {
		t.Errorf("exp %v and rev %d go beyond %v and %d", to.Expiry, to.Rev, from.Expiry, from.Rev)
	}
	if to.Actor == nil || to.Actor.Subject != "inner" || to.Actor.Actor == nil || to.Actor.Actor.Subject != "gateway" {
		t.Errorf("act = %+v, want inner, then gateway", to.Actor)
	}
}

// TestExchangeDepth: a chain of services ends somewhere, and with a refusal.
func TestExchangeDepth(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	current := a.grant(t, exchanging("gateway", a.subject(t, "orders:read"), inner, "")).Access
	for depth := 2; depth <= 4; depth++ {
		current = a.grant(t, exchanging("inner", current, inner, "")).Access
	}
	if r := a.send(t, exchanging("inner", current, inner, "")); r.status != http.StatusBadRequest || r.code() != "invalid_target" {
		t.Errorf("a fifth actor: status %d, body %s, want 400 invalid_target", r.status, r.body)
	}
}
