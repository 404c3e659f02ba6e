package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

func rule(value string) store.Entry {
	return store.Entry{Kind: "grant", Value: value, Effect: "end", Reason: "r", At: base, Until: base.Add(time.Hour)}
}

func head(t *testing.T, d *store.DB) (n uint64) {
	t.Helper()
	view(t, d, func(tx *store.Tx) (err error) { n, err = tx.Head(); return err })
	return n
}

func TestFeedKeepsOrder(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d, other := open(issuer), open("https://other.example.com")
		config := store.Entry{Kind: "config", At: base}
		update(t, d, func(tx *store.Tx) error {
			return errors.Join(tx.Append(rule("a")), tx.Append(config), tx.Append(rule("b")))
		})
		update(t, other, func(tx *store.Tx) error { return tx.Append(rule("a")) })
		update(t, d, func(tx *store.Tx) error { return tx.Append(rule("a")) })
		view(t, d, func(tx *store.Tx) error {
			all, err := tx.Feed(0, 10)
			if err != nil || len(all) != 4 {
				t.Fatalf("Feed = %+v, %v, want 4 entries", all, err)
			}
			var prev uint64
			for i, e := range all {
				want := []store.Entry{rule("a"), config, rule("b"), rule("a")}[i]
				want.Position, want.Prev = e.Position, prev
				if e != want || e.Position <= prev {
					t.Errorf("entry %d = %+v, want %+v", i, e, want)
				}
				prev = e.Position
			}
			if h, err := tx.Head(); err != nil || h != prev {
				t.Errorf("Head = %d, %v, want %d", h, err, prev)
			}
			rest, err := tx.Feed(all[1].Position, 1)
			if err != nil || len(rest) != 1 || rest[0] != all[2] {
				t.Errorf("Feed(%d, 1) = %+v, %v, want %+v", all[1].Position, rest, err, all[2])
			}
			plain := func(list ...store.Entry) []store.Entry {
				for i := range list {
					list[i].Prev = 0
				}
				return list
			}
			if got, err := tx.Rules("grant", "a"); err != nil || !reflect.DeepEqual(got, plain(all[3], all[0])) {
				t.Errorf("Rules = %+v, %v", got, err)
			}
			if got, err := tx.LiveRules(base, 0, 10); err != nil || !reflect.DeepEqual(got, plain(all[0], all[2], all[3])) {
				t.Errorf("LiveRules = %+v, %v", got, err)
			}
			if got, err := tx.LiveRules(base.Add(time.Hour), 0, 10); err != nil || got != nil {
				t.Errorf("LiveRules when all ended = %+v, %v", got, err)
			}
			return nil
		})
		if got := head(t, other); got == 0 {
			t.Error("head of the other issuer = 0")
		}
	})
}

// An Update sees the position of every rule whose Update returned before it began, and
// never one it cannot see.
func TestHeadInAnUpdate(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		a, b := open(issuer), open(issuer)
		for i := range 20 {
			update(t, a, func(tx *store.Tx) error { return tx.Append(rule(fmt.Sprint(i))) })
			want := head(t, a)
			update(t, b, func(tx *store.Tx) error {
				if got, err := tx.Head(); err != nil || got != want {
					t.Errorf("Head = %d, %v, want %d", got, err, want)
				}
				return nil
			})
		}
	})
}

// Writers that are slow, fail or are rolled back; followers that read at any moment and
// fail now and then. A
// follower that has seen position n must never later find one below n.
func TestFollowersMissNothing(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		a, b := open(issuer), open(issuer)
		const writers, each, followers = 50, 6, 4
		var done atomic.Bool
		var seen [followers][]store.Entry
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			together(followers, func(f int) {
				for last := uint64(0); ; {
					over := done.Load()
					var batch []store.Entry
					err := []*store.DB{a, b}[f%2].View(context.Background(), func(tx *store.Tx) (err error) {
						batch, err = tx.Feed(last, 7)
						if err == nil && rand.N(8) == 0 {
							return errMine // it fails after reading, and reads again from where it was
						}
						return err
					})
					if errors.Is(err, errMine) {
						continue
					}
					if err != nil {
						t.Errorf("follow: %v", err)
						return
					}
					if len(batch) == 0 {
						if over {
							return
						}
						continue
					}
					last = batch[len(batch)-1].Position
					seen[f] = append(seen[f], batch...)
				}
			})
		}()
		var written atomic.Int32
		together(writers, func(w int) {
			d := []*store.DB{a, b}[w%2]
			for i := range each {
				err := d.Update(context.Background(), func(tx *store.Tx) error {
					if err := tx.PutMeta(fmt.Sprint(w), fmt.Sprint(i)); err != nil {
						return err
					}
					if w%5 == 0 {
						time.Sleep(rand.N(5 * time.Millisecond)) // a slow transaction, not a wait for something
					}
					if err := tx.Append(rule(fmt.Sprint(w, "-", i))); err != nil {
						return err
					}
					if w%7 == 0 && i%2 == 0 {
						return errMine
					}
					return nil
				})
				switch {
				case err == nil:
					written.Add(1)
				case !errors.Is(err, errMine):
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
		done.Store(true)
		<-finished
		for f, got := range seen {
			if len(got) != int(written.Load()) {
				t.Errorf("follower %d saw %d of %d entries", f, len(got), written.Load())
			}
			var prev uint64
			for _, e := range got {
				if e.Prev != prev || e.Position <= prev {
					t.Fatalf("follower %d: entry %d says prev = %d, want %d", f, e.Position, e.Prev, prev)
				}
				prev = e.Position
			}
		}
	})
}

func TestPositionsAreNeverUsedAgain(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		var last uint64
		for round := range 3 {
			for range 3 {
				update(t, d, func(tx *store.Tx) error { return tx.Append(rule("x")) })
			}
			newest := head(t, d)
			if newest <= last {
				t.Fatalf("round %d: head %d, want above %d", round, newest, last)
			}
			last = newest
			if _, err := d.Purge(context.Background(), base.Add(48*time.Hour), 100); err != nil {
				t.Fatal(err)
			}
			view(t, d, func(tx *store.Tx) error {
				all, err := tx.Feed(0, 10)
				if len(all) != 1 || all[0].Position != last {
					t.Errorf("after the purge: %+v, want only %d", all, last)
				}
				return err
			})
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open(issuer)
			if got := head(t, d); got != last {
				t.Errorf("head after purge and restart = %d, want %d", got, last)
			}
		}
	})
}

func TestChangedTellsOfOwnCommitsAtOnce(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		update(t, d, func(tx *store.Tx) error { return tx.PutMeta("m", "x") })
		d.Update(context.Background(), func(tx *store.Tx) error { return errors.Join(tx.Append(rule("a")), errMine) })
		select {
		case <-d.Changed():
			t.Error("Changed without a new entry")
		default:
		}
		for range 2 { // coalesced
			update(t, d, func(tx *store.Tx) error { return tx.Append(rule("a")) })
		}
		<-d.Changed()
		select {
		case <-d.Changed():
			t.Error("Changed twice")
		default:
		}
	})
}
