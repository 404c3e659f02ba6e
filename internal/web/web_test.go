package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const (
	issuer   = "https://as.example"
	password = "correct horse battery"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var hash = sync.OnceValue(func() string {
	h, err := login.HashPassword(password, rand.Reader)
	if err != nil {
		panic(err)
	}
	return h
})

// authority keeps flows and grants in memory, bound to browsers and people as the
// real one does.
type authority struct {
	flows   map[string]grant.Flow
	browser map[string]string // by flow
	decided []string
	granted map[string][]grant.Granted // by user
	ended   []string
}

func (a *authority) Flow(_ context.Context, id, browser string) (*grant.Flow, error) {
	f, ok := a.flows[id]
	if !ok || browser == "" || a.browser[id] != browser {
		return nil, grant.ErrNoFlow
	}
	f.ID = id
	return &f, nil
}

func (a *authority) Decide(_ context.Context, id, browser, sessionID string, allow bool) error {
	if a.browser[id] != browser {
		return grant.ErrNoFlow
	}
	word := "deny "
	if allow {
		word = "allow "
	}
	a.decided = append(a.decided, word+id+" "+sessionID)
	return nil
}

func (a *authority) Granted(_ context.Context, userID string) ([]grant.Granted, error) {
	return a.granted[userID], nil
}

func (a *authority) EndGrant(_ context.Context, userID, grantID, _ string) error {
	a.ended = append(a.ended, userID+" "+grantID)
	return nil
}

// A site is the pages over a SQLite store.
type site struct {
	t       *testing.T
	web     *Web
	handler http.Handler
	login   *login.Login
	db      *store.DB
	auth    *authority
	log     *bytes.Buffer
}

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	db := storetest.New(t, issuer)
	clock := func() time.Time { return now }
	quiet := slog.New(slog.DiscardHandler)
	people, err := login.New(login.Config{DB: db, Key: make([]byte, 32), TokenLife: time.Hour, Now: clock, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		for _, name := range []string{"alice", "bob"} {
			u := &store.User{ID: "u-" + name, Username: name, PasswordHash: hash(), Created: now}
			if err := tx.AddUser(u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, login: people, db: db, log: new(bytes.Buffer), auth: &authority{
		flows:   make(map[string]grant.Flow),
		browser: make(map[string]string),
		granted: make(map[string][]grant.Granted),
	}}
	cfg := Config{
		Issuer: issuer, Authority: s.auth, Login: people, FormKey: bytes.Repeat([]byte{9}, 32), Now: clock,
		Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	pages, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.web, s.handler = pages, pages.Handler()
	return s
}

// flow begins a flow in a browser, as /authorize does.
func (s *site) flow(id string, b *browser) {
	b.cookies["__Host-writ-flow"] = "browser-" + b.name
	s.auth.browser[id] = "browser-" + b.name
	s.auth.flows[id] = grant.Flow{
		ClientID: "printer", ClientName: "Photo Printer", Resource: "https://api.example", ResourceName: "Photo Archive",
		Scopes:         []grant.ScopeView{{Name: "photos:read", Text: "See your photos"}},
		RedirectOrigin: "https://printer.example", RedirectHost: "printer.example",
	}
}

// A browser keeps cookies and sends what browsers send.
type browser struct {
	s       *site
	name    string
	cookies map[string]string
}

func (s *site) browser(name string) *browser {
	return &browser{s: s, name: name, cookies: make(map[string]string)}
}

// page is an answer.
type page struct {
	*http.Response
	body string
}

func (b *browser) do(r *http.Request) page {
	b.s.t.Helper()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.s.handler.ServeHTTP(w, r)
	p := page{Response: w.Result(), body: w.Body.String()}
	for _, c := range p.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c.Value
	}
	return p
}

func (b *browser) get(path string) page {
	b.s.t.Helper()
	return b.do(httptest.NewRequest("GET", issuer+path, nil))
}

// post sends a form as a page of ours would make the browser send it.
func (b *browser) post(path string, form url.Values) page {
	b.s.t.Helper()
	return b.do(request(path, form))
}

func request(path string, form url.Values) *http.Request {
	r := httptest.NewRequest("POST", issuer+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "null") // our Referrer-Policy makes it so
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// form reads the hidden fields of the page's first form and adds to them.
func (p page) form(pairs ...string) url.Values {
	form := make(url.Values)
	for _, m := range hidden.FindAllStringSubmatch(p.body, -1) {
		if !form.Has(m[1]) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// signIn goes through the sign-in page.
func (b *browser) signIn(username string) page {
	b.s.t.Helper()
	p := b.post("/login", b.get("/login").form("username", username, "password", password))
	b.s.expect(p, http.StatusSeeOther, "/account")
	return p
}

// signedIn reports whether the browser's session is alive.
func (b *browser) signedIn() bool {
	b.s.t.Helper()
	return b.get("/account").StatusCode == http.StatusOK
}

// expect checks status and Location.
func (s *site) expect(p page, status int, location string) {
	s.t.Helper()
	if p.StatusCode != status || p.Header.Get("Location") != location {
		s.t.Errorf("answer = %d to %q, want %d to %q\n%s", p.StatusCode, p.Header.Get("Location"), status, location, p.body)
	}
}

// refused checks that a page is the error page and nothing else.
func (s *site) refused(p page, status int) {
	s.t.Helper()
	if p.StatusCode != status || !strings.Contains(html.UnescapeString(p.body), ErrorSentence) {
		s.t.Errorf("answer = %d, want the error page with %d\n%s", p.StatusCode, status, p.body)
	}
	if len(p.Cookies()) > 0 {
		s.t.Errorf("a refusal sets cookies: %v", p.Cookies())
	}
}

// every renders each page once, in a state where it shows the most.
func (s *site) every() map[string]page {
	b := s.browser("every")
	s.flow("every", b)
	pages := map[string]page{"login": b.get("/login?flow=every"), "plain login": s.browser("x").get("/login")}
	pages["wrong"] = b.post("/login", pages["login"].form("username", "alice", "password", "wrong"))
	b.signIn("alice")
	pages["consent"] = b.get("/consent?flow=every")
	pages["account"] = b.get("/account?done=grant")
	pages["bad password"] = b.post("/account/password", pages["account"].form("old", "a", "new", "b", "again", "c"))
	pages["logout"] = b.get("/logout")
	pages["again"] = b.get("/login?flow=every")
	pages["signed out"] = s.browser("y").get("/logout")
	pages["error"] = b.get("/login?flow=unknown")
	return pages
}

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
			action += " https:"
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
		"https://printer.example":         "'self' https:",
		"http://127.0.0.1:5123":           "'self' https: http:",
		"http://[::1]:5123":               "'self' https: http:",
		"com.example.app:":                "'self' https: com.example.app:",
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
