package grant

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// Visit is one visit of a browser to the authorization endpoint.
type Visit struct {
	Params  url.Values
	Browser string // value of the flow cookie, "" without one
	Session string // value of the session cookie, "" without one
	Address string // where it came from
}

// Step is where the browser goes next.
type Step struct {
	Page     string // "login" or "consent"; "" when Location is the client's
	FlowID   string // for Page
	Browser  string // new value for the flow cookie, "" to leave it
	Location string // the client's redirect URI with the answer
}

// Authorize begins or goes on with an authorization request. It is the only
// dispatcher: every page comes back here. A *PageError or a *login.Throttled must
// be shown, never redirected; other refusals are in Step.Location already.
func (a *Authority) Authorize(ctx context.Context, v Visit) (Step, error) {
	if v.Params.Get("flow") != "" && !v.Params.Has(oauth.ParamClientID) {
		return a.resume(ctx, v)
	}
	return a.begin(ctx, v)
}

func (a *Authority) begin(ctx context.Context, v Visit) (Step, error) {
	if size(v.Params) > maxRequest {
		return Step{}, &PageError{"The app sent a request that is too long."}
	}
	if n := len(v.Params[oauth.ParamClientID]); n != 1 {
		return Step{}, &PageError{"The request does not say which app it is for (client_id)."}
	}
	c, err := a.cfg.Clients.Client(ctx, v.Params.Get(oauth.ParamClientID))
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Disabled {
		return Step{}, &PageError{"The app that sent you here is not known (client_id)."}
	}
	if err != nil {
		return Step{}, err
	}
	uri, given, err := place(c, v.Params)
	if err != nil {
		return Step{}, err
	}
	r, err := read(c, v.Params)
	if err == nil {
		err = a.aim(ctx, c, r)
	}
	if err != nil {
		return a.refuseTo(uri, v.Params.Get(oauth.ParamState), err)
	}
	r.RedirectURI, r.Given = uri, given

	now := a.cfg.Now()
	f := &store.Flow{Created: now, Expires: now.Add(a.cfg.FlowLife)}
	step, keep, err := a.advance(ctx, v, r, c, f)
	if err != nil || !keep {
		return step, err
	}
	return a.keep(ctx, v, r, f, step)
}

// keep writes the flow record that the pages work on, bound to this browser.
func (a *Authority) keep(ctx context.Context, v Visit, r *request, f *store.Flow, step Step) (Step, error) {
	var err error
	if f.ID, err = a.random("", 16); err != nil {
		return Step{}, err
	}
	browser := v.Browser
	if len(browser) < 40 {
		if browser, err = a.random("", 32); err != nil {
			return Step{}, err
		}
		step.Browser = browser
	}
	f.BrowserHash = client.HashSecret(browser)
	if f.Request, err = json.Marshal(r); err != nil {
		return Step{}, fmt.Errorf("keep authorization request: %w", err)
	}
	step.FlowID = f.ID
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if err := a.cfg.Login.Admit(tx, v.Address, f.Created); err != nil {
			return err
		}
		return tx.PutFlow(f)
	})
	return step, err
}

func (a *Authority) resume(ctx context.Context, v Visit) (Step, error) {
	f, r, err := a.flow(ctx, v.Params.Get("flow"), v.Browser)
	if errors.Is(err, ErrNoFlow) {
		return Step{}, &PageError{"This sign-in has expired or was begun in another browser. Go back to the app and start again."}
	}
	if err != nil {
		return Step{}, err
	}
	c, err := a.cfg.Clients.Client(ctx, r.ClientID)
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Disabled {
		return Step{}, &PageError{"The app that sent you here is not known any more (client_id)."}
	}
	if err != nil {
		return Step{}, err
	}
	if !client.RedirectOK(c, r.RedirectURI) || !a.allows(c, r.Scope, r.Resources) {
		return Step{}, &PageError{"The app may not have any more what it asked for. Go back to the app and start again."}
	}
	step, _, err := a.advance(ctx, v, r, c, f)
	step.FlowID = f.ID
	return step, err
}

// flow reads a flow record and proves that this browser began it: a flow id
// alone is worth nothing.
func (a *Authority) flow(ctx context.Context, id, browser string) (*store.Flow, *request, error) {
	var f *store.Flow
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		f, err = tx.Flow(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ErrNoFlow
	}
	if err != nil {
		return nil, nil, err
	}
	mine := subtle.ConstantTimeCompare(f.BrowserHash, client.HashSecret(browser)) == 1
	if !mine || !a.cfg.Now().Before(f.Expires) {
		return nil, nil, ErrNoFlow
	}
	r := &request{}
	if err := json.Unmarshal(f.Request, r); err != nil {
		return nil, nil, fmt.Errorf("read flow: %w", err)
	}
	return f, r, nil
}

