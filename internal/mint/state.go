package mint

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// KeyState is one key that signs, in words.
type KeyState struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	Use       string    `json:"use"`
	State     string    `json:"state"` // waiting, signing, retired or ended
	Created   time.Time `json:"created"`
	Due       time.Time `json:"due,omitzero"` // of one that waits: it does not sign before; from then on, once every guard holds it
	Active    time.Time `json:"active,omitzero"`
	Retired   time.Time `json:"retired,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`   // with all it signed
	Expires   time.Time `json:"expires,omitzero"` // leaves the key set then
	Latest    time.Time `json:"latest,omitzero"`  // no token it signed lives longer
	Foreign   time.Time `json:"foreign,omitzero"` // since when a token is known that it signed and nobody issued
}

// Keys lists the keys that sign, newest first.
func (m *Mint) Keys() []KeyState {
	r := m.state.Load()
	var out []KeyState
	for _, k := range r.keys {
		if k.Use != useSign && k.Use != useFeed {
			continue
		}
		state, due := "signing", time.Time{}
		switch {
		case !k.Ended.IsZero():
			state = "ended"
		case !k.Retired.IsZero():
			state = "retired"
		case k.Active.IsZero():
			state, due = "waiting", k.Created.Add(m.plan.publish)
		}
		latest := k.Latest
		if s := r.signers[k.Algorithm]; s != nil && s.id == k.ID {
			latest = later(latest, s.latest.time())
		}
		out = append(out, KeyState{k.ID, k.Algorithm, k.Use, state, k.Created, due, k.Active, k.Retired, k.Ended, k.Expires, latest, k.Foreign})
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// latest is the highest exp a key has signed, in seconds of the epoch.
type latest struct{ atomic.Int64 }

func (l *latest) raise(exp time.Time) {
	for at := exp.Unix(); ; {
		was := l.Load()
		if at <= was || l.CompareAndSwap(was, at) {
			return
		}
	}
}

func (l *latest) time() time.Time {
	if at := l.Load(); at > 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// note keeps until when this replica's keys have living tokens.
func (m *Mint) note(ctx context.Context) error {
	r := m.state.Load()
	return m.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		for _, s := range r.signers {
			if at := s.latest.time(); !at.IsZero() {
				if err := tx.KeyUsed(s.id, at); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
