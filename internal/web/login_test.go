package web

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/grant"
)

func TestSignInForFlow(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	s.flow("f 1&x=y", b)
	p := b.get("/login?flow=" + url.QueryEscape("f 1&x=y"))
	if p.StatusCode != http.StatusOK || !strings.Contains(p.body, "Photo Printer") {
		t.Fatalf("login page = %d, want the client's name on it\n%s", p.StatusCode, p.body)
	}
	p = b.post("/login", p.form("username", "alice", "password", password))
	s.expect(p, http.StatusSeeOther, "/authorize?flow=f+1%26x%3Dy")
	var session string
	for _, c := range p.Cookies() {
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %v, want HttpOnly Secure SameSite=Lax Path=/", c)
		}
		if c.Name == "__Host-writ" {
			session = c.Value
		}
	}
	if _, u, err := s.login.Session(t.Context(), session); err != nil || u.ID != "u-alice" {
		t.Errorf("the session cookie opens %v, %v, want alice's", u, err)
	}
}

func TestSignInWithoutFlow(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	b.signIn("alice")
	s.expect(b.get("/login"), http.StatusSeeOther, "/account")
}

func TestLoginHint(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	s.flow("f", b)
	f := s.auth.flows["f"]
	f.LoginHint = `ali"ce`
	s.auth.flows["f"] = f
	if p := b.get("/login?flow=f"); !strings.Contains(p.body, `value="ali&#34;ce"`) {
		t.Errorf("the hint is not in the form\n%s", p.body)
	}
}

func TestWrongPassword(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	s.flow("f", b)
	p := b.get("/login?flow=f")
	p = b.post("/login", p.form("username", `al"ice`, "password", "my secret guess"))
	if p.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(p.body, `role="alert"`) {
		t.Errorf("answer = %d, want 422 and an alert\n%s", p.StatusCode, p.body)
	}
	if !strings.Contains(p.body, `value="al&#34;ice"`) || strings.Contains(p.body, "my secret guess") {
		t.Errorf("the page keeps the wrong things\n%s", p.body)
	}
	if b.signedIn() {
		t.Error("signed in")
	}
	// The page goes on: the second try is right.
	p = b.post("/login", p.form("username", "alice", "password", password))
	s.expect(p, http.StatusSeeOther, "/authorize?flow=f")
}

func TestThrottled(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	p := b.get("/login")
	for range 5 {
		b.post("/login", p.form("username", "alice", "password", "wrong"))
	}
	p = b.post("/login", p.form("username", "alice", "password", password))
	if p.StatusCode != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "60" || !strings.Contains(p.body, "Try again in 60 seconds") {
		t.Errorf("answer = %d, Retry-After %q, want 429, 60\n%s", p.StatusCode, p.Header.Get("Retry-After"), p.body)
	}
	if b.signedIn() {
		t.Error("signed in over the limit")
	}
}

// TestUsualBrowser: others' guesses from the same address do not keep out a browser
// that signed in before, and signing out does not make it forgotten.
func TestUsualBrowser(t *testing.T) {
	s := newSite(t, nil)
	alice, stranger := s.browser("alice"), s.browser("stranger")
	alice.signIn("alice")
	alice.post("/logout", alice.get("/logout").form())
	p := stranger.get("/login")
	for range 6 {
		stranger.post("/login", p.form("username", "alice", "password", "wrong"))
	}
	if p = stranger.post("/login", p.form("username", "alice", "password", password)); p.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("a stranger after six guesses: %d, want 429", p.StatusCode)
	}
	alice.signIn("alice")
}

// TestAddress: limits and lists see the address that the server says, not the
// proxy's.
func TestAddress(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Address = func(r *http.Request) string { return r.Header.Get("X-Test-Address") }
	})
	b := s.browser("alice")
	r := request("/login", b.get("/login").form("username", "alice", "password", password))
	r.Header.Set("X-Test-Address", "203.0.113.77")
	s.expect(b.do(r), http.StatusSeeOther, "/account")
	if p := b.get("/account"); !strings.Contains(p.body, "203.0.113.77") {
		t.Errorf("the account page does not say where from\n%s", p.body)
	}
}

