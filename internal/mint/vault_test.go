package mint_test

import (
	"crypto"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// signing lists the kids in some states, e.g. "signing retired".
func signing(m *mint.Mint, states string) []string {
	var ids []string
	for _, k := range m.Keys() {
		if k.Use == "sign" && slices.Contains(strings.Fields(states), k.State) {
			ids = append(ids, k.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// checked makes a token and checks it as a guard would, with what is published.
func checked(t *testing.T, m *mint.Mint, now time.Time) (kid string) {
	t.Helper()
	compact, err := m.Access(claims(now, time.Minute), "")
	if err != nil {
		t.Fatal(err)
	}
	set, err := m.Set()
	if err != nil {
		t.Fatal(err)
	}
	held, _, err := jose.ParseSet(set)
	if err != nil {
		t.Fatal(err)
	}
	return verify(t, held, compact)
}

// TestVaultKeysLive: over rotations every token is good, and the vault holds the
// keys that wait or sign, and the retired ones until they are dropped.
func TestVaultKeysLive(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db, v := open(issuer), newVault()
		c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		cfg := config(t, db, c)
		cfg.KeyLife, cfg.Vault = 8*time.Hour, v
		m, err := mint.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		replica, err := mint.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		first, seen := v.ids()[0], map[string]bool{}
		for end := c.now.Add(6 * cfg.KeyLife); c.now.Before(end); c.now = c.now.Add(time.Hour) {
			if err := errors.Join(m.Rotate(t.Context()), replica.Rotate(t.Context()), replica.Reload(t.Context()), m.Reload(t.Context())); err != nil {
				t.Fatal(err)
			}
			kid := checked(t, m, c.now)
			seen[kid] = true
			if other := checked(t, replica, c.now); other != kid {
				t.Fatalf("at %v the replica signs with %s, want %s", c.now, other, kid)
			}
			if got, want := v.ids(), signing(m, "waiting signing retired"); !slices.Equal(got, want) {
				t.Fatalf("at %v the vault has %v, want %v", c.now, got, want)
			}
		}
		if len(seen) < 5 || slices.Contains(v.ids(), first) {
			t.Errorf("%d keys signed and %v are left, want 5 or more, and %s dropped", len(seen), v.ids(), first)
		}
		again, err := mint.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := signing(again, "signing"), signing(m, "signing"); !slices.Equal(got, want) {
			t.Errorf("after a restart %v signs, want %v", got, want)
		}
	})
}

// TestIntoTheVaultAndBack: old keys sign until they retire, wherever they are.
func TestIntoTheVaultAndBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		v := newVault()
		c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		cfg := config(t, open(issuer), c)
		cfg.KeyLife = 8 * time.Hour
		// turn runs a server for a while and returns the key that signed first.
		turn := func(vault mint.Vault, leave bool, length time.Duration) (kid string) {
			t.Helper()
			cfg.Vault, cfg.Leave = vault, leave
			m, err := mint.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			kid = checked(t, m, c.now)
			for end := c.now.Add(length); c.now.Before(end); c.now = c.now.Add(time.Hour) {
				if err := m.Rotate(t.Context()); err != nil {
					t.Fatal(err)
				}
				checked(t, m, c.now)
			}
			return kid
		}
		sealed := turn(nil, false, time.Hour)
		if kid := turn(v, false, 40*time.Hour); kid != sealed {
			t.Errorf("with a vault %s signs at once, want the old %s until it retires", kid, sealed)
		}
		inside := turn(v, true, time.Minute)
		if !slices.Contains(v.ids(), inside) {
			t.Errorf("%s signs, want a key of the vault %v", inside, v.ids())
		}
		cfg.Vault, cfg.Leave = nil, false
		if _, err := mint.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "serve.keys.pkcs11") {
			t.Errorf("Open without the vault = %v, want it to say what is missing", err)
		}
		turn(v, true, 48*time.Hour)
		if left := v.ids(); len(left) > 0 {
			t.Errorf("the vault has %v, want nothing left in it", left)
		}
		if kid := turn(nil, false, time.Hour); kid == inside {
			t.Errorf("%s signs, want a sealed key", kid)
		}
	})
}

