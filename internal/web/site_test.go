package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
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
