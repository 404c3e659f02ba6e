package main_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

// TestCodeRequests spoils the redemption of a code. A refusal does not spend it.
func TestCodeRequests(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	web := func(t *testing.T) ask { return alice.allow(t, "web", "openid orders:read") }
	spa := func(t *testing.T) ask { return alice.allow(t, "spa", "openid orders:read") }
	const bad = http.StatusBadRequest
	for _, s := range []spoiled{
		{"no code", web, dropParam("code"), bad, "invalid_request"},
		{"an unknown code", web, setParam("code", verifier()), bad, "invalid_grant"},
		{"the code twice", web, func(q *ask) { q.form.Add("code", q.form.Get("code")) }, bad, "invalid_request"},
		{"another client's code", web, as("first"), bad, "invalid_grant"},
		{"another public client's code", spa, setParam("client_id", "bound"), bad, "invalid_dpop_proof"},
		{"a confidential client's code by a public one", web, func(q *ask) { q.id = ""; q.form.Set("client_id", "spa") }, bad, "invalid_grant"},
		{"no verifier", web, dropParam("code_verifier"), bad, "invalid_grant"},
		{"no verifier, public", spa, dropParam("code_verifier"), bad, "invalid_grant"},
		{"another verifier", web, setParam("code_verifier", verifier()), bad, "invalid_grant"},
		{"a verifier that is too long", web, func(q *ask) { q.form.Set("code_verifier", strings.Repeat(q.form.Get("code_verifier"), 3)) }, bad, "invalid_grant"},
		{"a verifier that is too short", web, setParam("code_verifier", "abc"), bad, "invalid_grant"},
		{"the challenge as verifier", web, func(q *ask) { q.form.Set("code_verifier", challenge(q.form.Get("code_verifier"))) }, bad, "invalid_grant"},
		{"no redirect URI", web, dropParam("redirect_uri"), bad, "invalid_grant"},
		{"another redirect URI", web, setParam("redirect_uri", firstBack), bad, "invalid_grant"},
		{"a resource not granted", web, setParam("resource", inner), bad, "invalid_target"},
	} {
		s.run(t, a)
	}
}

// TestRefreshRequests spoils a refresh. No refusal spends the token or ends the grant.
func TestRefreshRequests(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	of := func(id string) func(*testing.T) ask {
		return func(t *testing.T) ask {
			return refreshing(id, a.grant(t, alice.allow(t, id, "openid offline_access orders:read")).Refresh)
		}
	}
	web, spa := of("web"), of("spa")
	const bad = http.StatusBadRequest
	for _, s := range []spoiled{
		{"no token", web, dropParam("refresh_token"), bad, "invalid_request"},
		{"the token twice", web, func(q *ask) { q.form.Add("refresh_token", q.form.Get("refresh_token")) }, bad, "invalid_request"},
		{"another client's token", web, as("first"), bad, "invalid_grant"},
		{"another client's token, public", spa, as("web"), bad, "invalid_grant"},
		{"a confidential client's token by a public one", web, func(q *ask) { q.id = ""; q.form.Set("client_id", "spa") }, bad, "invalid_grant"},
		{"without the secret", web, func(q *ask) { q.form.Set("client_id", q.id); q.id = "" }, http.StatusUnauthorized, "invalid_client"},
		{"an unknown token", web, setParam("refresh_token", client.FormSecret(client.RefreshPrefix, make([]byte, 32))), bad, "invalid_grant"},
		{"a mistyped token", web, func(q *ask) { q.form.Set("refresh_token", q.form.Get("refresh_token")+"x") }, bad, "invalid_grant"},
		{"a wider scope", web, setParam("scope", "orders:read orders:write"), bad, "invalid_scope"},
		{"a scope nobody knows", web, setParam("scope", "orders:delete"), bad, "invalid_scope"},
		{"a resource not granted", web, setParam("resource", inner), bad, "invalid_target"},
		{"two resources", web, setParam("resource", api, a.issuer+"/userinfo"), bad, "invalid_target"},
	} {
		s.run(t, a)
	}
	t.Run("an access token", func(t *testing.T) {
		issued := a.grant(t, alice.allow(t, "web", "openid orders:read"))
		if r := a.send(t, refreshing("web", issued.Access)); r.code() != "invalid_grant" {
			t.Errorf("status %d, body %s, want invalid_grant", r.status, r.body)
		}
	})
}

