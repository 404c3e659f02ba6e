package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/store"
)

func TestCanonicalURI(t *testing.T) {
	tests := []struct{ in, want string }{ // "" is refused
		{"https://api.example", "https://api.example"},
		{"https://api.example/", "https://api.example/"},
		{"HTTPS://API.Example:443/Orders/", "https://api.example/Orders"},
		{"http://localhost:80/x", "http://localhost/x"},
		{"http://localhost:8401/orders", "http://localhost:8401/orders"},
		{"https://api.example:/x", "https://api.example/x"},
		{"https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"},
		{"https://api.example/a%2Fb", "https://api.example/a%2Fb"},
		{"urn:example:Orders", "urn:example:Orders"},
		{"api://orders", "api://orders"},
		{"orders", ""},
		{"/orders", ""},
		{"//api.example/orders", ""},
		{"https:///orders", ""},
		{"https://api.example/#", ""},
		{"https://api.example/?a=b", ""},
		{"https://api.example/?", ""},
		{"https://user@api.example/", ""},
		{"https://api.example/a b", ""},
		{"https://api.example/ä", ""},
		{"https://api.example/\x00", ""},
		{"", ""},
		{"https://api.example/" + strings.Repeat("a", maxURI), ""},
	}
	for _, tt := range tests {
		got, err := canonicalURI(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("canonicalURI(%.40q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
		if err == nil {
			if again, err := canonicalURI(got); again != got {
				t.Errorf("canonicalURI(%q) = %q, %v, want it unchanged", got, again, err)
			}
		}
	}
}

func TestResourceRules(t *testing.T) {
	b := newBench(t)
	b.withKeys(t)
	one := []Scope{{Name: "a"}}
	tests := []struct {
		name  string
		in    Resource
		field string
	}{
		{"plain", Resource{URI: "https://api.example/plain", Scopes: one}, "ok"},
		{"all", Resource{URI: "https://api.example/all", Name: "All", Scopes: one, TokenLife: 60, Algorithm: "ES256"}, "ok"},
		{"longest life", Resource{URI: "https://api.example/long", Scopes: one, TokenLife: 86400}, "ok"},
		{"no uri", Resource{Scopes: one}, "uri"},
		{"issuer's own", Resource{URI: issuer + "/admin", Scopes: one}, "uri"},
		{"issuer's own, spelled otherwise", Resource{URI: "https://AUTH.example:443/admin/", Scopes: one}, "uri"},
		{"issuer itself", Resource{URI: issuer, Scopes: one}, "uri"},
		{"too long a life", Resource{URI: "https://api.example/x", Scopes: one, TokenLife: 86401}, "token_life"},
		{"a life that overflows", Resource{URI: "https://api.example/x", Scopes: one, TokenLife: 1 << 62}, "token_life"},
		{"too short a life", Resource{URI: "https://api.example/x", Scopes: one, TokenLife: 5}, "token_life"},
		{"negative life", Resource{URI: "https://api.example/x", Scopes: one, TokenLife: -1}, "token_life"},
		{"no algorithm of ours", Resource{URI: "https://api.example/x", Scopes: one, Algorithm: "none"}, "algorithm"},
		{"no scopes", Resource{URI: "https://api.example/x"}, "scopes"},
		{"two in one", Resource{URI: "https://api.example/x", Scopes: []Scope{{Name: "a b"}}}, "scopes"},
		{"empty scope", Resource{URI: "https://api.example/x", Scopes: []Scope{{}}}, "scopes"},
		{"scope twice", Resource{URI: "https://api.example/x", Scopes: []Scope{{Name: "a"}, {Name: "a"}}}, "scopes"},
		{"admin scope", Resource{URI: "https://api.example/x", Scopes: []Scope{{Name: "admin:write"}}}, "scopes"},
		{"openid", Resource{URI: "https://api.example/x", Scopes: []Scope{{Name: "openid"}}}, "scopes"},
		{"feed scope", Resource{URI: "https://api.example/x", Scopes: []Scope{{Name: "feed:read"}}}, "scopes"},
		{"text that hides", Resource{URI: "https://api.example/x", Scopes: []Scope{{Name: "a", Text: "See\u200byou"}}}, "scopes"},
		{"name that hides", Resource{URI: "https://api.example/x", Name: "a\u0000b", Scopes: one}, "name"},
		{"given id", Resource{ID: "x", URI: "https://api.example/x", Scopes: one}, "id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := b.AddResource(t.Context(), tester, tt.in)
			if tt.field != "ok" {
				wantField(t, err, tt.field)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			found, err := b.Resource(t.Context(), r.ID)
			if err != nil || found.URI != tt.in.URI {
				t.Errorf("found %+v, %v, want %s", found, err, tt.in.URI)
			}
		})
	}
}

func TestResourceKeepsItsURI(t *testing.T) {
	b := newBench(t)
	uri := b.orders(t)
	ctx := t.Context()
	_, err := b.SetResource(ctx, tester, ResourceID(uri), func(r *Resource) error { r.URI = "https://evil.example"; return nil })
	wantField(t, err, "uri")
	set, err := b.SetResource(ctx, tester, ResourceID(uri), func(r *Resource) error { r.TokenLife = 90; return nil })
	if err != nil || set.TokenLife != 90 {
		t.Errorf("set = %+v, %v, want a life of 90", set, err)
	}
	_, err = b.AddResource(ctx, tester, Resource{URI: "https://API.example/orders/", Scopes: []Scope{{Name: "a"}}})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("the same resource in another spelling: error = %v, want ErrConflict", err)
	}
	for _, id := range []string{"", "*", "orders", ResourceID("https://other.example")} {
		if err := b.RemoveResource(ctx, tester, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("remove %q: error = %v, want ErrNotFound", id, err)
		}
	}
}
