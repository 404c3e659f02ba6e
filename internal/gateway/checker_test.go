package gateway

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/writ-auth/writ/token"
)

// question asks the checker of w about a request, described by headers.
func (w *world) question(checker http.Handler, method, path string, headers http.Header, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.RemoteAddr, r.Header = "127.0.0.1:50000", headers
	out := httptest.NewRecorder()
	checker.ServeHTTP(out, r)
	return out
}

// describedAs is a GET of /public in the words of most proxies.
func describedAs(change map[string][]string) http.Header {
	h := http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Uri": {"/public"}}
	for name, values := range change {
		if h[name] = values; values == nil {
			delete(h, name)
		}
	}
	return h
}

// originalAs is one in the words of the others.
func originalAs(change map[string][]string) http.Header {
	h := http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"https://api.example/public"}}
	maps.Copy(h, change)
	return h
}

// A description that is not whole and clear is no description: it is never filled
// in from the question itself, whose path and method would pass here.
func TestDescriptions(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.gateway.Reload([]Route{{Path: "/", Open: true, Upstream: w.service.URL}}); err != nil {
		t.Fatal(err)
	}
	checker := w.gateway.Checker(nil)
	type change = map[string][]string
	for name, c := range map[string]struct {
		headers http.Header
		want    int
	}{
		"forwarded":                     {describedAs(nil), 200},
		"original":                      {originalAs(nil), 200},
		"forwarded, a WebSocket":        {describedAs(change{"X-Forwarded-Proto": {"wss"}}), 200},
		"forwarded, another method":     {describedAs(change{"X-Forwarded-Method": {"DELETE"}}), 200},
		"nothing":                       {http.Header{}, 400},
		"no method":                     {describedAs(change{"X-Forwarded-Method": nil}), 400},
		"no scheme":                     {describedAs(change{"X-Forwarded-Proto": nil}), 400},
		"no host":                       {describedAs(change{"X-Forwarded-Host": nil}), 400},
		"no path":                       {describedAs(change{"X-Forwarded-Uri": nil}), 400},
		"empty method":                  {describedAs(change{"X-Forwarded-Method": {""}}), 400},
		"empty host":                    {describedAs(change{"X-Forwarded-Host": {""}}), 400},
		"empty path":                    {describedAs(change{"X-Forwarded-Uri": {""}}), 400},
		"two methods":                   {describedAs(change{"X-Forwarded-Method": {"GET", "POST"}}), 400},
		"two methods alike":             {describedAs(change{"X-Forwarded-Method": {"GET", "GET"}}), 400},
		"two methods in one":            {describedAs(change{"X-Forwarded-Method": {"GET, POST"}}), 400},
		"two paths":                     {describedAs(change{"X-Forwarded-Uri": {"/public", "/orders"}}), 400},
		"two paths in one":              {describedAs(change{"X-Forwarded-Uri": {"/public, /orders"}}), 400},
		"two hosts":                     {describedAs(change{"X-Forwarded-Host": {"a", "b"}}), 400},
		"two hosts in one":              {describedAs(change{"X-Forwarded-Host": {"a, b"}}), 400},
		"two schemes in one":            {describedAs(change{"X-Forwarded-Proto": {"https,http"}}), 400},
		"another scheme":                {describedAs(change{"X-Forwarded-Proto": {"ftp"}}), 400},
		"scheme in capitals":            {describedAs(change{"X-Forwarded-Proto": {"HTTPS"}}), 400},
		"method with a space":           {describedAs(change{"X-Forwarded-Method": {"GET /x"}}), 400},
		"host with a path":              {describedAs(change{"X-Forwarded-Host": {"api.example/x"}}), 400},
		"host with a user":              {describedAs(change{"X-Forwarded-Host": {"a@api.example"}}), 400},
		"path without a slash":          {describedAs(change{"X-Forwarded-Uri": {"public"}}), 400},
		"path a URL":                    {describedAs(change{"X-Forwarded-Uri": {"http://api.example/public"}}), 400},
		"path with a space":             {describedAs(change{"X-Forwarded-Uri": {"/public x"}}), 400},
		"path with a bad escape":        {describedAs(change{"X-Forwarded-Uri": {"/public%zz"}}), 400},
		"path of two segments' dots":    {describedAs(change{"X-Forwarded-Uri": {"/a/../public"}}), 404},
		"path decoded":                  {describedAs(change{"X-Forwarded-Uri": {"/caf\u00e9"}}), 404},
		"path with a fragment":          {describedAs(change{"X-Forwarded-Uri": {"/public#x"}}), 404},
		"path with a brace":             {describedAs(change{"X-Forwarded-Uri": {"/public{"}}), 404},
		"TRACE":                         {describedAs(change{"X-Forwarded-Method": {"TRACE"}}), 405},
		"both families":                 {originalAs(describedAs(nil)), 400},
		"forwarded and original method": {describedAs(change{"X-Original-Method": {"GET"}}), 400},
		"forwarded and original URL":    {describedAs(change{"X-Original-Url": {"https://api.example/public"}}), 400},
		"forwarded and an empty URL":    {describedAs(change{"X-Original-Url": {""}}), 400},
		"original and forwarded host":   {originalAs(change{"X-Forwarded-Host": {"api.example"}}), 400},
		"original URI":                  {http.Header{"X-Original-Method": {"GET"}, "X-Original-Uri": {"/public"}}, 400},
		"forwarded and original URI":    {describedAs(change{"X-Original-Uri": {"/public"}}), 400},
		"original URL without a method": {http.Header{"X-Original-Url": {"https://api.example/public"}}, 400},
		"original URL without a path":   {originalAs(change{"X-Original-Url": {"https://api.example"}}), 400},
		"original URL, query first":     {originalAs(change{"X-Original-Url": {"https://api.example?x=/public"}}), 400},
		"original URL with a user":      {originalAs(change{"X-Original-Url": {"https://a@api.example/public"}}), 400},
		"original URL without a scheme": {originalAs(change{"X-Original-Url": {"//api.example/public"}}), 400},
		"two original URLs":             {originalAs(change{"X-Original-Url": {"https://api.example/public", "https://api.example/x"}}), 400},
		"underscores":                   {http.Header{"X_Forwarded_Method": {"GET"}, "X_Forwarded_Proto": {"https"}, "X_Forwarded_Host": {"api.example"}, "X_Forwarded_Uri": {"/public"}}, 400},
		"an underscore besides":         {describedAs(change{"X_Forwarded_Uri": {"/orders"}}), 400},
		"a dot besides":                 {describedAs(change{"X.Forwarded.Uri": {"/orders"}}), 400},
		"another case besides":          {describedAs(change{"x-forwarded-uri": {"/orders"}}), 400},
		"another original with a dot":   {describedAs(change{"X-Original.Url": {"/orders"}}), 400},
	} {
		out := w.question(checker, "GET", "/check", c.headers, nil)
		if out.Code != c.want || (c.want == 200) != (out.Header().Get("Writ-Uri") != "") {
			t.Errorf("%s: %d %s, want %d", name, out.Code, out.Body, c.want)
		}
		if c.want != 200 {
			wantProblem(t, name, out.Result(), out.Body.String(), c.want)
		}
	}
	if got := w.service.count(); got != 0 {
		t.Errorf("%d requests reached the service, want none: it is only asked", got)
	}
}

