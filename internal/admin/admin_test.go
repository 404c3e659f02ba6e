package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const issuer = "https://auth.example"

var tester = By{Actor: "u_tester", Address: "192.0.2.7"}

// bench is an Admin on a store of its own, with a clock that a test moves.
type bench struct {
	*Admin
	db  *store.DB
	now time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{db: storetest.New(t, issuer), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	a, err := New(Config{Issuer: issuer, DB: b.db, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.Admin = a
	return b
}

// withKeys gives the bench signing keys.
func (b *bench) withKeys(t *testing.T) {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	seal, err := mint.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.Keys, err = mint.Open(t.Context(), mint.Config{
		Issuer: issuer, DB: b.db, Seal: seal, Algorithms: []string{"ES256"}, Now: b.cfg.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// orders adds the resource that most tests are about.
func (b *bench) orders(t *testing.T) string {
	t.Helper()
	r, err := b.AddResource(t.Context(), tester, Resource{
		URI: "https://api.example/orders", Scopes: []Scope{{Name: "orders:read", Text: "See your orders"}, {Name: "orders:write"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.URI
}

// service is a confidential client that acts for itself.
func service(id string) Client {
	return Client{ID: id, Scope: "orders:read", Resources: []string{"https://api.example/orders"}}
}

// feed reads all entries as "kind value reason".
func (b *bench) feed(t *testing.T) []string {
	t.Helper()
	var out []string
	err := b.db.View(t.Context(), func(tx *store.Tx) error {
		out = nil
		entries, err := tx.Feed(0, 1000)
		for _, e := range entries {
			out = append(out, e.Kind+" "+e.Value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// trail reads the audit lines, oldest first, as "actor action target".
func (b *bench) trail(t *testing.T) []string {
	t.Helper()
	p, err := b.Audit(t.Context(), "", MaxLimit)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range slices.Backward(p.Items) {
		out = append(out, l.Actor+" "+l.Action+" "+l.Target)
	}
	return out
}

// wantField fails unless err is an Error about that field.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want an *Error about %q", err, field)
	}
	if e.Field != field {
		t.Errorf("error %q is about %q, want %q", e, e.Field, field)
	}
}

func TestChangeLeavesAuditLineAndWord(t *testing.T) {
	b := newBench(t)
	uri := b.orders(t)
	ctx := t.Context()
	if _, err := b.AddClient(ctx, tester, service("robot")); err != nil {
		t.Fatal(err)
	}
	name := func(c *Client) error { c.Name = "Robot 2"; return nil }
	if _, err := b.SetClient(ctx, tester, "robot", name); err != nil {
		t.Fatal(err)
	}
	if _, err := b.RenewSecret(ctx, tester, "robot"); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveClient(ctx, tester, "robot"); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveResource(ctx, tester, ResourceID(uri)); err != nil {
		t.Fatal(err)
	}
	wantTrail := []string{
		"u_tester resource.add " + uri, "u_tester client.add robot", "u_tester client.set robot",
		"u_tester client.secret robot", "u_tester client.end robot", "u_tester client.remove robot", "u_tester resource.remove " + uri,
	}
	if got := b.trail(t); !slices.Equal(got, wantTrail) {
		t.Errorf("audit trail = %q\nwant %q", got, wantTrail)
	}
	wantFeed := []string{
		"config " + uri, "config robot", "config robot", "config robot", "client robot", "config robot", "config " + uri,
	}
	if got := b.feed(t); !slices.Equal(got, wantFeed) {
		t.Errorf("feed = %q\nwant %q", got, wantFeed)
	}
}

func TestRefusedChangeLeavesNothing(t *testing.T) {
	b := newBench(t)
	_, err := b.AddClient(t.Context(), tester, service("robot")) // its resource is not there
	wantField(t, err, "resources")
	if got := b.trail(t); got != nil {
		t.Errorf("audit trail = %q, want none", got)
	}
	if got := b.feed(t); got != nil {
		t.Errorf("feed = %q, want none", got)
	}
}

// TestAuditPagesLoseNoLine has more lines of one time than a page holds.
func TestAuditPagesLoseNoLine(t *testing.T) {
	b := newBench(t)
	var want []string
	for i := range 23 {
		if i%7 == 0 {
			b.now = b.now.Add(time.Second)
		}
		target := fmt.Sprintf("t%02d", i)
		want = append(want, target)
		err := b.db.Update(t.Context(), func(tx *store.Tx) error {
			return b.act(tester, "test.line", target).audit(tx, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 3, 7, 10, 22, 23, 24} {
		var got []string
		after, pages := "", 0
		for {
			p, err := b.Audit(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range p.Items {
				got = append(got, l.Target)
			}
			if after = p.Next; after == "" {
				break
			}
			if pages++; pages > 30 {
				t.Fatalf("limit %d: the pages do not end", limit)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: lines = %q\nwant %q", limit, got, want)
		}
	}
	_, err := b.Audit(t.Context(), "yesterday", 10)
	wantField(t, err, "after")
}

func TestPagesOfClients(t *testing.T) {
	b := newBench(t)
	b.orders(t)
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("client-%d", i)
		want = append(want, id)
		if _, err := b.AddClient(t.Context(), tester, service(id)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for after, pages := "", 0; pages == 0 || after != "" && pages < 9; pages++ {
		p, err := b.Clients(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Items {
			got = append(got, c.ID)
		}
		after = p.Next
	}
	if !slices.Equal(got, want) {
		t.Errorf("clients = %q, want %q", got, want)
	}
	for _, limit := range []int{-1, MaxLimit + 1} {
		_, err := b.Clients(t.Context(), "", limit)
		wantField(t, err, "limit")
	}
}

func TestRotateKeyPublishesNext(t *testing.T) {
	b := newBench(t)
	if _, err := b.RotateKey(t.Context(), tester, ""); err == nil {
		t.Error("RotateKey without keys gave no error")
	}
	b.withKeys(t)
	_, err := b.RotateKey(t.Context(), tester, "RS256")
	wantField(t, err, "algorithm")
	next, err := b.RotateKey(t.Context(), tester, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	id := next.ID
	if again, err := b.RotateKey(t.Context(), tester, "ES256"); err != nil || again.ID != id || again.New || !next.New {
		t.Errorf("a second time: %+v, %v, want %s, which waits already and was new the first time", again, err, id)
	}
	if want := next.Created.Add(2 * time.Hour); next.State != "waiting" || !next.Due.Equal(want) {
		t.Errorf("%s, due %v, want waiting and %v", next.State, next.Due, want)
	}
	keys, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if i < 0 || keys[i].State != "waiting" {
		t.Errorf("keys = %+v, want %s waiting", keys, id)
	}
	if got, want := b.trail(t), "u_tester key.rotate "+id; got[len(got)-1] != want {
		t.Errorf("last audit line = %q, want %q", got[len(got)-1], want)
	}
}

// TestKeysOfGateways are listed behind the issuer's own.
func TestKeysOfGateways(t *testing.T) {
	b := newBench(t)
	b.withKeys(t)
	err := b.db.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.PutClient(&store.Client{ID: "gateway"}); err != nil {
			return err
		}
		for id, ends := range map[string]time.Duration{"lives": time.Hour, "over": -time.Hour} {
			k := store.InnerKey{ClientID: "gateway", ID: id, Public: []byte(`{"alg":"Ed25519"}`), Created: b.now.Add(-time.Hour), Expires: b.now.Add(ends)}
			if err := tx.PutInnerKey(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		if k.Use != "sign" && k.Use != "feed" {
			got = append(got, strings.Join([]string{k.ID, k.Algorithm, k.Use, k.State, k.ClientID, k.Expires.Sub(b.now).String()}, " "))
		}
	}
	if want := []string{"lives Ed25519 inner signing gateway 1h0m0s"}; !slices.Equal(got, want) || keys[0].Use == Inner {
		t.Errorf("keys of gateways = %q, want %q behind the issuer's own", got, want)
	}
}

// TestCompromiseKey: one transaction ends the key, writes the rule and leaves the lines.
func TestCompromiseKey(t *testing.T) {
	b := newBench(t)
	if _, err := b.CompromiseKey(t.Context(), tester, "x"); err == nil {
		t.Error("CompromiseKey without keys gave no error")
	}
	b.withKeys(t)
	keys, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Use == "sign" })
	kid := keys[i].ID
	b.report(t, "late", 0, b.now)
	before := len(b.feed(t))
	done, err := b.CompromiseKey(t.Context(), tester, kid)
	if err != nil {
		t.Fatal(err)
	}
	if done.KeyID != kid || done.Next == kid || done.Next == "" || done.Position == 0 || len(done.Steps) != 4 ||
		done.Confirmed != 0 || len(done.Unreached) != 1 {
		t.Errorf("done = %+v, want another key, four steps, and the late guard unreached", done)
	}
	if got, want := b.feed(t)[before:], []string{"key " + kid, "kid " + kid}; !slices.Equal(got, want) {
		t.Errorf("feed = %q, want %q", got, want)
	}
	trail := b.trail(t)
	if got, want := trail[len(trail)-2:], []string{"u_tester kid.end " + kid, "u_tester key.compromise " + kid}; !slices.Equal(got, want) {
		t.Errorf("trail = %q, want %q", got, want)
	}
	if keys, err = b.Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.ID == done.Next && (k.State != "signing" || !slices.Equal(k.Late, []string{"late 1"})) {
			t.Errorf("the next key is %+v, want it to sign and one guard late", k)
		}
	}
	if _, err := b.CompromiseKey(t.Context(), tester, kid); err == nil {
		t.Error("compromised twice, without an error")
	}
}

func TestBuiltInClient(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	for range 2 { // a restart changes nothing
		if err := b.Provision(ctx, Plan{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.trail(t); len(got) != 1 {
		t.Errorf("audit trail = %q, want one line", got)
	}
	c, err := b.Client(ctx, CLI)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Admin || !c.BoundTokens || c.FirstParty || c.AuthMethod != oauth.AuthNone {
		t.Errorf("built-in client = %+v, want admin, bound, public and not first-party", c)
	}
	_, err = b.SetClient(ctx, tester, CLI, func(c *Client) error { c.BoundTokens = false; return nil })
	wantField(t, err, "")
	_, err = b.SetClient(ctx, tester, CLI, func(c *Client) error {
		c.RedirectURIs = append(c.RedirectURIs, "https://evil.example/")
		return nil
	})
	wantField(t, err, "")
	wantField(t, b.RemoveClient(ctx, tester, CLI), "")
	if _, err = b.SetClient(ctx, tester, CLI, func(c *Client) error { c.Disabled = true; return nil }); err != nil {
		t.Fatalf("disable %s: %v", CLI, err)
	}
	if err := b.Provision(ctx, Plan{}); err != nil {
		t.Fatal(err)
	}
	if c, err := b.Client(ctx, CLI); err != nil || !c.Disabled {
		t.Errorf("after a restart: disabled = %v, %v, want true", c.Disabled, err)
	}
	if _, err = b.SetClient(ctx, tester, CLI, func(c *Client) error { c.Disabled = false; return nil }); err != nil {
		t.Errorf("enable %s: %v", CLI, err)
	}
	_, err = b.AddClient(ctx, tester, Client{ID: CLI, Scope: "openid", AuthMethod: "none", RedirectURIs: []string{"https://evil.example/"}})
	wantField(t, err, "")
}

func TestInvitation(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	owner := NewUser{User: User{Username: "olga"}, Password: "correct horse battery"}
	i, err := b.Invite(ctx, By{Actor: "host:root"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(i.URL, string(i.Code)) {
		t.Errorf("URL %q has the code in it", i.URL)
	}
	if s := fmt.Sprintf("%v %+v", *i, *i); strings.Contains(s, string(i.Code)) {
		t.Errorf("the invitation prints as %q, want the code hidden", s)
	}

	if _, err := b.Redeem(ctx, i.Code[:len(i.Code)-1]+"x", owner, ""); !errors.Is(err, ErrInvite) {
		t.Errorf("a mistyped code: error = %v, want ErrInvite", err)
	}
	weak := owner
	weak.Password = "short"
	_, err = b.Redeem(ctx, i.Code, weak, "")
	wantField(t, err, "password")
	_, err = b.Redeem(ctx, i.Code, NewUser{User: User{Username: "olga"}}, "")
	wantField(t, err, "password")

	u, err := b.Redeem(ctx, i.Code, owner, "192.0.2.9")
	if err != nil {
		t.Fatal(err)
	}
	if !u.Admin || u.Username != "olga" || !strings.HasPrefix(u.ID, "u_") {
		t.Errorf("user = %+v, want olga with the mark", u)
	}
	second := owner
	second.Username = "mallory"
	if _, err := b.Redeem(ctx, i.Code, second, ""); !errors.Is(err, ErrInvite) {
		t.Errorf("the second use: error = %v, want ErrInvite", err)
	}

	late, err := b.Invite(ctx, System)
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(15 * time.Minute)
	if _, err := b.Redeem(ctx, late.Code, second, ""); !errors.Is(err, ErrInvite) {
		t.Errorf("after 15 minutes: error = %v, want ErrInvite", err)
	}
}

// TestInvitationRacedMakesOneOwner redeems one code many times at once.
func TestInvitationRacedMakesOneOwner(t *testing.T) {
	b := newBench(t)
	i, err := b.Invite(t.Context(), System)
	if err != nil {
		t.Fatal(err)
	}
	const racers = 4
	errs := make(chan error, racers)
	for n := range racers {
		go func() {
			_, err := b.Redeem(context.Background(), i.Code, NewUser{User: User{Username: fmt.Sprint("racer", n)}, Password: "correct horse battery"}, "")
			errs <- err
		}()
	}
	won := 0
	for range racers {
		err := <-errs
		if err == nil {
			won++
		} else if !errors.Is(err, ErrInvite) {
			t.Errorf("error = %v, want ErrInvite", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d redeemed the invitation, want 1", won, racers)
	}
}
