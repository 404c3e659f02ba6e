package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const issuer = "https://auth.example.com"

// base is in microseconds, as all times in the store are.
var base = time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.UTC)

// both runs a case of the contract on both databases.
func both(t *testing.T, f func(t *testing.T, open func(issuer string) *store.DB)) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		t.Parallel()
		f(t, open)
	})
}

func update(t *testing.T, d *store.DB, fn func(*store.Tx) error) {
	t.Helper()
	if err := d.Update(context.Background(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t *testing.T, d *store.DB, fn func(*store.Tx) error) {
	t.Helper()
	if err := d.View(context.Background(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

var (
	client = &store.Client{ID: "c1", Name: "Client", SecretHash: []byte{1, 0, 2}, AuthMethod: "none",
		Application: "web", GrantTypes: []string{"a", "b"}, RedirectURIs: []string{"https://x/ü?a=1&b=<2>"},
		Scope: []string{"s"}, Resources: []string{"r"}, Guards: []string{"g"}, FirstParty: true,
		Admin: true, BoundTokens: true, TrustDomain: "inside.example", Disabled: true, Created: base}
	resource = &store.Resource{URI: "https://api", Name: "API", Scopes: []store.ScopeText{{Name: "a", Text: "Ä"}},
		TokenLife: 90 * time.Second, Algorithm: "ES256", Created: base}
	user = &store.User{ID: "u1", Username: "ann", Name: "Ann", Email: "a@x", PasswordHash: "$p", Admin: true,
		Disabled: true, Created: base}
	session = &store.Session{ID: "s1", SecretHash: []byte("sh"), UserID: "u1", ACR: "1", AMR: []string{"pwd"},
		AuthTime: base, Created: base.Add(time.Microsecond), Seen: base.Add(2 * time.Second), Expires: base.Add(time.Hour),
		Address: "::1", UserAgent: "ua"}
	flow = &store.Flow{ID: "f1", BrowserHash: []byte("bh"), Request: []byte{0, 255}, Consent: "allowed",
		ConsentSession: "s1", Created: base, Expires: base.Add(time.Minute)}
	grant = &store.Grant{ID: "g1", UserID: "u1", ClientID: "c1", SessionID: "s1", Scope: []string{"a", "b"},
		Resources: []string{"r"}, ACR: "1", AMR: []string{"pwd"}, KeyID: "k", AuthTime: base, Created: base,
		Used: base, Expires: base.Add(time.Hour), EndReason: "x"}
	code = &store.Code{Hash: []byte("ch"), ClientID: "c1", UserID: "u1", SessionID: "s1", RedirectURI: "https://x",
		Challenge: "ch", Scope: []string{"a"}, Resources: []string{"r"}, Nonce: "n", ACR: "1",
		AMR: []string{"pwd"}, KeyID: "k", AuthTime: base, Expires: base.Add(time.Minute), Used: base, GrantID: "g1"}
	refresh = &store.Refresh{Hash: []byte("rh"), GrantID: "g1", ClientID: "c1", Created: base,
		Expires: base.Add(time.Hour), Spent: base, SuccessorHash: []byte("sh"), Successor: []byte("ss")}
	key = &store.Key{ID: "k1", Use: "sign", Algorithm: "ES256", Public: []byte("{}"), Sealed: []byte{1},
		Created: base, Active: base, Retired: base, Expires: base}
	inner  = &store.InnerKey{ClientID: "c1", ID: "k1", Public: []byte("{}"), Created: base, Expires: base.Add(time.Hour)}
	invite = &store.Invite{Hash: []byte("ih"), Role: "owner", Created: base, Expires: base.Add(time.Hour), Used: base}
)

// record is one kind of record: how to put it, change it and find it again.
type record struct {
	name  string
	full  any // pointer, all fields set
	empty any // pointer, only the key set
	put   func(*store.Tx, any) error
	get   func(*store.Tx) (any, error)
}

func records() []record {
	return []record{
		{"client", client, &store.Client{ID: "c1"},
			func(tx *store.Tx, v any) error { return tx.PutClient(v.(*store.Client)) },
			func(tx *store.Tx) (any, error) { return tx.Client("c1") }},
		{"resource", resource, &store.Resource{URI: "https://api"},
			func(tx *store.Tx, v any) error { return tx.PutResource(v.(*store.Resource)) },
			func(tx *store.Tx) (any, error) { return tx.Resource("https://api") }},
		{"user", user, &store.User{ID: "u1"},
			func(tx *store.Tx, v any) error { return tx.PutUser(v.(*store.User)) },
			func(tx *store.Tx) (any, error) { return tx.User("u1") }},
		{"session", session, &store.Session{ID: "s1", SecretHash: []byte("x")},
			func(tx *store.Tx, v any) error { return tx.PutSession(v.(*store.Session)) },
			func(tx *store.Tx) (any, error) { return tx.Session("s1") }},
		{"flow", flow, &store.Flow{ID: "f1"},
			func(tx *store.Tx, v any) error { return tx.PutFlow(v.(*store.Flow)) },
			func(tx *store.Tx) (any, error) { return tx.Flow("f1") }},
		{"grant", grant, &store.Grant{ID: "g1"},
			func(tx *store.Tx, v any) error { return tx.PutGrant(v.(*store.Grant)) },
			func(tx *store.Tx) (any, error) { return tx.Grant("g1") }},
		{"code", code, &store.Code{Hash: []byte("ch")},
			func(tx *store.Tx, v any) error { return tx.PutCode(v.(*store.Code)) },
			func(tx *store.Tx) (any, error) { return tx.Code([]byte("ch")) }},
		{"refresh", refresh, &store.Refresh{Hash: []byte("rh")},
			func(tx *store.Tx, v any) error { return tx.PutRefresh(v.(*store.Refresh)) },
			func(tx *store.Tx) (any, error) { return tx.Refresh([]byte("rh")) }},
		{"key", key, &store.Key{ID: "k1"},
			func(tx *store.Tx, v any) error { return tx.PutKey(v.(*store.Key)) },
			func(tx *store.Tx) (any, error) {
				all, err := tx.Keys()
				if err != nil || len(all) == 0 {
					return nil, errors.Join(err, store.ErrNotFound)
				}
				return all[0], nil
			}},
		{"inner key", inner, &store.InnerKey{ClientID: "c1", ID: "k1", Public: []byte("x"), Expires: base.Add(time.Minute)},
			func(tx *store.Tx, v any) error { return tx.PutInnerKey(*v.(*store.InnerKey)) },
			func(tx *store.Tx) (any, error) {
				all, err := tx.InnerKeys(base)
				if err != nil || len(all) == 0 {
					return nil, errors.Join(err, store.ErrNotFound)
				}
				return &all[0], nil
			}},
		{"invite", invite, &store.Invite{Hash: []byte("ih")},
			func(tx *store.Tx, v any) error { return tx.PutInvite(v.(*store.Invite)) },
			func(tx *store.Tx) (any, error) { return tx.Invite([]byte("ih")) }},
	}
}

func TestRecordsComeBackAsPut(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d, other := open(issuer), open("https://other.example.com")
		for _, r := range records() {
			view(t, d, func(tx *store.Tx) error {
				if v, err := r.get(tx); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s before put = %v, %v, want ErrNotFound", r.name, v, err)
				}
				return nil
			})
			for _, want := range []any{r.full, r.empty, r.full} { // insert, replace, replace
				update(t, d, func(tx *store.Tx) error { return r.put(tx, want) })
				view(t, d, func(tx *store.Tx) error {
					if got, err := r.get(tx); err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%s = %+v, %v, want %+v", r.name, got, err, want)
					}
					return nil
				})
			}
			view(t, other, func(tx *store.Tx) error {
				if v, err := r.get(tx); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s seen by another issuer: %v, %v", r.name, v, err)
				}
				return nil
			})
		}
	})
}