// Whatever the headers say, what is taken for a description says one thing: the
// request that is judged has the path that is sent on.
func FuzzDescriptions(f *testing.F) {
	f.Add("X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "a", "X-Forwarded-Uri", "/a?b")
	f.Add("X-Original-Method", "GET", "X-Original-URL", "http://a:1/b?c#d", "x_original_url", "http://b/", "X-Forwarded-For", "1.2.3.4, ::1")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, n3, v3, n4, v4 string) {
		r := httptest.NewRequest("GET", checkPath, nil)
		r.Header = make(http.Header)
		for _, pair := range [][2]string{{n1, v1}, {n2, v2}, {n3, v3}, {n4, v4}} {
			r.Header.Add(pair[0], pair[1])
		}
		asked, err := described(r)
		if err != nil {
			return
		}
		said := r.Header.Get("X-Forwarded-Method") + r.Header.Get("X-Forwarded-Host") + r.Header.Get("X-Forwarded-Uri") + r.Header.Get("X-Original-Method") + r.Header.Get("X-Original-Url")
		for _, part := range []string{asked.Method, asked.Host, asked.RequestURI} {
			if part == "" || !strings.Contains(said, part) {
				t.Errorf("%q is judged, which nobody said in %q", part, r.Header)
			}
		}
		if path, _, _ := strings.Cut(asked.RequestURI, "?"); !respelled(asked) && asked.URL.EscapedPath() != path || asked.URL.Host != "" || path[0] != '/' {
			t.Errorf("path %q is judged as %q at %q", asked.RequestURI, asked.URL.EscapedPath(), asked.URL.Host)
		}
		for _, name := range append(forwardedFamily[:], originalFamily[:]...) {
			if len(asked.Header[name]) > 0 {
				t.Errorf("%s is taken for the client's", name)
			}
		}
	})
}

