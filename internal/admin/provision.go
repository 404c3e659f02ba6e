package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/writ-auth/writ/internal/store"
)

// Plan is what has to be there when a server starts.
type Plan struct {
	Resources []Resource
	Clients   []Registration // confidential ones with the secret the caller chose
	Users     []NewUser      // known by user name
}

// Provision sees to it that the built-in client and all that plan names are
// there. Resources and clients become what the plan says, except that a client
// an operator switched off stays off; people who are there are left alone. When
// nothing is missing it writes nothing.
func (a *Admin) Provision(ctx context.Context, plan Plan) error {
	users, err := a.missing(ctx, plan.Users)
	if err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	clients := append([]Registration{{Client: a.cli()}}, plan.Clients...)
	now := a.act(System, "", "").now
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		for _, r := range plan.Resources {
			if err := a.layResource(tx, act{System, now, "resource.add", r.URI}, r); err != nil {
				return fmt.Errorf("resource %s: %w", r.URI, err)
			}
		}
		for _, c := range clients {
			if err := a.layClient(tx, act{System, now, "client.add", c.ID}, c); err != nil {
				return fmt.Errorf("client %s: %w", c.ID, err)
			}
		}
		for _, u := range users {
			if err := layUser(tx, act{System, now, "user.add", u.ID}, *u); err != nil {
				return fmt.Errorf("user %s: %w", u.Username, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	return nil
}

// missing returns the people who are not there yet, with their passwords hashed:
// only they are worth the work.
func (a *Admin) missing(ctx context.Context, wanted []NewUser) ([]*store.User, error) {
	var users []*store.User
	for _, w := range wanted {
		found, err := a.UsersNamed(ctx, w.Username)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			continue
		}
		u, err := a.newUser(w)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", w.Username, err)
		}
		users = append(users, u)
	}
	return users, nil
}

func (a *Admin) layResource(tx *store.Tx, act act, in Resource) error {
	set, err := a.checkResource(in)
	if err != nil {
		return err
	}
	set.Created = act.now
	old, err := tx.Resource(set.URI)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		set.Created = old.Created
		if same(viewResource(old), set) {
			return nil
		}
		act.action = "resource.set"
	}
	if err := tx.PutResource(set.record()); err != nil {
		return err
	}
	return act.note(tx, nil)
}

func (a *Admin) layClient(tx *store.Tx, act act, in Registration) error {
	set, hash := in.complete(), hashOf(string(in.Secret))
	set.Created = act.now
	old, err := tx.Client(set.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	lost, was := false, Client{}
	if err == nil {
		was = viewClient(old)
		set.Created, set.Disabled = was.Created, was.Disabled
		if same(was, set) && bytes.Equal(old.SecretHash, hash) {
			return nil
		}
		act.action, lost = "client.set", set.narrower(was)
	}
	if set, err = a.checkClient(tx, set); err != nil {
		return err
	}
	if err := tx.PutClient(set.record(hash)); err != nil {
		return err
	}
	if lost {
		if err := act.end(tx, "client", set.ID, "client changed"); err != nil {
			return err
		}
	}
	if err := act.inner(tx, was, set); err != nil {
		return err
	}
	return act.note(tx, nil)
}

func layUser(tx *store.Tx, act act, u store.User) error {
	_, err := tx.UserByName(u.Username)
	if err == nil {
		return nil // another replica was first
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	u.Created = act.now
	return act.addUser(tx, &u)
}
