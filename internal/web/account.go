package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
)

// accountPage is where a person is signed in and whom they have let in.
type accountPage struct {
	frame
	Token         string
	Username      string
	Sessions      []sessionRow
	Grants        []grantRow
	Notice        string
	PasswordError string
}

type sessionRow struct {
	ID, Browser, Address string
	Here                 bool
	Since, Seen          moment
}

type grantRow struct {
	ID, Name, What string
	Offline        bool
	Since, Used    moment
}

// what puts what was granted into one line.
func what(g grant.Granted) string {
	var may []string
	for _, s := range g.Scopes {
		text := cmp.Or(s.Text, s.Name)
		if s.Resource != "" && s.Resource != g.ResourceName {
			text += " (" + s.Resource + ")"
		}
		may = append(may, text)
	}
	line := strings.Join(may, ", ")
	if g.ResourceName != "" && line != "" {
		return g.ResourceName + ": " + line
	}
	return g.ResourceName + line
}

// notice is what the account page says after something was done. The address
// carries a word alone, so that nobody can make the page say anything else.
func notice(done string) string {
	switch done {
	case "session":
		return "That browser is signed out."
	case "grant":
		return "The app’s access has ended."
	case "password":
		return "Your new password is set. Everything else was signed out."
	}
	return ""
}

// account reads who is signed in; where nobody is, it sends to sign in.
func (p *Web) account(w http.ResponseWriter, r *http.Request) (*person, error) {
	who, err := p.person(r)
	if err == nil && who == nil {
		return nil, p.see(w, "/login")
	}
	return who, err
}

// change reads a form of the account page and who sent it.
func (p *Web) change(w http.ResponseWriter, r *http.Request) (url.Values, *person, error) {
	form, err := p.posted(w, r)
	if err != nil {
		return nil, nil, err
	}
	who, err := p.account(w, r)
	if err != nil || who == nil {
		return nil, nil, err
	}
	return form, who, p.ours(form, "account", "", who.session)
}

func (p *Web) showAccount(w http.ResponseWriter, r *http.Request) error {
	who, err := p.account(w, r)
	if err != nil || who == nil {
		return err
	}
	view := accountPage{Notice: notice(r.URL.Query().Get("done"))}
	return p.renderAccount(w, r, http.StatusOK, who, view)
}

func (p *Web) renderAccount(w http.ResponseWriter, r *http.Request, status int, who *person, view accountPage) error {
	sessions, err := p.cfg.Login.Sessions(r.Context(), who.id)
	if err != nil {
		return err
	}
	granted, err := p.cfg.Authority.Granted(r.Context(), who.id)
	if err != nil {
		return err
	}
	now := p.cfg.Now()
	view.frame = p.frame("Account")
	view.User, view.Username = who.label(), who.username
	view.Token = p.formToken("account", "", who.session)
	for _, s := range sessions {
		view.Sessions = append(view.Sessions, sessionRow{
			ID: s.ID, Browser: browserName(s.UserAgent), Address: s.Address,
			Here: s.ID == who.session, Since: at(s.Created, now), Seen: at(s.Seen, now),
		})
	}
	for _, g := range granted {
		view.Grants = append(view.Grants, grantRow{
			ID: g.ID, Name: clientName(g.ClientName, g.ClientID), What: what(g),
			Offline: g.Offline, Since: at(g.Since, now), Used: at(g.Used, now),
		})
	}
	return p.render(w, status, "account", "", view)
}

func (p *Web) endSession(w http.ResponseWriter, r *http.Request) error {
	form, who, err := p.change(w, r)
	if err != nil || who == nil {
		return err
	}
	id := form.Get("id")
	err = p.cfg.Login.End(r.Context(), who.id, id, p.cfg.Address(r))
	if err != nil && !errors.Is(err, login.ErrNoSession) { // over is what was wanted
		return err
	}
	if id == who.session {
		return p.signedOut(w)
	}
	return p.see(w, "/account?done=session")
}

func (p *Web) endGrant(w http.ResponseWriter, r *http.Request) error {
	form, who, err := p.change(w, r)
	if err != nil || who == nil {
		return err
	}
	id := form.Get("id")
	granted, err := p.cfg.Authority.Granted(r.Context(), who.id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(granted, func(g grant.Granted) bool { return g.ID == id }) {
		return p.see(w, "/account?done=grant") // over is what was wanted
	}
	if err := p.cfg.Authority.EndGrant(r.Context(), who.id, id, p.cfg.Address(r)); err != nil {
		return err
	}
	return p.see(w, "/account?done=grant")
}

func (p *Web) endEverything(w http.ResponseWriter, r *http.Request) error {
	_, who, err := p.change(w, r)
	if err != nil || who == nil {
		return err
	}
	if err := p.cfg.Login.EndAll(r.Context(), who.id, p.cfg.Address(r)); err != nil {
		return err
	}
	return p.signedOut(w)
}

func (p *Web) setPassword(w http.ResponseWriter, r *http.Request) error {
	form, who, err := p.change(w, r)
	if err != nil || who == nil {
		return err
	}
	if form.Get("new") != form.Get("again") {
		return p.renderAccount(w, r, http.StatusUnprocessableEntity, who,
			accountPage{PasswordError: "The new password was not the same both times."})
	}
	in, err := p.cfg.Login.SetPassword(r.Context(), login.Change{
		UserID: who.id, Old: login.Secret(form.Get("old")), New: login.Secret(form.Get("new")),
		Address: p.cfg.Address(r), UserAgent: r.UserAgent(),
	})
	if errors.Is(err, login.ErrCredentials) {
		return p.renderAccount(w, r, http.StatusUnprocessableEntity, who,
			accountPage{PasswordError: "The current password is not right."})
	}
	if err != nil {
		status, text, ok := p.excuse(w, err)
		if !ok {
			return err
		}
		return p.renderAccount(w, r, status, who, accountPage{PasswordError: text})
	}
	p.signedIn(w, in)
	return p.see(w, "/account?done=password")
}
