package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

func TestExchange(t *testing.T) {
	w := newWorld(t, nil)
	r := w.request("GET", "/orders/7?q=1&access_token=abc&r=%20", "/orders", "orders:read", "orders:write")
	outer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	for n := range 3 {
		if res, body := w.do(r); res.StatusCode != 200 || body != "from upstream" {
			t.Fatalf("answer = %s %s, want 200", res.Status, body)
		}
		got := w.service.got(t, n+1)
		inner := got.Header["Authorization"]
		if len(inner) != 1 || !strings.HasPrefix(inner[0], "Bearer ") {
			t.Fatalf("Authorization = %q, want one bearer token", inner)
		}
		c, err := token.InsecureParse(strings.TrimPrefix(inner[0], "Bearer "))
		if err != nil {
			t.Fatal(err)
		}
		if c.Subject != "alice" || c.Audience[0] != inside || c.Scope.String() != "orders:read" || c.Actor.Subject != "gateway" {
			t.Errorf("inner token for %s at %s with %q by %s, want alice, %s, orders:read, gateway", c.Subject, c.Audience, c.Scope, c.Actor.Subject, inside)
		}
		if got.RequestURI != "/orders/7?q=1&r=%20" || "http://"+got.Host != w.service.URL {
			t.Errorf("upstream got %s at %s, want the path and the query without access_token", got.RequestURI, got.Host)
		}
		if strings.Contains(fmt.Sprint(got.Header, got.RequestURI), outer) {
			t.Error("the outer token went inward")
		}
		if got := got.Header.Get("X-Forwarded-For") + got.Header.Get("X-Forwarded-Proto"); got != "127.0.0.1http" {
			t.Errorf("forwarded = %q, want 127.0.0.1 and http", got)
		}
	}
}

func TestUpstreamScopes(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.Routes[0].UpstreamScopes = []string{"orders:read", "stock:read"} })
	for n, c := range []struct{ has, want string }{
		{"orders:read stock:read x", "orders:read stock:read"},
		{"orders:read x", "orders:read"},
	} {
		if res, body := w.do(w.request("GET", "/orders", "/orders", strings.Fields(c.has)...)); res.StatusCode != 200 {
			t.Fatalf("answer = %s %s, want 200", res.Status, body)
		}
		inner, err := token.InsecureParse(strings.TrimPrefix(w.service.got(t, n+1).Header.Get("Authorization"), "Bearer "))
		if err != nil || inner.Scope.String() != c.want {
			t.Errorf("caller with %q: inner scope %v, %v, want %q", c.has, inner.Scope, err, c.want)
		}
	}
	// With none of them left, asking for none would ask the issuer for all.
	res, body := w.do(w.request("POST", "/orders", "/orders", "orders:write"))
	wantProblem(t, "no scope left", res, body, 403)
	w.service.got(t, 2)
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, nil)
	good := func() *http.Request { return w.request("GET", "/orders/7", "/orders", "orders:read") }
	authorization := good().Header.Get("Authorization")
	located := `resource_metadata="` + w.url + `/.well-known/oauth-protected-resource/orders"`
	for name, c := range map[string]struct {
		request *http.Request
		status  int
		want    string // in WWW-Authenticate
	}{
		"good twin":         {good(), 200, ""},
		"lower-case scheme": {with(good(), "Authorization", "bearer "+strings.TrimPrefix(authorization, "Bearer ")), 200, ""},
		"no token":          {with(good(), "Authorization"), 401, located},
		"two headers":       {with(good(), "Authorization", authorization, authorization), 400, "invalid_request"},
		"garbage":           {with(good(), "Authorization", "Bearer x.y.z"), 401, "invalid_token"},
		"basic":             {with(good(), "Authorization", "Basic YTpi"), 401, located},
		"query":             {with(w.request("GET", "/orders?access_token="+strings.TrimPrefix(authorization, "Bearer "), "/orders"), "Authorization"), 401, located},
		"cookie":            {with(with(good(), "Authorization"), "Cookie", "access_token="+strings.TrimPrefix(authorization, "Bearer ")), 401, located},
		"audience of other": {w.request("GET", "/orders", "/files", "orders:read"), 401, "invalid_token"},
		"gateway's own url": {w.request("GET", "/orders", "", "orders:read"), 401, "invalid_token"},
		"scope missing":     {w.request("GET", "/orders", "/orders", "orders:readx", "xorders:read"), 403, `scope="orders:read"`},
		"other method":      {w.request("POST", "/orders", "/orders", "orders:read"), 403, `scope="orders:write"`},
	} {
		before := w.service.count()
		res, body := w.do(c.request)
		challenges := strings.Join(res.Header["Www-Authenticate"], "; ")
		if c.status == 200 {
			if res.StatusCode != 200 || w.service.count() != before+1 {
				t.Errorf("%s: %s %s, want 200", name, res.Status, body)
			}
			continue
		}
		wantProblem(t, name, res, body, c.status)
		if !strings.Contains(challenges, c.want) || w.service.count() != before {
			t.Errorf("%s: %s after %d requests, want %q and none", name, challenges, w.service.count()-before, c.want)
		}
	}
	w.issuer.Forgeries(token.Claims{Audience: []string{w.url + "/orders"}, Scope: scope.Set{"orders:read"}})(func(name, forged string) bool {
		before := w.service.count()
		res, body := w.do(with(good(), "Authorization", "Bearer "+forged))
		if res.StatusCode != 401 || w.service.count() != before {
			t.Errorf("%s: %s %s, want 401", name, res.Status, body)
		}
		return true
	})
}

