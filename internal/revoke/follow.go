package revoke

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/store"
)

// Follower carries the store's feed table to the feed log of this replica.
type Follower struct {
	DB     *store.DB
	Log    *feed.Log
	Now    func() time.Time
	Logger *slog.Logger
	// Changed is called with each batch of entries before Log knows of them, so
	// that nothing is issued from memory at a position whose changes this replica
	// has not seen; with nil when entries may have been removed before this replica
	// read them. Optional.
	Changed func([]store.Entry)
	// Fit reports, by an error, that the clock of this replica is wrong: then rules go
	// out, but nothing is said about how fresh the state is, because guards go by that
	// clock. Optional.
	Fit func() error
	// Poll is how often the head is read when no notification comes; 0: 250 ms.
	// Heartbeats need a reading younger than 500 ms.
	Poll time.Duration

	at   uint64    // owned by Run
	read time.Time // owned by Run; when all up to at was read, by the clock on the wall
}

const page = 1000

// missed is how long a replica may not have read the feed and still trust what it
// holds: the store keeps word of a changed client or key for an hour.
const missed = 30 * time.Minute

// Load reads the rules that are alive and must return before Run starts.
func (f *Follower) Load(ctx context.Context) error {
	now := f.Now()
	var head uint64
	var rules []feed.Plain
	err := f.DB.View(ctx, func(tx *store.Tx) (err error) {
		rules = rules[:0]
		if head, err = tx.Head(); err != nil {
			return err
		}
		for after := uint64(0); ; {
			live, err := tx.LiveRules(now, after, page)
			if err != nil {
				return err
			}
			for _, e := range live {
				rules = append(rules, plain(e))
			}
			if len(live) < page {
				return nil
			}
			after = live[len(live)-1].Position
		}
	})
	if err != nil {
		return fmt.Errorf("load rules: %w", err)
	}
	f.at, f.read = head, now.Round(0)
	f.Log.Append(rules, head, false)
	f.vouch(now)
	return nil
}

// Run follows until ctx ends. When the store does not answer it says nothing, so
// that guards see their revocation state age.
func (f *Follower) Run(ctx context.Context) error {
	poll := f.Poll
	if poll == 0 {
		poll = 250 * time.Millisecond
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	broken := false
	for {
		err := f.step(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !broken:
			f.Logger.Error("follow the feed", "error", err)
		case err == nil && broken:
			f.Logger.Info("follows the feed again", "position", f.at)
		}
		if broken = err != nil; broken {
			// Not oftener: every replica does this to a database that is coming back.
			select {
			case <-ctx.Done():
			case <-time.After(poll):
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.DB.Changed():
		case <-tick.C:
		}
	}
}

// step applies everything up to the head.
func (f *Follower) step(ctx context.Context) error {
	for {
		asOf := f.Now() // before reading: what is read is at least this new
		var entries []store.Entry
		err := f.DB.View(ctx, func(tx *store.Tx) (err error) {
			entries, err = tx.Feed(f.at, page)
			return err
		})
		if err != nil {
			return err
		}
		// A machine that slept has a monotonic clock that did too.
		if f.Changed != nil && asOf.Round(0).Sub(f.read) > missed {
			f.Changed(nil)
		}
		f.read = asOf.Round(0)
		if len(entries) > 0 {
			f.apply(entries)
		}
		if len(entries) < page {
			f.vouch(asOf)
			return nil
		}
	}
}

// vouch says that what the log holds was all there was at asOf.
func (f *Follower) vouch(asOf time.Time) {
	if f.Fit == nil || f.Fit() == nil {
		f.Log.Fresh(f.at, asOf)
	}
}

func (f *Follower) apply(entries []store.Entry) {
	if f.Changed != nil {
		f.Changed(entries)
	}
	var rules []feed.Plain
	keys := false
	for _, e := range entries {
		switch e.Kind {
		case "key":
			keys = true
		case "config":
		default:
			rules = append(rules, plain(e))
		}
	}
	f.at = entries[len(entries)-1].Position
	f.Log.Append(rules, f.at, keys)
}

func plain(e store.Entry) feed.Plain {
	return feed.Plain{Position: e.Position, Kind: feed.Kind(e.Kind), Value: e.Value, Effect: feed.Effect(e.Effect), Before: e.Before, Until: e.Until}
}