// advance asks the rule and does what it says. keep reports that the browser
// goes to a page, for which the flow must be in the store.
func (a *Authority) advance(ctx context.Context, v Visit, r *request, c *store.Client, f *store.Flow) (Step, bool, error) {
	s, user, err := a.cfg.Login.Session(ctx, v.Session)
	if errors.Is(err, login.ErrNoSession) {
		s, user, err = nil, nil, nil
	}
	if err != nil {
		return Step{}, false, err
	}
	next, err := judgeAuthorize(r, c, s, f, a.cfg.Now())
	if err == nil && next == issueCode && len(r.Scope.Intersect(adminScopes)) > 0 && !user.Admin {
		next, err = denied, refuse(oauth.AccessDenied, "this person is no operator")
	}
	if err == nil && next == denied {
		err = refuse(oauth.AccessDenied, "the person said no")
	}
	if err != nil {
		if err := a.close(ctx, f); err != nil {
			return Step{}, false, err
		}
		step, err := a.refuseTo(r.RedirectURI, r.State, err)
		return step, false, err
	}
	switch next {
	case needLogin:
		return Step{Page: "login"}, true, nil
	case needConsent:
		return Step{Page: "consent"}, true, nil
	}
	step, err := a.answer(ctx, r, s, f)
	return step, false, err
}

// answer puts the code and sends the browser back (RFC 6749 §4.1.2).
func (a *Authority) answer(ctx context.Context, r *request, s *store.Session, f *store.Flow) (Step, error) {
	secret, err := a.random("", 32)
	if err != nil {
		return Step{}, err
	}
	now := a.cfg.Now()
	code := &store.Code{
		Hash: client.HashSecret(secret), ClientID: r.ClientID, UserID: s.UserID, SessionID: s.ID,
		Challenge: r.Challenge, Scope: r.Scope, Resources: r.Resources, Nonce: r.Nonce, KeyID: r.KeyID,
		ACR: s.ACR, AMR: s.AMR, AuthTime: s.AuthTime, Expires: now.Add(a.cfg.CodeLife),
	}
	if r.Given {
		code.RedirectURI = r.RedirectURI
	}
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if err := closed(tx, f); err != nil {
			return err
		}
		return tx.PutCode(code)
	})
	if err != nil {
		return Step{}, err
	}
	return a.redirect(r.RedirectURI, url.Values{oauth.ParamCode: {secret}}, r.State), nil
}

// close is closed for an answer that writes nothing else.
func (a *Authority) close(ctx context.Context, f *store.Flow) error {
	if f.ID == "" {
		return nil
	}
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error { return closed(tx, f) })
}

// closed removes a flow that is answered now, if it was kept: one request, one
// answer.
func closed(tx *store.Tx, f *store.Flow) error {
	if f.ID == "" {
		return nil
	}
	err := tx.DeleteFlow(f.ID)
	if errors.Is(err, store.ErrNotFound) {
		return &PageError{"This sign-in was answered already. Go back to the app and start again."}
	}
	return err
}

// refuseTo sends a refusal to the client, and anything else up.
func (a *Authority) refuseTo(uri, state string, err error) (Step, error) {
	var e *oauth.Error
	if !errors.As(err, &e) {
		return Step{}, err
	}
	return a.redirect(uri, url.Values{
		oauth.ParamError: {e.Code}, oauth.ParamErrorDescription: {oauth.Text(e.Description)},
	}, state), nil
}

// redirect adds the answer to the query that uri may already have, and iss to
// every answer (RFC 9207 §2).
func (a *Authority) redirect(uri string, answer url.Values, state string) Step {
	answer.Set(oauth.ParamIssuer, a.cfg.Issuer)
	if state != "" {
		answer.Set(oauth.ParamState, state)
	}
	separator := "?"
	if u, err := url.Parse(uri); err == nil && u.RawQuery != "" {
		separator = "&"
	}
	return Step{Location: uri + separator + answer.Encode()}
}

// aim finds which resources the grant is for. A request that names none is for
// the client's first resource. Scopes about the person belong to userinfo.
func (a *Authority) aim(ctx context.Context, c *store.Client, r *request) error {
	person := r.Scope.Intersect(scope.Set{oauth.ScopeOpenID, oauth.ScopeProfile, oauth.ScopeEmail})
	rest := without(r.Scope, append(scope.Set{oauth.ScopeOffline}, person...))
	if len(r.Resources) == 0 && len(rest) > 0 {
		if len(c.Resources) == 0 {
			return refuse(oauth.InvalidTarget, "name the resource these scopes are for")
		}
		r.Resources = []string{c.Resources[0]}
	}
	known := scope.Set{oauth.ScopeOffline}
	for _, uri := range r.Resources {
		if !a.reachable(c, uri) {
			return refuse(oauth.InvalidTarget, "unknown resource, or not one of this client's")
		}
		found, err := a.resource(ctx, uri)
		if err != nil {
			return err
		}
		known = known.Union(scopes(found))
	}
	if r.Scope.Has(oauth.ScopeOpenID) {
		known = known.Union(person)
		if !slices.Contains(r.Resources, a.userinfo) {
			r.Resources = append(r.Resources, a.userinfo)
		}
	}
	if !known.Contains(r.Scope) {
		return refuse(oauth.InvalidScope, "a scope that the resource does not know")
	}
	if len(r.Resources) == 0 {
		return refuse(oauth.InvalidScope, "nothing to grant: no scope of a resource, and not openid")
	}
	return nil
}

func without(s, drop scope.Set) scope.Set {
	var rest scope.Set
	for _, name := range s {
		if !drop.Has(name) {
			rest = append(rest, name)
		}
	}
	return rest
}
