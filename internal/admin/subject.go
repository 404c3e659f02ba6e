package admin

import (
	"context"
	"errors"

	"github.com/writ-auth/writ/internal/store"
)

// SubjectID names a person in one of the formats of RFC 9493 §3.
type SubjectID struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss,omitempty"`   // of iss_sub
	Subject string `json:"sub,omitempty"`   // of iss_sub
	Email   string `json:"email,omitempty"` // of email
	ID      string `json:"id,omitempty"`    // of opaque: a subject id of this issuer
}

// ErrFormat is a format of a subject identifier that is not known here.
var ErrFormat = errors.New("admin: the format of sub_id is none of iss_sub, email, opaque")

// check refuses an identifier that lacks what its format needs, or has more.
func (s SubjectID) check() error {
	want := map[string]SubjectID{
		"iss_sub": {Format: s.Format, Issuer: s.Issuer, Subject: s.Subject},
		"email":   {Format: s.Format, Email: s.Email},
		"opaque":  {Format: s.Format, ID: s.ID},
	}
	own, known := want[s.Format]
	switch {
	case s.Format == "":
		return wrong("format", "must be there")
	case !known:
		return ErrFormat
	case own != s || s.Issuer == "" != (s.Subject == "") || s.Subject+s.Email+s.ID == "":
		return wrong("sub_id", "has not the members of format %s and no others (RFC 9493)", s.Format)
	}
	return nil
}

// EndSubject ends everything of a person: sessions, grants, and every token. It is
// store.ErrNotFound for a person who is not here, and ErrFormat.
func (a *Admin) EndSubject(ctx context.Context, by By, s SubjectID) error {
	if err := s.check(); err != nil {
		return err
	}
	act := a.act(by, "subject.end", "")
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		users, err := a.named(tx, s)
		if err != nil {
			return err
		}
		for _, u := range users { // of one address, all: it names the mailbox's owner
			if err := act.end(tx, "subject", u.ID, "global token revocation"); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *Admin) named(tx *store.Tx, s SubjectID) ([]*store.User, error) {
	if s.Format == "email" {
		users, err := tx.UsersByEmail(s.Email)
		if err == nil && len(users) == 0 {
			err = store.ErrNotFound
		}
		return users, err
	}
	if s.Format == "iss_sub" && s.Issuer != a.cfg.Issuer {
		return nil, store.ErrNotFound
	}
	u, err := tx.User(s.Subject + s.ID)
	return []*store.User{u}, err
}
