package web

import (
	"errors"
	"net/http"

	"github.com/writ-auth/writ/internal/login"
)

// logoutPage asks before it signs out, and says when nobody is signed in.
type logoutPage struct {
	frame
	Token  string
	GoesOn []string // applications that keep their access
}

func (p *Web) showLogout(w http.ResponseWriter, r *http.Request) error {
	who, err := p.person(r)
	if err != nil {
		return err
	}
	if who == nil {
		return p.render(w, http.StatusOK, "logout", "", logoutPage{frame: p.frame("Signed out")})
	}
	granted, err := p.cfg.Authority.Granted(r.Context(), who.id)
	if err != nil {
		return err
	}
	view := logoutPage{frame: p.frame("Sign out"), Token: p.formToken("logout", "", who.session)}
	view.User = who.label()
	for _, g := range granted {
		if g.Offline {
			view.GoesOn = append(view.GoesOn, clientName(g.ClientName, g.ClientID))
		}
	}
	return p.render(w, http.StatusOK, "logout", "", view)
}

func (p *Web) logout(w http.ResponseWriter, r *http.Request) error {
	form, err := p.posted(w, r)
	if err != nil {
		return err
	}
	who, err := p.person(r)
	if err != nil {
		return err
	}
	if who == nil {
		return p.signedOut(w)
	}
	if err := p.ours(form, "logout", "", who.session); err != nil {
		return err
	}
	err = p.cfg.Login.End(r.Context(), who.id, who.session, p.cfg.Address(r))
	if err != nil && !errors.Is(err, login.ErrNoSession) {
		return err
	}
	return p.signedOut(w)
}

// signedOut takes the session from the browser.
func (p *Web) signedOut(w http.ResponseWriter) error {
	login.SetCookie(w, p.cfg.Issuer, p.sessionCookie, "", -1)
	return p.see(w, "/logout")
}