func TestIssuersDoNotCollide(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d, other := open(issuer), open("https://other.example.com")
		for _, r := range records() {
			update(t, d, func(tx *store.Tx) error { return r.put(tx, r.full) })
			update(t, other, func(tx *store.Tx) error { return r.put(tx, r.empty) })
			view(t, d, func(tx *store.Tx) error {
				if got, err := r.get(tx); err != nil || !reflect.DeepEqual(got, r.full) {
					t.Errorf("%s after another issuer's put = %+v, %v, want %+v", r.name, got, err, r.full)
				}
				return nil
			})
		}
		update(t, other, func(tx *store.Tx) error {
			return errors.Join(tx.AddUser(&store.User{ID: "u9", Username: "ann"}), tx.DeleteUser("u1"), tx.DeleteClient("c1"))
		})
		view(t, d, func(tx *store.Tx) error {
			_, err := tx.User("u1")
			_, err2 := tx.Client("c1")
			_, err3 := tx.Grant("g1")
			return errors.Join(err, err2, err3)
		})
	})
}

func TestConflictsAreToldAndLeaveTheTransactionUsable(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		update(t, d, func(tx *store.Tx) error {
			return errors.Join(tx.AddClient(client), tx.AddResource(resource), tx.AddUser(user),
				tx.AddUser(&store.User{ID: "u2", Username: "bob"}))
		})
		update(t, d, func(tx *store.Tx) error {
			for what, err := range map[string]error{
				"AddClient":                 tx.AddClient(client),
				"AddResource":               tx.AddResource(resource),
				"AddUser same id":           tx.AddUser(&store.User{ID: "u1", Username: "new"}),
				"AddUser same name":         tx.AddUser(&store.User{ID: "u3", Username: "ann"}),
				"PutUser with other's name": tx.PutUser(&store.User{ID: "u2", Username: "ann"}),
				"PutUser new, taken name":   tx.PutUser(&store.User{ID: "u4", Username: "bob"}),
			} {
				if !errors.Is(err, store.ErrConflict) {
					t.Errorf("%s = %v, want ErrConflict", what, err)
				}
			}
			return tx.PutUser(&store.User{ID: "u2", Username: "carl"})
		})
		view(t, d, func(tx *store.Tx) error {
			if u, err := tx.UserByName("carl"); err != nil || u.ID != "u2" {
				t.Errorf("UserByName after conflicts = %v, %v, want u2", u, err)
			}
			if _, err := tx.UserByName("bob"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("UserByName of the old name = %v, want ErrNotFound", err)
			}
			return nil
		})
	})
}

