package web

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	s := newSite(t, nil)
	good := Config{Issuer: issuer, Authority: s.auth, Login: s.login, FormKey: make([]byte, 32)}
	if _, err := New(good); err != nil {
		t.Errorf("New: %v", err)
	}
	for name, spoil := range map[string]func(*Config){
		"no issuer":     func(c *Config) { c.Issuer = "" },
		"no host":       func(c *Config) { c.Issuer = "https:///x" },
		"other scheme":  func(c *Config) { c.Issuer = "ftp://as.example" },
		"no authority":  func(c *Config) { c.Authority = nil },
		"no login":      func(c *Config) { c.Login = nil },
		"short formkey": func(c *Config) { c.FormKey = make([]byte, 31) },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: New took it", name)
		}
	}
}

// TestHeaders: each page forbids to be framed, cached, scripted and told about.
func TestHeaders(t *testing.T) {
	s := newSite(t, nil)
	inline := regexp.MustCompile(`(?i)<script|<style|\sstyle=|\son[a-z]+=|javascript:`)
	for name, p := range s.every() {
		action := "'self'"
		if slices.Contains([]string{"login", "wrong", "consent", "again"}, name) {
			action += " https://printer.example https:"
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action " +
				action + "; frame-ancestors 'none'; base-uri 'none'",
			"Cache-Control":              "no-store",
			"Referrer-Policy":            "no-referrer",
			"X-Content-Type-Options":     "nosniff",
			"X-Frame-Options":            "DENY",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Content-Type":               "text/html; charset=utf-8",
		} {
			if got := p.Header.Get(header); got != want {
				t.Errorf("%s: %s = %q, want %q", name, header, got, want)
			}
		}
		if m := inline.FindString(p.body); m != "" {
			t.Errorf("%s has %q in it", name, m)
		}
	}
}

// TestContract holds the pages to what automation relies on.
func TestContract(t *testing.T) {
	pages := newSite(t, nil).every()
	for name, ids := range map[string][]string{
		"login":   {"username", "password", "login-submit"},
		"wrong":   {"username", "password", "login-submit"},
		"consent": {"consent-allow", "consent-deny"},
		"logout":  {"logout-confirm"},
	} {
		for _, id := range ids {
			if n := strings.Count(pages[name].body, ` id="`+id+`"`); n != 1 {
				t.Errorf("%s has %d elements with id %s, want 1", name, n, id)
			}
		}
	}
	if ErrorSentence != "This page can't go on." {
		t.Errorf("ErrorSentence = %q: it is documented, leave it", ErrorSentence)
	}
	for name, p := range pages {
		if got, want := strings.Contains(html.UnescapeString(p.body), ErrorSentence), name == "error"; got != want {
			t.Errorf("%s has the error sentence: %v, want %v", name, got, want)
		}
	}
}

func TestSample(t *testing.T) {
	for name, p := range newSite(t, func(c *Config) { c.Dev = true }).every() {
		if !strings.Contains(p.body, `class="sample"`) {
			t.Errorf("%s does not say that it is a sample", name)
		}
	}
	for name, p := range newSite(t, nil).every() {
		if strings.Contains(p.body, `class="sample"`) {
			t.Errorf("%s says that it is a sample", name)
		}
	}
}

func TestPolicy(t *testing.T) {
	for to, want := range map[string]string{
		"":                                "'self'",
		"https://printer.example":         "'self' https://printer.example https:",
		"http://127.0.0.1:5123":           "'self' http://127.0.0.1:5123 https:",
		"http://[::1]:5123":               "'self' http: https:",
		"com.example.app:":                "'self' com.example.app: https:",
		"https://a.test; script-src *":    "'self' https: https:",
		"x; script-src *:":                "'self'",
		"'unsafe-inline' https://a.test:": "'self'",
		"*":                               "'self'",
		"no scheme":                       "'self'",
	} {
		if got := policy(to); !strings.Contains(got, "; form-action "+want+"; frame-ancestors") {
			t.Errorf("policy(%q) = %q, want form-action %s", to, got, want)
		}
	}
}

func TestAssets(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("a")
	links := regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(b.get("/login").body, -1)
	if len(links) < 3 {
		t.Fatalf("the page has links %v, want a sheet, an icon and a logo", links)
	}
	for _, l := range links {
		p := b.get(l[1])
		if p.StatusCode != http.StatusOK || p.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s = %d, %q, want 200, immutable", l[1], p.StatusCode, p.Header.Get("Cache-Control"))
		}
		if !regexp.MustCompile(`-[0-9a-f]{16}\.(css|svg)$`).MatchString(l[1]) {
			t.Errorf("%s is not named by its content", l[1])
		}
		if len(p.body) > 16<<10 {
			t.Errorf("%s has %d bytes: pages are to be quick", l[1], len(p.body))
		}
	}
	s.refused(b.get("/assets/writ.css"), http.StatusNotFound)
	s.refused(b.get("/assets/..%2fpage%2flogin.html"), http.StatusNotFound)
}

func TestPaths(t *testing.T) {
	s := newSite(t, nil)
	pages, err := New(Config{Issuer: "https://as.example/tenant/", Authority: s.auth, Login: s.login, FormKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	paths := pages.Paths()
	for _, want := range []string{"/tenant/login", "/tenant/consent", "/tenant/account", "/tenant/logout", "/tenant/assets/{name}"} {
		if !slices.Contains(paths, want) {
			t.Errorf("Paths = %q, want %s among them", paths, want)
		}
	}
	w := httptest.NewRecorder()
	pages.Handler().ServeHTTP(w, httptest.NewRequest("GET", "https://as.example/tenant/account", nil))
	if got := w.Header().Get("Location"); got != "/tenant/login" {
		t.Errorf("Location = %q, want /tenant/login", got)
	}
}

func TestErrorPage(t *testing.T) {
	s := newSite(t, nil)
	w := httptest.NewRecorder()
	s.web.ErrorPage(w, httptest.NewRequest("GET", issuer+"/authorize", nil), 400, `<b>bad</b> redirect_uri`, `r"1`)
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code != 400 || !bytes.Contains(body, []byte("&lt;b&gt;bad&lt;/b&gt; redirect_uri")) || !bytes.Contains(body, []byte("r&#34;1")) {
		t.Errorf("error page = %d\n%s", w.Code, body)
	}
}

// TestUnknownErrorTellsNothing: the detail goes to the log, with the request's id.
func TestUnknownErrorTellsNothing(t *testing.T) {
	s := newSite(t, func(c *Config) { c.RequestID = func(*http.Request) string { return "req-1" } })
	b := s.browser("a")
	b.signIn("alice")
	_ = s.db.Close()
	p := b.get("/account")
	s.refused(p, http.StatusInternalServerError)
	if strings.Contains(p.body, "store") || strings.Contains(p.body, "sql") || !strings.Contains(p.body, "req-1") {
		t.Errorf("error page says\n%s", p.body)
	}
	if !strings.Contains(s.log.String(), "request_id=req-1") || !strings.Contains(s.log.String(), "read session") {
		t.Errorf("log = %s, want the cause and the request's id", s.log)
	}
}
