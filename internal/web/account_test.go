package web

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/grant"
)

func grantNamed(name string) grant.Granted {
	return grant.Granted{
		ID: "g-" + name, ClientID: "c", ClientName: name, ResourceName: name, Offline: true, Since: now,
		Scopes: []grant.ScopeView{{Name: name}},
	}
}

func TestConsent(t *testing.T) {
	for decision, want := range map[string]string{"allow": "allow f ", "deny": "deny f "} {
		s := newSite(t, nil)
		b := s.browser("alice")
		b.signIn("alice")
		s.flow("f", b)
		p := b.get("/consent?flow=f")
		for _, text := range []string{"Photo Printer", "Photo Archive", "See your photos", "photos:read", "printer.example", "alice"} {
			if !strings.Contains(p.body, text) {
				t.Errorf("the consent page does not say %q\n%s", text, p.body)
			}
		}
		s.expect(b.post("/consent", p.form("decision", decision)), http.StatusSeeOther, "/authorize?flow=f")
		session, _, err := s.login.Session(t.Context(), b.cookies["__Host-writ"])
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.auth.decided); got != "["+want+session.ID+"]" {
			t.Errorf("decided %s, want [%s%s]", got, want, session.ID)
		}
	}
}

// TestConsentIsAsked sends answers that the person at hand did not give.
func TestConsentIsAsked(t *testing.T) {
	s := newSite(t, nil)
	b, other := s.browser("alice"), s.browser("mallory")
	b.signIn("alice")
	s.flow("f", b)
	s.flow("g", b)
	good := b.get("/consent?flow=f").form("decision", "allow")
	other.signIn("bob")
	s.flow("h", other)
	bobs := other.get("/consent?flow=h").form().Get("token")

	with := func(key, value string) url.Values {
		form := maps.Clone(good)
		form[key] = []string{value}
		return form
	}
	for name, form := range map[string]url.Values{
		"no token":           with("token", ""),
		"a login's token":    with("token", b.get("/login?flow=f").form().Get("token")),
		"another's token":    with("token", bobs),
		"another flow":       with("flow", "g"),
		"another's flow":     with("flow", "h"),
		"no decision":        with("decision", ""),
		"some decision":      with("decision", "Allow"),
		"query in its place": {},
	} {
		p := b.post("/consent?"+good.Encode(), form)
		if p.StatusCode < 400 || len(s.auth.decided) > 0 {
			t.Errorf("%s: %d, decided %v; want a refusal", name, p.StatusCode, s.auth.decided)
		}
	}

	// The form of a session that is over: /authorize asks who is there now.
	cookie := b.cookies["__Host-writ"]
	b.post("/logout", b.get("/logout").form())
	b.cookies["__Host-writ"] = cookie
	s.expect(b.post("/consent", good), http.StatusSeeOther, "/authorize?flow=f")
	s.expect(b.get("/consent?flow=f"), http.StatusSeeOther, "/authorize?flow=f")
	// And the same form once bob sits in this browser.
	b.signIn("bob")
	s.refused(b.post("/consent", good), http.StatusForbidden)
	if len(s.auth.decided) > 0 {
		t.Errorf("decided %v by an ended session", s.auth.decided)
	}
}

func TestOfflineIsSaid(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser("alice")
	b.signIn("alice")
	s.flow("f", b)
	if strings.Contains(b.get("/consent?flow=f").body, "while you’re away") {
		t.Error("the page says offline where it was not asked for")
	}
	f := s.auth.flows["f"]
	f.Offline = true
	s.auth.flows["f"] = f
	if !strings.Contains(b.get("/consent?flow=f").body, "while you’re away") {
		t.Error("the page does not say that access goes on offline")
	}
}

