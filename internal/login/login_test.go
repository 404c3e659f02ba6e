package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const alicePassword = "correct horse battery"

// aliceHash is made once: hashing is slow by design.
var aliceHash = sync.OnceValue(func() string {
	hash, err := HashPassword(alicePassword, rand.Reader)
	if err != nil {
		panic(err)
	}
	return hash
})

// A fixture is a Login over a SQLite store, and a clock to move.
type fixture struct {
	*Login
	t   *testing.T
	db  *store.DB
	log *bytes.Buffer
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	logged := new(bytes.Buffer)
	f := &fixture{t: t, db: storetest.New(t, "https://as.example"), now: epoch, log: logged}
	var err error
	f.Login, err = New(Config{
		DB: f.db, Key: bytes.Repeat([]byte{7}, 32), TokenLife: time.Hour, Now: f.clock,
		Logger: slog.New(slog.NewTextHandler(logged, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.update(func(tx *store.Tx) error {
		for _, name := range []string{"alice", "bob"} {
			u := &store.User{ID: "u-" + name, Username: name, Name: name, PasswordHash: aliceHash(), Created: epoch}
			if err := tx.AddUser(u); err != nil {
				return err
			}
		}
		return nil
	})
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) update(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.db.Update(context.Background(), fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) view(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.db.View(context.Background(), fn); err != nil {
		f.t.Fatal(err)
	}
}

// by is an attempt of somebody with the right password, for tests to spoil.
func by(username string) Attempt {
	return Attempt{Username: username, Password: alicePassword, Address: "192.0.2.1", UserAgent: "Test/1"}
}

func (f *fixture) signIn(a Attempt) *SignIn {
	f.t.Helper()
	in, err := f.Password(f.t.Context(), a)
	if err != nil {
		f.t.Fatalf("sign in as %s: %v", a.Username, err)
	}
	return in
}

// alive reports whether a cookie opens a session.
func (f *fixture) alive(cookie Secret) bool {
	f.t.Helper()
	_, _, err := f.Session(f.t.Context(), string(cookie))
	if err != nil && !errors.Is(err, ErrNoSession) {
		f.t.Fatal(err)
	}
	return err == nil
}

// grant opens a grant; with sid "" it outlives sessions.
func (f *fixture) grant(id, userID, sid string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		return tx.PutGrant(&store.Grant{
			ID: id, UserID: userID, ClientID: "c", SessionID: sid, Scope: []string{"a"}, Resources: []string{"r"},
			Created: epoch, Expires: epoch.Add(1000 * time.Hour),
		})
	})
}

func (f *fixture) grantOf(id string) (g *store.Grant) {
	f.t.Helper()
	f.view(func(tx *store.Tx) (err error) {
		g, err = tx.Grant(id)
		return err
	})
	return g
}

// rules returns the feed as "kind value".
func (f *fixture) rules() (rules []string) {
	f.t.Helper()
	f.view(func(tx *store.Tx) error {
		entries, err := tx.Feed(0, 1000)
		rules = nil
		for _, e := range entries {
			rules = append(rules, e.Kind+" "+e.Value)
		}
		return err
	})
	return rules
}

// audits returns the audit lines with this action, newest first.
func (f *fixture) audits(action string) (lines []store.Audit) {
	f.t.Helper()
	f.view(func(tx *store.Tx) error {
		all, err := tx.Audits(1000, f.clock().Add(time.Hour))
		lines = nil
		for _, a := range all {
			if a.Action == action {
				lines = append(lines, a)
			}
		}
		return err
	})
	return lines
}

func TestNew(t *testing.T) {
	f := newFixture(t)
	key := make([]byte, 32)
	for name, cfg := range map[string]Config{
		"no store":           {Key: key, TokenLife: time.Hour},
		"no token life":      {DB: f.db, Key: key},
		"short key":          {DB: f.db, Key: key[:31], TokenLife: time.Hour},
		"idle under a touch": {DB: f.db, Key: key, TokenLife: time.Hour, Idle: time.Second},
		"idle over absolute": {DB: f.db, Key: key, TokenLife: time.Hour, Idle: 2 * time.Hour, Absolute: time.Hour},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: New took it", name)
		}
	}
}

func TestSessionLife(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))

	f.pass(24*time.Hour - time.Second)
	if !f.alive(in.Cookie) {
		t.Fatal("session over before its idle end")
	}
	f.pass(24*time.Hour - time.Second)
	if !f.alive(in.Cookie) {
		t.Error("use did not move the idle end")
	}
	f.pass(24 * time.Hour)
	if f.alive(in.Cookie) {
		t.Error("session alive after its idle end")
	}
	if all, err := f.Sessions(t.Context(), "u-alice"); err != nil || len(all) != 0 {
		t.Errorf("Sessions = %d, %v, want none", len(all), err)
	}

	in = f.signIn(by("alice"))
	for range 60 { // 30 days of use
		f.pass(12*time.Hour - time.Second)
		if !f.alive(in.Cookie) {
			t.Fatal("session in use is over before its absolute end")
		}
	}
	f.pass(time.Hour)
	if f.alive(in.Cookie) {
		t.Error("session alive after its absolute end")
	}
}

