package admin

import (
	"context"
	"errors"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/store"
)

// InvitePrefix begins every invitation code.
const InvitePrefix = "writ_in_"

// inviteLife is how long an invitation is good for.
const inviteLife = 15 * time.Minute

// roleOwner is the one role an invitation gives today.
const roleOwner = "owner"

// ErrInvite is an invitation code that is unknown, used or too old. Which of
// them, nobody is told.
var ErrInvite = errors.New("admin: no such invitation")

// Invitation lets its bearer, once, make an account that may do everything.
type Invitation struct {
	URL     string       `json:"url"` // the page to type the code into: no code in a URL, where logs and histories keep it
	Code    login.Secret `json:"code"`
	Expires time.Time    `json:"expires"`
}

// Invite makes an invitation. It is for whoever has the host.
func (a *Admin) Invite(ctx context.Context, by By) (*Invitation, error) {
	code, err := client.NewSecret(InvitePrefix, a.cfg.Rand)
	if err != nil {
		return nil, err
	}
	act := a.act(by, "invite.add", roleOwner)
	i := &store.Invite{Hash: client.HashSecret(code), Role: roleOwner, Created: act.now, Expires: act.now.Add(inviteLife)}
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if err := tx.PutInvite(i); err != nil {
			return err
		}
		return act.audit(tx, nil)
	})
	if err != nil {
		return nil, err
	}
	return &Invitation{URL: a.cfg.Issuer + "/invite", Code: login.Secret(code), Expires: i.Expires}, nil
}

// open reports whether an invitation can still be redeemed.
func open(i *store.Invite, now time.Time) bool { return i.Used.IsZero() && now.Before(i.Expires) }

// invited looks at an invitation without spending it.
func (a *Admin) invited(ctx context.Context, hash []byte) error {
	now, good := a.cfg.Now(), false
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		i, err := tx.Invite(hash)
		good = err == nil && open(i, now)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !good {
		return ErrInvite
	}
	return err
}

// Redeem spends an invitation for an account with the mark admin. An *Error says
// what to change in the form; the code stays good then.
func (a *Admin) Redeem(ctx context.Context, code login.Secret, in NewUser, address string) (*User, error) {
	if !client.WellFormed(InvitePrefix, string(code)) {
		return nil, ErrInvite
	}
	hash := client.HashSecret(string(code))
	if err := a.invited(ctx, hash); err != nil {
		return nil, err // before the password is hashed, which is work
	}
	if in.Password == "" {
		return nil, wrong("password", "must be there")
	}
	in.ID, in.Created, in.Admin, in.Disabled = "", time.Time{}, true, false
	u, err := a.newUser(in)
	if err != nil {
		return nil, err
	}
	act := a.act(By{Actor: u.ID, Address: address}, "invite.redeem", u.ID)
	u.Created = act.now
	var spent bool
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		spent = false
		i, err := tx.Invite(hash)
		if errors.Is(err, store.ErrNotFound) || err == nil && !open(i, act.now) {
			spent = true
			return nil
		}
		if err != nil {
			return err
		}
		i.Used = act.now
		if err := tx.PutInvite(i); err != nil {
			return err
		}
		return act.addUser(tx, u)
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		return nil, &Taken{Field: "username", Value: u.Username}
	case err != nil:
		return nil, err
	case spent:
		return nil, ErrInvite
	}
	view := viewUser(u)
	return &view, nil
}
