package admin

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
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
	ahead := b.now.Add(time.Hour)
	for name, bad := range map[string]struct {
		field string
		r     Revocation
	}{
		"unknown kind":             {"kind", Revocation{Kind: "key", Value: "x"}},
		"no value":                 {"value", Revocation{Kind: "jti"}},
		"reason of two lines":      {"reason", Revocation{Kind: "jti", Value: "x", Reason: "because\nof"}},
		"value of two lines":       {"value", Revocation{Kind: "subject+client", Value: "x\ny", ClientID: "z"}},
		"unknown effect":           {"effect", Revocation{Kind: "jti", Value: "x", Effect: "melt"}},
		"pair without a client":    {"client_id", Revocation{Kind: "subject+client", Value: "x"}},
		"client of another kind":   {"client_id", Revocation{Kind: "subject", Value: "x", ClientID: "y"}},
		"everything of something":  {"value", Revocation{Kind: "everything", Value: "x"}},
		"issued before no time":    {"before", Revocation{Kind: "issued-before"}},
		"issued before the future": {"before", Revocation{Kind: "issued-before", Before: ahead}},
		"a time for another kind":  {"before", Revocation{Kind: "jti", Value: "x", Before: b.now}},
		"step-up for a key":        {"effect", Revocation{Kind: "kid", Value: "x", Effect: "step-up"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.End(t.Context(), tester, bad.r)
			wantField(t, err, bad.field)
		})
	}
	if got := b.feed(t); got != nil {
		t.Errorf("feed = %q, want nothing", got)
	}
	var want []string
	for _, kind := range Kinds() {
		r := Revocation{Kind: kind, Value: "x", Reason: "test"}
		line := kind + " x"
		switch kind {
		case "subject+client":
			r.ClientID, line = "y", "subject+client x\ny"
		case "everything":
			r.Value, line = "", "everything *"
		case "resource":
			r.Value, line = "https://x.example", "resource https://x.example"
		case "issued-before":
			r.Value, r.Before, line = "", b.now, "issued-before *"
		}
		want = append(want, line)
		dry := r
		dry.DryRun = true
		if ended, err := b.End(t.Context(), tester, dry); err != nil || ended.Position != 0 || !ended.DryRun {
			t.Fatalf("dry run of %s = %+v, %v, want no position", kind, ended, err)
		}
		ended, err := b.End(t.Context(), tester, r)
		if err != nil {
			t.Fatalf("end %s: %v", kind, err)
		}
		if ended.Position == 0 {
			t.Errorf("end %s: no position", kind)
		}
	}
	if got := b.feed(t); !slices.Equal(got, want) {
		t.Errorf("feed = %q, want %q: nothing from the dry runs", got, want)
	}
}

// TestStepUpIsRemembered as long as tokens may rest on an old authentication.
func TestStepUpIsRemembered(t *testing.T) {
	b := newBench(t)
	for effect, want := range map[string]time.Duration{"end": 0, "step-up": 180 * 24 * time.Hour} {
		if _, err := b.End(t.Context(), tester, Revocation{Kind: "subject", Value: effect, Effect: effect}); err != nil {
			t.Fatal(err)
		}
		rules, err := b.Rules(t.Context(), "subject", effect)
		if err != nil || len(rules) != 1 {
			t.Fatalf("rules = %v, %v, want one", rules, err)
		}
		r := rules[0]
		if got := r.Until.Sub(b.now); got < want || got > want+25*time.Hour || r.Effect != effect {
			t.Errorf("%s lasts %v as %s, want a day more than %v", effect, got, r.Effect, want)
		}
		if effect == "step-up" && r.Before.IsZero() {
			t.Error("a step-up without the time it is about")
		}
	}
}