func TestTouchOnceAMinute(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))
	for _, tt := range []struct{ at, seen time.Duration }{
		{0, 0},
		{30 * time.Second, 0},
		{59 * time.Second, 0},
		{60 * time.Second, 60 * time.Second},
		{119 * time.Second, 60 * time.Second},
		{150 * time.Second, 150 * time.Second},
	} {
		f.pass(epoch.Add(tt.at).Sub(f.clock()))
		s, _, err := f.Session(t.Context(), string(in.Cookie))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Seen.Sub(epoch); got != tt.seen {
			t.Errorf("used at %v: seen = %v, want %v", tt.at, got, tt.seen)
		}
	}
}

func TestBadCookies(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))
	good := string(in.Cookie)
	hash, _ := hashSecret(good)
	for name, cookie := range map[string]string{
		"empty":         "",
		"cut":           good[:42],
		"longer":        good + "A",
		"padded":        good + "=",
		"not base64":    "!" + good[1:],
		"session id":    in.Session.ID,
		"hash":          string(hash),
		"device cookie": string(in.Device),
	} {
		if f.alive(Secret(cookie)) {
			t.Errorf("%s: opens a session", name)
		}
	}
}

func TestDisabledUser(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))
	f.update(func(tx *store.Tx) error {
		u, err := tx.User("u-alice")
		if err != nil {
			return err
		}
		u.Disabled = true
		return tx.PutUser(u)
	})
	if f.alive(in.Cookie) {
		t.Error("a disabled account's session is alive")
	}
	if _, err := f.Password(t.Context(), by("alice")); !errors.Is(err, ErrCredentials) {
		t.Errorf("sign in to a disabled account: %v, want ErrCredentials", err)
	}
	c := Change{UserID: "u-alice", Old: alicePassword, New: "a quite different one"}
	if _, err := f.SetPassword(t.Context(), c); !errors.Is(err, ErrNoSession) {
		t.Errorf("change a disabled account's password: %v, want ErrNoSession", err)
	}
}

