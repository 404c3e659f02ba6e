package web

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
)

// loginPage is the sign-in form.
type loginPage struct {
	frame
	Flow     *grant.Flow // nil: signing in for its own sake
	Token    string
	Username string
	Again    bool // somebody is signed in and is asked once more
	Error    string
}

// FlowID is what the form sends back.
func (l loginPage) FlowID() string {
	if l.Flow == nil {
		return ""
	}
	return l.Flow.ID
}

// flow reads the flow that a page is for; nil when it names none.
func (p *Web) flow(r *http.Request, id string) (*grant.Flow, error) {
	if id == "" {
		return nil, nil
	}
	return p.cfg.Authority.Flow(r.Context(), id, p.browser(r))
}

func (p *Web) showLogin(w http.ResponseWriter, r *http.Request) error {
	f, err := p.flow(r, r.URL.Query().Get("flow"))
	if err != nil {
		return err
	}
	who, err := p.person(r)
	if err != nil {
		return err
	}
	if who != nil && f == nil {
		return p.see(w, "/account")
	}
	browser := p.browser(r)
	if browser == "" { // no flow began here: the form still has to be this browser's
		if browser, err = login.NewSecret(rand.Reader); err != nil {
			return err
		}
		login.SetCookie(w, p.cfg.Issuer, p.flowCookie, browser, 0)
	}
	view := loginPage{frame: p.frame("Sign in"), Flow: f, Again: who != nil}
	switch {
	case f != nil && f.LoginHint != "":
		view.Username = f.LoginHint
	case who != nil:
		view.Username = who.username
	}
	view.User = who.label()
	return p.renderLogin(w, http.StatusOK, browser, view)
}

func (p *Web) renderLogin(w http.ResponseWriter, status int, browser string, view loginPage) error {
	// Not bound to the session, which this form replaces: two tabs may ask at once.
	view.Token = p.formToken("login", view.FlowID(), browser)
	to := ""
	if view.Flow != nil {
		to = view.Flow.RedirectOrigin
	}
	return p.render(w, status, "login", to, view)
}

func (p *Web) login(w http.ResponseWriter, r *http.Request) error {
	form, err := p.posted(w, r)
	if err != nil {
		return err
	}
	browser := p.browser(r)
	if err := p.ours(form, "login", form.Get("flow"), browser); err != nil {
		return err
	}
	f, err := p.flow(r, form.Get("flow"))
	if err != nil {
		return err
	}
	in, err := p.cfg.Login.Password(r.Context(), login.Attempt{
		Username: form.Get("username"), Password: login.Secret(form.Get("password")),
		Address: p.cfg.Address(r), UserAgent: r.UserAgent(),
		Session: login.Secret(value(r, p.sessionCookie)),
		Device:  login.Secret(value(r, p.deviceCookie)),
	})
	if err != nil {
		status, text, ok := p.excuse(w, err)
		if !ok {
			return err
		}
		view := loginPage{frame: p.frame("Sign in"), Flow: f, Username: form.Get("username"), Error: text}
		return p.renderLogin(w, status, browser, view)
	}
	p.signedIn(w, in)
	if f == nil {
		return p.see(w, "/account")
	}
	return p.authorize(w, f.ID)
}

// signedIn hands a new session to the browser.
func (p *Web) signedIn(w http.ResponseWriter, in *login.SignIn) {
	login.SetCookie(w, p.cfg.Issuer, p.sessionCookie, string(in.Cookie), 0)
	login.SetCookie(w, p.cfg.Issuer, p.deviceCookie, string(in.Device), login.DeviceLife)
}

// excuse puts what a person can mend into a sentence; ok is false for the rest.
func (p *Web) excuse(w http.ResponseWriter, err error) (status int, text string, ok bool) {
	var throttled *login.Throttled
	var weak login.Weak
	switch {
	case errors.Is(err, login.ErrCredentials):
		return http.StatusUnprocessableEntity, "This user name and password don’t go together.", true
	case errors.As(err, &weak):
		return http.StatusUnprocessableEntity, weak.Error(), true
	case errors.As(err, &throttled):
		seconds := int(math.Ceil(throttled.After.Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return http.StatusTooManyRequests, fmt.Sprintf("Too many attempts. Try again in %s.", about(throttled.After)), true
	}
	return 0, "", false
}

// about puts a wait into words, never too short.
func about(d time.Duration) string {
	if s := int(math.Ceil(d.Seconds())); s < 90 {
		return count(s, "second")
	}
	return count(int(math.Ceil(d.Minutes())), "minute")
}
