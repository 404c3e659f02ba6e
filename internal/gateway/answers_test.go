package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/token"
)

func TestLimits(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.MaxHeader, cfg.MaxBody = 4096, 1000 })
	post := func(path, audience string, body io.Reader, scopes ...string) *http.Request {
		r := w.request("POST", path, audience, scopes...)
		made, err := http.NewRequestWithContext(t.Context(), "POST", r.URL.String(), body)
		if err != nil {
			t.Fatal(err)
		}
		made.Header = r.Header
		return made
	}
	for name, c := range map[string]struct {
		request *http.Request
		status  int
	}{
		"body at the limit":           {post("/orders", "/orders", strings.NewReader(strings.Repeat("x", 1000)), "orders:write"), 200},
		"body beyond":                 {post("/orders", "/orders", strings.NewReader(strings.Repeat("x", 1001)), "orders:write"), 413},
		"chunked at the limit":        {post("/orders", "/orders", io.LimitReader(zeros{}, 1000), "orders:write"), 200},
		"chunked beyond":              {post("/orders", "/orders", io.LimitReader(zeros{}, 100_000), "orders:write"), 413},
		"the route's own limit":       {post("/files", "/files", strings.NewReader(strings.Repeat("x", 101))), 413},
		"under the route's own limit": {post("/files", "/files", strings.NewReader(strings.Repeat("x", 100))), 200},
		"header under the limit":      {with(w.request("GET", "/orders", "/orders", "orders:read"), "X-Long", strings.Repeat("x", 2000)), 200},
		"header beyond":               {with(w.request("GET", "/orders", "/orders", "orders:read"), "X-Long", strings.Repeat("x", 5000)), 431},
		"path beyond":                 {w.request("GET", "/orders/"+strings.Repeat("x", 5000), "/orders", "orders:read"), 431},
	} {
		res, body := w.do(c.request)
		if c.status == 200 {
			if res.StatusCode != 200 {
				t.Errorf("%s: %s %s, want 200", name, res.Status, body)
			}
			continue
		}
		wantProblem(t, name, res, body, c.status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestIssuerDown(t *testing.T) {
	w := newWorld(t, nil)
	held := w.request("GET", "/orders", "/orders", "orders:read")
	fresh := w.request("GET", "/orders", "/orders", "orders:read")
	if res, body := w.do(held); res.StatusCode != 200 {
		t.Fatalf("before: %s %s, want 200", res.Status, body)
	}
	w.issuer.SetDown(true)
	if res, body := w.do(held); res.StatusCode != 200 {
		t.Errorf("with an inner token held: %s %s, want 200", res.Status, body)
	}
	start := time.Now()
	for range 20 { // and not a second each
		res, body := w.do(fresh)
		wantProblem(t, "without", res, body, 503)
		if res.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After = %q, want 1", res.Header.Get("Retry-After"))
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("20 refusals took %v", took)
	}
	w.issuer.SetDown(false)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if res, body := w.do(fresh); res.StatusCode == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("issuer back: %s %s, want 200", res.Status, body)
		}
	}
}

// The gateway's own tokens can be ended too: by an order on its client, or with
// the key that signed them. It must not go blind until they expire.
func TestOwnTokenEnded(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.Revoke(token.Claims{ClientID: "gateway"}) // waits for the gateway's word that it holds this
	w.issuer.SetDown(true)
	w.issuer.SetDown(false)
	back := time.Now()
	waitFor(t, "revocation state", func() bool { return w.gateway.guard.State().AsOf.After(back) })
	if res, body := w.do(w.request("GET", "/orders", "/orders", "orders:read")); res.StatusCode != 200 {
		t.Errorf("answer = %s %s, want 200", res.Status, body)
	}
}

func TestWhatTheIssuerSaysToTheExchange(t *testing.T) {
	for _, c := range []struct {
		err    relay.Error
		status int
	}{
		{relay.Error{}, 503},
		{relay.Error{Status: 503, Code: "temporarily_unavailable"}, 503},
		{relay.Error{Status: 429}, 503},
		{relay.Error{Status: 400, Code: "invalid_request"}, 401},
		{relay.Error{Status: 400, Code: "invalid_grant"}, 401},
		{relay.Error{Status: 400, Code: "invalid_target"}, 403},
		{relay.Error{Status: 400, Code: "invalid_scope"}, 403},
		{relay.Error{Status: 403, Code: "access_denied"}, 403},
		{relay.Error{Status: 401, Code: "invalid_client"}, 502},
		{relay.Error{Status: 400, Code: "unauthorized_client"}, 502},
		{relay.Error{Status: 200}, 502},
	} {
		call := &call{route: &route{Route: Route{Audience: "https://gw.example/orders"}}}
		if got := call.noToken(&c.err); got.status != c.status || (got.auth != "") != (c.status == 401) {
			t.Errorf("%v: %d with %q, want %d", &c.err, got.status, got.auth, c.status)
		}
	}
}

