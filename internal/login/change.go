package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// Change is what a signed-in person brings to set a new password.
type Change struct {
	UserID    string
	Old, New  Secret
	Address   string
	UserAgent string
}

// SetPassword replaces a password by one that is Acceptable and ends everything
// the person was signed in to, applications that go on while they are away too:
// whoever knew the old password is out. The browser at hand gets a new session.
// The error is ErrCredentials, a Weak or a *Throttled when the person can do
// something about it.
func (l *Login) SetPassword(ctx context.Context, c Change) (*SignIn, error) {
	u, err := l.user(ctx, c.UserID)
	if err != nil {
		return nil, err
	}
	if err := Acceptable(string(c.New), u.Username); err != nil {
		return nil, err
	}
	buckets := []bucket{{l.bucketKey("change", u.ID), changeLimit}}
	ok, err := l.prove(ctx, l.known, buckets, u.PasswordHash, c.Old)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, l.refuse(ctx, u, c.Address, "password change")
	}
	if c.Old == c.New {
		return nil, Weak("The new password is the one you have.")
	}
	hash, err := l.hash(ctx, c.New)
	if err != nil {
		return nil, err
	}
	return l.change(ctx, u, hash, buckets, c)
}

// change writes the new password and all that follows from it.
func (l *Login) change(ctx context.Context, u *store.User, hash string, buckets []bucket, c Change) (*SignIn, error) {
	changed := *u
	changed.PasswordHash = hash
	f, err := l.fresh(&changed, nil, c.Address, c.UserAgent)
	if err != nil {
		return nil, err
	}
	s := f.session
	everything := l.order(revoke.Subject, u.ID, "password changed", u.ID, c.Address)
	err = l.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		is, err := current(tx, u)
		if err != nil {
			return err
		}
		is.PasswordHash = hash
		if err := tx.PutUser(is); err != nil {
			return err
		}
		if err := revoke.Write(tx, everything); err != nil {
			return err
		}
		if err := tx.PutSession(s); err != nil {
			return err
		}
		if err := refund(tx, buckets, s.AuthTime); err != nil {
			return err
		}
		if err := tx.Audit(started(s)); err != nil {
			return err
		}
		return tx.Audit(store.Audit{At: s.Created, Actor: u.ID, Action: "user.password", Target: u.ID, Address: c.Address})
	})
	if errors.Is(err, errChanged) {
		return nil, l.refuse(ctx, u, c.Address, "account changed")
	}
	if err != nil {
		return nil, fmt.Errorf("set password: %w", err)
	}
	l.cfg.Logger.Info("password changed", "sub", u.ID, "sid", s.ID, "address", c.Address)
	return f.signIn(), nil
}

// user reads an account that may be signed in to.
func (l *Login) user(ctx context.Context, id string) (*store.User, error) {
	var u *store.User
	err := l.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		u, err = tx.User(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && u.Disabled {
		return nil, ErrNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	return u, nil
}

// hash is HashPassword within the limits on hashing.
func (l *Login) hash(ctx context.Context, password Secret) (string, error) {
	leave, err := l.known.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return HashPassword(string(password), l.cfg.Rand)
}