func TestAccount(t *testing.T) {
	s := newSite(t, nil)
	s.auth.granted["u-alice"] = []grant.Granted{grantNamed("Night Backup")}
	s.auth.granted["u-bob"] = []grant.Granted{grantNamed("Secret App")}
	s.expect(s.browser("nobody").get("/account"), http.StatusSeeOther, "/login")

	here, there, bob := s.browser("here"), s.browser("there"), s.browser("bob")
	here.signIn("alice")
	there.signIn("alice")
	bob.signIn("bob")
	p := here.get("/account")
	if strings.Contains(p.body, "Secret App") || !strings.Contains(p.body, "Night Backup") {
		t.Errorf("alice sees the wrong apps\n%s", p.body)
	}
	if n := strings.Count(p.body, `action="/account/session"`); n != 2 {
		t.Errorf("alice sees %d sessions, want 2", n)
	}
	if strings.Count(p.body, "This browser") != 1 {
		t.Error("the session at hand is not marked")
	}

	s.expect(here.post("/account/grant", p.form("id", "g-Night Backup")), http.StatusSeeOther, "/account?done=grant")
	s.expect(here.post("/account/grant", p.form("id", "g-Secret App")), http.StatusSeeOther, "/account?done=grant")
	if got, want := fmt.Sprint(s.auth.ended), "[u-alice g-Night Backup]"; got != want {
		t.Errorf("ended %s, want %s", got, want)
	}

	bobs, _, err := s.login.Session(t.Context(), bob.cookies["__Host-writ"])
	if err != nil {
		t.Fatal(err)
	}
	here.post("/account/session", p.form("id", bobs.ID))
	if !bob.signedIn() {
		t.Error("alice ended bob's session")
	}
	theirs, _, err := s.login.Session(t.Context(), there.cookies["__Host-writ"])
	if err != nil {
		t.Fatal(err)
	}
	s.expect(here.post("/account/session", p.form("id", theirs.ID)), http.StatusSeeOther, "/account?done=session")
	if there.signedIn() || !here.signedIn() {
		t.Error("End did not end the other browser's session, or it ended this one")
	}
	own, _, err := s.login.Session(t.Context(), here.cookies["__Host-writ"])
	if err != nil {
		t.Fatal(err)
	}
	s.expect(here.post("/account/session", p.form("id", own.ID)), http.StatusSeeOther, "/logout")
	if here.cookies["__Host-writ"] != "" || here.signedIn() {
		t.Error("ending the session at hand did not sign out")
	}
}

// TestForgedAccountForms: every form of the account page and sign-out needs the
// session's own token.
func TestForgedAccountForms(t *testing.T) {
	s := newSite(t, nil)
	s.auth.granted["u-alice"] = []grant.Granted{grantNamed("App")}
	alice, bob := s.browser("alice"), s.browser("bob")
	alice.signIn("alice")
	bob.signIn("bob")
	own, _, err := s.login.Session(t.Context(), alice.cookies["__Host-writ"])
	if err != nil {
		t.Fatal(err)
	}
	fields := url.Values{
		"id": {own.ID, "g-App"}, "old": {password}, "new": {"a bicycle for three"}, "again": {"a bicycle for three"},
	}
	for _, tt := range []struct{ path, other, out string }{
		{"/account/session", "/logout", "/login"},
		{"/account/grant", "/logout", "/login"},
		{"/account/password", "/logout", "/login"},
		{"/account/everything", "/logout", "/login"},
		{"/logout", "/account", "/logout"},
	} {
		for name, token := range map[string]string{
			"none":         "",
			"bob's":        bob.get("/account").form().Get("token"),
			"wrong page's": alice.get(tt.other).form().Get("token"),
		} {
			form := maps.Clone(fields)
			form.Set("token", token)
			s.refused(alice.post(tt.path, form), http.StatusForbidden)
			if !alice.signedIn() || len(s.auth.ended) > 0 {
				t.Fatalf("%s with token %s: something ended", tt.path, name)
			}
		}
		if alice.get(tt.path); !alice.signedIn() {
			t.Fatalf("GET %s signed out", tt.path)
		}
		s.expect(s.browser("nobody").post(tt.path, fields), http.StatusSeeOther, tt.out)
	}
	s.refused(alice.get("/account/everything"), http.StatusNotFound)
}

func TestLogout(t *testing.T) {
	s := newSite(t, nil)
	s.auth.granted["u-alice"] = []grant.Granted{grantNamed("Night Backup"), {ID: "x", ClientName: "Day App"}}
	b := s.browser("alice")
	b.signIn("alice")
	p := b.get("/logout")
	if !strings.Contains(p.body, "Night Backup") || strings.Contains(p.body, "Day App") {
		t.Errorf("the page does not say which apps go on\n%s", p.body)
	}
	cookie := b.cookies["__Host-writ"]
	s.expect(b.post("/logout", p.form()), http.StatusSeeOther, "/logout")
	if b.cookies["__Host-writ"] != "" {
		t.Error("the cookie is still there")
	}
	if p := b.get("/logout"); p.StatusCode != http.StatusOK || !strings.Contains(p.body, "signed out") {
		t.Errorf("signed-out page = %d\n%s", p.StatusCode, p.body)
	}
	// A copy of the cookie is worth nothing.
	b.cookies["__Host-writ"] = cookie
	s.expect(b.get("/account"), http.StatusSeeOther, "/login")
	s.expect(b.post("/logout", p.form()), http.StatusSeeOther, "/logout")
}