// Who may ask, and how.
func TestQuestions(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		peers        []netip.Prefix
		remote       string
		method, path string
		body         io.Reader
		want         int
	}{
		"a proxy":             {nil, "127.0.0.1:1", "GET", "/check", nil, 200},
		"over IPv6":           {nil, "[::1]:1", "GET", "/check", nil, 200},
		"by HEAD":             {nil, "127.0.0.1:1", "HEAD", "/check", nil, 200},
		"a peer that is said": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "10.0.0.7:1", "GET", "/check", nil, 200},
		"from elsewhere":      {nil, "10.0.0.7:1", "GET", "/check", nil, 403},
		"from this machine, where others are said": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "127.0.0.1:1", "GET", "/check", nil, 403},
		"from nowhere":              {nil, "@", "GET", "/check", nil, 403},
		"nobody may":                {[]netip.Prefix{}, "127.0.0.1:1", "GET", "/check", nil, 403},
		"another path":              {nil, "127.0.0.1:1", "GET", "/public", nil, 404},
		"a path below":              {nil, "127.0.0.1:1", "GET", "/check/public", nil, 404},
		"a path around":             {nil, "127.0.0.1:1", "GET", "/check/../public", nil, 404},
		"with a query":              {nil, "127.0.0.1:1", "GET", "/check?x", nil, 404},
		"by the request's method":   {nil, "127.0.0.1:1", "POST", "/check", nil, 405},
		"with the request's body":   {nil, "127.0.0.1:1", "GET", "/check", strings.NewReader("x"), 400},
		"the gateway's probes, too": {nil, "127.0.0.1:1", "GET", "/livez", nil, 404},
	} {
		r := httptest.NewRequest(c.method, c.path, c.body)
		r.RemoteAddr, r.Header = c.remote, describedAs(nil)
		out := httptest.NewRecorder()
		w.gateway.Checker(c.peers).ServeHTTP(out, r)
		if out.Code != c.want {
			t.Errorf("%s: %d %s, want %d", name, out.Code, out.Body, c.want)
		}
	}
	if log := w.logs.String(); !strings.Contains(log, `msg="check refused" reason=peer`) {
		t.Errorf("log has no line for a peer from elsewhere: %s", log)
	}
}

// The answer has what a proxy copies by name, also where there is nothing to
// copy: some leave the client's own then.
func TestAnswers(t *testing.T) {
	w := newWorld(t, nil)
	checker := w.gateway.Checker(nil)
	bearer := func(audience string, scopes ...string) string {
		return w.request("GET", "/", audience, scopes...).Header.Get("Authorization")
	}
	for name, c := range map[string]struct {
		path, authorization, cookie string
		wantCookie, wantRemove, uri string
		inner                       bool
	}{
		"exchange":         {"/orders/7?a=1&access_token=x", bearer("/orders", "orders:read"), "writ_8400=s; a=1", "a=1", "X-User, X_groups", "/orders/7?a=1", true},
		"none":             {"/files", bearer("/files"), "writ_8400=s", "", "Authorization, Cookie, X-User, X_groups", "/files", false},
		"open":             {"/public?access_token=x", bearer("/orders"), "a=1", "a=1", "Authorization, X-User, X_groups", "/public", false},
		"open, no cookies": {"/public?", bearer("/orders"), "", "", "Authorization, X-User, X_groups", "/public", false},
	} {
		h := describedAs(map[string][]string{"X-Forwarded-Uri": {c.path}, "Authorization": {c.authorization}, "X-User": {"admin"}, "X_groups": {"x"}, "X-Groups": nil})
		if c.cookie != "" {
			h["Cookie"] = []string{c.cookie}
		}
		if strings.Contains(c.wantRemove, "X_groups") {
			delete(h, "X_groups")
			h["X_groups"] = []string{"x"}
		}
		out := w.question(checker, "GET", "/check", h, nil)
		if out.Code != 200 || out.Body.Len() > 0 {
			t.Errorf("%s: %d %s, want 200 without content", name, out.Code, out.Body)
			continue
		}
		got := out.Result().Header
		for header, want := range map[string]string{"Cookie": c.wantCookie, "Writ-Remove": c.wantRemove, "Writ-Uri": c.uri, "Cache-Control": "no-store"} {
			if values, ok := got[header]; !ok || len(values) != 1 || values[0] != want {
				t.Errorf("%s: %s = %q, want %q", name, header, values, want)
			}
		}
		inner, ok := got["Authorization"]
		if !ok || len(inner) != 1 || inner[0] == c.authorization || strings.HasPrefix(inner[0], "Bearer ey") != c.inner {
			t.Errorf("%s: %d values of Authorization, the caller's %t, want one, the inner token: %t", name, len(inner), slices.Contains(inner, c.authorization), c.inner)
		}
	}
	out := w.question(checker, "GET", "/check", describedAs(map[string][]string{"X-Forwarded-Uri": {"/orders"}}), nil)
	wantProblem(t, "refused", out.Result(), out.Body.String(), 401)
	if got := out.Result().Header["Www-Authenticate"]; len(got) != 1 || !strings.Contains(got[0], "Bearer ") || !strings.Contains(got[0], ", DPoP ") {
		t.Errorf("challenges = %q, want both in one line", got)
	}
	if got := out.Header().Get("Writ-Problem"); got != strings.TrimSpace(out.Body.String()) {
		t.Errorf("Writ-Problem = %s, want the body %s", got, out.Body)
	}
}

