package grant

import (
	"context"
	"errors"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
)

// errEnded tells a caller no more than RFC 6750 §3.1 does.
var errEnded = &oauth.Error{Code: oauth.InvalidToken, Description: "the token is not good any more"}

// replicaSkew is how far the clocks of two replicas may be apart: iat is in whole
// seconds, and the one that checks need not be the one that issued.
const replicaSkew = 2 * time.Second

// Inspect checks a token sent to one of the issuer's own resources: signature,
// tag, times, audience, and in the store that nothing it rests on has ended.
func (a *Authority) Inspect(ctx context.Context, compact, audience string) (*token.Claims, error) {
	c, err := a.cfg.Keys.Verify(compact)
	if err != nil {
		a.suspect(ctx, compact, err)
		return nil, &oauth.Error{Code: oauth.InvalidToken, Description: "not a token of this issuer"}
	}
	err = c.Check(token.Expect{Issuer: a.cfg.Issuer, Audience: audience, Now: a.cfg.Now(), Leeway: replicaSkew})
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidToken, Description: "the token is expired, or not for this resource", Cause: err}
	}
	if c.Confirmation != nil && audience == a.feed {
		return nil, &oauth.Error{Code: oauth.InvalidToken, Description: "the feed takes bearer tokens only"}
	}
	return c, a.Live(ctx, c)
}

// Live checks in the store that nothing the token rests on has ended, and that
// its client may still act.
func (a *Authority) Live(ctx context.Context, c *token.Claims) error {
	var dead bool
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		dead, err = a.ended(tx, c)
		return err
	})
	if err != nil {
		return err
	}
	known, err := a.cfg.Clients.Client(ctx, c.ClientID)
	if errors.Is(err, store.ErrNotFound) || err == nil && known.Disabled {
		return errEnded
	}
	if err == nil && dead {
		return errEnded
	}
	return err
}

// Operator checks a token of the admin API beyond its signature: the mark of its
// client, and for a person a live grant, session and mark.
func (a *Authority) Operator(ctx context.Context, compact, audience string) error {
	c, err := a.Inspect(ctx, compact, audience)
	if err != nil {
		return err
	}
	known, err := a.cfg.Clients.Client(ctx, c.ClientID)
	if err == nil && !known.Admin {
		return errEnded
	}
	if err != nil || c.Subject == c.ClientID {
		return err
	}
	now := a.cfg.Now()
	return a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		user, err := tx.User(c.Subject)
		if errors.Is(err, store.ErrNotFound) || err == nil && (user.Disabled || !user.Admin) {
			return errEnded
		}
		if err != nil {
			return err
		}
		if _, err = tx.Grant(c.GrantID); errors.Is(err, store.ErrNotFound) {
			return errEnded
		}
		if err != nil || c.SessionID == "" {
			return err
		}
		s, err := tx.Session(c.SessionID)
		if errors.Is(err, store.ErrNotFound) || err == nil && !now.Before(s.Expires) {
			return errEnded
		}
		return err
	})
}
