package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

func TestClientRules(t *testing.T) {
	const api = "https://api.example/orders"
	web := func(c Client) Client {
		c.RedirectURIs = append(c.RedirectURIs, "https://app.example/callback")
		return c
	}
	tests := []struct {
		name  string
		in    Client
		field string // "ok": taken
	}{
		{"service", service("robot"), "ok"},
		{"no id", Client{Scope: "orders:read", Resources: []string{api}}, "ok"},
		{"web app", web(Client{ID: "app", Scope: "openid profile email offline_access orders:read", Resources: []string{api}}), "ok"},
		{"public web app", web(Client{ID: "app", AuthMethod: "none", Scope: "openid"}), "ok"},
		{"native app", Client{ID: "app", AuthMethod: "none", Application: "native", Scope: "openid", RedirectURIs: []string{"com.example.app:/callback", "http://127.0.0.1/callback"}}, "ok"},
		{"guard", Client{ID: "gate", Guards: []string{api}}, "ok"},
		{"gateway", Client{ID: "gate", Guards: []string{api}, Resources: []string{api}, Scope: "orders:read", TrustDomain: "inside.example"}, "ok"},
		{"gateway of a URL", Client{ID: "gate", Guards: []string{api}, Resources: []string{api}, Scope: "orders:read", TrustDomain: "https://inside.example"}, "trust_domain"},
		{"gateway of capitals", Client{ID: "gate", Guards: []string{api}, Resources: []string{api}, Scope: "orders:read", TrustDomain: "Inside.example"}, "trust_domain"},
		{"gateway that guards nothing", Client{ID: "gate", Resources: []string{api}, Scope: "orders:read", TrustDomain: "inside.example"}, "trust_domain"},
		{"gateway that may mint nothing", Client{ID: "gate", Guards: []string{api}, TrustDomain: "inside.example"}, "trust_domain"},
		{"public gateway", web(Client{ID: "app", AuthMethod: "none", Scope: "openid", TrustDomain: "inside.example"}), "trust_domain"},
		{"guard of a resource to come", Client{ID: "gate", Guards: []string{"https://later.example"}}, "ok"},
		{"operator", Client{ID: "op", Admin: true, Scope: "admin:read", Resources: []string{issuer + "/admin"}}, "ok"},
		{"first party", web(Client{ID: "app", FirstParty: true, Scope: "openid"}), "ok"},

		{"id of a person", service("u_robot"), "client_id"},
		{"id of a metadata document", service("https://evil.example/client"), "client_id"},
		{"id of the server", service("system"), "client_id"},
		{"id of a host user", service("host:root"), "client_id"},
		{"id that climbs", service(".."), "client_id"},
		{"id with a slash", service("a/b"), "client_id"},
		{"invisible name", Client{ID: "x", Name: "Bank\u202e", Scope: "orders:read", Resources: []string{api}}, "client_name"},
		{"line in the name", Client{ID: "x", Name: "Bank\nof", Scope: "orders:read", Resources: []string{api}}, "client_name"},
		{"unknown method", Client{ID: "x", AuthMethod: "private_key_jwt", Scope: "openid"}, "token_endpoint_auth_method"},
		{"unknown application", Client{ID: "x", Application: "desktop", Scope: "openid"}, "application_type"},
		{"unknown grant", Client{ID: "x", GrantTypes: []string{"password"}, Scope: "openid"}, "grant_types"},
		{"implicit", web(Client{ID: "x", GrantTypes: []string{"implicit"}, Scope: "openid"}), "grant_types"},
		{"public without redirect", Client{ID: "x", AuthMethod: "none", Scope: "openid"}, "grant_types"},
		{"public for itself", web(Client{ID: "x", AuthMethod: "none", GrantTypes: []string{oauth.GrantCode, oauth.GrantClient}, Scope: "openid"}), "grant_types"},
		{"public that exchanges", web(Client{ID: "x", AuthMethod: "none", GrantTypes: []string{oauth.GrantCode, oauth.GrantExchange}, Scope: "openid"}), "grant_types"},
		{"public guard", web(Client{ID: "x", AuthMethod: "none", GrantTypes: []string{oauth.GrantCode}, Guards: []string{api}, Scope: "openid"}), "grant_types"},
		{"public operator", web(Client{ID: "x", AuthMethod: "none", Admin: true, Scope: "admin:read"}), "admin"},
		{"exchange without guards", Client{ID: "x", GrantTypes: []string{oauth.GrantExchange}}, "guards"},
		{"guard without its own token", Client{ID: "x", GrantTypes: []string{oauth.GrantExchange}, Guards: []string{api}}, "grant_types"},
		{"refresh without code", Client{ID: "x", GrantTypes: []string{oauth.GrantClient, oauth.GrantRefresh}, Scope: "orders:read", Resources: []string{api}}, "grant_types"},
		{"code without redirect", Client{ID: "x", GrantTypes: []string{oauth.GrantCode}, Scope: "openid"}, "redirect_uris"},
		{"redirect without code", web(Client{ID: "x", GrantTypes: []string{oauth.GrantClient}, Scope: "orders:read", Resources: []string{api}}), "redirect_uris"},
		{"redirect in clear", Client{ID: "x", Scope: "openid", RedirectURIs: []string{"http://app.example/"}}, "redirect_uris"},
		{"redirect with a fragment", Client{ID: "x", Scope: "openid", RedirectURIs: []string{"https://app.example/#x"}}, "redirect_uris"},
		{"script redirect", Client{ID: "x", Application: "native", Scope: "openid", RedirectURIs: []string{"javascript:alert(1)"}}, "redirect_uris"},
		{"private scheme of a web app", Client{ID: "x", Scope: "openid", RedirectURIs: []string{"com.example.app:/callback"}}, "redirect_uris"},
		{"first party without sign-in", Client{ID: "x", FirstParty: true, Scope: "orders:read", Resources: []string{api}}, "first_party"},
		{"guard of the admin API", Client{ID: "x", Guards: []string{issuer + "/admin"}}, "guards"},
		{"guard of nonsense", Client{ID: "x", Guards: []string{"orders"}}, "guards"},
		{"unknown resource", Client{ID: "x", Scope: "orders:read", Resources: []string{"https://other.example"}}, "resources"},
		{"admin API without the mark", Client{ID: "x", Scope: "orders:read", Resources: []string{issuer + "/admin"}}, "resources"},
		{"feed without guarding", Client{ID: "x", Scope: "feed:read", Resources: []string{issuer + "/feed"}}, "resources"},
		{"userinfo as a resource", web(Client{ID: "x", Scope: "openid", Resources: []string{issuer + "/userinfo"}}), "resources"},
		{"admin scope without the mark", Client{ID: "x", Scope: "orders:read admin:write", Resources: []string{api}}, "scope"},
		{"mark without a scope", Client{ID: "x", Admin: true, Scope: "orders:read", Resources: []string{api}}, "scope"},
		{"scope of no resource", Client{ID: "x", Scope: "orders:raed", Resources: []string{api}}, "scope"},
		{"person's scope for a robot", Client{ID: "x", Scope: "openid orders:read", Resources: []string{api}}, "scope"},
		{"offline without refresh", web(Client{ID: "x", GrantTypes: []string{oauth.GrantCode}, Scope: "openid offline_access"}), "scope"},
		{"two spaces", Client{ID: "x", Scope: "orders:read  orders:write", Resources: []string{api}}, "scope"},
		{"nothing at all", Client{ID: "x"}, "scope"},
	}
	b := newBench(t)
	b.orders(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := b.AddClient(t.Context(), tester, tt.in)
			if tt.field != "ok" {
				wantField(t, err, tt.field)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if public := tt.in.AuthMethod == "none"; public != (r.Secret == "") {
				t.Errorf("secret there = %v, want %v", r.Secret != "", !public)
			}
			if err := b.RemoveClient(t.Context(), tester, r.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUsualGrantTypes(t *testing.T) {
	tests := []struct {
		in   Client
		want []string
	}{
		{Client{}, []string{oauth.GrantClient}},
		{Client{RedirectURIs: []string{"https://a.example"}}, []string{oauth.GrantCode, oauth.GrantRefresh}},
		{Client{Guards: []string{"https://a.example"}}, []string{oauth.GrantClient, oauth.GrantExchange}},
		{Client{GrantTypes: []string{oauth.GrantExchange, oauth.GrantCode, oauth.GrantCode}}, []string{oauth.GrantCode, oauth.GrantExchange}},
	}
	for _, tt := range tests {
		if got := tt.in.complete().GrantTypes; !slices.Equal(got, tt.want) {
			t.Errorf("grant types of %+v = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestSecretIsShownOnceAndStoredHashed(t *testing.T) {
	b := newBench(t)
	b.orders(t)
	ctx := t.Context()
	made, err := b.AddClient(ctx, tester, service("robot"))
	if err != nil {
		t.Fatal(err)
	}
	if !client.WellFormed(client.SecretPrefix, string(made.Secret)) {
		t.Errorf("the secret has not the form of one")
	}
	if s := fmt.Sprintf("%v %+v %#v", *made, *made, *made); strings.Contains(s, string(made.Secret)) {
		t.Error("a printed registration shows the secret")
	}
	d := client.NewDirectory(b.db, true)
	creds := client.Credentials{ID: "robot", Secret: string(made.Secret), Method: oauth.AuthBasic}
	if _, err := d.Authenticate(ctx, creds); err != nil {
		t.Errorf("the secret does not authenticate: %v", err)
	}
	renewed, err := b.RenewSecret(ctx, tester, "robot")
	if err != nil {
		t.Fatal(err)
	}
	d = client.NewDirectory(b.db, true)
	if _, err := d.Authenticate(ctx, creds); err == nil {
		t.Error("the old secret still authenticates")
	}
	creds.Secret = string(renewed.Secret)
	if _, err := d.Authenticate(ctx, creds); err != nil {
		t.Errorf("the new secret does not authenticate: %v", err)
	}
	if _, err := b.RenewSecret(ctx, tester, "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("renew of an unknown client: error = %v, want ErrNotFound", err)
	}
}

func TestTakenClientID(t *testing.T) {
	b := newBench(t)
	b.orders(t)
	if _, err := b.AddClient(t.Context(), tester, service("robot")); err != nil {
		t.Fatal(err)
	}
	_, err := b.AddClient(t.Context(), tester, service("robot"))
	var taken *Taken
	if !errors.As(err, &taken) || taken.Field != "client_id" || !errors.Is(err, store.ErrConflict) {
		t.Errorf("error = %v, want client_id taken", err)
	}
}

// TestNarrowingEndsTokens tells what takes something away from what does not.
func TestNarrowingEndsTokens(t *testing.T) {
	b := newBench(t)
	uri := b.orders(t)
	wide := Client{
		ID: "app", Scope: "admin:read openid orders:read", Resources: []string{uri}, Admin: true, Guards: []string{uri},
		GrantTypes:   []string{oauth.GrantCode, oauth.GrantRefresh, oauth.GrantClient, oauth.GrantExchange},
		RedirectURIs: []string{"https://app.example/a", "https://app.example/b"},
	}
	if _, err := b.AddClient(t.Context(), tester, wide); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Client)
		ends   bool
	}{
		{"name", func(c *Client) { c.Name = "New" }, false},
		{"more scope", func(c *Client) { c.Scope += " orders:write" }, false},
		{"first party", func(c *Client) { c.FirstParty = true }, false},
		{"less scope", func(c *Client) { c.Scope = "admin:read orders:read" }, true},
		{"less redirects", func(c *Client) { c.RedirectURIs = c.RedirectURIs[:1] }, true},
		{"bound tokens", func(c *Client) { c.BoundTokens = true }, true},
		{"no exchange", func(c *Client) { c.GrantTypes = []string{oauth.GrantCode, oauth.GrantClient} }, true},
		{"no guard", func(c *Client) { c.Guards = nil }, true},
		{"no admin", func(c *Client) { c.Admin, c.Scope = false, "orders:read" }, true},
		{"no resource", func(c *Client) { c.Resources, c.Scope = nil, "openid" }, true},
		{"disabled", func(c *Client) { c.Disabled = true }, true},
		{"enabled", func(c *Client) { c.Disabled = false }, false},
	}
	for _, tt := range tests {
		before := len(b.feed(t))
		if _, err := b.SetClient(t.Context(), tester, "app", func(c *Client) error { tt.change(c); return nil }); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		after := b.feed(t)[before:]
		if got := slices.Contains(after, "client app"); got != tt.ends {
			t.Errorf("%s: rule written = %v, want %v (%q)", tt.name, got, tt.ends, after)
		}
	}
}

func TestFixedMembers(t *testing.T) {
	b := newBench(t)
	b.orders(t)
	if _, err := b.AddClient(t.Context(), tester, service("robot")); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Client){
		"client_id": func(c *Client) { c.ID = "other" },
		"created":   func(c *Client) { c.Created = c.Created.Add(1e9) },
		"token_endpoint_auth_method": func(c *Client) {
			c.AuthMethod, c.RedirectURIs, c.GrantTypes, c.Scope = "none", []string{"https://a.example"}, nil, "openid"
		},
	} {
		_, err := b.SetClient(t.Context(), tester, "robot", func(c *Client) error { change(c); return nil })
		wantField(t, err, field)
	}
}

// TestDisableAlwaysWorks switches off a client whose record would be refused today.
func TestDisableAlwaysWorks(t *testing.T) {
	b := newBench(t)
	uri := b.orders(t)
	ctx := t.Context()
	if _, err := b.AddClient(ctx, tester, service("robot")); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveResource(ctx, tester, ResourceID(uri)); err != nil {
		t.Fatal(err)
	}
	_, err := b.SetClient(ctx, tester, "robot", func(c *Client) error { c.Name = "New"; return nil })
	wantField(t, err, "resources")
	if _, err := b.SetClient(ctx, tester, "robot", func(c *Client) error { c.Disabled = true; return nil }); err != nil {
		t.Errorf("disable: %v", err)
	}
}

// A client without a scope may ask for all there is; its first scope takes something away.
func TestTheFirstScopeIsNarrower(t *testing.T) {
	for _, c := range []struct {
		was, is string
		want    bool
	}{{"", "", false}, {"", "read", true}, {"read", "read write", false}, {"read write", "read", true}, {"read", "", true}} {
		if got := (Client{Scope: c.is}).narrower(Client{Scope: c.was}); got != c.want {
			t.Errorf("%q after %q: narrower = %t, want %t", c.is, c.was, got, c.want)
		}
	}
}
