package admin

import (
	"context"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/store"
)

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
	lookAgain = 10 * time.Millisecond // while waiting for their word
)

// An acknowledgement is what guards said about a position.
type acknowledgement struct {
	confirmed int           // that hold it
	after     time.Duration // until the last of them said so
	unreached []Guard
}

// await waits up to a second for the guards that are connected to say that they
// hold all up to a position.
func (a *Admin) await(ctx context.Context, position uint64) acknowledgement {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), promise)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	start, out := time.Now(), acknowledgement{unreached: []Guard{}}
	for {
		var guards []Guard
		err := a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
			guards, err = viewGuards(tx, a.cfg.Now(), position)
			return err
		})
		if err != nil {
			return out // what was found so far; the change stands whatever comes of it
		}
		confirmed, waiting := 0, false
		out.unreached = []Guard{}
		for _, g := range guards {
			if g.Current {
				confirmed++
				continue
			}
			out.unreached = append(out.unreached, g)
			waiting = waiting || g.Connected
		}
		if confirmed != out.confirmed {
			out.confirmed, out.after = confirmed, time.Since(start)
		}
		if !waiting {
			return out
		}
		select {
		case <-ctx.Done():
			return out
		case <-tick.C:
		}
	}
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
