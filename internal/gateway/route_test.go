package gateway

import (
	"strings"
	"testing"

	"github.com/writ-auth/writ/guard"
)

// good is a route that compiles.
func good() Route {
	return Route{Path: "/orders", Upstream: "http://127.0.0.1:9001", UpstreamAudience: "https://orders.internal", Rules: []Rule{{Scopes: []string{"orders:read"}}}}
}

func TestRoutesAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Route){
		"percent sign":        func(r *Route) { r.Path = "/a%20b" },
		"must begin with /":   func(r *Route) { r.Path = "orders" },
		"plain":               func(r *Route) { r.Path = "/orders/../admin" },
		"without the last /":  func(r *Route) { r.Path = "/orders/" },
		"gateway's own":       func(r *Route) { r.Path = "/readyz" },
		"the gateway's own":   func(r *Route) { r.Path = wellKnown + "/orders" },
		"no host name":        func(r *Route) { r.Host = "a/b" },
		"without a port":      func(r *Route) { r.Host = "api.example:80" },
		"origin without":      func(r *Route) { r.Upstream = "http://127.0.0.1:9001/base" },
		"http or https":       func(r *Route) { r.Upstream = "127.0.0.1:9001" },
		"needs rules":         func(r *Route) { r.Rules = nil },
		"upper-case":          func(r *Route) { r.Rules[0].Methods = []string{"get"} },
		"always refused":      func(r *Route) { r.Rules[0].Methods = []string{"TRACE"} },
		"empty list":          func(r *Route) { r.Rules[0].Methods = []string{} },
		"two rules are for":   func(r *Route) { r.Rules = []Rule{{}, {}} },
		"GET has two rules":   func(r *Route) { r.Rules = []Rule{{Methods: []string{"GET"}}, {Methods: []string{"GET"}}} },
		"scopes":              func(r *Route) { r.Rules[0].Scopes = []string{"a\"b"} },
		"upstream scopes":     func(r *Route) { r.UpstreamScopes = []string{} },
		"upstream audience":   func(r *Route) { r.UpstreamAudience = "" },
		"none of transaction": func(r *Route) { r.Propagate = "forward" },
		"looks at no token":   func(r *Route) { r.Open, r.WhenStale = true, &guard.Stale{} },
		"cannot require":      func(r *Route) { r.Open, r.UpstreamAudience = true, "" },
		"cors origin":         func(r *Route) { r.CORS = &CORS{Origins: []string{"*"}} },
	} {
		r := good()
		r.Rules = []Rule{{Scopes: []string{"orders:read"}}}
		change(&r)
		cfg := Config{URL: "https://gw.example", ClientID: "gateway"}
		if err := cfg.check(); err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.compile([]Route{r}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
}

func TestRoutesThatAreOneToAnUpstream(t *testing.T) {
	cfg := Config{URL: "https://gw.example", ClientID: "gateway"}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	a, b := good(), good()
	b.Path = "/Orders"
	if _, err := cfg.compile([]Route{a, b}); err == nil {
		t.Error("/orders and /Orders: no error, want one")
	}
	a.Host, b.Host, b.Path = "api.example", "API.example.", "/orders"
	if _, err := cfg.compile([]Route{a, b}); err == nil {
		t.Error("api.example and API.example.: no error, want one")
	}
	b.Host = ""
	if _, err := cfg.compile([]Route{a, b}); err != nil {
		t.Errorf("one with and one without a host: %v", err)
	}
}

func TestAudienceOfARoute(t *testing.T) {
	for _, c := range []struct{ url, host, path, want string }{
		{"https://gw.example", "", "/orders", "https://gw.example/orders"},
		{"https://gw.example/", "", "/", "https://gw.example"},
		{"http://127.0.0.1:8402", "", "/orders", "http://127.0.0.1:8402/orders"},
		{"https://gw.example", "API.example", "/orders", "https://api.example/orders"},
		{"http://127.0.0.1:8402", "::1", "/orders", "http://[::1]:8402/orders"},
		{"https://gw.example", "[::1]", "/", "https://[::1]"},
	} {
		cfg := Config{URL: c.url, ClientID: "gateway"}
		if err := cfg.check(); err != nil {
			t.Fatal(err)
		}
		r := good()
		r.Host, r.Path = c.host, c.path
		made, err := cfg.compile([]Route{r})
		if err != nil || made[0].Audience != c.want {
			t.Errorf("%+v: audience %v, error %v", c, made, err)
		}
	}
}

func TestRuleForMethod(t *testing.T) {
	cfg := Config{URL: "https://gw.example", ClientID: "gateway"}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	r := good()
	r.Rules = []Rule{{Methods: []string{"GET"}, Scopes: []string{"read"}}, {Methods: []string{"DELETE"}, Scopes: []string{"admin"}}}
	strict, err := cfg.compile([]Route{r})
	if err != nil {
		t.Fatal(err)
	}
	r.Rules = append(r.Rules, Rule{Scopes: []string{"write"}})
	loose, err := cfg.compile([]Route{r})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		route        *route
		method, want string
	}{
		{strict[0], "GET", "read"}, {strict[0], "HEAD", "read"}, {strict[0], "DELETE", "admin"}, {strict[0], "POST", ""}, {strict[0], "OPTIONS", ""}, {strict[0], "get", ""},
		{loose[0], "GET", "read"}, {loose[0], "HEAD", "read"}, {loose[0], "POST", "write"}, {loose[0], "PURGE", "write"},
		{loose[0], "delete", ""}, {loose[0], "Delete", ""}, // some servers would take it for DELETE
	} {
		got := ""
		if made := c.route.ruleFor(c.method); made != nil {
			got = strings.Join(made.need.Scopes, " ")
		}
		if got != c.want {
			t.Errorf("rule for %s requires %q, want %q", c.method, got, c.want)
		}
	}
	if got, want := strict[0].allow, "DELETE, GET, HEAD"; got != want {
		t.Errorf("Allow = %q, want %q", got, want)
	}
}
