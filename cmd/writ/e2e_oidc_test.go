package main_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// TestOpenIDConnect signs in as an application would that was written with the
// usual libraries.
func TestOpenIDConnect(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, database string) {
		a := serve(t, database)
		ctx := oidc.ClientContext(t.Context(), newClient(t))
		provider, err := oidc.NewProvider(ctx, a.issuer)
		if err != nil {
			t.Fatalf("discovery: %v", err)
		}
		conf := oauth2.Config{
			ClientID: "web", ClientSecret: secret("web"), Endpoint: provider.Endpoint(), RedirectURL: webBack,
			Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
		}
		state, nonce, v := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
		to, r := a.person(t, "alice").visit(t, conf.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(v)))
		if to == nil {
			t.Fatalf("no redirect: status %d, %s", r.status, r.body)
		}
		if got := to.Query().Get("state"); got != state {
			t.Errorf("state = %q, want %q", got, state)
		}
		issued, err := conf.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(v))
		if err != nil {
			t.Fatalf("redeem the code: %v", err)
		}
		checkIDToken(t, ctx, provider, issued, nonce)
		checkUserInfo(t, ctx, provider, issued)

		expired := *issued
		expired.Expiry = time.Now().Add(-time.Minute)
		fresh, err := conf.TokenSource(ctx, &expired).Token()
		if err != nil {
			t.Fatalf("refresh: %v", err)
		}
		if fresh.AccessToken == issued.AccessToken || fresh.RefreshToken == issued.RefreshToken {
			t.Error("refresh gave a token that was there before")
		}
		checkUserInfo(t, ctx, provider, fresh)
	})
}

func checkIDToken(t *testing.T, ctx context.Context, provider *oidc.Provider, issued *oauth2.Token, nonce string) {
	t.Helper()
	raw, _ := issued.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: "web"}).Verify(ctx, raw)
	if err != nil {
		t.Fatalf("verify the ID token: %v", err)
	}
	if err := id.VerifyAccessToken(issued.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	if id.Nonce != nonce || id.Subject != "u_alice" {
		t.Errorf("nonce = %q, sub = %q, want %q and u_alice", id.Nonce, id.Subject, nonce)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: "first"}).Verify(ctx, raw); err == nil {
		t.Error("another client's verifier took the ID token")
	}
}

func checkUserInfo(t *testing.T, ctx context.Context, provider *oidc.Provider, issued *oauth2.Token) {
	t.Helper()
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(issued))
	if err != nil {
		t.Fatalf("userinfo: %v", err)
	}
	var claims struct {
		Name, Email string
		Username    string `json:"preferred_username"`
	}
	if err := info.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if info.Subject != "u_alice" || claims.Name != "ALICE" || claims.Username != "alice" || claims.Email != "alice@example.com" {
		t.Errorf("userinfo = %s, %+v, want all about alice", info.Subject, claims)
	}
}

// TestUserinfoMethods: a program may send the token by GET and by POST, and gets
// a challenge without one (OIDC Core §5.3).
func TestUserinfoMethods(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	p := a.person(t, "alice")
	right := a.grant(t, p.allow(t, "web", "openid"))
	narrow := refreshing("web", a.grant(t, p.allow(t, "web", "openid email offline_access")).Refresh)
	narrow.form.Set("resource", a.issuer+"/userinfo")
	narrow.form.Set("scope", "email")
	nameless := a.grant(t, narrow)
	if nameless.Scope != "email" {
		t.Fatalf("scope = %q, want email alone", nameless.Scope)
	}
	elsewhere := a.grant(t, own("service", api, ""))
	for _, tt := range []struct {
		name, method, token string
		want                int
	}{
		{"GET", http.MethodGet, right.Access, http.StatusOK},
		{"POST", http.MethodPost, right.Access, http.StatusOK},
		{"no token", http.MethodGet, "", http.StatusUnauthorized},
		{"a token without openid", http.MethodGet, nameless.Access, http.StatusForbidden},
		{"a token without openid, by POST", http.MethodPost, nameless.Access, http.StatusForbidden},
		{"a token for another resource", http.MethodGet, elsewhere.Access, http.StatusUnauthorized},
		{"the ID token", http.MethodGet, right.ID, http.StatusUnauthorized},
		{"a changed token", http.MethodGet, swapSignature(right.Access, nameless.Access), http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := ask{method: tt.method, path: "/userinfo", header: http.Header{}}
			if tt.token != "" {
				q.header.Set("Authorization", "Bearer "+tt.token)
			}
			r := a.send(t, q)
			if r.status != tt.want {
				t.Errorf("status = %d, want %d; %s", r.status, tt.want, r.body)
			}
			challenge := r.header.Get("WWW-Authenticate")
			if (challenge != "") != (tt.want != http.StatusOK) {
				t.Errorf("WWW-Authenticate = %q", challenge)
			}
			if tt.want == http.StatusForbidden && (!strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, `scope="openid"`)) {
				t.Errorf("WWW-Authenticate = %q, want the scope that is missing", challenge)
			}
		})
	}
}

// TestCodeTwice: a code that is redeemed twice was stolen by one of the two, so
// everything made of it dies (RFC 6749 §4.1.2).
func TestCodeTwice(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, database string) {
		a := serve(t, database)
		redeem := a.person(t, "alice").allow(t, "web", "openid offline_access")
		first := a.grant(t, redeem)
		if got := a.userinfo(t, first.Access); got != http.StatusOK {
			t.Fatalf("userinfo before = %d, want 200", got)
		}
		if r := a.send(t, redeem); r.status != http.StatusBadRequest || r.code() != "invalid_grant" {
			t.Errorf("the code again = %d %s, want 400 invalid_grant", r.status, r.body)
		}
		within(t, time.Second, "userinfo refuses the first access token", func() error {
			if got := a.userinfo(t, first.Access); got != http.StatusUnauthorized {
				return errors.New(http.StatusText(got))
			}
			return nil
		})
		if r := a.send(t, refreshing("web", first.Refresh)); r.code() != "invalid_grant" {
			t.Errorf("its refresh token = %d %s, want invalid_grant", r.status, r.body)
		}
	})
}
