package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

func sweep(kind, value string, at time.Time) store.Entry {
	return store.Entry{Kind: kind, Value: value, Effect: "end", Reason: "why " + kind, At: at, Until: at.Add(2 * time.Hour), Sweep: true}
}

// furnish puts grants of two clients, one of each bound to a key, with a session and a code
// each. Their names begin with prefix.
func furnish(tx *store.Tx, prefix string) error {
	var all []error
	for _, name := range []string{"x", "x-key", "y", "y-key"} {
		key := ""
		if len(name) > 1 {
			key = "k-" + name[:1]
		}
		id := prefix + name
		all = append(all,
			tx.PutGrant(&store.Grant{ID: id, UserID: "u", ClientID: name[:1], KeyID: key, SessionID: "s", Expires: base.Add(1000 * time.Hour)}),
			tx.PutCode(&store.Code{Hash: []byte(id), UserID: "u", ClientID: name[:1], KeyID: key, Expires: base.Add(1000 * time.Hour)}),
			tx.PutSession(&store.Session{ID: id, SecretHash: []byte(id), UserID: "u", Expires: base.Add(1000 * time.Hour)}))
	}
	return errors.Join(all...)
}

// living is what of it all can be found, in every way there is to find it.
func living(t *testing.T, d *store.DB) (grants, codes, sessions []string) {
	t.Helper()
	view(t, d, func(tx *store.Tx) error {
		grants, codes, sessions = nil, nil, nil
		lists := map[string]func() ([]*store.Grant, error){
			"of the user":    func() ([]*store.Grant, error) { return tx.GrantsOf("u") },
			"of the session": func() ([]*store.Grant, error) { return tx.GrantsOfSession("s") },
			"all":            func() ([]*store.Grant, error) { return tx.LivingGrants("", 100) },
			"of the clients": func() ([]*store.Grant, error) {
				x, err := tx.GrantsOfClient("x", "", 100)
				y, err2 := tx.GrantsOfClient("y", "", 100)
				return append(x, y...), errors.Join(err, err2)
			},
		}
		listed := map[string]int{}
		for name, list := range lists {
			found, err := list()
			if err != nil {
				return err
			}
			for _, g := range found {
				listed[g.ID]++
				if !g.Ended.IsZero() {
					t.Errorf("%s: %s has ended", name, g.ID)
				}
			}
		}
		for _, key := range []string{"k-x", "k-y"} {
			found, err := tx.GrantsOfKey(key, "", 100)
			if err != nil {
				return err
			}
			for _, g := range found {
				listed[g.ID]++
			}
		}
		ofUser, err := tx.SessionsOf("u")
		if err != nil {
			return err
		}
		all, err := tx.Sessions(base, "", 100)
		if err != nil {
			return err
		}
		for _, prefix := range []string{"1", "2"} {
			for _, name := range []string{"x", "x-key", "y", "y-key"} {
				id := prefix + name
				g, err := tx.Grant(id)
				if err != nil {
					return err
				}
				want := 0
				if g.Ended.IsZero() {
					grants = append(grants, id)
					want = 4 + min(len(name)-1, 1)
				}
				if listed[id] != want {
					t.Errorf("%s is in %d lists, want %d", id, listed[id], want)
				}
				if _, err := tx.Code([]byte(id)); err == nil {
					codes = append(codes, id)
				}
				_, err = tx.Session(id)
				_, err2 := tx.SessionBySecret([]byte(id))
				is := func(s *store.Session) bool { return s.ID == id }
				if there := err == nil; there != (err2 == nil) || there != slices.ContainsFunc(ofUser, is) || there != slices.ContainsFunc(all, is) {
					t.Errorf("session %s is found in some ways and not in others", id)
				} else if there {
					sessions = append(sessions, id)
				}
			}
		}
		return nil
	})
	return grants, codes, sessions
}

