package web

import (
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/writ-auth/writ/internal/login"
)

// Invited is what somebody with an invitation sends.
type Invited struct {
	Code     login.Secret
	Username string
	Name     string
	Password login.Secret
	Address  string
}

// A Rejection is a sentence for the person whose invitation was not accepted.
type Rejection string

func (r Rejection) Error() string { return string(r) }

// invitePage is the form that makes an account of an invitation.
type invitePage struct {
	frame
	Token    string
	Username string
	Name     string
	Error    string
	Welcome  bool // the account is there
}

func (p *Web) showInvite(w http.ResponseWriter, r *http.Request) error {
	if p.cfg.Invite == nil {
		return errNoPage
	}
	browser := p.browser(r)
	if browser == "" {
		var err error
		if browser, err = login.NewSecret(rand.Reader); err != nil {
			return err
		}
		login.SetCookie(w, p.cfg.Issuer, p.flowCookie, browser, 0)
	}
	return p.renderInvite(w, http.StatusOK, browser, invitePage{})
}

func (p *Web) renderInvite(w http.ResponseWriter, status int, browser string, view invitePage) error {
	view.frame = p.frame("Accept an invitation")
	view.Token = p.formToken("invite", "", browser)
	return p.render(w, status, "invite", "", view)
}

// acceptInvite takes the code from the form and never from a URL, where logs and
// histories would keep it.
func (p *Web) acceptInvite(w http.ResponseWriter, r *http.Request) error {
	if p.cfg.Invite == nil {
		return errNoPage
	}
	form, err := p.posted(w, r)
	if err != nil {
		return err
	}
	browser := p.browser(r)
	if err := p.ours(form, "invite", "", browser); err != nil {
		return err
	}
	in := Invited{
		Code: login.Secret(form.Get("code")), Username: form.Get("username"), Name: form.Get("name"),
		Password: login.Secret(form.Get("password")), Address: p.cfg.Address(r),
	}
	err = p.cfg.Invite(r.Context(), in)
	var why Rejection
	switch {
	case errors.As(err, &why):
		view := invitePage{Username: in.Username, Name: in.Name, Error: string(why)}
		return p.renderInvite(w, http.StatusUnprocessableEntity, browser, view)
	case err != nil:
		return err
	}
	return p.renderInvite(w, http.StatusOK, browser, invitePage{Welcome: true, Username: in.Username})
}
