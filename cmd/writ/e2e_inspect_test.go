package main_test

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/client"
)

// TestIntrospection: a token is active for those it is meant for, and nothing at
// all to anyone else (RFC 7662 §2.2).
func TestIntrospection(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	issued := a.grant(t, a.person(t, "alice").allow(t, "web", "openid offline_access orders:read"))
	exchanged := a.grant(t, exchanging("gateway", issued.Access, inner, "")).Access
	for _, tt := range []struct {
		name, asker, token string
		want               bool
	}{
		{"the guard of its resource", "gateway", issued.Access, true},
		{"another guard", "inner", issued.Access, false},
		{"the client it was issued to, guarding nothing", "web", issued.Access, false},
		{"exchanged, its guard", "inner", exchanged, true},
		{"exchanged, who exchanged it", "gateway", exchanged, false},
		{"a refresh token, its client", "web", issued.Refresh, true},
		{"a refresh token, another client", "first", issued.Refresh, false},
		{"a refresh token, the guard", "gateway", issued.Refresh, false},
		{"an unknown refresh token", "web", client.FormSecret(client.RefreshPrefix, make([]byte, 32)), false},
		{"an ID token", "gateway", issued.ID, false},
		{"another token's signature", "gateway", swapSignature(issued.Access, exchanged), false},
		{"no token", "gateway", "nothing", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := a.send(t, post("/introspect", tt.asker, url.Values{"token": {tt.token}}))
			if got := strings.TrimSpace(string(r.body)); r.status != http.StatusOK || !tt.want && got != `{"active":false}` {
				t.Errorf("status %d, body %s", r.status, got)
			}
			if got := a.active(t, tt.asker, tt.token); got != tt.want {
				t.Errorf("active = %v, want %v", got, tt.want)
			}
		})
	}
	asking := func(*testing.T) ask { return post("/introspect", "gateway", url.Values{"token": {issued.Access}}) }
	for _, s := range []spoiled{
		{"nobody asks", asking, func(q *ask) { q.id = "" }, http.StatusUnauthorized, "invalid_client"},
		{"a public client asks", asking, func(q *ask) { q.id = ""; q.form.Set("client_id", "spa") }, http.StatusUnauthorized, "invalid_client"},
		{"wrong secret", asking, func(q *ask) { q.secret = secret("web") }, http.StatusUnauthorized, "invalid_client"},
		{"about nothing", asking, dropParam("token"), http.StatusBadRequest, "invalid_request"},
		{"about two", asking, setParam("token", issued.Access, exchanged), http.StatusBadRequest, "invalid_request"},
		{"by GET", asking, setMethod(http.MethodGet), http.StatusMethodNotAllowed, "invalid_request"},
		{"in the query", asking, func(q *ask) { q.path += "?token=" + issued.Access }, http.StatusBadRequest, "invalid_request"},
	} {
		s.run(t, a)
	}
}

// TestIntrospectionAnswer checks what an active token says of itself.
func TestIntrospectionAnswer(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	issued := a.grant(t, a.person(t, "alice").allow(t, "web", "openid orders:read"))
	exchanged := a.grant(t, exchanging("gateway", issued.Access, inner, "")).Access
	var got struct {
		Scope     string `json:"scope"`
		ClientID  string `json:"client_id"`
		TokenType string `json:"token_type"`
		Subject   string `json:"sub"`
		Audience  string `json:"aud"`
		Issuer    string `json:"iss"`
		Expiry    int64  `json:"exp"`
		IssuedAt  int64  `json:"iat"`
		AuthTime  int64  `json:"auth_time"`
		Act       struct {
			Subject string `json:"sub"`
		} `json:"act"`
	}
	a.send(t, post("/introspect", "inner", url.Values{"token": {exchanged}})).decode(t, &got)
	if got.Scope != "orders:read" || got.ClientID != "web" || got.TokenType != "Bearer" || got.Subject != "u_alice" ||
		got.Audience != inner || got.Issuer != a.issuer || got.Act.Subject != "gateway" {
		t.Errorf("answer = %+v", got)
	}
	if got.Expiry <= got.IssuedAt || got.AuthTime == 0 || got.AuthTime > got.IssuedAt {
		t.Errorf("exp %d, iat %d, auth_time %d are out of order", got.Expiry, got.IssuedAt, got.AuthTime)
	}
}

