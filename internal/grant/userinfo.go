package grant

import (
	"context"
	"errors"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
)

// Userinfo returns the claims about the person that the token's scopes name
// (OIDC Core §5.4). sub is always there.
func (a *Authority) Userinfo(ctx context.Context, c *token.Claims) (map[string]any, error) {
	var user *store.User
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		user, err = tx.User(c.Subject)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && user.Disabled {
		return nil, refuse(oauth.InvalidToken, "the person has no account any more")
	}
	if err != nil {
		return nil, err
	}
	out := map[string]any{"sub": user.ID}
	if c.Has(oauth.ScopeProfile) {
		out["name"], out["preferred_username"] = user.Name, user.Username
	}
	if c.Has(oauth.ScopeEmail) && user.Email != "" {
		out["email"] = user.Email
	}
	return out, nil
}
