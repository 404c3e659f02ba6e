package grant

import (
	"context"
	"errors"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
)

// Revoke answers RFC 7009: a client gives up one of its tokens. A refresh token
// ends the whole grant; an access token ends itself and what was exchanged from
// it. A token that is unknown or over already is a success (§2.2).
func (a *Authority) Revoke(ctx context.Context, creds client.Credentials, secret, address string) error {
	c, err := a.cfg.Clients.Authenticate(ctx, creds)
	if err != nil {
		return err
	}
	if secret == "" {
		return refuse(oauth.InvalidRequest, "token is missing")
	}
	now := a.cfg.Now()
	order := revoke.Order{By: c.ID, Address: address, Reason: "given up by its client", Now: now, Until: RuleUntil(now)}
	// token_type_hint is not needed: the forms cannot be confused.
	if client.WellFormed(client.RefreshPrefix, secret) {
		return a.revokeRefresh(ctx, c, secret, order)
	}
	t, err := a.cfg.Keys.Verify(secret)
	if err != nil {
		a.suspect(ctx, secret, err)
		return nil
	}
	if !now.Before(t.Expiry) {
		return nil
	}
	if !holds(c, t) {
		return refuse(oauth.UnauthorizedClient, "the token was issued to another client")
	}
	order.Kind, order.Value = revoke.Token, t.ID
	order.Until = t.Expiry.Add(2 * mint.Skew) // what was exchanged from it never outlives it
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		rules, err := tx.Rules(string(order.Kind), order.Value)
		if err != nil || len(rules) > 0 {
			return err // over already: it takes no second rule
		}
		return revoke.Write(tx, order)
	})
}

// holds reports whether the client is the one that asked for the token: the one
// acting in it, where it was exchanged.
func holds(c *store.Client, t *token.Claims) bool {
	if t.Actor != nil {
		return t.Actor.Subject == c.ID
	}
	return t.ClientID == c.ID
}

func (a *Authority) revokeRefresh(ctx context.Context, c *store.Client, secret string, order revoke.Order) error {
	var refused error
	err := a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		refused = nil
		r, err := tx.Refresh(client.HashSecret(secret))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.ClientID != c.ID {
			refused = refuse(oauth.UnauthorizedClient, "the token was issued to another client")
			return nil
		}
		g, err := tx.Grant(r.GrantID)
		if errors.Is(err, store.ErrNotFound) || err == nil && !g.Ended.IsZero() {
			return nil
		}
		if err != nil {
			return err
		}
		order.Kind, order.Value = revoke.Grant, r.GrantID
		return revoke.Write(tx, order)
	})
	if err == nil {
		err = refused
	}
	return err
}