// TestForeignFlow: a flow's id is worth nothing in another browser.
func TestForeignFlow(t *testing.T) {
	s := newSite(t, nil)
	victim, attacker := s.browser("victim"), s.browser("attacker")
	s.flow("own", attacker)
	s.flow("theirs", victim)
	s.refused(attacker.get("/login?flow=theirs"), http.StatusBadRequest)
	s.refused(attacker.get("/consent?flow=theirs"), http.StatusBadRequest)
	s.refused(attacker.get("/consent"), http.StatusBadRequest)
	s.refused(s.browser("none").get("/login?flow=theirs"), http.StatusBadRequest)

	form := attacker.get("/login?flow=own").form("username", "alice", "password", password)
	form.Set("flow", "theirs")
	s.refused(attacker.post("/login", form), http.StatusForbidden)
	if attacker.signedIn() {
		t.Error("signed in through another browser's flow")
	}
}

// TestForgedForm sends sign-in forms that no page of ours made for this browser:
// an attacker would sign the victim in as somebody else.
func TestForgedForm(t *testing.T) {
	s := newSite(t, nil)
	victim, attacker := s.browser("victim"), s.browser("attacker")
	s.flow("f", victim)
	s.flow("g", attacker)
	for name, token := range map[string]string{
		"none":               "",
		"garbage":            "AAAA",
		"the attacker's own": attacker.get("/login?flow=g").form().Get("token"),
		"of no flow":         victim.get("/login").form().Get("token"),
	} {
		form := url.Values{"flow": {"f"}, "token": {token}, "username": {"bob"}, "password": {password}}
		s.refused(victim.post("/login", form), http.StatusForbidden)
		if victim.signedIn() {
			t.Fatalf("%s: signed in", name)
		}
	}
	nobody := s.browser("nobody") // no flow cookie, so nothing to bind a form to
	empty := url.Values{"token": {s.web.formToken("login", "", "")}, "username": {"bob"}, "password": {password}}
	s.refused(nobody.post("/login", empty), http.StatusForbidden)
}

// TestCrossOrigin: the right form, sent by a page of somebody else.
func TestCrossOrigin(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	form := b.get("/login").form("username", "alice", "password", "wrong")
	for _, tt := range []struct {
		origin, site string
		ok           bool
	}{
		{"null", "same-origin", true},
		{issuer, "same-origin", true},
		{issuer, "", true},
		{"", "", true}, // no browser
		{"", "same-origin", true},
		{"null", "", false},
		{"null", "cross-site", false},
		{"null", "none", false},
		{"https://evil.example", "", false},
		{"https://evil.example", "same-origin", false},
		{"https://evil.example", "cross-site", false},
		{issuer, "cross-site", false},
		{"", "same-site", false}, // a sibling of ours is not us
		{"http://as.example", "", false},
		{"https://as.example:444", "", false},
		{"https://as.example.evil.example", "", false},
	} {
		r := request("/login", form)
		r.Header.Del("Origin")
		r.Header.Del("Sec-Fetch-Site")
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		p := b.do(r)
		if got := p.StatusCode != http.StatusForbidden; got != tt.ok {
			t.Errorf("origin %q site %q: %d, want let through: %v", tt.origin, tt.site, p.StatusCode, tt.ok)
		}
	}
}

// TestFixation plants the attacker's session in the victim's browser.
func TestFixation(t *testing.T) {
	s := newSite(t, nil)
	attacker, victim := s.browser("attacker"), s.browser("victim")
	attacker.signIn("bob")
	planted := attacker.cookies["__Host-writ"]
	victim.cookies["__Host-writ"] = planted
	s.flow("f", victim)
	p := victim.post("/login", victim.get("/login?flow=f").form("username", "alice", "password", password))
	s.expect(p, http.StatusSeeOther, "/authorize?flow=f")
	if victim.cookies["__Host-writ"] == planted {
		t.Error("the planted session was kept")
	}
	if attacker.signedIn() {
		t.Error("the attacker still holds a session of that browser")
	}
}

// TestTwoTabs: a form that was open while another tab signed in still works.
func TestTwoTabs(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	s.flow("f", b)
	s.flow("g", b)
	one, two := b.get("/login?flow=f"), b.get("/login?flow=g")
	s.expect(b.post("/login", one.form("username", "alice", "password", password)), http.StatusSeeOther, "/authorize?flow=f")
	s.expect(b.post("/login", two.form("username", "alice", "password", password)), http.StatusSeeOther, "/authorize?flow=g")
}

