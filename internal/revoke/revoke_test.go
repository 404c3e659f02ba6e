package revoke

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const issuer = "https://as.example"

// town is two people with two clients. Each person has a browser session; alice gave
// app a grant that ends with hers and one that goes on offline, and mobile one that is
// bound to a key; bob gave app a grant that ends with his session. All four have a
// code on its way.
func town(t *testing.T, db *store.DB, now time.Time) {
	t.Helper()
	later := now.Add(time.Hour)
	grant := func(id, user, client, session, key, resource string) *store.Grant {
		return &store.Grant{
			ID: id, UserID: user, ClientID: client, SessionID: session, KeyID: key, Resources: []string{resource},
			AuthTime: now, Created: now, Used: now, Expires: later,
		}
	}
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		var errs []error
		for _, c := range []*store.Client{
			{ID: "app", Resources: []string{"orders"}, Created: now},
			{ID: "mobile", Resources: []string{"orders", "mail"}, Created: now},
			{ID: "robot", Resources: []string{"mail"}, Created: now},
		} {
			errs = append(errs, tx.PutClient(c))
		}
		for _, user := range []string{"alice", "bob"} {
			errs = append(errs, tx.PutSession(&store.Session{ID: "s-" + user, SecretHash: []byte(user), UserID: user, Created: now, Expires: later}))
		}
		for _, g := range []*store.Grant{
			grant("g1", "alice", "app", "s-alice", "", "orders"), grant("g2", "alice", "app", "", "", "orders"),
			grant("g3", "alice", "mobile", "", "key-1", "mail"), grant("g4", "bob", "app", "s-bob", "", "orders"),
		} {
			errs = append(errs, tx.PutGrant(g), tx.PutCode(&store.Code{
				Hash: []byte(g.ID), UserID: g.UserID, ClientID: g.ClientID, KeyID: g.KeyID, SessionID: "s-" + g.UserID, Expires: later,
			}))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left says what lives on: grants, sessions and codes, by name.
func left(t *testing.T, db *store.DB, now time.Time) string {
	t.Helper()
	var out []string
	err := db.View(t.Context(), func(tx *store.Tx) error {
		out = nil
		for _, id := range []string{"g1", "g2", "g3", "g4"} {
			g, err := tx.Grant(id)
			if err != nil {
				return err
			}
			if g.Ended.IsZero() {
				out = append(out, id)
			}
			if _, err := tx.Code([]byte(id)); err == nil {
				out = append(out, "c"+id[1:])
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		sessions, err := tx.Sessions(now, "", 10)
		for _, s := range sessions {
			out = append(out, s.ID)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

const whole = "c1 c2 c3 c4 g1 g2 g3 g4 s-alice s-bob"

// TestWhatEndsWhat: each kind ends its own and nothing else, and what it would end is
// what it ends. Codes of a session die with it: redeeming one needs the session.
func TestWhatEndsWhat(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		kind        Kind
		value, left string
		sessions    int
		grants      int
		clients     string
		resources   string
	}{
		{Token, "t", whole, 0, 0, "", ""},
		{Grant, "g1", "c1 c2 c3 c4 g2 g3 g4 s-alice s-bob", 0, 1, "app", "orders"},
		{Session, "s-alice", "c1 c2 c3 c4 g2 g3 g4 s-bob", 1, 1, "app", "orders"},
		{Subject, "alice", "c1 c2 c3 c4 g4 s-bob", 1, 3, "app mobile", "mail orders"},
		{Subject, "robot", whole, 0, 0, "robot", "mail"},
		{Client, "app", "c3 g3 s-alice s-bob", 0, 3, "app", "orders"},
		{Pair, PairOf("alice", "app"), "c3 c4 g3 g4 s-alice s-bob", 0, 2, "app", "orders"},
		{Actor, "mobile", whole, 0, 0, "mobile", "mail orders"},
		{ProofKey, "key-1", "c1 c2 c4 g1 g2 g4 s-alice s-bob", 0, 1, "mobile", "mail"},
		{Cert, "x", whole, 0, 0, "", ""},
		{SigningKey, "k", whole, 0, 0, "app mobile robot", "mail orders"},
		{Resource, "orders", whole, 0, 3, "app mobile", "orders"},
		{Everything, Any, "", 2, 4, "app mobile robot", "mail orders"},
		{IssuedBefore, Any, whole, 0, 4, "app mobile robot", "mail orders"},
		{Subject, "nobody", whole, 0, 0, "", ""},
	} {
		t.Run(string(row.kind)+" "+row.value, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
				db := open(issuer)
				town(t, db, now)
				o := Order{Kind: row.kind, Value: row.value, Reason: "test", By: "tester", Now: now, Until: now.Add(time.Hour)}
				if row.kind == IssuedBefore {
					o.Before = now
				}
				var r *Reach
				err := db.View(t.Context(), func(tx *store.Tx) (err error) {
					r, err = Measure(tx, o)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				got := fmt.Sprintln(r.SessionCount, r.GrantCount, strings.Join(r.Clients, " "), strings.Join(r.Resources, " "))
				if want := fmt.Sprintln(row.sessions, row.grants, row.clients, row.resources); got != want {
					t.Errorf("measured %swant     %s", got, want)
				}
				if got := left(t, db, now); got != whole {
					t.Errorf("left after measuring = %s, want all", got)
				}
				if err := db.Update(t.Context(), func(tx *store.Tx) error { return Write(tx, o) }); err != nil {
					t.Fatal(err)
				}
				if got := left(t, db, now); got != row.left {
					t.Errorf("left = %s, want %s", got, row.left)
				}
				err = db.View(t.Context(), func(tx *store.Tx) error {
					rules, err := tx.Rules(string(row.kind), row.value)
					if err != nil || len(rules) != 1 || !rules[0].Before.Equal(o.Before) {
						t.Errorf("rules = %v, %v, want one", rules, err)
					}
					lines, err := tx.Audits(10, time.Time{})
					if err != nil || len(lines) != 1 || lines[0].Action != string(row.kind)+".end" {
						t.Errorf("audit = %v, %v, want one line", lines, err)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestStepUpEndsNothing in the store.
func TestStepUpEndsNothing(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 500_000, time.UTC)
	db := storetest.New(t, issuer)
	town(t, db, now)
	o := Order{Kind: Subject, Value: "alice", Effect: StepUp, Now: now, Until: now.Add(time.Hour)}
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return Write(tx, o) }); err != nil {
		t.Fatal(err)
	}
	if got := left(t, db, now); got != whole {
		t.Errorf("left = %s, want all", got)
	}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		rules, err := tx.RulesOn(now, []store.Named{{Kind: "subject", Value: "bob"}, {Kind: "subject", Value: "alice"}})
		if err != nil || len(rules) != 1 {
			t.Fatalf("rules = %v, %v, want one", rules, err)
		}
		for _, tt := range []struct {
			auth time.Time
			hit  bool
		}{{now.Add(-time.Minute), true}, {now.Truncate(time.Second), true}, {now.Add(2 * time.Second), false}} {
			if got := Hits(rules[0], 99, now, tt.auth, false); got != tt.hit {
				t.Errorf("authenticated at %v: hit = %t, want %t", tt.auth, got, tt.hit)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOrdersThatMakeNoSense write nothing.
func TestOrdersThatMakeNoSense(t *testing.T) {
	now := time.Now()
	db := storetest.New(t, issuer)
	for name, o := range map[string]Order{
		"nothing named":            {Kind: Grant},
		"no such kind":             {Kind: "planet", Value: "x"},
		"no such effect":           {Kind: Grant, Value: "x", Effect: "melt"},
		"everything of something":  {Kind: Everything, Value: "x"},
		"any grant":                {Kind: IssuedBefore, Value: "x", Before: now},
		"issued before, no time":   {Kind: IssuedBefore, Value: Any},
		"issued before, step-up":   {Kind: IssuedBefore, Value: Any, Before: now, Effect: StepUp},
		"a subject without client": {Kind: Pair, Value: "alice"},
	} {
		err := db.Update(t.Context(), func(tx *store.Tx) error { return Write(tx, o) })
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := db.View(t.Context(), func(tx *store.Tx) error { _, err := Measure(tx, o); return err }); err == nil {
			t.Errorf("%s: can be measured", name)
		}
	}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		if head, err := tx.Head(); err != nil || head != 0 {
			t.Errorf("head = %d, %v, want 0", head, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyGrants: more than are read at a time.
func TestManyGrants(t *testing.T) {
	now := time.Now()
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db := open(issuer)
		const many = 2*batch + 1
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			for n := range many {
				g := &store.Grant{ID: fmt.Sprintf("g%05d", n), UserID: "u", ClientID: "app", Created: now, Expires: now.Add(time.Hour)}
				if err := tx.PutGrant(g); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		o := Order{Kind: Client, Value: "app", Now: now, Until: now.Add(time.Hour)}
		measured := func() (n int) {
			err := db.View(t.Context(), func(tx *store.Tx) error {
				r, err := Measure(tx, o)
				if err == nil {
					n = r.GrantCount
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if got := measured(); got != many {
			t.Errorf("measured %d grants, want %d", got, many)
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return Write(tx, o) }); err != nil {
			t.Fatal(err)
		}
		if got := measured(); got != 0 {
			t.Errorf("%d grants live on, want none", got)
		}
	})
}
