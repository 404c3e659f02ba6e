package main_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/writ-auth/writ/internal/demo"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

// sample is a running writ dev, and ways to talk to it, with a browser and without.
type sample struct {
	*dev
	issuer  *authority
	gateway *authority
}

func startSample(t *testing.T) *sample {
	t.Helper()
	d := startDev(t, t.TempDir())
	return &sample{dev: d, issuer: d.at(t), gateway: &authority{issuer: d.Gateway, http: newClient(t)}}
}

// enterPassword fills in the sign-in form as alice, with the keyboard.
func (s *sample) enterPassword(t *testing.T, b *tab) {
	t.Helper()
	alice := s.Users[0]
	b.at(t, s.Issuer+"/login", "#login-submit")
	b.focused(t, "username")
	b.press(t, alice.Username, kb.Tab, alice.Password, kb.Tab)
	if got := b.focus(t); got != "#login-submit" {
		t.Errorf("after the password Tab leads to %q, want #login-submit", got)
	}
	b.press(t, kb.Enter)
}

// asked waits for the consent page, which must say these things.
func (s *sample) asked(t *testing.T, b *tab, words ...string) {
	t.Helper()
	b.at(t, s.Issuer+"/consent", "#consent-allow")
	checkWords(t, b, append(words, "Sample app", "Orders", "See your orders", "Place and change orders")...)
}

func checkWords(t *testing.T, b *tab, words ...string) {
	t.Helper()
	text := b.text(t, "body")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not on the page:\n%s", w, text)
		}
	}
}

// enter signs alice in to the sample app.
func (s *sample) enter(t *testing.T, b *tab) {
	t.Helper()
	b.visit(t, s.App+"/")
	b.at(t, s.App+"/", "#page")
	b.look(t, "app")
	b.click(t, "#sign-in")
	b.at(t, s.Issuer+"/login", "#login-submit")
	b.look(t, "login")
	s.enterPassword(t, b)
	s.asked(t, b, "Alice Sample", "while you’re away")
	b.look(t, "consent")
	b.click(t, "#consent-allow")
	b.at(t, s.App+"/", "#token")
	b.until(t, "the app greets Alice", `document.querySelector("#status").innerText === "Signed in as Alice Sample"`)
}

// try presses a button of the sample app and waits for the status of the answer.
func try(t *testing.T, b *tab, button, status string) {
	t.Helper()
	b.click(t, button)
	b.until(t, button+" is answered with "+status, fmt.Sprintf(`document.querySelector("#last-status").innerText === %q`, status))
}

// request is an authorization request for the sample app that its script knows
// nothing of, and does not redeem. redeem does that.
func (s *sample) request(scope string) (address, state string, redeem func(*testing.T, url.Values) tokens) {
	v, state := verifier(), rand.Text()
	back := s.App + "/callback"
	resource := s.Gateway + "/orders"
	address = s.Issuer + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {demo.AppClient}, "redirect_uri": {back}, "scope": {scope}, "resource": {resource},
		"state": {state}, "code_challenge": {challenge(v)}, "code_challenge_method": {"S256"},
	}.Encode()
	return address, state, func(t *testing.T, answer url.Values) tokens {
		t.Helper()
		if answer.Get("code") == "" || answer.Get("iss") != s.Issuer {
			t.Fatalf("error = %q, iss = %q, want a code from %s", answer.Get("error"), answer.Get("iss"), s.Issuer)
		}
		return s.issuer.grant(t, post("/token", "", url.Values{
			"grant_type": {oauth.GrantCode}, "client_id": {demo.AppClient}, "code": {answer.Get("code")},
			"redirect_uri": {back}, "code_verifier": {v},
		}))
	}
}

// refreshing asks for the sample app's next tokens.
func (s *sample) refreshing(refresh string) ask {
	q := refreshing("", refresh)
	q.form.Set("client_id", demo.AppClient)
	return q
}

// call calls the orders API with a token.
func (s *sample) call(t *testing.T, access string) reply {
	t.Helper()
	q := ask{method: http.MethodGet, path: "/orders", header: http.Header{"Authorization": {"Bearer " + access}}}
	return s.gateway.send(t, q)
}

// checkGood checks that a token works at the gateway.
func (s *sample) checkGood(t *testing.T, access string) {
	t.Helper()
	if r := s.call(t, access); r.status != http.StatusOK {
		t.Errorf("a good token: status %d, body %s, want 200", r.status, r.body)
	}
}

// checkOver checks that a grant just ended: the gateway refuses its access token
// within a second although it has not expired, and its refresh token is worth
// nothing.
func (s *sample) checkOver(t *testing.T, access, refresh string) {
	t.Helper()
	within(t, time.Second, "the gateway refuses the access token", func() error {
		r := s.call(t, access)
		if said := r.header.Get("WWW-Authenticate"); r.status != http.StatusUnauthorized || !strings.Contains(said, `error="invalid_token"`) {
			return fmt.Errorf("status %d, WWW-Authenticate %q, want 401 invalid_token", r.status, said)
		}
		return nil
	})
	c, err := token.InsecureParse(access)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(c.Expiry); left < time.Minute {
		t.Errorf("the token expires in %v: its refusal shows nothing", left)
	}
	if r := s.issuer.send(t, s.refreshing(refresh)); r.status != http.StatusBadRequest || r.code() != "invalid_grant" {
		t.Errorf("refresh: status %d, body %s, want 400 invalid_grant", r.status, r.body)
	}
}

// held is what the sample app keeps while it is signed in.
type held struct {
	Access, Refresh string
}

func (s *sample) held(t *testing.T, b *tab) held {
	t.Helper()
	return get[held](t, b, `JSON.parse(sessionStorage.getItem("tokens"))`)
}
