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
