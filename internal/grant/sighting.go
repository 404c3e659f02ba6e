package grant

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
)

// A Sighting is a token that a guard saw, without the token.
type Sighting struct {
	ID     string // jti
	Digest []byte // what its tag covers; nil when the jti has none
}

// Sighted returns the ids of the tokens that this issuer may not have made. A wrong
// tag alone is a suspicion, because a guard can say what it likes: the whole token
// decides, so these are asked for.
func (a *Authority) Sighted(seen []Sighting) []string {
	var suspicious []string
	for _, s := range seen {
		if !a.cfg.Keys.Issued(s.ID, s.Digest) {
			suspicious = append(suspicious, s.ID)
		}
	}
	return suspicious
}

// Shown judges a whole token that was asked for. Only a good signature under a wrong
// tag raises the alarm; anything else proves nothing but that the guard lied.
func (a *Authority) Shown(ctx context.Context, compact, guard string) error {
	_, err := a.cfg.Keys.Verify(compact)
	if errors.Is(err, mint.ErrForged) {
		return a.alarm(ctx, compact, guard)
	}
	return nil
}

// suspect raises the alarm over a token that was sent to the issuer itself and that
// its key signed and nobody issued. The caller's answer does not depend on it.
func (a *Authority) suspect(ctx context.Context, compact string, err error) {
	if !errors.Is(err, mint.ErrForged) {
		return
	}
	if err := a.alarm(ctx, compact, ""); err != nil {
		a.cfg.Logger.Error("alarm over a signing key not kept", "error", err)
	}
}

// alarm says that a signing key is in foreign hands: in the counter each time, in the
// log at most once a second for each key, in the key's record and the audit trail the first time.
func (a *Authority) alarm(ctx context.Context, compact, guard string) error {
	a.foreign.Add(1)
	now := a.cfg.Now()
	kid, id := mint.Named(compact)
	if !a.alarming.due(kid, now) {
		return nil
	}
	detail, err := json.Marshal(map[string]string{"jti": id, "guard": guard})
	if err != nil {
		return err
	}
	a.cfg.Logger.Error("signing key in foreign hands: a token with a valid signature was never issued",
		"kid", kid, "jti", id, "guard", guard)
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		first, err := tx.KeyForeign(kid, now)
		if err != nil || !first {
			return err
		}
		if err := tx.Append(store.Entry{Kind: "key", Value: kid, Reason: "key.foreign", At: now}); err != nil {
			return err
		}
		return tx.Audit(store.Audit{
			At: now, Actor: "system", Action: "key.foreign", Target: kid, Detail: string(detail),
		})
	})
}

// pace remembers when the last alarm over each key was kept. Only keys of this issuer
// get in.
type pace struct {
	mu   sync.Mutex
	last map[string]time.Time // guarded by mu; by kid
}

func (p *pace) due(kid string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.last[kid]) < time.Second {
		return false
	}
	if p.last == nil {
		p.last = make(map[string]time.Time)
	}
	p.last[kid] = now
	return true
}

// Foreign counts the alarms since the start.
func (a *Authority) Foreign() uint64 { return a.foreign.Load() }
