package web

import (
	"net/http"

	"github.com/writ-auth/writ/internal/grant"
)

// consentPage asks whether a client may.
type consentPage struct {
	frame
	Flow  *grant.Flow
	To    string // where the answer goes, in words
	Token string
}

func (p *Web) showConsent(w http.ResponseWriter, r *http.Request) error {
	f, who, err := p.consenting(r, r.URL.Query().Get("flow"))
	if err != nil {
		return err
	}
	if who == nil {
		return p.authorize(w, f.ID)
	}
	view := consentPage{
		frame: p.frame("Allow access"), Flow: f, To: destination(f.RedirectHost),
		Token: p.formToken("consent", f.ID, who.session),
	}
	view.User = who.label()
	return p.render(w, http.StatusOK, "consent", f.RedirectOrigin, view)
}

func (p *Web) consent(w http.ResponseWriter, r *http.Request) error {
	form, err := p.posted(w, r)
	if err != nil {
		return err
	}
	f, who, err := p.consenting(r, form.Get("flow"))
	if err != nil {
		return err
	}
	if who == nil {
		return p.authorize(w, f.ID)
	}
	if err := p.ours(form, "consent", f.ID, who.session); err != nil {
		return err
	}
	decision := form.Get("decision")
	if decision != "allow" && decision != "deny" {
		return errBadForm
	}
	if err := p.cfg.Authority.Decide(r.Context(), f.ID, p.browser(r), who.session, decision == "allow"); err != nil {
		return err
	}
	return p.authorize(w, f.ID)
}

// consenting reads the flow, which must be there, and who is asked.
func (p *Web) consenting(r *http.Request, id string) (*grant.Flow, *person, error) {
	f, err := p.flow(r, id)
	if err != nil {
		return nil, nil, err
	}
	if f == nil {
		return nil, nil, errFlow
	}
	who, err := p.person(r)
	return f, who, err
}