func TestUpstreamDown(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	w := newWorld(t, func(cfg *Config) {
		cfg.ResponseTimeout = 100 * time.Millisecond
		cfg.Routes = append(cfg.Routes,
			Route{Path: "/slow", Open: true, Upstream: "http://" + silent.Addr().String()},
			Route{Path: "/gone", Open: true, Upstream: "http://127.0.0.1:1"})
	})
	for path, want := range map[string]int{"/slow": 504, "/gone": 502} {
		res, body := w.do(w.request("GET", path, ""))
		wantProblem(t, path, res, body, want)
		if strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s: %s tells the upstream's address", path, body)
		}
	}
}

func TestClientGone(t *testing.T) {
	reached, left := make(chan struct{}), make(chan struct{})
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/public/wait", func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	if _, err := http.DefaultTransport.RoundTrip(w.request("GET", "/public/wait", "").WithContext(ctx)); err == nil {
		t.Error("no error, want the client's own")
	}
	<-left
	waitFor(t, "log line", func() bool { return strings.Contains(w.logs.String(), "status=499") })
}

// waitFor waits until ok, a few seconds at most.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after 5 s", what)
		}
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t, nil)
	const app = "https://app.example"
	ask := func(path, origin string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "OPTIONS", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization")
		res, _ := w.do(r)
		return res
	}
	h := ask("/orders/7", app).Header
	if got := h.Get("Access-Control-Allow-Origin") + "|" + h.Get("Access-Control-Allow-Methods") + "|" + h.Get("Access-Control-Allow-Headers"); got != app+"|GET, HEAD, POST|Authorization, Content-Type, DPoP" {
		t.Errorf("preflight = %s", got)
	}
	for _, c := range []struct {
		path, origin string
		status       int
	}{{"/orders/7", "https://evil.example", 403}, {"/orders/7", "null", 403}, {"/files", app, 401}, {"/orders/admin", app, 401}} {
		res := ask(c.path, c.origin)
		if res.StatusCode != c.status || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s for %s: %s %v, want %d and no permission", c.origin, c.path, res.Status, res.Header, c.status)
		}
	}
	good := func() *http.Request { return w.request("GET", "/orders", "/orders", "orders:read") }
	for name, r := range map[string]*http.Request{
		"answer":        good(),
		"refusal":       with(good(), "Authorization"),
		"missing scope": w.request("GET", "/orders", "/orders"),
		"method":        w.request("DELETE", "/orders", "/orders"),
	} {
		res, _ := w.do(with(r, "Origin", app))
		h := res.Header
		if got := h["Access-Control-Allow-Origin"]; !slices.Equal(got, []string{app}) || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
			t.Errorf("%s: allowed %q, exposed %q, want %s and WWW-Authenticate", name, got, h.Get("Access-Control-Expose-Headers"), app)
		}
		if got := h["Vary"]; !slices.Equal(got, []string{"Origin"}) || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: Vary %q, credentials %q, want Origin and none", name, got, h.Get("Access-Control-Allow-Credentials"))
		}
		res, _ = w.do(with(r.Clone(t.Context()), "Origin", "https://evil.example"))
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: %q is allowed", name, got)
		}
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t, func(cfg *Config) {
		r := cfg.Routes[0]
		r.Host, r.CORS = "api.example", nil
		cfg.Routes = append(cfg.Routes, r)
	})
	port := w.url[strings.LastIndex(w.url, ":"):]
	for _, c := range []struct{ host, path, resource, scopes string }{
		{"", "/orders", w.url + "/orders", "orders:read orders:write"},
		{"api.example" + port, "/orders", "http://api.example" + port + "/orders", "orders:read orders:write"},
		{"", "/orders/admin", w.url + "/orders/admin", "admin"},
		{"elsewhere.example", "/orders/admin", w.url + "/orders/admin", "admin"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+wellKnown+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		res, body := w.do(r)
		var doc struct {
			Resource string
			Servers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported"`
			Name     string   `json:"resource_name"`
		}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatalf("%v: %s %v", c, res.Status, err)
		}
		if doc.Resource != c.resource || strings.Join(doc.Scopes, " ") != c.scopes || !slices.Equal(doc.Servers, []string{w.issuer.URL()}) {
			t.Errorf("%s%s: %s, want resource %s with %s", c.host, c.path, body, c.resource, c.scopes)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("Access-Control-Allow-Origin = %q, want any: the document is public", got)
		}
	}
	for _, path := range []string{wellKnown, wellKnown + "/public", wellKnown + "/orders/7", wellKnown + "/orders/../files"} {
		if res, body := w.raw("GET " + path + " HTTP/1.1\nHost: gw\nConnection: close\n\n"); res.StatusCode != 404 {
			t.Errorf("%s: %s %s, want 404", path, res.Status, body)
		}
	}
}

