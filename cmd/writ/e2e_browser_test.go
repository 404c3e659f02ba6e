package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp/kb"

	"github.com/writ-auth/writ/internal/demo"
	"github.com/writ-auth/writ/internal/web"
	"github.com/writ-auth/writ/token"
)

// TestBrowser drives `writ dev` in a real browser, as people would. It holds the
// product to a second, so it does not run beside other tests.
func TestBrowser(t *testing.T) {
	browser := chromium(t)
	s := startSample(t)
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *sample, *tab)
	}{
		{"take an app's access back", takeBack},
		{"sign out", signOut},
		{"say no", sayNo},
		{"keyboard alone, no script", keyboard},
		{"accept an invitation", accept},
		{"no page of ours in a frame", frames},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, s, newTab(t, browser)) })
	}
}

// takeBack ends what an app was allowed, while it is in use.
func takeBack(t *testing.T, s *sample, b *tab) {
	s.enter(t, b)
	try(t, b, "#get-orders", "200")
	checkChain(t, b, s.held(t, b).Access)
	b.look(t, "app-orders")
	try(t, b, "#post-order", "201")
	old := s.held(t, b)
	try(t, b, "#refresh", "200")
	kept := s.held(t, b)
	if kept.Access == old.Access || kept.Refresh == old.Refresh {
		t.Error("a refresh left a token as it was")
	}
	s.checkGood(t, kept.Access)

	b.visit(t, s.Issuer+"/account")
	b.at(t, s.Issuer+"/account", "#grants")
	checkWords(t, b, "Alice Sample", "This browser", "Sample app", "Orders", "See your orders", "Place and change orders", "Also while you’re away")
	b.look(t, "account")
	b.click(t, `form[action="/account/grant"] button`)
	b.at(t, s.Issuer+"/account", "[role=status]")
	s.checkOver(t, kept.Access, kept.Refresh)
	checkWords(t, b, "access has ended", "No app can act for you")
	b.look(t, "account-ended")

	b.visit(t, s.App+"/")
	b.at(t, s.App+"/", "#token")
	try(t, b, "#get-orders", "401")
	b.expect(t, "network: 401 from "+s.Gateway+"/orders")
	checkWords(t, b, "invalid_token")
	b.look(t, "app-refused")
	try(t, b, "#refresh", "400")
	b.expect(t, "network: 400 from "+s.Issuer+"/token")
	checkWords(t, b, "Signed out", "invalid_grant")
}

// checkChain checks that the app shows who called whom, all for the same person.
func checkChain(t *testing.T, b *tab, access string) {
	t.Helper()
	c, err := token.InsecureParse(access)
	if err != nil {
		t.Fatal(err)
	}
	type hop struct {
		At, Sub, Through string
	}
	got := get[[]hop](t, b, `[...document.querySelectorAll("#chain li")].map((li) => ({
		At: li.querySelector("h4").innerText, Sub: li.querySelector("b").title,
		Through: [...li.querySelectorAll("p code")].map((code) => code.innerText).join(" "),
	}))`)
	want := []hop{
		{"This app", c.Subject, ""},
		{"orders", c.Subject, demo.GatewayClient},
		{"inventory", c.Subject, demo.GatewayClient}, // the same token, which orders passed on
	}
	if !slices.Equal(got, want) {
		t.Errorf("chain = %v, want %v", got, want)
	}
}

// signOut ends the session, which takes with it what lives by it alone.
func signOut(t *testing.T, s *sample, b *tab) {
	s.enter(t, b)
	away := s.held(t, b)
	address, state, redeem := s.request("openid orders:read orders:write")
	b.visit(t, address)
	s.asked(t, b)
	if text := b.text(t, "body"); strings.Contains(text, "while you’re away") {
		t.Errorf("the page speaks of offline access that nobody asked for:\n%s", text)
	}
	b.click(t, "#consent-allow")
	here := redeem(t, b.back(t, s.App+"/callback", state))
	b.at(t, s.App+"/", "#problem")
	checkWords(t, b, "belongs to no sign-in")
	s.checkGood(t, here.Access)

	b.visit(t, s.Issuer+"/account")
	b.at(t, s.Issuer+"/account", "#sessions")
	b.click(t, `form[action="/account/session"] button`)
	b.at(t, s.Issuer+"/logout", "h1")
	s.checkOver(t, here.Access, here.Refresh)
	checkWords(t, b, "You’re signed out")
	b.look(t, "signed-out")

	// What was allowed while alice is away goes on: in the app, which signs out then.
	s.checkGood(t, away.Access)
	b.visit(t, s.App+"/")
	b.at(t, s.App+"/", "#token")
	try(t, b, "#refresh", "200")
	left := s.held(t, b)
	s.checkGood(t, left.Access)
	b.click(t, "#sign-out")
	b.at(t, s.Issuer+"/logout", "h1")
	s.checkOver(t, left.Access, left.Refresh)
	b.visit(t, s.Issuer+"/account")
	b.at(t, s.Issuer+"/login", "#login-submit")
}