func TestEverything(t *testing.T) {
	s := newSite(t, nil)
	here, there := s.browser("here"), s.browser("there")
	here.signIn("alice")
	there.signIn("alice")
	s.expect(here.post("/account/everything", here.get("/account").form()), http.StatusSeeOther, "/logout")
	if here.signedIn() || there.signedIn() {
		t.Error("somebody is still signed in")
	}
}

func TestPasswordChange(t *testing.T) {
	s := newSite(t, nil)
	here, there := s.browser("here"), s.browser("there")
	here.signIn("alice")
	there.signIn("alice")
	p := here.get("/account")
	for name, f := range map[string][3]string{
		"wrong":     {"wrong", "a bicycle for three", "a bicycle for three"},
		"weak":      {password, "short", "short"},
		"different": {password, "a bicycle for three", "a bicycle for four"},
	} {
		p := here.post("/account/password", p.form("old", f[0], "new", f[1], "again", f[2]))
		if p.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(p.body, `id="password-error"`) {
			t.Errorf("%s: %d, want 422 and why", name, p.StatusCode)
		}
	}
	if !there.signedIn() {
		t.Fatal("a refused change ended a session")
	}
	old := here.cookies["__Host-writ"]
	s.expect(here.post("/account/password", p.form("old", password, "new", "a bicycle for three", "again", "a bicycle for three")),
		http.StatusSeeOther, "/account?done=password")
	if !here.signedIn() || there.signedIn() || here.cookies["__Host-writ"] == old {
		t.Error("want this browser signed in by a new session, and the other out")
	}
}

func TestWords(t *testing.T) {
	for ago, want := range map[time.Duration]string{
		-time.Hour: "just now", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago",
		59 * time.Minute: "59 minutes ago", time.Hour: "1 hour ago", 25 * time.Hour: "1 day ago",
		29 * 24 * time.Hour: "29 days ago", 40 * 24 * time.Hour: "on 14 October 2026",
	} {
		if got := at(now.Add(-ago), now); got.Ago != want {
			t.Errorf("%v = %q, want %q", ago, got.Ago, want)
		}
	}
	if got, want := at(now, now), (moment{"just now", "23 November 2026, 12:00 UTC", "2026-11-23T12:00:00Z"}); got != want {
		t.Errorf("at = %+v, want %+v", got, want)
	}
	if got := at(time.Time{}, now); got != (moment{}) {
		t.Errorf("at(zero) = %+v, want nothing", got)
	}
	for wait, want := range map[time.Duration]string{
		time.Millisecond: "1 second", 59500 * time.Millisecond: "60 seconds", 90 * time.Second: "2 minutes", 5 * time.Minute: "5 minutes",
	} {
		if got := about(wait); got != want {
			t.Errorf("about(%v) = %q, want %q", wait, got, want)
		}
	}
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0":         "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36":                      "Chrome on Android",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1 (KHTML, like Gecko) Version/19.1 Mobile Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0":                                          "Firefox on macOS",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36":                    "Chrome on ChromeOS",
		"curl/8.5": "curl",
		"<b>":      "An unknown browser",
		"":         "An unknown browser",
	} {
		if got := browserName(agent); got != want {
			t.Errorf("browserName(%q) = %q, want %q", agent, got, want)
		}
	}
	for host, want := range map[string]string{
		"printer.example":   "printer.example",
		"127.0.0.1:5123":    "an app on this device (127.0.0.1:5123)",
		"[::1]:5123":        "an app on this device ([::1]:5123)",
		"[::1]":             "an app on this device ([::1])",
		"localhost":         "an app on this device (localhost)",
		"localhost.example": "localhost.example",
	} {
		if got := destination(host); got != want {
			t.Errorf("destination(%q) = %q, want %q", host, got, want)
		}
	}
}
