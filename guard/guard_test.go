package guard

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNewRefusesBadConfig(t *testing.T) {
	good := Config{Issuer: "https://as.example", Audience: audience, Logger: quiet()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nothing is to be fetched
	if _, err := New(ctx, good); err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"no issuer":              func(c *Config) { c.Issuer = "" },
		"no audience":            func(c *Config) { c.Audience = "" },
		"issuer over http":       func(c *Config) { c.Issuer = "http://as.example" },
		"issuer without host":    func(c *Config) { c.Issuer = "https://" },
		"issuer relative":        func(c *Config) { c.Issuer = "as.example" },
		"issuer with a query":    func(c *Config) { c.Issuer += "?a" },
		"issuer, empty query":    func(c *Config) { c.Issuer += "?" },
		"issuer with a fragment": func(c *Config) { c.Issuer += "#a" },
		"issuer with a user":     func(c *Config) { c.Issuer = "https://u:p@as.example" },
		"audience relative":      func(c *Config) { c.Audience = "orders" },
		"audience with fragment": func(c *Config) { c.Audience += "#" },
		"audience broken":        func(c *Config) { c.Audience = "https://%zz" },
		"no algorithm":           func(c *Config) { c.Algorithms = []string{} },
		"alg none":               func(c *Config) { c.Algorithms = []string{"none"} },
		"alg HS256":              func(c *Config) { c.Algorithms = []string{"ES256", "HS256"} },
		"long leeway":            func(c *Config) { c.Leeway = 61 * time.Second },
		"negative leeway":        func(c *Config) { c.Leeway = -1 },
		"negative staleness":     func(c *Config) { c.MaxStaleness = -1 },
		"unknown action":         func(c *Config) { c.WhenStale.Do = 7 },
		"unknown else":           func(c *Config) { c.WhenStale = Stale{Do: Introspect, Else: Introspect} },
		"else without need":      func(c *Config) { c.WhenStale = Stale{Do: Allow, Else: Allow} },
		"introspection unknown":  func(c *Config) { c.WhenStale, c.Credential = Stale{Do: Introspect}, nil },
		"negative allowance":     func(c *Config) { c.WhenStale = Stale{Do: Allow, For: -1} },
		"offline_access":         func(c *Config) { c.Metadata.Scopes = []string{"offline_access"} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			if _, err := New(ctx, cfg); err == nil {
				t.Error("accepted")
			}
		})
	}
	g, err := New(ctx, good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.For("orders", ResourceMetadata{}); err == nil {
		t.Error("For accepts a relative audience")
	}
	for name, change := range map[string]func(*Config){
		"loopback":      func(c *Config) { c.Issuer = "http://127.0.0.1:8400" },
		"insecure http": func(c *Config) { c.Issuer, c.InsecureHTTP = "http://as.example", true },
		"issuer's path": func(c *Config) { c.Issuer += "/tenant" },
		"urn":           func(c *Config) { c.Audience = "urn:example:orders" },
		"old name":      func(c *Config) { c.Algorithms = []string{"EdDSA"} },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(ctx, cfg); err != nil {
			t.Errorf("%s: %v, want it accepted", name, err)
		}
	}
}

func TestMetadata(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g, err := New(ctx, Config{
		Issuer: "https://as.example", Audience: audience, Logger: quiet(),
		Metadata: ResourceMetadata{Name: "Orders", Scopes: []string{"orders:read"}, ProofRequired: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := g.MetadataPath(), "/.well-known/oauth-protected-resource/orders"; got != want {
		t.Errorf("path = %q, want %q", got, want)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+g.MetadataPath(), g.Metadata())
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", g.MetadataPath(), nil))
	if got := w.Header().Get("Content-Type"); w.Code != 200 || got != "application/json" {
		t.Errorf("answer %d of type %q, want 200 of application/json", w.Code, got)
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"resource":                          audience,
		"authorization_servers":             []any{"https://as.example"},
		"bearer_methods_supported":          []any{"header"},
		"scopes_supported":                  []any{"orders:read"},
		"resource_name":                     "Orders",
		"dpop_signing_alg_values_supported": []any{"ES256", "Ed25519", "PS256", "RS256"},
		"dpop_bound_access_tokens_required": true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("document = %v, want %v", got, want)
	}
}

func TestMetadataPath(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g, err := New(ctx, Config{Issuer: "https://as.example", Audience: audience, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for audience, want := range map[string]string{
		"https://api.example":         "/.well-known/oauth-protected-resource",
		"https://api.example/":        "/.well-known/oauth-protected-resource",
		"https://api.example/a/b":     "/.well-known/oauth-protected-resource/a/b",
		"https://api.example/a%2Fb":   "/.well-known/oauth-protected-resource/a%2Fb",
		"https://api.example/%7Ba%7D": "/.well-known/oauth-protected-resource/%7Ba%7D",
		"urn:example:orders":          "/.well-known/oauth-protected-resource",
		"ftp://api.example/orders":    "/.well-known/oauth-protected-resource",
	} {
		other, err := g.For(audience, ResourceMetadata{})
		if err != nil {
			t.Fatal(err)
		}
		if got := other.MetadataPath(); got != want {
			t.Errorf("%s: path = %q, want %q", audience, got, want)
		}
		mux := http.NewServeMux()
		mux.Handle("GET "+other.MetadataPath(), other.Metadata())
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", other.MetadataPath(), nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), audience) {
			t.Errorf("%s: answer %d %s, want its document", audience, w.Code, w.Body)
		}
	}
}

func TestState(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	settled(t, g, i)
	s := g.State()
	if len(s.Keys) != 1 || s.Keys[0].ID != "key-1" || s.Keys[0].Algorithm != "ES256" || s.Keys[0].Since.IsZero() {
		t.Errorf("keys = %+v, want key-1", s.Keys)
	}
	if s.KeysFetched.IsZero() || s.KeysError != nil || !s.Ready || s.Epoch != "e1" || s.AsOf.IsZero() {
		t.Errorf("state = %+v, want it complete", s)
	}
}