// sayNo allows nothing.
func sayNo(t *testing.T, s *sample, b *tab) {
	b.visit(t, s.App+"/")
	b.at(t, s.App+"/", "#page")
	b.click(t, "#sign-in")
	s.enterPassword(t, b)
	s.asked(t, b)
	b.click(t, "#consent-deny")
	b.at(t, s.App+"/", "#problem")
	checkWords(t, b, "Signed out", "access_denied")
	b.look(t, "app-denied")
}

// keyboard does all that the pages are for with the keyboard, where no script runs.
// It is bob who does: he is signed in nowhere else.
func keyboard(t *testing.T, s *sample, b *tab) {
	bob := s.Users[1]
	call(t, b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	address, state, _ := s.request("orders:read orders:write")
	b.visit(t, address)
	b.at(t, s.Issuer+"/login", "#login-submit")
	b.focused(t, "username")
	checkWalk(t, b, "#username", "#password", "#login-submit")
	mistype(t, s, b, bob.Username)
	b.press(t, bob.Password, kb.Enter)

	s.asked(t, b, "Bob Sample")
	checkWalk(t, b, "/account", "#consent-deny", "#consent-allow")
	b.reach(t, "#consent-deny")
	b.press(t, kb.Enter)
	if got := b.back(t, s.App+"/callback", state).Get("error"); got != "access_denied" {
		t.Errorf("error = %q, want access_denied", got)
	}
	b.at(t, s.App+"/callback", "noscript")
	b.expect(t, "network: Script:  csp")
	b.look(t, "app-no-script")

	address, state, redeem := s.request("orders:read orders:write")
	b.visit(t, address)
	s.asked(t, b)
	b.reach(t, "#consent-allow")
	b.press(t, kb.Enter)
	got := redeem(t, b.back(t, s.App+"/callback", state))
	s.checkGood(t, got.Access)
	b.at(t, s.App+"/callback", "noscript")
	b.expect(t, "network: Script:  csp")

	b.visit(t, s.Issuer+"/account")
	b.at(t, s.Issuer+"/account", "#grants")
	checkWalk(t, b, "/logout", "/account/session", "/account/grant", "Change your password", "Sign out everywhere")
	for _, name := range []string{"Change your password", "Sign out everywhere"} {
		b.reach(t, name)
		b.press(t, kb.Enter)
	}
	checkWalk(t, b, "Sign out everywhere", "#everything-submit", "/logout", "/account/session", "/account/grant",
		"Change your password", "#old", "#new", "#again", "#password-submit")
	b.look(t, "account-open")
	b.reach(t, "/account/grant")
	b.press(t, kb.Enter)
	b.at(t, s.Issuer+"/account", "[role=status]")
	s.checkOver(t, got.Access, got.Refresh)

	b.reach(t, "/logout")
	b.press(t, kb.Enter)
	b.at(t, s.Issuer+"/logout", "#logout-confirm")
	checkWalk(t, b, "/account", "#logout-confirm")
	b.look(t, "logout")
	b.reach(t, "#logout-confirm")
	b.press(t, kb.Enter)
	b.at(t, s.Issuer+"/logout", "a[href='/login']")
	checkWords(t, b, "You’re signed out")
}

// mistype sends a wrong password. The page says so once, and keeps the user name.
func mistype(t *testing.T, s *sample, b *tab, username string) {
	t.Helper()
	b.reach(t, "#username")
	b.press(t, username, kb.Tab, "not this one", kb.Enter)
	b.at(t, s.Issuer+"/login", "#login-error")
	b.expect(t, "network: 422 from "+s.Issuer+"/login")
	if got := get[int](t, b, `document.querySelectorAll("[role=alert]").length`); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
	checkWords(t, b, "don’t go together")
	if got := get[string](t, b, `document.querySelector("#username").value`); got != username {
		t.Errorf("user name = %q, want %q as it was typed", got, username)
	}
	if got := get[string](t, b, `document.querySelector("#password").value`); got != "" {
		t.Error("the page repeats the password")
	}
	b.look(t, "login-wrong")
	b.focused(t, "password")
}

// accept makes the account of an owner, with the keyboard and without script.
func accept(t *testing.T, s *sample, b *tab) {
	invite := exec.CommandContext(t.Context(), built(t), "admin", "invite", "--data", s.data)
	invite.Env = environment(t)
	told, err := invite.CombinedOutput()
	code := regexp.MustCompile(`writ_in_[\w-]+`).FindString(string(told))
	if err != nil || code == "" {
		t.Fatalf("writ admin invite: %v: %q, want a code", err, told)
	}
	call(t, b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.visit(t, s.Issuer+"/invite")
	b.at(t, s.Issuer+"/invite", "#invite-submit")
	b.focused(t, "code")
	checkWalk(t, b, "#code", "#username", "#name", "#password", "#invite-submit")
	b.look(t, "invite")
	b.reach(t, "#code")
	b.press(t, code[:len(code)-1], kb.Tab, "olive", kb.Tab, "Olive Owner", kb.Tab, password, kb.Enter)
	b.at(t, s.Issuer+"/invite", "#invite-error")
	b.expect(t, "network: 422 from "+s.Issuer+"/invite")
	b.look(t, "invite-wrong")
	b.focused(t, "code")
	b.press(t, code)
	b.reach(t, "#password")
	b.press(t, password, kb.Enter)
	b.at(t, s.Issuer+"/invite", "#invite-login")
	checkWords(t, b, "olive")
	b.look(t, "invite-welcome")
	b.reach(t, "#invite-login")
	b.press(t, kb.Enter)
	b.at(t, s.Issuer+"/login", "#login-submit")
}

func checkWalk(t *testing.T, b *tab, want ...string) {
	t.Helper()
	if got := b.walk(t); !slices.Equal(got, want) {
		t.Errorf("Tab leads to %q, want %q", got, want)
	}
}

// frames tries to lay every kind of page under a page of someone else's
// (clickjacking, RFC 9700 §4.16), with alice signed in.
func frames(t *testing.T, s *sample, b *tab) {
	address, _, _ := s.request("orders:read orders:write")
	b.visit(t, address)
	s.enterPassword(t, b)
	s.asked(t, b)
	consent := get[string](t, b, "location.href")
	b.visit(t, s.Issuer+"/authorize?client_id=nobody")
	b.expect(t, "network: 400 from "+s.Issuer+"/authorize")
	checkWords(t, b, web.ErrorSentence)
	b.look(t, "error")

	ours := []string{s.Issuer + "/login", consent, s.Issuer + "/account", s.Issuer + "/logout", s.Issuer + "/authorize?client_id=nobody", s.App + "/"}
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><title>Thief</title><link rel="icon" href="data:,">`)
		if r.URL.Path == "/bait" {
			return
		}
		fmt.Fprint(w, `<iframe src="/bait"></iframe>`)
		for _, address := range ours {
			fmt.Fprintf(w, `<iframe src="%s"></iframe>`, strings.ReplaceAll(address, "&", "&amp;"))
		}
	}))
	defer thief.Close()
	// By its name and not its address, so that it is the same site and cookies are sent.
	own := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
	b.visit(t, own)
	framed := call(t, b, page.GetFrameTree, cdp.Empty{}).FrameTree.ChildFrames
	if len(framed) != len(ours)+1 {
		t.Fatalf("%d frames, want %d", len(framed), len(ours)+1)
	}
	for _, f := range framed {
		if f.Frame.URL != own+"/bait" && f.Frame.URL != "chrome-error://chromewebdata/" {
			t.Errorf("%s can be framed", f.Frame.URL)
		}
	}
	b.expect(t, "network: 400 from "+s.Issuer+"/authorize")
	for range ours {
		b.expect(t, "frame-ancestors 'none'")
		b.expect(t, "issue: ContentSecurityPolicyIssue")
		b.expect(t, "ERR_BLOCKED_BY_RESPONSE")
	}
}