func TestDeletesOfWhatIsMissing(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		update(t, open(issuer), func(tx *store.Tx) error {
			for what, err := range map[string]error{
				"client": tx.DeleteClient("x"), "resource": tx.DeleteResource("x"), "user": tx.DeleteUser("x"),
				"session": tx.DeleteSession("x"), "flow": tx.DeleteFlow("x"), "key": tx.DeleteKey("x"),
			} {
				if !errors.Is(err, store.ErrNotFound) {
					t.Errorf("delete missing %s = %v, want ErrNotFound", what, err)
				}
			}
			return nil
		})
	})
}

func TestDeleteTakesWhatHangsOnIt(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		for what, remove := range map[string]func(*store.Tx) error{
			"user": func(tx *store.Tx) error { return tx.DeleteUser("u1") },
			"client": func(tx *store.Tx) error { // its grants are swept, and go as all that have ended
				return errors.Join(tx.Append(sweep("client", "c1", base)), tx.DeleteClient("c1"))
			},
		} {
			for _, r := range records() {
				update(t, d, func(tx *store.Tx) error { return r.put(tx, r.full) })
			}
			other := *grant
			other.ID, other.UserID, other.ClientID = "g2", "u2", "c2"
			update(t, d, func(tx *store.Tx) error { return errors.Join(tx.PutGrant(&other), remove(tx)) })
			view(t, d, func(tx *store.Tx) error {
				if g, err := tx.Grant("g1"); !errors.Is(err, store.ErrNotFound) && (what == "user" || g.Ended.IsZero()) {
					t.Errorf("grant after delete of %s: %+v, %v, want it gone or, of a client, ended", what, g, err)
				}
				if _, err := tx.Code(code.Hash); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("code after delete of %s: %v, want ErrNotFound", what, err)
				}
				if _, err := tx.Refresh(refresh.Hash); what == "user" && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("refresh token after delete of %s: %v, want ErrNotFound", what, err)
				}
				if _, err := tx.Session("s1"); (what == "user") != errors.Is(err, store.ErrNotFound) {
					t.Errorf("session after delete of %s: %v", what, err)
				}
				_, err := tx.Grant("g2")
				return err
			})
		}
	})
}