// TestRefreshReplay: an answer may get lost on its way. Who asks again with the
// same token gets the same successor, and the grant lives on.
func TestRefreshReplay(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	for _, id := range []string{"web", "spa"} {
		t.Run(id, func(t *testing.T) {
			issued := a.grant(t, alice.allow(t, id, "openid offline_access orders:read"))
			first := a.grant(t, refreshing(id, issued.Refresh))
			again := a.grant(t, refreshing(id, issued.Refresh))
			if first.Refresh == issued.Refresh {
				t.Error("the token was not rotated")
			}
			if again.Refresh != first.Refresh {
				t.Error("the replay got another successor")
			}
			if !a.active(t, "gateway", again.Access) {
				t.Error("the replay's access token is not good")
			}
			next := a.grant(t, refreshing(id, again.Refresh))
			// Its successor is used now: too late to replay, too early to call it theft.
			if r := a.send(t, refreshing(id, issued.Refresh)); r.code() != "invalid_grant" {
				t.Errorf("the first token once more: status %d, body %s, want invalid_grant", r.status, r.body)
			}
			if !a.active(t, "gateway", next.Access) {
				t.Error("the late retry ended the grant")
			}
			a.grant(t, refreshing(id, next.Refresh))
		})
	}
}

// TestRefreshNarrows: a refresh may ask for less and for one of the resources,
// and the next refresh may ask for all again (RFC 6749 §6).
func TestRefreshNarrows(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	issued := a.grant(t, a.person(t, "alice").allow(t, "web", "openid email offline_access orders:read orders:write"))
	next := issued.Refresh
	for _, tt := range []struct {
		name, resource, scope string
		aud, want             string
	}{
		{"less", "", "orders:read", api, "orders:read"},
		{"all again", "", "", api, "orders:read orders:write"},
		{"userinfo", a.issuer + "/userinfo", "", a.issuer + "/userinfo", "email openid"},
		{"less of userinfo", a.issuer + "/userinfo", "openid", a.issuer + "/userinfo", "openid"},
	} {
		q := refreshing("web", next)
		if tt.resource != "" {
			q.form.Set("resource", tt.resource)
		}
		if tt.scope != "" {
			q.form.Set("scope", tt.scope)
		}
		got := a.grant(t, q)
		next = got.Refresh
		c, err := token.InsecureParse(got.Access)
		if err != nil {
			t.Fatal(err)
		}
		if c.Audience[0] != tt.aud || c.Scope.String() != tt.want || got.Scope != tt.want {
			t.Errorf("%s: aud %v scope %q, answer's scope %q, want %s %q", tt.name, c.Audience, c.Scope, got.Scope, tt.aud, tt.want)
		}
	}
}

// TestSignOutEndsGrants: signing out ends the session and what was granted in it,
// but not what goes on while the person is away.
func TestSignOutEndsGrants(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	online := a.grant(t, alice.allow(t, "web", "openid orders:read"))
	offline := a.grant(t, alice.allow(t, "web", "openid offline_access orders:read"))
	_, page := alice.visit(t, a.issuer+"/logout")
	form := hidden(page.body)
	res, err := alice.browser.Do(alice.request(t, http.MethodPost, a.issuer+"/logout", form))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out: status %d", res.StatusCode)
	}
	if a.active(t, "gateway", online.Access) {
		t.Error("the session's token outlives it")
	}
	if r := a.send(t, refreshing("web", online.Refresh)); r.code() != "invalid_grant" {
		t.Errorf("the session's refresh token: status %d, body %s, want invalid_grant", r.status, r.body)
	}
	if !a.active(t, "gateway", offline.Access) {
		t.Error("the offline token died with the session")
	}
	a.grant(t, refreshing("web", offline.Refresh))
	params, _ := request("first", "openid")
	params.Set("prompt", oauth.PromptNone)
	to, _ := alice.visit(t, alice.authorize(params))
	checkAnswer(t, a, to, url.Values(params), "login_required")
}