// What only the gateway can do is no reason to let a request through, and what
// depends on whom the answer goes to is left to the proxy.
func TestCheckOfWhatTheGatewayDoesItself(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.Routes[3].CORS = &CORS{Origins: []string{"https://app.example"}} })
	preflight := http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"GET"}}
	for _, c := range []struct {
		method, path string
		headers      http.Header
		want         string // status and reason
	}{
		{"GET", "/livez", nil, "404 route"},
		{"GET", "/readyz", nil, "404 route"},
		{"GET", "/.well-known/oauth-protected-resource", nil, "404 route"},
		{"GET", "/.well-known/oauth-protected-resource/orders", nil, "404 route"},
		{"GET", "/nowhere", nil, "404 route"},
		{"OPTIONS", "/orders", preflight, "405 method"},
		{"OPTIONS", "/files", preflight, "401 token"},
		{"OPTIONS", "/public", preflight, "200 "},
		{"CONNECT", "/public", nil, "405 method"},
		{"GET", "/public", http.Header{"X-Long": {strings.Repeat("x", 40<<10)}}, "431 header"},
		{"POST", "/public", http.Header{"Content-Length": {"99999999"}}, "200 "},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		r.Method, r.Header = c.method, c.headers
		v := w.gateway.Check(r)
		status := v.Status
		if v.Allowed {
			status = 200
		}
		reason := ""
		if _, after, ok := strings.Cut(lastLine(w.logs.String()), " reason="); ok {
			reason, _, _ = strings.Cut(after, " ")
		}
		if got := fmt.Sprint(status, " ", reason); got != c.want || v.Allowed != (v.URI != "") {
			t.Errorf("%s %s: %s (allowed %t), want %s", c.method, c.path, got, v.Allowed, c.want)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// Without the issuer no inner token can be got, which is no reason to let anybody
// through without one. An ended token gets none either.
func TestCheckFailsClosed(t *testing.T) {
	w := newWorld(t, nil)
	check := func(c token.Claims) *Verdict {
		c.Audience, c.Scope = []string{w.url + "/orders"}, []string{"orders:read"}
		r := httptest.NewRequest("GET", "/orders/7", nil)
		r.Header.Set("Authorization", w.issuer.Request("GET", "/", c).Header.Get("Authorization"))
		return w.gateway.Check(r)
	}
	if v := check(token.Claims{ID: "good"}); !v.Allowed {
		t.Fatalf("the good twin: %d %s, want it allowed", v.Status, v.Body)
	}
	w.issuer.Revoke(token.Claims{ID: "stolen"})
	if v := check(token.Claims{ID: "stolen"}); v.Allowed || v.Status != 401 || len(v.Refusal["Www-Authenticate"]) != 2 {
		t.Errorf("ended: %d %q, want 401 with two challenges", v.Status, v.Refusal)
	}
	w.issuer.SetDown(true)
	if v := check(token.Claims{ID: "new"}); v.Allowed || v.Status != 503 || v.Refusal.Get("Retry-After") == "" {
		t.Errorf("issuer down: %d %q, want 503", v.Status, v.Refusal)
	}
}