func TestLists(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		update(t, d, func(tx *store.Tx) error {
			for i := range 5 {
				id := fmt.Sprint("Z", "a", i)[i%2:] // upper and lower case: bytes decide the order
				at := base.Add(time.Duration(i) * time.Second)
				err := errors.Join(tx.AddClient(&store.Client{ID: id}), tx.AddResource(&store.Resource{URI: id}),
					tx.AddUser(&store.User{ID: id, Username: id}),
					tx.PutSession(&store.Session{ID: id, SecretHash: []byte(id), UserID: "u", Created: at}),
					tx.PutGrant(&store.Grant{ID: id, UserID: "u", ClientID: "c", SessionID: "s", Created: at}),
					tx.PutGrant(&store.Grant{ID: "ended" + id, UserID: "u", ClientID: "c", SessionID: "s", Ended: at}),
					tx.PutKey(&store.Key{ID: id, Created: base.Add(-at.Sub(base))}),
					tx.Audit(store.Audit{At: at, Action: id}), tx.Audit(store.Audit{At: at, Action: id + "'"}),
					tx.PutGuardState(store.GuardState{ClientID: "c", Instance: id, Epoch: "e", Position: uint64(i),
						KeyIDs: []string{"k"}, Seen: at}))
				if err != nil {
					return err
				}
			}
			return nil
		})
		view(t, d, func(tx *store.Tx) error {
			check := func(what string, got []string, err error, want ...string) {
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s = %q, %v, want %q", what, got, err, want)
				}
			}
			clients, err := tx.Clients("Za0", 3)
			check("Clients", names(clients, func(c *store.Client) string { return c.ID }), err, "Za2", "Za4", "a1")
			users, err := tx.Users("", 2)
			check("Users", names(users, func(u *store.User) string { return u.ID }), err, "Za0", "Za2")
			resources, err := tx.Resources()
			check("Resources", names(resources, func(r *store.Resource) string { return r.URI }), err,
				"Za0", "Za2", "Za4", "a1", "a3")
			sessions, err := tx.SessionsOf("u")
			check("SessionsOf", names(sessions, func(s *store.Session) string { return s.ID }), err,
				"Za4", "a3", "Za2", "a1", "Za0")
			id := func(g *store.Grant) string { return g.ID }
			grants, err := tx.GrantsOf("u")
			check("GrantsOf", names(grants, id), err, "Za4", "a3", "Za2", "a1", "Za0")
			grants, err = tx.GrantsOfSession("s")
			check("GrantsOfSession", names(grants, id), err, "Za4", "a3", "Za2", "a1", "Za0")
			grants, err = tx.GrantsOfClient("c", "Za2", 2)
			check("GrantsOfClient", names(grants, id), err, "Za4", "a1")
			keys, err := tx.Keys()
			check("Keys", names(keys, func(k *store.Key) string { return k.ID }), err, "Za4", "a3", "Za2", "a1", "Za0")
			action := func(a store.Audit) string { return a.Action }
			audits, err := tx.Audits(3, time.Time{})
			check("Audits", names(audits, action), err, "Za4'", "Za4", "a3'")
			audits, err = tx.Audits(9, base.Add(2*time.Second))
			check("Audits before", names(audits, action), err, "a1'", "a1", "Za0'", "Za0")
			states, err := tx.GuardStates(base.Add(3 * time.Second))
			want := []store.GuardState{
				{ClientID: "c", Instance: "Za4", Epoch: "e", Position: 4, KeyIDs: []string{"k"}, Seen: base.Add(4 * time.Second)},
				{ClientID: "c", Instance: "a3", Epoch: "e", Position: 3, KeyIDs: []string{"k"}, Seen: base.Add(3 * time.Second)},
			}
			if err != nil || !reflect.DeepEqual(states, want) {
				t.Errorf("GuardStates = %+v, %v, want %+v", states, err, want)
			}
			return nil
		})
	})
}

func names[T any](list []T, name func(T) string) []string {
	var all []string
	for _, v := range list {
		all = append(all, name(v))
	}
	return all
}

func TestGuardStatesAreForgotten(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d, other := open(issuer), open("https://other.example")
		put := func(d *store.DB, client, instance string, second int) {
			update(t, d, func(tx *store.Tx) error {
				return tx.PutGuardState(store.GuardState{ClientID: client, Instance: instance, Seen: base.Add(time.Duration(second) * time.Second)})
			})
		}
		for i, instance := range []string{"b", "a", "d", "c"} {
			put(d, "c1", instance, i)
		}
		put(d, "c1", "e", 3) // as late as c
		put(d, "c2", "a", 0)
		put(other, "c1", "b", 0)
		check := func(d *store.DB, want ...string) {
			t.Helper()
			view(t, d, func(tx *store.Tx) error {
				states, err := tx.GuardStates(base)
				var got []string
				for _, s := range states {
					got = append(got, s.ClientID+" "+s.Instance)
				}
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("states = %q, %v, want %q", got, err, want)
				}
				return nil
			})
		}
		update(t, d, func(tx *store.Tx) error { return tx.TrimGuardStates("c1", 3) })
		check(d, "c1 c", "c1 d", "c1 e", "c2 a")
		check(other, "c1 b")
		update(t, d, func(tx *store.Tx) error {
			if err := tx.RemoveGuardState("c2", "c"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("removing another client's instance = %v, want ErrNotFound", err)
			}
			return tx.RemoveGuardState("c1", "c")
		})
		check(d, "c1 d", "c1 e", "c2 a")
		view(t, d, func(tx *store.Tx) error {
			for instance, want := range map[string]bool{"d": true, "c": false, "a": false} {
				if got, err := tx.KnowsGuard("c1", instance); got != want || err != nil {
					t.Errorf("KnowsGuard(c1, %s) = %t, %v, want %t", instance, got, err, want)
				}
			}
			return nil
		})
	})
}