// TestKeyInUseIsNotEnded: what it signs next would be dead too.
func TestKeyInUseIsNotEnded(t *testing.T) {
	b := newBench(t)
	err := b.db.Update(t.Context(), func(tx *store.Tx) error {
		old := &store.Key{ID: "old", Use: "sign", Algorithm: "ES256", Created: b.now, Active: b.now, Retired: b.now}
		return errors.Join(tx.PutKey(&store.Key{ID: "new", Use: "sign", Algorithm: "ES256", Created: b.now, Active: b.now}), tx.PutKey(old))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		_, err = b.End(t.Context(), tester, Revocation{Kind: "kid", Value: "new", DryRun: dry})
		wantField(t, err, "value")
	}
	if _, err := b.End(t.Context(), tester, Revocation{Kind: "kid", Value: "old"}); err != nil {
		t.Fatal(err)
	}
	err = b.db.View(t.Context(), func(tx *store.Tx) error {
		keys, err := tx.Keys()
		for _, k := range keys {
			if ended := !k.Ended.IsZero(); ended != (k.ID == "old") {
				t.Errorf("key %s ended = %t", k.ID, ended)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.feed(t), []string{"key old", "kid old"}; !slices.Equal(got, want) {
		t.Errorf("feed = %q, want %q", got, want)
	}
}

// TestEndSaysWhatNobodyKnows, where the store can tell: grants, sessions and keys.
func TestEndSaysWhatNobodyKnows(t *testing.T) {
	b := newBench(t)
	err := b.db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(
			tx.PutClient(&store.Client{ID: "robot"}),
			tx.PutGrant(&store.Grant{ID: "g_old", UserID: "u_1", ClientID: "robot", Created: b.now, Ended: b.now}),
			tx.PutSession(&store.Session{ID: "sid", SecretHash: []byte{1}, UserID: "u_1", Created: b.now, Expires: b.now.Add(time.Hour)}),
			tx.PutKey(&store.Key{ID: "old", Use: "sign", Algorithm: "ES256", Created: b.now, Active: b.now, Retired: b.now}),
			tx.PutInnerKey(store.InnerKey{ClientID: "robot", ID: "inner", Public: []byte("{}"), Created: b.now, Expires: b.now.Add(time.Hour)}))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind, value string
		unknown     bool
	}{
		{"grant", "g_old", false}, {"grant", "g_none", true},
		{"grant", "s_computed", false}, // a standing grant is written nowhere
		{"session", "sid", false}, {"session", "none", true},
		{"kid", "old", false}, {"kid", "inner", false}, {"kid", "none", true},
		{"jkt", "none", false}, {"jti", "none", false}, {"client", "none", false},
	} {
		for _, dry := range []bool{true, false} {
			ended, err := b.End(t.Context(), tester, Revocation{Kind: tt.kind, Value: tt.value, DryRun: dry})
			if err != nil {
				t.Fatalf("end %s %s: %v", tt.kind, tt.value, err)
			}
			if ended.Unknown != tt.unknown || dry != (ended.Position == 0) {
				t.Errorf("end %s %s, dry: %t: unknown = %t at position %d, want %t", tt.kind, tt.value, dry, ended.Unknown, ended.Position, tt.unknown)
			}
			if tt.unknown && ended.Clients+ended.Resources != 0 {
				t.Errorf("end %s %s is about %d clients and %d resources, want none", tt.kind, tt.value, ended.Clients, ended.Resources)
			}
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

// TestEndWaitsForNoCount: while nobody can read the grants an order stands and is answered,
// and the answer does not say that it hit nothing.
func TestEndWaitsForNoCount(t *testing.T) {
	at := storetest.Postgres(t) // SQLite's readers wait for nobody
	b := &bench{db: storetest.Open(t, at, issuer), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	a, err := New(Config{Issuer: issuer, DB: b.db, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	err = b.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutGrant(&store.Grant{ID: "g", UserID: "u", ClientID: "c", Created: b.now, Expires: b.now.Add(time.Hour)})
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	lock, err := conn.Begin(t.Context())
	if err == nil {
		_, err = lock.Exec(t.Context(), "LOCK TABLE grants IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	ended, err := a.End(t.Context(), tester, Revocation{Kind: "everything"})
	if err != nil || ended.Position == 0 || !ended.Uncounted || ended.Samples.Grants == nil {
		t.Errorf("with the grants locked: %+v, %v, want the order to stand, uncounted", ended, err)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestEndOfResource: a resource is ended by any spelling it could have been registered with.
func TestEndOfResource(t *testing.T) {
	b := newBench(t)
	b.orders(t)
	if _, err := b.AddClient(t.Context(), tester, service("robot")); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"https://api.example/orders", "HTTPS://API.example:443/orders/"} {
		ended, err := b.End(t.Context(), tester, Revocation{Kind: "resource", Value: value})
		if err != nil || ended.Resources != 1 {
			t.Errorf("%s: %+v, %v, want one resource", value, ended, err)
		}
	}
	_, err := b.End(t.Context(), tester, Revocation{Kind: "resource", Value: "orders"})
	wantField(t, err, "value")
	rules, err := b.Rules(t.Context(), "resource", "https://api.example/orders")
	if err != nil || len(rules) != 2 {
		t.Errorf("rules = %+v, %v, want both on the one spelling", rules, err)
	}
}