func TestEnd(t *testing.T) {
	f := newFixture(t)
	here, there := f.signIn(by("alice")), f.signIn(by("alice"))
	f.grant("g-session", "u-alice", here.Session.ID)
	f.grant("g-offline", "u-alice", "")

	if err := f.End(t.Context(), "u-bob", here.Session.ID, ""); !errors.Is(err, ErrNoSession) {
		t.Errorf("bob ends alice's session: %v, want ErrNoSession", err)
	}
	if !f.alive(here.Cookie) || len(f.rules()) != 0 {
		t.Fatal("bob ended alice's session")
	}
	if err := f.End(t.Context(), "u-alice", here.Session.ID, "192.0.2.9"); err != nil {
		t.Fatal(err)
	}
	if f.alive(here.Cookie) {
		t.Error("the ended session's cookie still opens it")
	}
	if !f.alive(there.Cookie) {
		t.Error("the other session ended too")
	}
	if f.grantOf("g-session").Ended.IsZero() {
		t.Error("the session's grant goes on")
	}
	if !f.grantOf("g-offline").Ended.IsZero() {
		t.Error("the offline grant ended with the session")
	}
	if got, want := fmt.Sprint(f.rules()), "[session "+here.Session.ID+"]"; got != want {
		t.Errorf("rules = %s, want %s", got, want)
	}
	if lines := f.audits("session.end"); len(lines) != 1 || lines[0].Actor != "u-alice" || lines[0].Address != "192.0.2.9" {
		t.Errorf("audit lines = %+v, want one by u-alice from 192.0.2.9", lines)
	}
	if err := f.End(t.Context(), "u-alice", here.Session.ID, ""); !errors.Is(err, ErrNoSession) {
		t.Errorf("end it again: %v, want ErrNoSession", err)
	}
}

// TestRuleOutlivesTokens: a rule is kept until no token it hits can be alive.
func TestRuleOutlivesTokens(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))
	if err := f.End(t.Context(), "u-alice", in.Session.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.view(func(tx *store.Tx) error {
		rules, err := tx.Rules(string(revoke.Session), in.Session.ID)
		if err != nil {
			return err
		}
		if want := epoch.Add(time.Hour + 2*time.Minute); len(rules) != 1 || !rules[0].Until.Equal(want) {
			t.Errorf("rules = %+v, want one until %v", rules, want)
		}
		return nil
	})
}

func TestEndAll(t *testing.T) {
	f := newFixture(t)
	here, there, bob := f.signIn(by("alice")), f.signIn(by("alice")), f.signIn(by("bob"))
	f.grant("g-session", "u-alice", here.Session.ID)
	f.grant("g-offline", "u-alice", "")
	f.grant("g-bob", "u-bob", "")
	if err := f.EndAll(t.Context(), "u-alice", ""); err != nil {
		t.Fatal(err)
	}
	if f.alive(here.Cookie) || f.alive(there.Cookie) {
		t.Error("a session goes on")
	}
	if f.grantOf("g-session").Ended.IsZero() || f.grantOf("g-offline").Ended.IsZero() {
		t.Error("a grant goes on")
	}
	if !f.alive(bob.Cookie) || !f.grantOf("g-bob").Ended.IsZero() {
		t.Error("bob was signed out too")
	}
	if got, want := fmt.Sprint(f.rules()), "[subject u-alice]"; got != want {
		t.Errorf("rules = %s, want %s", got, want)
	}
}

func TestSessionsOrder(t *testing.T) {
	f := newFixture(t)
	first := f.signIn(by("alice"))
	f.pass(time.Hour)
	second := f.signIn(by("alice"))
	f.signIn(by("bob"))
	f.pass(time.Hour)
	if !f.alive(first.Cookie) { // touches it
		t.Fatal("session over")
	}
	all, err := f.Sessions(t.Context(), "u-alice")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].ID != first.Session.ID || all[1].ID != second.Session.ID {
		t.Errorf("Sessions = %d entries, want the two of alice, the latest used first", len(all))
	}
}

// TestEndedWhileTouched: a session that ends between the reading and the touch
// does not come back.
func TestEndedWhileTouched(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))
	f.update(func(tx *store.Tx) error {
		return revoke.End(tx, f.order(revoke.Session, in.Session.ID, "test", "system", ""))
	})
	if _, err := f.seen(t.Context(), in.Session, f.clock()); !errors.Is(err, ErrNoSession) {
		t.Errorf("touch an ended session: %v, want ErrNoSession", err)
	}
	if f.alive(in.Cookie) {
		t.Error("the ended session is back")
	}
}

// spy runs once, when randomness is drawn: between the verifying of a password
// and the transaction that follows it.
type spy struct {
	once sync.Once
	fn   func()
}

func (s *spy) Read(p []byte) (int, error) {
	s.once.Do(s.fn)
	return rand.Read(p)
}
