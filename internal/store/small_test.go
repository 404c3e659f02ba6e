package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/writ-auth/writ/internal/store"
)

func TestSmallRecords(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d, other := open(issuer), open("https://other.example.com")
		update(t, d, func(tx *store.Tx) error {
			if a, err := tx.Attempt("k"); err != nil || a != (store.Attempt{Key: "k"}) {
				t.Errorf("missing Attempt = %+v, %v, want zero", a, err)
			}
			return errors.Join(tx.PutAttempt(store.Attempt{Key: "k", Level: 7, At: base}), tx.PutMeta("m", "1"),
				tx.PutMeta("m", "2"), tx.PutSession(session))
		})
		for i, want := range []bool{true, false, false} {
			var got bool
			update(t, d, func(tx *store.Tx) (err error) {
				got, err = tx.Once("p", []byte("h"), base)
				return err
			})
			if got != want {
				t.Errorf("Once, call %d = %v, want %v", i+1, got, want)
			}
		}
		view(t, d, func(tx *store.Tx) error {
			if a, err := tx.Attempt("k"); err != nil || a != (store.Attempt{Key: "k", Level: 7, At: base}) {
				t.Errorf("Attempt = %+v, %v", a, err)
			}
			if v, err := tx.Meta("m"); err != nil || v != "2" {
				t.Errorf("Meta = %q, %v, want 2", v, err)
			}
			s, err := tx.SessionBySecret(session.SecretHash)
			if err != nil || s.ID != "s1" {
				t.Errorf("SessionBySecret = %v, %v, want s1", s, err)
			}
			return nil
		})
		epoch := func(d *store.DB) (v string) {
			view(t, d, func(tx *store.Tx) (err error) { v, err = tx.Meta(store.MetaEpoch); return err })
			return v
		}
		if a, b, again := epoch(d), epoch(other), epoch(open(issuer)); a == b || a != again || len(a) < 20 {
			t.Errorf("epochs %q, other issuer %q, reopened %q: want random, one an issuer, kept", a, b, again)
		}
		update(t, other, func(tx *store.Tx) error {
			if first, err := tx.Once("p", []byte("h"), base); err != nil || !first {
				t.Errorf("Once of another issuer = %v, %v, want true", first, err)
			}
			return nil
		})
	})
}

func TestUnstorableTextIsNotFoundAndNotWritten(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		for _, bad := range []string{"a\x00b", "\xff"} {
			view(t, d, func(tx *store.Tx) error {
				if _, err := tx.UserByName(bad); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("UserByName(%q) = %v, want ErrNotFound", bad, err)
				}
				return nil
			})
			err := d.Update(context.Background(), func(tx *store.Tx) error {
				tx.PutUser(user)
				tx.PutClient(&store.Client{ID: bad})
				return nil // hides the error
			})
			if err == nil || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Update with text %q = %v, want an error that says so", bad, err)
			}
			view(t, d, func(tx *store.Tx) error {
				if _, err := tx.User("u1"); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("user after the failed Update = %v, want ErrNotFound", err)
				}
				return nil
			})
		}
	})
}