// TestOpenRedirect: nothing in the address or the form leads to another host.
func TestOpenRedirect(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	for _, evil := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "x\r\nLocation: https://evil.example"} {
		s.flow(evil, b) // even if such an id were handed out
		p := b.get("/login?flow=" + url.QueryEscape(evil) + "&next=" + url.QueryEscape(evil) + "&redirect_uri=" + url.QueryEscape(evil))
		p = b.post("/login?next="+url.QueryEscape(evil), p.form("username", "alice", "password", password, "next", evil))
		s.expect(p, http.StatusSeeOther, "/authorize?flow="+url.QueryEscape(evil))
	}
}

// TestMarkupInNames: what clients, browsers and people call themselves is text.
func TestMarkupInNames(t *testing.T) {
	s := newSite(t, nil)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	b := s.browser("alice")
	s.flow("f", b)
	f := s.auth.flows["f"]
	f.ClientName, f.ResourceName, f.RedirectHost, f.LoginHint = evil, evil, evil, evil
	f.Scopes[0].Name, f.Scopes[0].Text = evil, evil
	f.RedirectOrigin = "https://a.example; script-src 'unsafe-inline'"
	s.auth.flows["f"] = f
	g := b.get("/login?flow=f")
	pages := map[string]page{"login": g, "wrong": b.post("/login", g.form("username", evil, "password", "x"))}
	r := request("/login", g.form("username", "alice", "password", password))
	r.Header.Set("User-Agent", evil+" Firefox/1")
	b.do(r)
	granted := s.auth.granted["u-alice"]
	s.auth.granted["u-alice"] = append(granted, grantNamed(evil))
	pages["consent"] = b.get("/consent?flow=f")
	pages["account"] = b.get("/account?done=" + url.QueryEscape(evil))
	pages["logout"] = b.get("/logout?x=" + url.QueryEscape(evil))
	for name, p := range pages {
		if p.StatusCode >= 500 || strings.Contains(p.body, "<script") || strings.Contains(p.body, "<img src=x") {
			t.Errorf("%s = %d, with markup in it\n%s", name, p.StatusCode, p.body)
		}
		if got := p.Header.Get("Content-Security-Policy"); strings.Contains(got, "script-src") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy = %q", name, got)
		}
	}
	if !strings.Contains(html.UnescapeString(pages["consent"].body), evil) {
		t.Error("the client's name is not shown at all")
	}
}

// TestBigForm: a body of any size is no way in.
func TestBigForm(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	form := b.get("/login").form("username", "alice", "password", strings.Repeat("x", maxForm))
	s.refused(b.post("/login", form), http.StatusBadRequest)
}

// TestCookieTossed: another port of the machine can put a cookie of our name before
// ours. Whose session counts is then unknown, so none does.
func TestCookieTossed(t *testing.T) {
	s := newSite(t, nil)
	alice, mallory := s.browser("alice"), s.browser("mallory")
	alice.signIn("alice")
	mallory.signIn("bob")
	r := httptest.NewRequest("GET", issuer+"/account", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-writ", Value: mallory.cookies["__Host-writ"]})
	if p := alice.do(r); p.StatusCode != http.StatusSeeOther {
		t.Errorf("GET /account = %d, want the way to sign in\n%s", p.StatusCode, p.body)
	}
}

// TestConsentNamesEveryResource: a page that names the harmless one alone would
// win a yes for another.
func TestConsentNamesEveryResource(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	b.signIn("alice")
	s.flow("f", b)
	f := s.auth.flows["f"]
	f.Scopes = []grant.ScopeView{
		{Name: "photos:read", Text: "See all", Resource: f.ResourceName}, {Name: "money:read", Text: "See everything", Resource: "Bank"},
	}
	s.auth.flows["f"] = f
	if p := b.get("/consent?flow=f"); !strings.Contains(p.body, "See everything <small>(<bdi>Bank</bdi>)") || strings.Contains(p.body, "See all <small>") {
		t.Errorf("the page does not say of what it asks for where that is\n%s", p.body)
	}
}
