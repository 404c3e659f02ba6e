package login

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

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
		return revoke.Write(tx, f.order(revoke.Session, in.Session.ID, "test", "system", ""))
	})
	if _, err := f.seen(t.Context(), in.Session, f.clock()); !errors.Is(err, ErrNoSession) {
		t.Errorf("touch an ended session: %v, want ErrNoSession", err)
	}
	if f.alive(in.Cookie) {
		t.Error("the ended session is back")
	}
}
