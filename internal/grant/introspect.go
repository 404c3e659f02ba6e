package grant

import (
	"context"
	"errors"
	"slices"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// Introspection is the answer of RFC 7662 §2.2. An inactive token says nothing else.
type Introspection struct {
	Active    bool           `json:"active"`
	Scope     string         `json:"scope,omitempty"`
	ClientID  string         `json:"client_id,omitempty"`
	TokenType string         `json:"token_type,omitempty"`
	Expiry    int64          `json:"exp,omitempty"`
	IssuedAt  int64          `json:"iat,omitempty"`
	Subject   string         `json:"sub,omitempty"`
	Audience  string         `json:"aud,omitempty"`
	Issuer    string         `json:"iss,omitempty"`
	ID        string         `json:"jti,omitempty"`
	AuthTime  int64          `json:"auth_time,omitempty"`
	ACR       string         `json:"acr,omitempty"`
	Cnf       map[string]any `json:"cnf,omitempty"`
	Act       map[string]any `json:"act,omitempty"`
}

// Introspect tells a resource server about a token meant for it, and a client
// about its own refresh token. To anyone else every token is inactive.
func (a *Authority) Introspect(ctx context.Context, creds client.Credentials, compact string) (*Introspection, error) {
	asker, err := a.cfg.Clients.Authenticate(ctx, creds)
	if err != nil {
		return nil, err
	}
	if asker.AuthMethod == oauth.AuthNone {
		return nil, refuse(oauth.InvalidClient, "introspection needs client authentication (RFC 7662 §2.1)")
	}
	if compact == "" {
		return nil, refuse(oauth.InvalidRequest, "token is missing")
	}
	if client.WellFormed(client.RefreshPrefix, compact) {
		return a.introspectRefresh(ctx, asker, compact)
	}
	return a.introspectAccess(ctx, asker, compact)
}

// IntrospectFor tells a guard, known by its token for the feed, about an access
// token meant for what it guards. To anyone else every token is inactive.
func (a *Authority) IntrospectFor(ctx context.Context, clientID, compact string) (*Introspection, error) {
	if compact == "" {
		return nil, refuse(oauth.InvalidRequest, "token is missing")
	}
	asker, err := a.cfg.Clients.Client(ctx, clientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errEnded
	}
	if err != nil {
		return nil, err
	}
	return a.introspectAccess(ctx, asker, compact)
}

func (a *Authority) introspectAccess(ctx context.Context, asker *store.Client, compact string) (*Introspection, error) {
	c, err := a.cfg.Keys.Verify(compact)
	if err != nil {
		a.suspect(ctx, compact, err)
		return &Introspection{}, nil
	}
	now := a.cfg.Now()
	if !now.Before(c.Expiry) || !slices.Contains(asker.Guards, c.Audience[0]) {
		return &Introspection{}, nil
	}
	dead := true
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		dead, err = a.ended(tx, c)
		return err
	})
	if err != nil || dead {
		return &Introspection{}, err
	}
	return describe(c), nil
}

func (a *Authority) introspectRefresh(ctx context.Context, asker *store.Client, secret string) (*Introspection, error) {
	out := &Introspection{}
	now := a.cfg.Now()
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		*out = Introspection{}
		r, err := tx.Refresh(client.HashSecret(secret))
		if err != nil {
			return err
		}
		g, err := tx.Grant(r.GrantID)
		if err != nil {
			return err
		}
		if r.ClientID != asker.ID || !r.Spent.IsZero() || !g.Ended.IsZero() || !now.Before(r.Expires) {
			return nil
		}
		*out = Introspection{
			Active: true, Scope: scope.Set(g.Scope).String(), ClientID: g.ClientID, Subject: g.UserID,
			Issuer: a.cfg.Issuer, IssuedAt: r.Created.Unix(), Expiry: r.Expires.Unix(),
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return out, err
}

func describe(c *token.Claims) *Introspection {
	out := &Introspection{
		Active: true, Scope: c.Scope.String(), ClientID: c.ClientID, TokenType: oauth.Bearer,
		Expiry: c.Expiry.Unix(), IssuedAt: c.IssuedAt.Unix(), Subject: c.Subject, Audience: c.Audience[0],
		Issuer: c.Issuer, ID: c.ID, ACR: c.ACR,
	}
	if !c.AuthTime.IsZero() {
		out.AuthTime = c.AuthTime.Unix()
	}
	if c.Confirmation != nil && c.Confirmation.KeyThumbprint != "" {
		out.TokenType = oauth.DPoP
		out.Cnf = map[string]any{"jkt": c.Confirmation.KeyThumbprint}
	}
	out.Act = describeActor(c.Actor)
	return out
}

func describeActor(a *token.Actor) map[string]any {
	if a == nil {
		return nil
	}
	m := map[string]any{"iss": a.Issuer, "sub": a.Subject}
	if inner := describeActor(a.Actor); inner != nil {
		m["act"] = inner
	}
	return m
}

// ended reports whether a rule hits the token, or its grant has ended.
func (a *Authority) ended(tx *store.Tx, c *token.Claims) (bool, error) {
	if c.GrantID != "" {
		g, err := tx.Grant(c.GrantID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		if err == nil && !g.Ended.IsZero() {
			return true, nil
		}
	}
	names := []store.Named{
		{Kind: string(revoke.Everything), Value: revoke.Any}, {Kind: string(revoke.IssuedBefore), Value: revoke.Any},
	}
	for name := range c.Names() {
		if name.Issuer == a.cfg.Issuer { // another's actor may bear the name of one of ours
			names = append(names, store.Named{Kind: name.Kind, Value: name.Value})
		}
	}
	rules, err := tx.RulesOn(a.cfg.Now(), names)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(rules, func(rule store.Entry) bool {
		return revoke.Hits(rule, c.Rev, c.IssuedAt, c.AuthTime, c.Subject == c.ClientID)
	}), nil
}
