package mint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// Emergency is what takes the place of a key that leaked: it waits for nobody.
type Emergency struct {
	mint      *Mint
	kid       string
	use, alg  string
	next, tag *store.Key // fresh ones, should none be waiting
}

// Prepare makes what replacing a key needs, outside the transaction that does it.
// The error is store.ErrNotFound when there is no such key to sign with.
func (m *Mint) Prepare(ctx context.Context, kid string) (*Emergency, error) {
	var key *store.Key
	err := m.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		key, err = find(tx, kid)
		return err
	})
	if err != nil {
		return nil, err
	}
	e := &Emergency{mint: m, kid: kid, use: key.Use, alg: key.Algorithm}
	if e.next, err = m.generate(key.Use, key.Algorithm); err != nil {
		return nil, err
	}
	e.tag, err = m.generate(useTag, macAlgorithm)
	return e, err
}

// find finds a key that signs.
func find(tx *store.Tx, kid string) (*store.Key, error) {
	keys, err := tx.Keys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ID == kid && (k.Use == useSign || k.Use == useFeed) {
			return k, nil
		}
	}
	return nil, store.ErrNotFound
}

// Signs reports whether the key signs access tokens, so that a rule on it ends some.
func (e *Emergency) Signs() bool { return e.use == useSign }

// Apply ends the key in the store, lets the next one sign from now on, and replaces
// the key of the tags, which is kept beside it. It returns the key that signs now:
// the one that was waiting, if there was one, because guards may hold it already.
func (e *Emergency) Apply(tx *store.Tx, now time.Time) (next string, err error) {
	leaked, err := find(tx, e.kid)
	if err != nil {
		return "", err
	}
	if !leaked.Ended.IsZero() {
		return "", fmt.Errorf("key %s: %w", e.kid, errEnded)
	}
	keys, err := tx.Keys()
	if err != nil {
		return "", err
	}
	f := familyOf(keys, e.use, e.alg)
	leaked.Ended = now
	if leaked.Retired.IsZero() {
		leaked.Retired, leaked.Expires = now, now.Add(e.mint.plan.retain)
	}
	if err := tx.PutKey(leaked); err != nil {
		return "", err
	}
	signing := f.signing
	if signing == nil || signing.ID == e.kid { // otherwise the leaked one was not in use
		signing = f.waiting
		if signing == nil || signing.ID == e.kid {
			signing = e.next
			signing.Created = now
		}
		signing.Active = now
		if err := tx.PutKey(signing); err != nil {
			return "", err
		}
	}
	if err := e.replaceTag(tx, familyOf(keys, useTag, macAlgorithm), now); err != nil {
		return "", err
	}
	return signing.ID, tx.Append(store.Entry{Kind: "key", Value: e.kid, Reason: "key.compromise", At: now})
}

// Settle removes the key that Prepare made from the vault, if next took its place or
// nothing did. It is called when the transaction is known to be over.
func (e *Emergency) Settle(next string) {
	if next != e.next.ID {
		e.mint.forget(e.next)
	}
}

var errEnded = errors.New("was ended before")

// IsEnded reports whether Apply refused because the key was ended before.
func IsEnded(err error) bool { return errors.Is(err, errEnded) }

// replaceTag retires the tag key: who read one key of this server may have read both.
func (e *Emergency) replaceTag(tx *store.Tx, f family, now time.Time) error {
	fresh := e.tag
	if f.waiting != nil {
		fresh = f.waiting
	} else {
		fresh.Created = now
	}
	fresh.Active = now
	if err := tx.PutKey(fresh); err != nil || f.signing == nil {
		return err
	}
	f.signing.Retired, f.signing.Expires = now, now.Add(e.mint.plan.retain)
	return tx.PutKey(f.signing)
}