// TestSweep: what was opened before it and is named by it has ended, the rest goes on; and
// so it stays when it is written, and when the entry is gone.
func TestSweep(t *testing.T) {
	eight := []string{"1x", "1x-key", "1y", "1y-key", "2x", "2x-key", "2y", "2y-key"}
	for _, c := range []struct {
		kind, value      string
		grants, sessions []string
	}{
		{"client", "x", []string{"1y", "1y-key", "2x", "2x-key", "2y", "2y-key"}, eight},
		{"jkt", "k-x", []string{"1x", "1y", "1y-key", "2x", "2x-key", "2y", "2y-key"}, eight},
		{"everything", "*", eight[4:], eight[4:]},
	} {
		t.Run(c.kind, func(t *testing.T) {
			both(t, func(t *testing.T, open func(string) *store.DB) {
				d, other := open(issuer), open("https://other.example.com")
				update(t, other, func(tx *store.Tx) error { return errors.Join(furnish(tx, "1"), furnish(tx, "2")) })
				update(t, d, func(tx *store.Tx) error { return furnish(tx, "1") })
				update(t, d, func(tx *store.Tx) error { return tx.Append(sweep(c.kind, c.value, base)) })
				update(t, d, func(tx *store.Tx) error { return furnish(tx, "2") })
				check := func(when string) {
					t.Helper()
					grants, codes, sessions := living(t, d)
					if !slices.Equal(grants, c.grants) || !slices.Equal(codes, c.grants) || !slices.Equal(sessions, c.sessions) {
						t.Errorf("%s: grants %v, codes %v, sessions %v, want %v, %v and %v", when, grants, codes, sessions, c.grants, c.grants, c.sessions)
					}
					if grants, codes, sessions := living(t, other); len(grants)+len(codes)+len(sessions) != 3*8 {
						t.Errorf("%s: %v, %v, %v of another issuer", when, grants, codes, sessions)
					}
				}
				check("at once")
				view(t, d, func(tx *store.Tx) error {
					g, err := tx.Grant("1x-key")
					if err == nil && (!g.Ended.Equal(base) || g.EndReason != "why "+c.kind) {
						t.Errorf("ended %v because %q, want %v and why %s", g.Ended, g.EndReason, base, c.kind)
					}
					return err
				})
				// An Update that did not see it may be on its way: it is not written yet; and
				// until it is, it must not be forgotten.
				soon, late := base.Add(time.Minute), base.Add(3*time.Hour)
				settle(t, d, soon)
				update(t, d, func(tx *store.Tx) error { return tx.Append(rule("newer")) })
				for _, at := range []time.Time{soon, late} {
					if kept := rules(t, d, at, c); kept != 1 {
						t.Fatalf("%d entries after a purge at %v, want it kept", kept, at)
					}
				}
				settle(t, d, late)
				check("written")
				if kept := rules(t, d, late, c); kept != 0 {
					t.Errorf("%d entries after a purge, want none", kept)
				}
				check("without the entry")
			})
		})
	}
}

func settle(t *testing.T, d *store.DB, now time.Time) {
	t.Helper()
	if err := d.Settle(t.Context(), now, 1); err != nil {
		t.Fatal(err)
	}
}

// rules removes what is over at now, which is entries of the feed at most, and counts those
// that are left of a sweep.
func rules(t *testing.T, d *store.DB, now time.Time, c struct {
	kind, value      string
	grants, sessions []string
}) (n int) {
	t.Helper()
	if _, err := d.Purge(t.Context(), now, 100); err != nil {
		t.Fatal(err)
	}
	view(t, d, func(tx *store.Tx) error {
		all, err := tx.Rules(c.kind, c.value)
		n = len(all)
		return err
	})
	return n
}

// TestSweepHitsWhoDidNotSeeIt: an Update that began before a sweep, and commits after it,
// opens nothing that lives.
func TestSweepHitsWhoDidNotSeeIt(t *testing.T) {
	d := storetest.Open(t, storetest.Postgres(t), issuer) // SQLite runs one Update at a time
	var tries atomic.Int32
	update(t, d, func(tx *store.Tx) error {
		if tries.Add(1) == 1 {
			update(t, d, func(tx *store.Tx) error { return tx.Append(sweep("client", "x", base)) })
		}
		return furnish(tx, "1")
	})
	if tries.Load() != 1 {
		t.Fatalf("%d tries, want 1: this was no race", tries.Load())
	}
	update(t, d, func(tx *store.Tx) error { return furnish(tx, "2") })
	grants, codes, _ := living(t, d)
	want := []string{"1y", "1y-key", "2x", "2x-key", "2y", "2y-key"}
	if !slices.Equal(grants, want) || !slices.Equal(codes, want) {
		t.Errorf("grants %v, codes %v, want %v", grants, codes, want)
	}
}

