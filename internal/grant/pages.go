package grant

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// ErrNoFlow is a flow that is unknown, expired, or another browser's.
var ErrNoFlow = errors.New("grant: no such authorization request in this browser")

// Flow is what the pages may know of an authorization request under way.
type Flow struct {
	ID             string
	ClientID       string
	ClientName     string
	FirstParty     bool
	Resource       string
	ResourceName   string
	Scopes         []ScopeView
	LoginHint      string
	RedirectOrigin string // a Content-Security-Policy source for the redirect that follows the form
	RedirectHost   string // where the answer goes, for people
	Offline        bool   // asks to act while the person is away
}

// ScopeView is one scope in words, and at which resource.
type ScopeView struct{ Name, Text, Resource string }

// Granted is one client a person has let in.
type Granted struct {
	ID           string
	ClientID     string
	ClientName   string
	ResourceName string
	Scopes       []ScopeView
	Since, Used  time.Time
	Offline      bool // goes on after sign-out
}

// Flow tells a page about the request it is shown for. ErrNoFlow without one.
func (a *Authority) Flow(ctx context.Context, id, browser string) (*Flow, error) {
	_, r, err := a.flow(ctx, id, browser)
	if err != nil {
		return nil, err
	}
	c, err := a.cfg.Clients.Client(ctx, r.ClientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoFlow
	}
	if err != nil {
		return nil, err
	}
	out := &Flow{
		ID: id, ClientID: c.ID, ClientName: c.Name, FirstParty: c.FirstParty, LoginHint: r.LoginHint,
		RedirectOrigin: client.RedirectOrigin(r.RedirectURI), Offline: r.Scope.Has(oauth.ScopeOffline),
	}
	if u, err := url.Parse(r.RedirectURI); err == nil {
		out.RedirectHost = u.Host
		if u.Host == "" {
			out.RedirectHost = "an app on this device (" + u.Scheme + ")"
		}
	}
	out.Resource = r.Resources[0]
	out.ResourceName, out.Scopes, err = a.words(ctx, r.Resources, r.Scope)
	return out, err
}

// words says scopes and the first resource in words.
func (a *Authority) words(ctx context.Context, uris []string, granted scope.Set) (string, []ScopeView, error) {
	name := ""
	var views []ScopeView
	for _, uri := range uris {
		r, err := a.resource(ctx, uri)
		if refusal(err) {
			continue // the resource was removed: nothing of it is granted any more
		}
		if err != nil {
			return "", nil, err
		}
		if name == "" {
			name = r.Name
		}
		for _, s := range r.Scopes {
			if granted.Has(s.Name) {
				views = append(views, ScopeView{s.Name, s.Text, r.Name})
			}
		}
	}
	return name, views, nil
}

// Decide keeps what the person answered on the consent page.
func (a *Authority) Decide(ctx context.Context, id, browser, sessionID string, allow bool) error {
	if _, _, err := a.flow(ctx, id, browser); err != nil {
		return err
	}
	err := a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.Flow(id)
		if err != nil {
			return err
		}
		f.Consent, f.ConsentSession = "denied", sessionID
		if allow {
			f.Consent = "allowed"
		}
		return tx.PutFlow(f)
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoFlow
	}
	return err
}

// Granted lists the clients a person has let in and that may still act.
func (a *Authority) Granted(ctx context.Context, userID string) ([]Granted, error) {
	var grants []*store.Grant
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		grants, err = tx.GrantsOf(userID)
		return err
	})
	if err != nil {
		return nil, err
	}
	sessions, err := a.cfg.Login.Sessions(ctx, userID)
	if err != nil {
		return nil, err
	}
	now := a.cfg.Now()
	grants = slices.DeleteFunc(grants, func(g *store.Grant) bool {
		alive := g.SessionID == "" || slices.ContainsFunc(sessions, func(s *store.Session) bool { return s.ID == g.SessionID })
		return !alive || !now.Before(g.Expires)
	})
	slices.SortFunc(grants, func(x, y *store.Grant) int { return y.Created.Compare(x.Created) })
	out := make([]Granted, 0, len(grants))
	for _, g := range grants {
		name := g.ClientID
		if c, err := a.cfg.Clients.Client(ctx, g.ClientID); err == nil {
			name = c.Name
		}
		view := Granted{ID: g.ID, ClientID: g.ClientID, ClientName: name, Since: g.Created, Used: g.Used, Offline: g.SessionID == ""}
		if view.ResourceName, view.Scopes, err = a.words(ctx, g.Resources, scope.Set(g.Scope)); err != nil {
			return nil, err
		}
		out = append(out, view)
	}
	return out, nil
}

// EndGrant ends one of the person's own grants. store.ErrNotFound if it is not theirs.
func (a *Authority) EndGrant(ctx context.Context, userID, grantID, address string) error {
	now := a.cfg.Now()
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		g, err := tx.Grant(grantID)
		if err != nil {
			return err
		}
		if g.UserID != userID {
			return store.ErrNotFound
		}
		if !g.Ended.IsZero() {
			return nil
		}
		return revoke.Write(tx, revoke.Order{
			Kind: revoke.Grant, Value: g.ID, Reason: "ended by its owner", By: userID, Address: address,
			Now: now, Until: RuleUntil(now),
		})
	})
}