// with sets a header to values, or removes it.
func with(r *http.Request, name string, values ...string) *http.Request {
	delete(r.Header, name)
	if len(values) > 0 {
		r.Header[name] = values
	}
	return r
}

func TestRevokedTokenIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	r := w.issuer.Request("GET", w.url+"/orders", token.Claims{ID: "stolen", Audience: []string{w.url + "/orders"}, Scope: scope.Set{"orders:read"}})
	if res, body := w.do(r); res.StatusCode != 200 {
		t.Fatalf("before: %s %s, want 200", res.Status, body)
	}
	w.issuer.Revoke(token.Claims{ID: "stolen"})
	res, body := w.do(r)
	wantProblem(t, "after", res, body, 401)
	w.service.got(t, 1)
}

func TestPathsAroundARule(t *testing.T) {
	w := newWorld(t, nil)
	reader := w.request("GET", "/", "/orders", "orders:read").Header.Get("Authorization")
	admin := w.request("GET", "/", "/orders/admin", "admin").Header.Get("Authorization")
	get := func(target, authorization string) *http.Response {
		res, _ := w.raw("GET " + target + " HTTP/1.1\nHost: " + strings.TrimPrefix(w.url, "http://") + "\nAuthorization: " + authorization + "\nConnection: close\n\n")
		return res
	}
	for n, target := range []string{"/orders/admin", "/orders/admin/users", "/orders/admin/", w.url + "/orders/admin/x", "/orders/admin/caf%C3%A9?a=/../b"} {
		if got := get(target, admin).StatusCode; got != 200 {
			t.Errorf("%s: %d, want 200 for the admin", target, got)
		}
		if got := w.service.got(t, n+1).RequestURI; got != strings.TrimPrefix(target, w.url) {
			t.Errorf("upstream got %s for %s", got, target)
		}
	}
	before := w.service.count()
	for _, target := range []string{
		"/orders/admin", "/orders/admin/users", "/orders//admin", "/orders/./admin", "/orders/x/../admin", "/public/../orders/admin", "/public/..%2forders/admin",
		"/orders/%61dmin", "/orders/%41dmin", "/orders/adm%69n", "/orders%2Fadmin", "/orders%2fadmin", "/%6frders/admin", "/orders/%2e/admin", "/public/%2e%2e/orders/admin", "/public/%252e%252e/orders/admin",
		"/orders\\admin", "/orders/..\\admin", "/public/..;/orders/admin", "/orders;x/admin", "/orders/admin;x", "/orders/admin%3Bx", "/orders/admin%00", "/orders/admin%00.css",
		"/Orders/admin", "/orders/Admin", "/orders/ADMIN/users", "/orders/adm\u0131n", "/orders/admin%0a", "/orders/admin%20%2f", "//orders/admin", "/%2Forders/admin",
		w.url + "//orders/admin", "http://evil.example/orders/admin", "http://user:pass@evil.example/orders//admin",
	} {
		if got := get(target, reader).StatusCode; got != 404 && got != 403 && got != 401 && got != 400 {
			t.Errorf("%s: %d with a token that only reads, want a refusal", target, got)
		}
	}
	if got := w.service.count() - before; got != 0 {
		t.Errorf("%d of them reached the upstream", got)
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t, nil)
	token := w.request("GET", "/", "/orders", "orders:read", "orders:write").Header.Get("Authorization")
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 200, "PUT": 405, "DELETE": 405, "get": 405, "OPTIONS": 405, "TRACE": 405, "CONNECT": 405} {
		res, _ := w.raw(method + " /orders HTTP/1.1\nHost: gw\nAuthorization: " + token + "\nX-HTTP-Method-Override: DELETE\nConnection: close\n\n")
		if res.StatusCode != want || (want == 405) != (res.Header.Get("Allow") != "") {
			t.Errorf("%s: %s, Allow %q, want %d", method, res.Status, res.Header.Get("Allow"), want)
		}
	}
	if got := w.service.got(t, 3).Header.Get("X-Http-Method-Override"); got != "" {
		t.Errorf("X-HTTP-Method-Override = %q reached the upstream", got)
	}
}

