package admin

import (
	"context"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// say writes what a guard holds.
func (b *bench) say(ctx context.Context, id string, position uint64, seen time.Time) error {
	return b.db.Update(ctx, func(tx *store.Tx) error {
		epoch, err := tx.Meta(store.MetaEpoch)
		if err != nil {
			return err
		}
		return tx.PutGuardState(store.GuardState{ClientID: id, Instance: "1", Epoch: epoch, Position: position, Seen: seen})
	})
}

func (b *bench) report(t *testing.T, id string, position uint64, seen time.Time) {
	t.Helper()
	if err := b.say(t.Context(), id, position, seen); err != nil {
		t.Fatal(err)
	}
}

// follow waits for the first entry of the feed and reports it, as a guard does.
func (b *bench) follow(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		var head uint64
		err := b.db.View(ctx, func(tx *store.Tx) (err error) { head, err = tx.Head(); return err })
		if err != nil {
			return err
		}
		if head > 0 {
			return b.say(ctx, id, head, b.now)
		}
	}
}

func TestEndRules(t *testing.T) {
	b := newBench(t)
	for field, r := range map[string]Revocation{
		"kind":   {Kind: "key", Value: "x"},
		"value":  {Kind: "jti"},
		"reason": {Kind: "jti", Value: "x", Reason: "because\nof"},
	} {
		_, err := b.End(t.Context(), tester, r)
		wantField(t, err, field)
	}
	if got := b.feed(t); got != nil {
		t.Errorf("feed = %q, want nothing", got)
	}
	for _, kind := range []string{"jti", "grant", "session", "subject", "client"} {
		ended, err := b.End(t.Context(), tester, Revocation{Kind: kind, Value: "x", Reason: "test"})
		if err != nil {
			t.Fatalf("end %s: %v", kind, err)
		}
		if ended.Position == 0 {
			t.Errorf("end %s: no position", kind)
		}
	}
	want := []string{"jti x", "grant x", "session x", "subject x", "client x"}
	got := b.feed(t)
	for i, w := range want {
		if got[i] != w {
			t.Errorf("feed entry %d = %q, want %q", i, got[i], w)
		}
	}
}

// TestEndWaitsForGuards has one guard that says it obeys a little later, one that
// is gone, and one that is connected and silent.
func TestEndWaitsForGuards(t *testing.T) {
	b := newBench(t)
	b.report(t, "prompt", 0, b.now)
	b.report(t, "asleep", 0, b.now.Add(-10*time.Minute))
	b.report(t, "gone", 0, b.now.Add(-2*time.Hour))
	done := make(chan error, 1)
	go func() { done <- b.follow(t.Context(), "prompt") }()
	ended, err := b.End(t.Context(), tester, Revocation{Kind: "jti", Value: "x"})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if ended.Confirmed != 1 || len(ended.Unreached) != 1 || ended.Unreached[0].ClientID != "asleep" {
		t.Errorf("ended = %+v, want 1 confirmed and asleep unreached", ended)
	}

	b.report(t, "silent", 0, b.now)
	start := time.Now()
	ended, err = b.End(t.Context(), tester, Revocation{Kind: "jti", Value: "y"})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < promise/2 || took > 3*promise {
		t.Errorf("waited %v for a silent guard, want about %v", took, promise)
	}
	if len(ended.Unreached) != 3 {
		t.Errorf("unreached = %+v, want 3", ended.Unreached)
	}
}

func TestGuardsSayWhoIsCurrent(t *testing.T) {
	b := newBench(t)
	if _, err := b.End(t.Context(), tester, Revocation{Kind: "jti", Value: "x"}); err != nil { // position 1
		t.Fatal(err)
	}
	b.orders(t) // a change of configuration, which guards say nothing about
	b.report(t, "behind", 0, b.now)
	b.report(t, "current", 1, b.now.Add(-30*time.Second))
	b.report(t, "late", 1, b.now.Add(-2*time.Minute))
	err := b.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutGuardState(store.GuardState{ClientID: "restored", Instance: "1", Epoch: "old", Position: 99, Seen: b.now})
	})
	if err != nil {
		t.Fatal(err)
	}
	guards, err := b.Guards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]bool{ // connected, current
		"behind": {true, false}, "current": {true, true}, "late": {false, true}, "restored": {true, false},
	}
	if len(guards) != len(want) {
		t.Errorf("%d guards, want %d", len(guards), len(want))
	}
	for _, g := range guards {
		if got := [2]bool{g.Connected, g.Current}; got != want[g.ClientID] {
			t.Errorf("%s: connected, current = %v, want %v", g.ClientID, got, want[g.ClientID])
		}
	}
}
