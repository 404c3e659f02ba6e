package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/writ-auth/writ/internal/store"
)

var errMine = errors.New("mine")

// together runs fn n times at once and waits for all.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		a, b := open(issuer), open(issuer) // two replicas
		update(t, a, func(tx *store.Tx) error {
			return tx.PutCode(&store.Code{Hash: []byte("c"), Expires: base})
		})
		var won, refused atomic.Int32
		together(32, func(i int) {
			d := []*store.DB{a, b}[i%2]
			var mine bool
			err := d.Update(context.Background(), func(tx *store.Tx) error {
				mine = false
				c, err := tx.Code([]byte("c"))
				if err != nil {
					return err
				}
				if !c.Used.IsZero() {
					return errMine
				}
				mine = true
				c.Used, c.GrantID = base, fmt.Sprint("g", i)
				return errors.Join(tx.PutCode(c), tx.PutGrant(&store.Grant{ID: c.GrantID}))
			})
			switch {
			case err == nil && mine:
				won.Add(1)
			case errors.Is(err, errMine):
				refused.Add(1)
			default:
				t.Errorf("redeem %d: %v", i, err)
			}
		})
		if won.Load() != 1 || refused.Load() != 31 {
			t.Errorf("redeemed %d times, refused %d, want 1 and 31", won.Load(), refused.Load())
		}
	})
}

// Two accounts of which one must stay enabled: each transaction sees the other enabled and
// disables its own. Snapshot isolation lets both through.
func TestNoWriteSkew(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		for round := range 20 {
			update(t, d, func(tx *store.Tx) error {
				return errors.Join(tx.PutUser(&store.User{ID: "a", Username: "a"}), tx.PutUser(&store.User{ID: "b", Username: "b"}))
			})
			together(2, func(i int) {
				err := d.Update(context.Background(), func(tx *store.Tx) error {
					own, other := "a", "b"
					if i == 1 {
						own, other = other, own
					}
					o, err := tx.User(other)
					if err != nil || o.Disabled {
						return err
					}
					return tx.PutUser(&store.User{ID: own, Username: own, Disabled: true})
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			})
			view(t, d, func(tx *store.Tx) error {
				a, err := tx.User("a")
				b, err2 := tx.User("b")
				if err := errors.Join(err, err2); err != nil {
					return err
				}
				if a.Disabled && b.Disabled {
					t.Fatalf("round %d: both are disabled", round)
				}
				return nil
			})
		}
	})
}

// The same over rows that do not exist yet: each inserts only if the other has not.
func TestNoPhantoms(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		for round := range 20 {
			client := fmt.Sprint("c", round)
			together(4, func(i int) {
				err := d.Update(context.Background(), func(tx *store.Tx) error {
					all, err := tx.GrantsOfClient(client, "", 10)
					if err != nil || len(all) > 0 {
						return err
					}
					return tx.PutGrant(&store.Grant{ID: fmt.Sprint(client, "-", i), ClientID: client})
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			})
			view(t, d, func(tx *store.Tx) error {
				all, err := tx.GrantsOfClient(client, "", 10)
				if len(all) != 1 {
					t.Fatalf("round %d: %d grants, want 1", round, len(all))
				}
				return err
			})
		}
	})
}

func TestNoLostUpdate(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		a, b := open(issuer), open(issuer)
		const each = 10
		together(8, func(i int) {
			for range each {
				err := []*store.DB{a, b}[i%2].Update(context.Background(), func(tx *store.Tx) error {
					at, err := tx.Attempt("n")
					if err != nil {
						return err
					}
					at.Level++
					return tx.PutAttempt(at)
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
		view(t, a, func(tx *store.Tx) error {
			at, err := tx.Attempt("n")
			if at.Level != 8*each {
				t.Errorf("counted %d, want %d", at.Level, 8*each)
			}
			return err
		})
	})
}

func TestViewIsOneSnapshotAndCannotWrite(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		update(t, d, func(tx *store.Tx) error { return tx.PutMeta("m", "before") })
		view(t, d, func(tx *store.Tx) error {
			first, err := tx.Meta("m")
			if err != nil {
				return err
			}
			update(t, d, func(tx *store.Tx) error {
				return errors.Join(tx.PutMeta("m", "after"), tx.PutUser(user), tx.Append(store.Entry{Kind: "jti"}))
			})
			again, err := tx.Meta("m")
			_, userErr := tx.User("u1")
			head, headErr := tx.Head()
			if first != "before" || again != "before" || !errors.Is(userErr, store.ErrNotFound) || head != 0 || headErr != nil {
				t.Errorf("View saw %q then %q, user %v, head %d %v: want one snapshot", first, again, userErr, head, headErr)
			}
			return err
		})
		for what, write := range map[string]func(*store.Tx) error{
			"put":    func(tx *store.Tx) error { return tx.PutMeta("m", "x") },
			"append": func(tx *store.Tx) error { return tx.Append(store.Entry{Kind: "jti"}) },
		} {
			err := d.View(context.Background(), func(tx *store.Tx) error {
				write(tx)
				return nil
			})
			if err == nil || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s in a View = %v, want an error that says so", what, err)
			}
		}
	})
}

