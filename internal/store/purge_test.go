package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// kinds puts a record of each kind that ends, with its end at a time, and says how long
// after its end it is kept.
func kinds(at time.Time) map[string]struct {
	keep time.Duration
	put  func(tx *store.Tx, id string) error
} {
	type kind = struct {
		keep time.Duration
		put  func(tx *store.Tx, id string) error
	}
	return map[string]kind{
		"flow": {0, func(tx *store.Tx, id string) error { return tx.PutFlow(&store.Flow{ID: id, Expires: at}) }},
		"code": {time.Hour, func(tx *store.Tx, id string) error {
			return tx.PutCode(&store.Code{Hash: []byte(id), Expires: at, Used: at})
		}},
		"refresh": {0, func(tx *store.Tx, id string) error {
			return tx.PutRefresh(&store.Refresh{Hash: []byte(id), GrantID: "none", Expires: at})
		}},
		"refresh of an ended grant": {24 * time.Hour, func(tx *store.Tx, id string) error {
			return tx.PutRefresh(&store.Refresh{Hash: []byte("e" + id), GrantID: "ended", Expires: at.Add(999 * time.Hour)})
		}},
		"grant": {0, func(tx *store.Tx, id string) error { return tx.PutGrant(&store.Grant{ID: id, Expires: at}) }},
		"ended grant": {24 * time.Hour, func(tx *store.Tx, id string) error {
			return tx.PutGrant(&store.Grant{ID: "e" + id, Expires: at.Add(999 * time.Hour), Ended: at})
		}},
		"session": {0, func(tx *store.Tx, id string) error {
			return tx.PutSession(&store.Session{ID: id, SecretHash: []byte(id), Expires: at})
		}},
		"rule": {0, func(tx *store.Tx, id string) error {
			return tx.Append(store.Entry{Kind: "jti", Value: id, At: at.Add(-time.Hour), Until: at})
		}},
		"config": {time.Hour, func(tx *store.Tx, id string) error {
			return tx.Append(store.Entry{Kind: "config", Value: id, At: at})
		}},
		"once": {0, func(tx *store.Tx, id string) error {
			_, err := tx.Once("p", []byte(id), at)
			return err
		}},
		"attempt": {24 * time.Hour, func(tx *store.Tx, id string) error {
			return tx.PutAttempt(store.Attempt{Key: id, At: at})
		}},
		"guard state": {time.Hour, func(tx *store.Tx, id string) error {
			return tx.PutGuardState(store.GuardState{ClientID: "c", Instance: id, Seen: at})
		}},
		"invite": {0, func(tx *store.Tx, id string) error {
			return tx.PutInvite(&store.Invite{Hash: []byte(id), Expires: at})
		}},
		"inner key": {0, func(tx *store.Tx, id string) error {
			return tx.PutInnerKey(store.InnerKey{ClientID: "c", ID: id, Public: []byte{}, Expires: at})
		}},
		"key": {0, func(tx *store.Tx, id string) error { return tx.PutKey(&store.Key{ID: id, Expires: at}) }},
	}
}

func TestPurgeRemovesWhatIsOverAndNoMore(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d, other := open(issuer), open("https://other.example.com")
		const rows, limit = 7, 3
		for _, db := range []*store.DB{d, other} {
			update(t, db, func(tx *store.Tx) error {
				for _, k := range kinds(base) {
					for i := range rows {
						if err := k.put(tx, fmt.Sprint(i)); err != nil {
							return err
						}
					}
				}
				// What never ends, and the newest entry of the feed, stay.
				for _, k := range kinds(time.Time{}) {
					if err := k.put(tx, "kept"); err != nil {
						return err
					}
				}
				return errors.Join(
					tx.PutGrant(&store.Grant{ID: "ended", Ended: base}),
					tx.PutGrant(&store.Grant{ID: "parent", Expires: base}),
					tx.PutRefresh(&store.Refresh{Hash: []byte("child"), GrantID: "parent", Expires: base.Add(999 * time.Hour)}),
					tx.PutAttempt(store.Attempt{Key: "kept", At: base.Add(48 * time.Hour)}),
					tx.PutGuardState(store.GuardState{ClientID: "c", Instance: "kept", Seen: base.Add(48 * time.Hour)}),
					tx.Append(store.Entry{Kind: "jti", Value: "last", Until: base}))
			})
		}
		purge := func(now time.Time) (total int) {
			for {
				n, err := d.Purge(context.Background(), now, limit)
				if err != nil {
					t.Fatal(err)
				}
				if n > limit*len(kinds(base)) {
					t.Errorf("one round removed %d rows, want at most %d of each kind", n, limit)
				}
				if n == 0 {
					return total
				}
				total += n
			}
		}
		if n := purge(base); n > 1 { // the config entry without a time
			t.Errorf("removed %d rows at the moment of expiry, want none", n)
		}
		for _, now := range []time.Duration{0, time.Hour, 24 * time.Hour} {
			want := 0
			for _, k := range kinds(base) {
				if k.keep == now {
					want += rows
				}
			}
			if now == 24*time.Hour {
				want += 2 // the grant "ended" and its refresh token without an end
			}
			if n := purge(base.Add(now + time.Microsecond)); n != want {
				t.Errorf("%v after the end: removed %d rows, want %d", now, n, want)
			}
		}
		view(t, d, func(tx *store.Tx) error {
			_, parent := tx.Grant("parent") // expired, but a refresh token of it is not
			_, session := tx.Session("kept")
			feed, err := tx.Feed(0, 10)
			if len(feed) == 0 || feed[len(feed)-1].Value != "last" {
				t.Errorf("feed = %+v, want the newest entry kept", feed)
			}
			return errors.Join(parent, session, err)
		})
		view(t, other, func(tx *store.Tx) error { _, err := tx.Session("0"); return err })
	})
}

// Run removes more than one round can take, without being asked.
func TestRunRemovesWhatIsOver(t *testing.T) {
	at := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		d, err := store.Open(t.Context(), store.Config{URL: at, Issuer: issuer, Kind: "dev"})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		const rows = 1200
		end := time.Now().Add(time.Second)
		update(t, d, func(tx *store.Tx) error {
			for i := range rows {
				if _, err := tx.Once("p", fmt.Appendf(nil, "%d", i), end); err != nil {
					return err
				}
			}
			return tx.PutGrant(&store.Grant{ID: "g", ClientID: "x", Expires: end.Add(time.Hour)})
		})
		update(t, d, func(tx *store.Tx) error {
			return tx.Append(store.Entry{Kind: "client", Value: "x", Effect: "end", At: end, Until: end, Sweep: true})
		})
		update(t, d, func(tx *store.Tx) error { return tx.Append(rule("newer")) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n, err := d.Purge(t.Context(), time.Now(), rows); n != 0 || err != nil {
			t.Errorf("Purge after Run = %d, %v, want nothing left", n, err)
		}
		view(t, d, func(tx *store.Tx) error {
			left, err := tx.Rules("client", "x")
			g, err2 := tx.Grant("g")
			if len(left) != 0 || err2 == nil && g.Ended.IsZero() {
				t.Errorf("a sweep that is over: %+v, and its grant %+v, want it gone and that ended", left, g)
			}
			return errors.Join(err, err2)
		})
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want Canceled", err)
		}
	})
}