// TestRevocation: a client gives up its own tokens and nobody else's (RFC 7009).
func TestRevocation(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, database string) {
		a := serve(t, database)
		alice := a.person(t, "alice")
		issued := a.grant(t, alice.allow(t, "web", "openid offline_access orders:read"))
		exchanged := a.grant(t, exchanging("gateway", issued.Access, inner, "")).Access
		further := a.grant(t, exchanging("inner", exchanged, stock, "")).Access
		good := func(*testing.T) ask { return post("/revoke", "web", url.Values{"token": {"nobody's"}}) }
		const bad = http.StatusBadRequest
		for _, s := range []spoiled{
			{"another client's access token", good, func(q *ask) { q.form.Set("token", issued.Access); as("first")(q) }, bad, "unauthorized_client"},
			{"another client's refresh token", good, func(q *ask) { q.form.Set("token", issued.Refresh); as("first")(q) }, bad, "unauthorized_client"},
			{"the guard's side", good, func(q *ask) { q.form.Set("token", issued.Access); as("gateway")(q) }, bad, "unauthorized_client"},
			{"no token", good, dropParam("token"), bad, "invalid_request"},
			{"two tokens", good, setParam("token", "a", "b"), bad, "invalid_request"},
			{"nobody", good, func(q *ask) { q.id = "" }, http.StatusUnauthorized, "invalid_client"},
			{"wrong secret", good, func(q *ask) { q.secret = secret("first") }, http.StatusUnauthorized, "invalid_client"},
			{"by GET", good, setMethod(http.MethodGet), http.StatusMethodNotAllowed, "invalid_request"},
		} {
			s.run(t, a)
		}
		a.checkActive(t, true, issued.Access, exchanged, further)

		a.revoke(t, "inner", further) // who acts in it may give it up
		a.checkActive(t, true, issued.Access, exchanged, "")
		if a.active(t, "stock", further) {
			t.Error("the exchanged token lives on")
		}
		further = a.grant(t, exchanging("inner", exchanged, stock, "")).Access

		a.revoke(t, "web", issued.Access)
		a.revoke(t, "web", issued.Access) // it is over: a success all the same
		a.checkActive(t, false, issued.Access, exchanged, further)

		next := a.grant(t, refreshing("web", issued.Refresh)) // the grant lives on
		a.checkActive(t, true, next.Access, "", "")
		a.revoke(t, "web", next.Refresh)
		a.checkActive(t, false, next.Access, "", "")
		if r := a.send(t, refreshing("web", next.Refresh)); r.code() != "invalid_grant" {
			t.Errorf("the revoked refresh token: status %d, body %s, want invalid_grant", r.status, r.body)
		}
		a.revoke(t, "web", next.Refresh)
	})
}

// checkActive asks the three guards about a token each; "" is left out.
func (a *authority) checkActive(t *testing.T, want bool, outer, exchanged, further string) {
	t.Helper()
	for guard, token := range map[string]string{"gateway": outer, "inner": exchanged, "stock": further} {
		if token != "" && a.active(t, guard, token) != want {
			t.Errorf("token of %s: active = %v, want %v", guard, !want, want)
		}
	}
}

// TestWrongHint: token_type_hint is a hint and no more. A wrong one neither saves a
// token from its end nor hides one that is good (RFC 7009 §2.1, RFC 7662 §2.1).
func TestWrongHint(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	for _, hint := range []string{"", "access_token", "refresh_token", "id_token", "urn:example:nothing"} {
		t.Run(cmp.Or(hint, "none"), func(t *testing.T) {
			hinted := func(path, id, token string) reply {
				form := url.Values{"token": {token}, "token_type_hint": {hint}}
				r := a.send(t, post(path, id, form))
				if r.status != http.StatusOK {
					t.Fatalf("%s: status %d, body %s, want 200", path, r.status, r.body)
				}
				return r
			}
			known := func(id, token string) bool {
				return strings.Contains(string(hinted("/introspect", id, token).body), `"active":true`)
			}
			first := a.grant(t, alice.allow(t, "web", "openid offline_access orders:read"))
			if !known("gateway", first.Access) || !known("web", first.Refresh) {
				t.Error("a good token is not active")
			}
			hinted("/revoke", "web", first.Access)
			if known("gateway", first.Access) {
				t.Error("the access token was not ended")
			}
			hinted("/revoke", "web", first.Refresh)
			if r := a.send(t, refreshing("web", first.Refresh)); r.code() != "invalid_grant" {
				t.Errorf("the refresh token afterwards: status %d, body %s, want invalid_grant", r.status, r.body)
			}
		})
	}
}