func TestIdentityFromOutside(t *testing.T) {
	w := newWorld(t, nil)
	lies := "X-User: admin\nx-user-id: 1\nX_User: admin\nX-Auth-Request-Email: a@b\nRemote_User: admin\nX-Forwarded-User: admin\nX-Forwarded-For: 10.0.0.1\n" +
		"X-Forwarded-Host: evil.example\nForwarded: for=10.0.0.1\nTxn-Token: x.y.z\nWorkload-Identity-Token: x\nClient-Cert: :AA==:\nDPoP: x\nX-Original-URL: /orders/admin\n" +
		"Connection: close, Authorization, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Cookie\n" +
		"Cookie: writ_8400=session; theirs=1\nTrailer: X-User\nX-Request-Id: kept\n"
	for _, c := range []struct{ path, audience string }{{"/public", ""}, {"/files", "/files"}, {"/orders", "/orders"}} {
		authorization := w.request("GET", "/", c.audience, "orders:read").Header.Get("Authorization")
		before := w.service.count()
		if res, body := w.raw("GET " + c.path + " HTTP/1.1\nHost: gw.example\nAuthorization: " + authorization + "\n" + lies + "\n"); res.StatusCode != 200 {
			t.Fatalf("%s: %s %s, want 200", c.path, res.Status, body)
		}
		got := w.service.got(t, before+1)
		for name, values := range got.Header {
			if name == "Authorization" && c.path == "/orders" {
				if len(values) != 1 || values[0] == authorization {
					t.Errorf("%s: Authorization is not the inner token alone", c.path)
				}
				continue
			}
			switch fmt.Sprint(name, values) {
			case "X-Forwarded-For[127.0.0.1]", "X-Forwarded-Host[gw.example]", "X-Forwarded-Proto[http]", "X-Request-Id[kept]":
			default:
				t.Errorf("%s: %s = %q reached the upstream", c.path, name, values)
			}
		}
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"} {
			if got.Header.Get(name) == "" {
				t.Errorf("%s: %s is missing", c.path, name)
			}
		}
		if (got.Header.Get("Authorization") != "") != (c.path == "/orders") {
			t.Errorf("%s: Authorization = %v", c.path, got.Header["Authorization"] != nil)
		}
	}
}

func TestCookiesAndTrailers(t *testing.T) {
	w := newWorld(t, nil)
	res, _ := w.raw("POST /public HTTP/1.1\nHost: gw\nCookie: writ_8400=session; theirs=1\nTransfer-Encoding: chunked\nTrailer: X-User, X-Sum\nConnection: close\n\n" +
		"2\nhi\n0\nX-User: admin\nX-Sum: 1\n\n")
	got := w.service.got(t, 1)
	if got.Header.Get("Cookie") != "theirs=1" || w.service.last != "hi" {
		t.Errorf("Cookie = %q, body %q, want theirs=1, hi", got.Header.Get("Cookie"), w.service.last)
	}
	if len(got.Trailer) > 0 || got.Header.Get("X-User") != "" {
		t.Errorf("trailers %v reached the upstream", got.Trailer)
	}
	if got := res.Header["Set-Cookie"]; len(got) != 1 || got[0] != "theirs=1" {
		t.Errorf("Set-Cookie = %q, want theirs=1: an upstream must not plant a session", got)
	}
}

func TestTrustedProxy(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	w.raw("GET /public HTTP/1.1\nHost: gw\nX-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: api.example\nX-Forwarded-User: admin\nConnection: close\n\n")
	h := w.service.got(t, 1).Header
	if got := h.Get("X-Forwarded-For") + " " + h.Get("X-Forwarded-Proto") + " " + h.Get("X-Forwarded-Host"); got != "192.0.2.7, 127.0.0.1 https api.example" {
		t.Errorf("forwarded = %q, want what the proxy said", got)
	}
	if got := h.Get("X-Forwarded-User"); got != "" {
		t.Errorf("X-Forwarded-User = %q: a proxy is trusted for addresses only", got)
	}
}