// TestRetiredKeyNeedsNoVault: what a retired key signed stays good without the
// private half; a key that signs or waits stops the start.
func TestRetiredKeyNeedsNoVault(t *testing.T) {
	v, c := newVault(), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg := config(t, storetest.New(t, issuer), c)
	cfg.KeyLife, cfg.Vault = 8*time.Hour, v
	m, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	early, err := m.Access(claims(c.now, 24*time.Hour), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // publish, then promote
		c.now = c.now.Add(cfg.KeyLife)
		if err := m.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := m.Advance(t.Context(), jose.ES256); err != nil {
		t.Fatal(err)
	}
	retired, live := signing(m, "retired"), signing(m, "waiting signing")
	if len(retired) != 1 || len(live) != 2 {
		t.Fatalf("%v are retired, %v wait and sign, want 1 and 2", retired, live)
	}
	if err := v.Remove(retired[0]); err != nil {
		t.Fatal(err)
	}
	if m, err = mint.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(early); err != nil {
		t.Errorf("a token of the retired key: %v, want it to be good", err)
	}
	for _, kid := range live {
		key := v.keys[kid]
		if err := v.Remove(kid); err != nil {
			t.Fatal(err)
		}
		if _, err := mint.Open(t.Context(), cfg); !errors.Is(err, errAbsent) || !strings.Contains(err.Error(), kid) {
			t.Errorf("Open without key %s = %v, want it refused, naming it", kid, err)
		}
		v.keys[kid] = key
	}
}

// TestOutageOfTheVault: a running server signs on with what it found, hears what
// becomes of other keys, and drops a retired key although the vault cannot be asked
// to remove its private half. It does not start.
func TestOutageOfTheVault(t *testing.T) {
	v, c := newVault(), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg := config(t, storetest.New(t, issuer), c)
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.KeyLife, cfg.Vault = 72*time.Hour, v
	m, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	first := checked(t, m, c.now)
	for _, pass := range []time.Duration{cfg.KeyLife, 3 * time.Hour} { // publish, then promote
		c.now = c.now.Add(pass)
		if err := m.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	second := checked(t, m, c.now)
	c.now = c.now.Add(26 * time.Hour)
	v.reach(false)
	if err := m.Rotate(t.Context()); err != nil {
		t.Errorf("Rotate = %v, want none", err)
	}
	if left := signing(m, "waiting signing retired"); !slices.Equal(left, []string{second}) || first == second {
		t.Errorf("%v are published, want %s without the expired %s", left, second, first)
	}
	if got := checked(t, m, c.now); got != second || !m.Ready() {
		t.Errorf("%s signs, want %s", got, second)
	}
	if _, _, err := m.Advance(t.Context(), jose.ES256); !errors.Is(err, errUnreachable) {
		t.Errorf("Advance = %v, want %v", err, errUnreachable)
	}
	if _, err := mint.Open(t.Context(), cfg); !errors.Is(err, errUnreachable) || !strings.Contains(err.Error(), second) {
		t.Errorf("Open = %v, want %v, naming key %s", err, errUnreachable, second)
	}
}

// TestReplicasAgreeOnOneVaultKey: of the keys that replicas make at once, one is
// used and no other is left in the vault.
func TestReplicasAgreeOnOneVaultKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		v, c := newVault(), &clock{time.Now()}
		cfg := config(t, open(issuer), c)
		// All make their key before any of them commits.
		var begun sync.WaitGroup
		begun.Add(4)
		v.wrap = func(key crypto.Signer) crypto.Signer {
			begun.Done()
			begun.Wait()
			return key
		}
		cfg.Vault = v
		replicas, errs := make([]*mint.Mint, 4), make([]error, 4)
		var opening sync.WaitGroup
		for i := range replicas {
			opening.Go(func() { replicas[i], errs[i] = mint.Open(t.Context(), cfg) })
		}
		opening.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		want := v.ids()
		if len(want) != 1 {
			t.Errorf("the vault has %v, want one key", want)
		}
		for _, m := range replicas {
			if got := signing(m, "signing"); !slices.Equal(got, want) {
				t.Errorf("a replica signs with %v, want %v", got, want)
			}
		}
	})
}

// TestVaultLacksAlgorithm: what the vault cannot make stops the start, also when
// today's keys are sealed; leaving the vault does not need it.
func TestVaultLacksAlgorithm(t *testing.T) {
	cfg := config(t, storetest.New(t, issuer), &clock{time.Now()})
	cfg.Algorithms = []string{jose.ES256, jose.Ed25519}
	if _, err := mint.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Vault = newVault()
	if _, err := mint.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "Ed25519 keys cannot be made in the vault") {
		t.Errorf("Open = %v, want it to name the algorithm", err)
	}
	cfg.Leave = true
	if _, err := mint.Open(t.Context(), cfg); err != nil {
		t.Errorf("Open while leaving = %v, want none", err)
	}
}

// TestEmergencyInTheVault: in place of a leaked key another of the vault signs at
// once, the waiting one if there is one, and none is left over.
func TestEmergencyInTheVault(t *testing.T) {
	db, v, c := storetest.New(t, issuer), newVault(), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg := config(t, db, c)
	cfg.Vault = v
	m, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	leaked := checked(t, m, c.now)
	waiting, _, err := m.Advance(t.Context(), jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ kid, next string }{{leaked, waiting}, {waiting, ""}, {waiting, "refused"}} {
		e, err := m.Prepare(t.Context(), tt.kid)
		if err != nil {
			t.Fatal(err)
		}
		next := ""
		err = db.Update(t.Context(), func(tx *store.Tx) (err error) {
			next, err = e.Apply(tx, c.now)
			return err
		})
		if (tt.next == "refused") != mint.IsEnded(err) {
			t.Fatalf("Apply to %s = %v", tt.kid, err)
		}
		e.Settle(next)
		if err := m.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := checked(t, m, c.now); now == tt.kid || tt.next == waiting && now != waiting {
			t.Errorf("%s signs in place of %s, want %s", now, tt.kid, tt.next)
		}
		if got, want := v.ids(), signing(m, "waiting signing retired ended"); !slices.Equal(got, want) {
			t.Errorf("the vault has %v, want %v", got, want)
		}
	}
}