// TestSweepAmongWriters: while a client is ended over and over and its grants are opened and
// used, whatever was opened before the last sweep began has ended, and whatever was opened
// after it had returned lives.
func TestSweepAmongWriters(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		type opened struct {
			id               string
			returned, before int64 // sweeps that had returned when it began, and had begun when it was there
		}
		var began, returned atomic.Int64
		var all [4][]opened
		var writers sync.WaitGroup
		for w := range all {
			writers.Go(func() {
				for n, over := 0, 0; over < 5 && n < 2000; n++ {
					if returned.Load() == 10 {
						over++
					}
					o := opened{id: fmt.Sprintf("%d-%d", w, n), returned: returned.Load()}
					must(t, d, func(tx *store.Tx) error {
						return tx.PutGrant(&store.Grant{ID: o.id, ClientID: "x", Expires: base.Add(time.Hour)})
					})
					o.before = began.Load()
					all[w] = append(all[w], o)
					must(t, d, func(tx *store.Tx) error { // as a refresh does
						g, err := tx.Grant(all[w][n/2].id)
						if err == nil && g.Ended.IsZero() {
							g.Used = base
							err = tx.PutGrant(g)
						}
						return err
					})
				}
			})
		}
		for n := range 10 {
			time.Sleep(5 * time.Millisecond)
			began.Add(1)
			must(t, d, func(tx *store.Tx) error { return tx.Append(sweep("client", "x", base.Add(time.Duration(n)))) })
			returned.Add(1)
		}
		writers.Wait()
		ended, alive := 0, 0
		view(t, d, func(tx *store.Tx) error {
			ended, alive = 0, 0
			for _, o := range slices.Concat(all[:]...) {
				g, err := tx.Grant(o.id)
				if err != nil {
					return err
				}
				switch {
				case o.before < 10:
					if ended++; g.Ended.IsZero() {
						t.Errorf("%s was there when %d of 10 sweeps had begun, and lives", o.id, o.before)
					}
				case o.returned == 10:
					if alive++; !g.Ended.IsZero() {
						t.Errorf("%s was opened after all sweeps had returned, and has ended", o.id)
					}
				}
			}
			return nil
		})
		if ended == 0 || alive == 0 {
			t.Errorf("%d grants were opened before the last sweep and %d after it, want some of each", ended, alive)
		}
	})
}

// TestSweepByWhat: only kinds that the store can tell rows by sweep.
func TestSweepByWhat(t *testing.T) {
	d := storetest.New(t, issuer)
	err := d.Update(t.Context(), func(tx *store.Tx) error { return tx.Append(sweep("subject", "u", base)) })
	if err == nil {
		t.Error("a sweep by subject was written")
	}
	for _, e := range []store.Entry{{Kind: "client", Value: "x", Sweep: true, At: base}, {Kind: "client", Value: "x", Sweep: true, Until: base}} {
		if err := d.Update(t.Context(), func(tx *store.Tx) error { return tx.Append(e) }); err == nil {
			t.Errorf("a sweep from %v until %v was written: without the one nothing looks ended, without the other it never goes", e.At, e.Until)
		}
	}
}

// BenchmarkSweep ends a client's 100,000 grants while four others refresh.
func BenchmarkSweep(b *testing.B) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			d := storetest.Open(b, url(b), issuer)
			const many = 100_000
			for at := 0; at < many; at += 1000 {
				must(b, d, func(tx *store.Tx) (err error) {
					for n := at; n < at+1000 && err == nil; n++ {
						err = tx.PutGrant(&store.Grant{ID: fmt.Sprint("g", n), UserID: fmt.Sprint("u", n), ClientID: "x", Expires: base.Add(1000 * time.Hour)})
					}
					return err
				})
			}
			stop := make(chan struct{})
			done := make(chan struct{})
			for w := range 4 {
				go func() {
					defer func() { done <- struct{}{} }()
					for n := w; ; n += 4 {
						select {
						case <-stop:
							return
						default:
						}
						must(b, d, func(tx *store.Tx) error {
							g, err := tx.Grant(fmt.Sprint("g", n%many))
							if err != nil || !g.Ended.IsZero() {
								return err
							}
							g.Used = time.Now()
							return tx.PutGrant(g)
						})
					}
				}()
			}
			for b.Loop() {
				must(b, d, func(tx *store.Tx) error { return tx.Append(sweep("client", "x", base)) })
			}
			close(stop)
			for range 4 {
				<-done
			}
		})
	}
}

func must(t testing.TB, d *store.DB, f func(*store.Tx) error) {
	if err := d.Update(t.Context(), f); err != nil {
		t.Error(err)
	}
}
