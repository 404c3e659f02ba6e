package mint_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
	"github.com/writ-auth/writ/internal/usage"
)

// compromise replaces a key and returns the one that signs then.
func compromise(t *testing.T, db *store.DB, m *mint.Mint, kid string, now time.Time) (string, error) {
	t.Helper()
	e, err := m.Prepare(t.Context(), kid)
	if err != nil {
		return "", err
	}
	next := ""
	err = db.Update(t.Context(), func(tx *store.Tx) (err error) {
		next, err = e.Apply(tx, now)
		return err
	})
	if err != nil {
		return "", err
	}
	return next, m.Reload(t.Context())
}

func states(m *mint.Mint, use string) map[string]string {
	out := map[string]string{}
	for _, k := range m.Keys() {
		if k.Use == use {
			out[k.ID] = k.State
		}
	}
	return out
}

// TestCompromise: the leaked key signs nothing more and leaves the published set, the
// next one signs at once, and no token of before is taken for a forged one.
func TestCompromise(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db, c := open(issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		m := start(t, db, c)
		leaked := kidOf(t, m, "sign", "signing")
		before := access(t, m, c)
		for range 2 { // the second time its signature is not checked again
			if _, err := m.Verify(before); err != nil {
				t.Fatal(err)
			}
		}
		next, err := compromise(t, db, m, leaked, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := states(m, "sign"); got[leaked] != "ended" || got[next] != "signing" || len(got) != 2 {
			t.Errorf("keys = %v, want %s ended and %s signing", got, leaked, next)
		}
		set, err := m.Set()
		if err != nil {
			t.Fatal(err)
		}
		if text := string(set); strings.Contains(text, leaked) || !strings.Contains(text, next) {
			t.Errorf("set = %s, want %s and not %s", text, next, leaked)
		}
		if _, err := m.Verify(before); !errors.Is(err, mint.ErrInvalid) {
			t.Errorf("a token of the leaked key: %v, want ErrInvalid", err)
		}
		after := access(t, m, c)
		if msg, err := jose.Parse(after); err != nil || msg.Header.KeyID != next {
			t.Errorf("signed by %v, %v, want %s", msg, err, next)
		}
		if _, err := m.Verify(after); err != nil {
			t.Errorf("a token of the next key: %v", err)
		}
		if _, err := compromise(t, db, m, leaked, c.now); !mint.IsEnded(err) {
			t.Errorf("compromised twice: %v, want a refusal", err)
		}
		if _, err := compromise(t, db, m, "nobody", c.now); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a key that is not there: %v", err)
		}
		// Rotation goes on with the new key, and the leaked one leaves the store in the end.
		for range 60 {
			c.now = c.now.Add(24 * time.Hour)
			if err := m.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, there := states(m, "sign")[leaked]; there {
			t.Error("the leaked key is in the store after 60 days")
		}
	})
}

