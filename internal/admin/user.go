package admin

import (
	"context"
	"errors"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/store"
)

// userPrefix begins the id of every person, and of no client.
const userPrefix = "u_"

// User is a person as operators see and set them.
type User struct {
	ID       string    `json:"id,omitempty"` // random; becomes sub
	Username string    `json:"username"`
	Name     string    `json:"name"`
	Email    string    `json:"email"`
	Admin    bool      `json:"admin"`    // may be given the admin scopes
	Disabled bool      `json:"disabled"` // can neither sign in nor be acted for
	Created  time.Time `json:"created,omitzero"`
}

// NewUser is a person and the password they begin with.
type NewUser struct {
	User
	Password login.Secret `json:"password,omitempty"` // "": an account nobody can sign in to yet
}

func viewUser(u *store.User) User {
	return User{ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, Admin: u.Admin, Disabled: u.Disabled, Created: u.Created}
}

func (u User) record(hash string) *store.User {
	return &store.User{
		ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, PasswordHash: hash,
		Admin: u.Admin, Disabled: u.Disabled, Created: u.Created,
	}
}

// AddUser adds a person.
func (a *Admin) AddUser(ctx context.Context, by By, in NewUser) (*User, error) {
	if !in.Created.IsZero() {
		return nil, wrong("created", "is set by the server")
	}
	if in.ID != "" {
		return nil, wrong("id", "is set by the server")
	}
	u, err := a.newUser(in)
	if err != nil {
		return nil, err
	}
	act := a.act(by, "user.add", u.ID)
	u.Created = act.now
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error { return act.addUser(tx, u) })
	if errors.Is(err, store.ErrConflict) {
		return nil, &Taken{Field: "username", Value: u.Username}
	}
	if err != nil {
		return nil, err
	}
	view := viewUser(u)
	return &view, nil
}

// newUser checks a person and hashes the password, outside any transaction.
func (a *Admin) newUser(in NewUser) (*store.User, error) {
	set, err := checkUser(in.User)
	if err != nil {
		return nil, err
	}
	hash, err := a.hash(in.Password, set.Username)
	if err != nil {
		return nil, err
	}
	if set.ID, err = a.random(userPrefix, 16); err != nil {
		return nil, err
	}
	return set.record(hash), nil
}

func (c act) addUser(tx *store.Tx, u *store.User) error {
	if err := tx.AddUser(u); err != nil {
		return err
	}
	return c.audit(tx, map[string]any{"username": u.Username, "admin": u.Admin})
}

// hash checks a password and returns what is stored for it.
func (a *Admin) hash(password login.Secret, username string) (string, error) {
	if password == "" {
		return "", nil
	}
	var weak login.Weak
	if err := login.Acceptable(string(password), username); errors.As(err, &weak) {
		return "", wrong("password", "%s", string(weak))
	} else if err != nil {
		return "", err
	}
	return login.HashPassword(string(password), a.cfg.Rand)
}

// User finds a person by id.
func (a *Admin) User(ctx context.Context, id string) (*User, error) {
	var found User
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		u, err := tx.User(id)
		if err == nil {
			found = viewUser(u)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// UsersNamed returns the person of a user name, or nobody.
func (a *Admin) UsersNamed(ctx context.Context, username string) ([]User, error) {
	var found []User
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		found = []User{}
		u, err := tx.UserByName(normal(username))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			found = append(found, viewUser(u))
		}
		return err
	})
	return found, err
}

// Users lists people by id.
func (a *Admin) Users(ctx context.Context, after string, limit int) (Page[User], error) {
	limit, err := pageSize(limit)
	if err != nil {
		return Page[User]{}, err
	}
	var found []*store.User
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Users(after, limit+1)
		return err
	})
	return page(found, limit, viewUser, func(u *store.User) string { return u.ID }), err
}

// SetUser changes a person; change may run more than once. password, unless
// empty, becomes the new one. A new password, a lost mark and a disabled account
// end all the person is signed in to.
func (a *Admin) SetUser(ctx context.Context, by By, id string, password login.Secret, change func(*User) error) (*User, error) {
	before, err := a.User(ctx, id)
	if err != nil {
		return nil, err
	}
	hash, err := a.hash(password, before.Username)
	if err != nil {
		return nil, err
	}
	act := a.act(by, "user.set", id)
	var set User
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		old, err := tx.User(id)
		if err != nil {
			return err
		}
		was, in := viewUser(old), viewUser(old)
		if err := change(&in); err != nil {
			return err
		}
		if in.ID != was.ID || !in.Created.Equal(was.Created) {
			return wrong("id", "cannot be changed")
		}
		if set, err = settle(was, in); err != nil {
			return err
		}
		detail := changed(was, set)
		keep := old.PasswordHash
		if hash != "" {
			keep, detail["password"] = hash, "changed"
		}
		if err := tx.PutUser(set.record(keep)); err != nil {
			return err
		}
		if hash != "" || set.Disabled && !was.Disabled || was.Admin && !set.Admin {
			if err := act.end(tx, "subject", id, "account changed by an operator"); err != nil {
				return err
			}
		}
		return act.audit(tx, detail)
	})
	if errors.Is(err, store.ErrConflict) {
		return nil, &Taken{Field: "username", Value: set.Username}
	}
	if err != nil {
		return nil, err
	}
	return &set, nil
}

// settle checks a changed account. Switching one off is always possible, even one
// that would not be taken today.
func settle(was, in User) (User, error) {
	rest := in
	rest.Disabled = was.Disabled
	if in.Disabled && same(rest, was) {
		return in, nil
	}
	return checkUser(in)
}

// RemoveUser removes a person and ends everything they are signed in to.
func (a *Admin) RemoveUser(ctx context.Context, by By, id string) error {
	act := a.act(by, "user.remove", id)
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		u, err := tx.User(id)
		if err != nil {
			return err
		}
		if err := act.end(tx, "subject", id, "account removed"); err != nil {
			return err
		}
		if err := tx.DeleteUser(id); err != nil {
			return err
		}
		return act.audit(tx, map[string]any{"username": u.Username})
	})
}

// normal makes the same user name the same bytes on every keyboard.
func normal(username string) string { return norm.NFC.String(strings.TrimSpace(username)) }

func checkUser(u User) (User, error) {
	u.Username = normal(u.Username)
	if u.Username == "" || strings.ContainsFunc(u.Username, unicode.IsSpace) {
		return u, wrong("username", "must be there, without spaces")
	}
	if err := plain("username", u.Username, 64); err != nil {
		return u, err
	}
	if u.Name == "" {
		u.Name = u.Username
	}
	if err := plain("name", u.Name, maxName); err != nil {
		return u, err
	}
	if u.Email != "" {
		parsed, err := mail.ParseAddress(u.Email)
		if err != nil || parsed.Address != u.Email || len(u.Email) > 254 {
			return u, wrong("email", "is no plain e-mail address")
		}
	}
	return u, nil
}
