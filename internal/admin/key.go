package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
)

// Keys lists the issuer's signing keys, newest first.
func (a *Admin) Keys() ([]mint.KeyState, error) {
	if a.cfg.Keys == nil {
		return nil, wrong("", "keys cannot be opened without the sealing key")
	}
	return append([]mint.KeyState{}, a.cfg.Keys.Keys()...), nil
}

// RotateKey publishes the next signing key of an algorithm ahead of the
// schedule; "" is the issuer's default. It returns the id of the key that waits:
// signing moves to it when it has been public long enough for every guard.
func (a *Admin) RotateKey(ctx context.Context, by By, alg string) (string, error) {
	if a.cfg.Keys == nil {
		return "", wrong("", "keys cannot be opened without the sealing key")
	}
	offered := a.cfg.Keys.Algorithms()
	if alg == "" {
		alg = offered[0]
	}
	if !slices.Contains(offered, alg) {
		return "", wrong("algorithm", "must be one of %s", strings.Join(offered, ", "))
	}
	id, err := a.cfg.Keys.Advance(ctx, alg)
	if err != nil {
		return "", err
	}
	// Advance has written what became of the keys; this line says who asked.
	act := a.act(by, "key.rotate", id)
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		return act.audit(tx, map[string]any{"algorithm": alg})
	})
	return id, err
}

// endable refuses to end a key that signs: what it signs next would be dead too.
func endable(tx *store.Tx, id string) error {
	keys, err := tx.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id && k.Retired.IsZero() {
			return wrong("value", "is a key in use: compromise it, and the next one takes its place (writ key compromise)")
		}
	}
	return nil
}

// withdraw takes an ended key out of the published set. One that is not here, or not
// any more, can be ended all the same: only the rule counts.
func (c act) withdraw(tx *store.Tx, id string) error {
	if err := endable(tx, id); err != nil {
		return err
	}
	keys, err := tx.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID != id || !k.Ended.IsZero() {
			continue
		}
		k.Ended = c.now
		if err := tx.PutKey(k); err != nil {
			return err
		}
		return tx.Append(store.Entry{Kind: "key", Value: id, Reason: "key.end", At: c.now})
	}
	return nil
}
