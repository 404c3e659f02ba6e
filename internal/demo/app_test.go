package demo

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var place = Place{Issuer: "http://localhost:8400", Gateway: "http://localhost:8401", App: "http://localhost:8402"}

// get asks the sample app by its own name.
func get(t *testing.T, method, url string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	App(place).ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, url string) string {
	t.Helper()
	w := httptest.NewRecorder()
	App(place).ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
	return w.Body.String()
}

func TestAppFiles(t *testing.T) {
	for _, test := range []struct {
		path, kind string
		status     int
	}{
		{"/", "text/html; charset=utf-8", 200},
		{"/callback?code=c&state=s", "text/html; charset=utf-8", 200},
		{"/app.js", "text/javascript; charset=utf-8", 200},
		{"/oauth.js", "text/javascript; charset=utf-8", 200},
		{"/app.css", "text/css; charset=utf-8", 200},
		{"/app.svg", "image/svg+xml", 200},
		{"/index.html", "text/plain; charset=utf-8", 404},
		{"/callback/", "text/plain; charset=utf-8", 404},
		{"/app/app.js", "text/plain; charset=utf-8", 404},
		{"/demo.go", "text/plain; charset=utf-8", 404},
	} {
		res := get(t, "GET", place.App+test.path)
		if res.StatusCode != test.status || res.Header.Get("Content-Type") != test.kind {
			t.Errorf("GET %s = %d %q, want %d %q", test.path, res.StatusCode, res.Header.Get("Content-Type"), test.status, test.kind)
		}
	}
}

func TestAppHeaders(t *testing.T) {
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; " +
			"connect-src 'self' http://localhost:8400 http://localhost:8401; img-src 'self' data:; " +
			"base-uri 'none'; frame-ancestors 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	}
	for _, path := range []string{"/", "/callback", "/app.js", "/nothing"} {
		res := get(t, "GET", place.App+path)
		for name, value := range want {
			if got := res.Header.Get(name); got != value {
				t.Errorf("GET %s: %s = %q, want %q", path, name, got, value)
			}
		}
	}
}

// TestAppPage holds the page to its policy and to the ids that automation uses.
func TestAppPage(t *testing.T) {
	page := body(t, place.App+"/")
	for _, want := range []string{
		`data-issuer="http://localhost:8400"`, `data-gateway="http://localhost:8401"`, `data-app="http://localhost:8402"`,
		`data-resource="http://localhost:8401/orders"`, `data-client="demo-app"`, `data-scope="` + AppScope + `"`,
		`id="status"`, `id="sign-in"`, `id="get-orders"`, `id="post-order"`, `id="refresh"`, `id="revoke"`, `id="sign-out"`,
		`id="result"`, `id="last-status"`, `id="access-token-expires"`, `href="http://localhost:8400/logout"`, "<strong>Sample.</strong>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script>|javascript:`).FindString(page); inline != "" {
		t.Errorf("the page has %q inline, which its policy forbids", inline)
	}
	if callback := body(t, place.App+"/callback?code=c"); callback != page {
		t.Error("/callback is another page than /")
	}
}

// TestAppScriptMakesNoMarkup: what servers say becomes text and nothing else.
func TestAppScriptMakesNoMarkup(t *testing.T) {
	for _, path := range []string{"/app.js", "/oauth.js"} {
		if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function`).FindString(body(t, place.App+path)); found != "" {
			t.Errorf("%s uses %s", path, found)
		}
	}
}

func TestAppOnlyReads(t *testing.T) {
	if res := get(t, "POST", place.App+"/"); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST / = %d, want 405", res.StatusCode)
	}
	if res := get(t, "HEAD", place.App+"/app.css"); res.StatusCode != http.StatusOK {
		t.Errorf("HEAD /app.css = %d, want 200", res.StatusCode)
	}
}

func TestAppUnchanged(t *testing.T) {
	first := get(t, "GET", place.App+"/app.js")
	again := get(t, "GET", place.App+"/app.js", "If-None-Match", first.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("status = %d, want 304", again.StatusCode)
	}
	// The page changes with the place, and so must its tag.
	page := get(t, "GET", place.App+"/")
	moved := httptest.NewRecorder()
	other := Place{place.Issuer, "http://localhost:9999", place.App}
	App(other).ServeHTTP(moved, httptest.NewRequest("GET", place.App+"/", nil))
	if got := moved.Header().Get("ETag"); got == page.Header.Get("ETag") {
		t.Errorf("ETag = %s for two pages", got)
	}
}

// TestAppOtherName: the callback goes to one name of this machine, so the
// sign-in must begin there. The answer of a sign-in is never carried over.
func TestAppOtherName(t *testing.T) {
	for _, path := range []string{"/", "/callback?code=secret"} {
		res := get(t, "GET", "http://127.0.0.1:8402"+path)
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != "http://localhost:8402/" {
			t.Errorf("GET %s = %d to %q, want 303 to the app's own name", path, res.StatusCode, got)
		}
	}
}

// TestAppIsRegistered: the page asks for what its client may have.
func TestAppIsRegistered(t *testing.T) {
	derive := func(string) []byte { return make([]byte, 32) }
	clients := Clients(place, derive)
	i := slices.IndexFunc(clients, func(c Client) bool { return c.ID == AppClient })
	if i < 0 {
		t.Fatalf("no sample client %s", AppClient)
	}
	if c := clients[i]; c.Scope != AppScope || c.Resource != place.Orders() || c.Secret != "" {
		t.Errorf("client = %+v, want scope %q for %s without a secret", c, AppScope, place.Orders())
	}
}