func TestProbes(t *testing.T) {
	w := newWorld(t, func(cfg *Config) {
		cfg.Routes = append(cfg.Routes, Route{Path: "/", Open: true, Upstream: cfg.Routes[0].Upstream})
	})
	for _, path := range []string{"/livez", "/readyz"} {
		if res, body := w.raw("GET " + path + " HTTP/1.1\nHost: 10.0.0.1\nConnection: close\n\n"); res.StatusCode != 200 || body != "ok\n" {
			t.Errorf("%s: %s %s, want 200", path, res.Status, body)
		}
		if res, _ := w.raw("POST " + path + " HTTP/1.1\nHost: gw\nConnection: close\n\n"); res.StatusCode != 405 {
			t.Errorf("POST %s: %s, want 405", path, res.Status)
		}
	}
	if got := w.service.count(); got != 0 {
		t.Errorf("%d probes reached the upstream", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cold, err := New(ctx, Config{Issuer: "http://127.0.0.1:1", URL: "http://127.0.0.1:2", Logger: w.gateway.cfg.Logger})
	if err != nil {
		t.Fatalf("a gateway whose issuer is down: %v, want it to start", err)
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503} {
		rec := httptest.NewRecorder()
		cold.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != want {
			t.Errorf("issuer down: %s = %d, want %d", path, rec.Code, want)
		}
	}
}

func TestLog(t *testing.T) {
	w := newWorld(t, nil)
	good := w.issuer.Request("GET", w.url+"/orders?secret=q", token.Claims{ID: "id-1", Subject: "alice", ClientID: "app", Audience: []string{w.url + "/orders"}, Scope: []string{"orders:read"}})
	if res, body := w.do(good); res.StatusCode != 200 {
		t.Fatalf("answer = %s %s, want 200", res.Status, body)
	}
	res, body := w.do(w.request("POST", "/orders", "/orders", "orders:read"))
	var p struct{ ID string }
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.ID == "" {
		t.Fatalf("refusal = %s %s", res.Status, body)
	}
	waitFor(t, "log lines", func() bool { return strings.Count(w.logs.String(), "path=/orders") >= 2 })
	logs := w.logs.String()
	for _, want := range []string{
		"level=DEBUG msg=request method=GET path=/orders status=200", "sub=alice client_id=app jti=id-1", "route=/orders",
		"level=INFO msg=\"request refused\" method=POST path=/orders status=403", "reason=token id=" + p.ID, "reason=scope",
	} {
		if !strings.Contains(logs, want) {
			t.Errorf("the log has no %q:\n%s", want, logs)
		}
	}
	inner := w.service.got(t, 1).Header.Get("Authorization")
	for _, secret := range []string{strings.TrimPrefix(good.Header.Get("Authorization"), "Bearer "), strings.TrimPrefix(inner, "Bearer "), "gw s3cret", "secret=q"} {
		if strings.Contains(logs, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	w := newWorld(t, nil)
	cfg := Config{URL: w.url, Issuer: w.issuer.URL(), ClientID: "gateway", ClientSecret: "gw s3cret"}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&out, verb+verb+verb, cfg, &cfg, w.gateway)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("start", "config", cfg)
	if strings.Contains(out.String(), "s3cret") {
		t.Errorf("the secret is printed:\n%s", out.String())
	}
}

func TestEndedWhileUnderWay(t *testing.T) {
	w := newWorld(t, nil)
	reached := make(chan struct{})
	w.service.mux.HandleFunc("/orders/slow", func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	})
	go func() {
		<-reached
		w.issuer.Revoke(token.Claims{ID: "stolen"})
	}()
	res, body := w.do(w.stolen("/orders/slow"))
	wantProblem(t, "ended", res, body, 401)
	if got := res.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) || !strings.Contains(got, w.url+wellKnown+"/orders") {
		t.Errorf("WWW-Authenticate = %s", got)
	}
}

// TestProofStaysOutside sends a token bound to a key: the gateway checks the
// proof, once, and the inner token is the gateway's own.

func TestProofStaysOutside(t *testing.T) {
	w := newWorld(t, nil)
	r := w.bound(w.url+"/orders")("/orders/7", w.url+"/orders/7")
	compact := strings.TrimPrefix(r.Header.Get("Authorization"), "DPoP ")
	if res, body := w.do(r); res.StatusCode != 200 {
		t.Fatalf("with a proof: %s %s, want 200", res.Status, body)
	}
	got := w.service.got(t, 1).Header
	if got.Get("Dpop") != "" || !strings.HasPrefix(got.Get("Authorization"), "Bearer ") || strings.Contains(got.Get("Authorization"), compact) {
		t.Error("the proof or the bound token went inward")
	}
	res, body := w.do(r)
	wantProblem(t, "the same proof again", res, body, 401)
	res, body = w.do(with(with(r, "Dpop"), "Authorization", "Bearer "+compact))
	wantProblem(t, "as a bearer token", res, body, 401)
	w.service.got(t, 1)
}