// TestCompromiseTakesTheWaitingKey, which guards may hold already; and one that waits
// or is retired can leak too, without anything changing for the one that signs.
func TestCompromiseTakesTheWaitingKey(t *testing.T) {
	db, c := storetest.New(t, issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m := start(t, db, c)
	signing := kidOf(t, m, "sign", "signing")
	waiting, _, err := m.Advance(t.Context(), jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := compromise(t, db, m, signing, c.now); err != nil || next != waiting {
		t.Errorf("next = %s, %v, want the waiting %s", next, err, waiting)
	}
	other, _, err := m.Advance(t.Context(), jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := compromise(t, db, m, other, c.now); err != nil || next != waiting {
		t.Errorf("next = %s, %v, want %s to go on", next, err, waiting)
	}
	if got := states(m, "sign"); got[other] != "ended" || got[waiting] != "signing" {
		t.Errorf("keys = %v", got)
	}
}

// TestAdvance publishes a key, says of one that waits that it does, and of one whose time
// has come that it signs. A retired key that is to leave at the same time changes nothing.
func TestAdvance(t *testing.T) {
	db, c := storetest.New(t, issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m := start(t, db, c)
	advance := func(fresh bool, state string) string {
		t.Helper()
		kid, got, err := m.Advance(t.Context(), jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		if s := states(m, "sign")[kid]; got != fresh || s != state {
			t.Errorf("Advance = %s, which is %s, new: %t; want one that is %s, new: %t", kid, s, got, state, fresh)
		}
		return kid
	}
	next := advance(true, "waiting")
	if again := advance(false, "waiting"); again != next {
		t.Errorf("Advance = %s, want %s, which waits already", again, next)
	}
	c.now = c.now.Add(2 * time.Hour)
	if again := advance(false, "signing"); again != next {
		t.Errorf("Advance = %s, want %s, whose time has come", again, next)
	}
	c.now = c.now.Add(mint.LongestLife + 3*time.Hour) // the first key is to leave the set
	advance(true, "waiting")
}

// TestCompromiseOfTheFeedKey: batches are signed by the next key at once.
func TestCompromiseOfTheFeedKey(t *testing.T) {
	db, c := storetest.New(t, issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m := start(t, db, c)
	leaked := kidOf(t, m, "feed", "signing")
	next, err := compromise(t, db, m, leaked, c.now)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := m.Feed([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := jose.Parse(batch); err != nil || msg.Header.KeyID != next {
		t.Errorf("batch signed by %v, %v, want %s", msg, err, next)
	}
	if set, err := m.FeedSet(); err != nil || strings.Contains(string(set), leaked) {
		t.Errorf("set = %s, %v, want it without %s", set, err, leaked)
	}
}

// TestTagOfReplacedKey: a replica that has not heard of the replaced tag key yet raises
// no alarm over what the others issue.
func TestTagOfReplacedKey(t *testing.T) {
	db, c := storetest.New(t, issuer), &clock{time.Now()}
	cfg := config(t, db, c)
	cfg.Algorithms = []string{jose.ES256, jose.Ed25519}
	one, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	other, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range one.Keys() {
		if k.Algorithm != jose.ES256 {
			continue
		}
		if _, err := compromise(t, db, one, k.ID, c.now); err != nil {
			t.Fatal(err)
		}
	}
	compact, err := one.Access(claims(c.now, time.Minute), jose.Ed25519) // a key both know, a tag one knows
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Verify(compact); err != nil {
		t.Errorf("Verify = %v, want a good token", err)
	}
}

// TestTagOfLateReport: a guard may tell of a token as late as package usage says, and the
// key of its tag is still known then: no alarm over a token that was issued.
func TestTagOfLateReport(t *testing.T) {
	db, c := storetest.New(t, issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m := start(t, db, c)
	compact, err := m.Access(claims(c.now, mint.LongestLife), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compromise(t, db, m, kidOf(t, m, "feed", "signing"), c.now); err != nil { // replaces the tag key
		t.Fatal(err)
	}
	c.now = c.now.Add(mint.LongestLife + mint.Skew + usage.Kept)
	if err := m.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Verify(compact); err != nil {
		t.Errorf("Verify = %v, want a good token", err)
	}
}

// TestLatest: a key tells until when it has living tokens, after a restart too.
func TestLatest(t *testing.T) {
	db, c := storetest.New(t, issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m := start(t, db, c)
	for _, life := range []time.Duration{time.Hour, time.Minute} {
		if _, err := m.Access(claims(c.now, life), ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := mint.Note(m, t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*mint.Mint{m, start(t, db, c)} {
		for _, k := range m.Keys() {
			if k.Use == "sign" && !k.Latest.Equal(c.now.Add(time.Hour)) {
				t.Errorf("latest = %v, want %v", k.Latest, c.now.Add(time.Hour))
			}
		}
	}
}

func kidOf(t *testing.T, m *mint.Mint, use, state string) string {
	t.Helper()
	for _, k := range m.Keys() {
		if k.Use == use && k.State == state {
			return k.ID
		}
	}
	t.Fatalf("no %s key for %s", state, use)
	return ""
}

func access(t *testing.T, m *mint.Mint, c *clock) string {
	t.Helper()
	compact, err := m.Access(claims(c.now, time.Hour), "")
	if err != nil {
		t.Fatal(err)
	}
	return compact
}
