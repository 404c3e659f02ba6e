package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// Revocation says what to end.
type Revocation struct {
	Kind   string `json:"kind"` // jti, grant, session, subject or client
	Value  string `json:"value"`
	Reason string `json:"reason"`
}

// Ended says what became of a revocation.
type Ended struct {
	Position  uint64  `json:"position"`  // of the rule in the feed
	Confirmed int     `json:"confirmed"` // connected guards that said they obey it
	Unreached []Guard `json:"unreached"` // guards that did not say so in time
}

// Guard is one connection of a guard and what it last said it holds.
type Guard struct {
	ClientID  string    `json:"client_id"`
	Instance  string    `json:"instance"`
	Connected bool      `json:"connected"` // it reported within the last minute
	Current   bool      `json:"current"`   // it holds every rule there is
	Position  uint64    `json:"position"`
	Epoch     string    `json:"epoch"`
	KeyIDs    []string  `json:"kids"`
	Seen      time.Time `json:"seen"`
}

const (
	connected = time.Minute           // a guard reports at least every 30 s
	forgotten = time.Hour             // one that was silent for so long is gone, not unreached
	promise   = time.Second           // within which guards obey
	lookAgain = 50 * time.Millisecond // while waiting for their word
	maxReason = 200                   // characters
)

// End ends every token that r names, and waits up to a second for the guards
// that are connected to say that they obey.
func (a *Admin) End(ctx context.Context, by By, r Revocation) (*Ended, error) {
	kinds := make([]string, 0, 5)
	for _, k := range revoke.Kinds() {
		kinds = append(kinds, string(k))
	}
	switch {
	case !slices.Contains(kinds, r.Kind):
		return nil, wrong("kind", "must be one of %s", strings.Join(kinds, ", "))
	case r.Value == "" || len(r.Value) > maxURI:
		return nil, wrong("value", "must be there, and at most %d bytes", maxURI)
	}
	if err := plain("value", r.Value, maxURI); err != nil {
		return nil, err
	}
	if r.Reason == "" {
		r.Reason = "ended by an operator"
	}
	if err := plain("reason", r.Reason, maxReason); err != nil {
		return nil, err
	}
	act := a.act(by, "", r.Value)
	err := a.cfg.DB.Update(ctx, func(tx *store.Tx) error { return act.end(tx, r.Kind, r.Value, r.Reason) })
	if err != nil {
		return nil, err
	}
	return a.confirm(ctx, r)
}

// Rule is a revocation that stands.
type Rule struct {
	Position uint64    `json:"position"`
	Kind     string    `json:"kind"`
	Value    string    `json:"value"`
	Effect   string    `json:"effect"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"` // no token it hits is alive then
}

// Rules lists the revocations of exactly this value, newest first.
func (a *Admin) Rules(ctx context.Context, kind, value string) ([]Rule, error) {
	if kind == "" || value == "" {
		return nil, wrong("value", "must be there, and kind too")
	}
	var rules []Rule
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		rules = []Rule{}
		entries, err := tx.Rules(kind, value)
		for _, e := range entries {
			rules = append(rules, Rule{e.Position, e.Kind, e.Value, e.Effect, e.Reason, e.At, e.Until})
		}
		return err
	})
	return rules, err
}

// confirm waits for the guards. The rule stands whatever comes of it.
func (a *Admin) confirm(ctx context.Context, r Revocation) (*Ended, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), promise)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	out := &Ended{Unreached: []Guard{}}
	for {
		position, guards, err := a.reach(ctx, r)
		if err != nil && out.Position == 0 {
			return nil, err
		}
		if err != nil {
			return out, nil
		}
		out.Position, out.Confirmed, out.Unreached = position, 0, []Guard{}
		waiting := false
		for _, g := range guards {
			if g.Current {
				out.Confirmed++
				continue
			}
			out.Unreached = append(out.Unreached, g)
			waiting = waiting || g.Connected
		}
		if !waiting {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, nil
		case <-tick.C:
		}
	}
}

// reach reads where the newest rule about r stands and which guards hold it.
func (a *Admin) reach(ctx context.Context, r Revocation) (uint64, []Guard, error) {
	now := a.cfg.Now()
	var position uint64
	var guards []Guard
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		rules, err := tx.Rules(r.Kind, r.Value)
		if err != nil {
			return err
		}
		if len(rules) > 0 {
			position = rules[0].Position
		}
		guards, err = viewGuards(tx, now, position)
		return err
	})
	return position, guards, err
}

// Guards lists the guards seen in the last hour.
func (a *Admin) Guards(ctx context.Context) ([]Guard, error) {
	now := a.cfg.Now()
	var guards []Guard
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if guards, err = viewGuards(tx, now, 0); err != nil {
			return err
		}
		behind := ^uint64(0)
		for _, g := range guards {
			if g.Current { // of this epoch
				behind = min(behind, g.Position)
			}
		}
		newest, err := newsAfter(tx, behind)
		for i := range guards {
			guards[i].Current = guards[i].Current && guards[i].Position >= newest
		}
		return err
	})
	return guards, err
}

// newsAfter is the position of the last entry after a position that guards
// report about: they are silent over changes of configuration.
func newsAfter(tx *store.Tx, position uint64) (uint64, error) {
	const many = 1000
	if position > 1<<62 {
		return 0, nil // nobody is behind
	}
	entries, err := tx.Feed(position, many)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	if len(entries) == many {
		return entries[many-1].Position, nil
	}
	var newest uint64
	for _, e := range entries {
		if e.Kind != client.KindConfig {
			newest = e.Position
		}
	}
	return newest, nil
}

// viewGuards lists guards; those at position of this epoch or beyond are current.
func viewGuards(tx *store.Tx, now time.Time, position uint64) ([]Guard, error) {
	states, err := tx.GuardStates(now.Add(-forgotten))
	if err != nil {
		return nil, err
	}
	epoch, err := tx.Meta(store.MetaEpoch)
	if err != nil {
		return nil, err
	}
	guards := make([]Guard, 0, len(states))
	for _, s := range states {
		guards = append(guards, Guard{
			ClientID: s.ClientID, Instance: s.Instance, Connected: now.Sub(s.Seen) <= connected,
			Current: s.Epoch == epoch && s.Position >= position, Position: s.Position, Epoch: s.Epoch,
			KeyIDs: list(s.KeyIDs), Seen: s.Seen,
		})
	}
	return guards, nil
}