func TestErrorWritesNothingAndIsReturnedAsItIs(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		ran := 0
		err := d.Update(context.Background(), func(tx *store.Tx) error {
			ran++
			return errors.Join(tx.PutUser(user), tx.Append(store.Entry{Kind: "jti"}), errMine)
		})
		if !errors.Is(err, errMine) || errors.Is(err, store.ErrUnavailable) || ran != 1 {
			t.Errorf("Update = %v after %d runs, want the function's error after 1", err, ran)
		}
		untouched(t, d)
	})
}

// untouched fails unless neither user u1 nor an entry of the feed is there, and unless the
// store still works.
func untouched(t *testing.T, d *store.DB) {
	t.Helper()
	update(t, d, func(tx *store.Tx) error { return tx.PutMeta("alive", "yes") })
	view(t, d, func(tx *store.Tx) error {
		if _, err := tx.User("u1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("user = %v, want ErrNotFound: something was written", err)
		}
		if head, err := tx.Head(); head != 0 || err != nil {
			t.Errorf("head = %d, %v, want 0: something was written", head, err)
		}
		return nil
	})
}

func TestPanicRollsBack(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		for name, run := range map[string]func(context.Context, func(*store.Tx) error) error{"Update": d.Update, "View": d.View} {
			got := func() (v any) {
				defer func() { v = recover() }()
				return run(context.Background(), func(tx *store.Tx) error {
					if name == "Update" {
						tx.PutUser(user)
					}
					panic("boom")
				})
			}()
			if got != "boom" {
				t.Errorf("%s panicked with %v, want boom", name, got)
			}
		}
		untouched(t, d)
	})
}

func TestTxIsDeadAfterItsFunction(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		var kept *store.Tx
		update(t, d, func(tx *store.Tx) error { kept = tx; return nil })
		if err := kept.PutUser(user); err == nil {
			t.Error("write with a Tx whose function has returned: no error")
		}
		if err := kept.Append(store.Entry{Kind: "jti"}); err == nil {
			t.Error("append with a Tx whose function has returned: no error")
		}
		untouched(t, d)
	})
}

// Many Updates at once, some of which fail or panic: those that returned nil are all
// there, the others not at all.
func TestNeighboursDoNotSpoilEachOther(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		const n = 200
		together(n, func(i int) {
			var err error
			func() {
				defer func() {
					if recover() != nil {
						err = errMine
					}
				}()
				err = d.Update(context.Background(), func(tx *store.Tx) error {
					if err := tx.PutMeta(strconv.Itoa(i), "x"); err != nil {
						return err
					}
					switch i % 4 {
					case 1:
						return errMine
					case 2:
						panic("boom")
					}
					return tx.Append(store.Entry{Kind: "jti", Value: strconv.Itoa(i), Until: base})
				})
			}()
			if (i%4 == 1 || i%4 == 2) != errors.Is(err, errMine) || i%4 != 1 && i%4 != 2 && err != nil {
				t.Errorf("Update %d: %v", i, err)
			}
		})
		view(t, d, func(tx *store.Tx) error {
			for i := range n {
				want := i%4 == 0 || i%4 == 3
				_, err := tx.Meta(strconv.Itoa(i))
				rules, rulesErr := tx.Rules("jti", strconv.Itoa(i))
				if (err == nil) != want || (len(rules) == 1) != want || rulesErr != nil {
					t.Errorf("update %d: meta %v, %d rules, %v, want written = %v", i, err, len(rules), rulesErr, want)
				}
			}
			return nil
		})
	})
}

// On a store that is nearly empty PostgreSQL sees conflicts between any two transactions.
// None of them may lose until it is given up.
func TestBusyLittleStoreGivesUpNobody(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		const n = 48
		update(t, d, func(tx *store.Tx) error {
			for i := range n {
				id := fmt.Sprint(i)
				err := errors.Join(tx.PutGrant(&store.Grant{ID: id}), tx.PutRefresh(&store.Refresh{Hash: hash(int64(i)), GrantID: id}))
				if err != nil {
					return err
				}
			}
			return tx.PutClient(client)
		})
		together(n, func(i int) {
			for round := range 5 {
				from, to := hash(int64(i+round*n)), hash(int64(i+(round+1)*n))
				if err := d.Update(context.Background(), func(tx *store.Tx) error { return rotate(tx, from, to) }); err != nil {
					t.Errorf("rotation %d of grant %d: %v", round, i, err)
					return
				}
			}
		})
		t.Logf("%d retries of %d Updates", d.Stats().Retries, 5*n)
	})
}
