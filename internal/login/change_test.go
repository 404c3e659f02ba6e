package login

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
)

func TestSetPassword(t *testing.T) {
	f := newFixture(t)
	here, there := f.signIn(by("alice")), f.signIn(by("alice"))
	f.grant("g-session", "u-alice", there.Session.ID)
	f.grant("g-offline", "u-alice", "")
	c := Change{UserID: "u-alice", Old: alicePassword, New: "a bicycle for three", Address: "192.0.2.1"}

	for name, bad := range map[string]Change{
		"wrong old password": {UserID: c.UserID, Old: "wrong", New: c.New},
		"weak":               {UserID: c.UserID, Old: c.Old, New: "short"},
		"the same":           {UserID: c.UserID, Old: c.Old, New: c.Old},
	} {
		if _, err := f.SetPassword(t.Context(), bad); err == nil {
			t.Errorf("%s: password changed", name)
		}
	}
	if len(f.rules()) != 0 {
		t.Fatalf("rules = %v after refused changes, want none", f.rules())
	}

	in, err := f.SetPassword(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !f.alive(in.Cookie) {
		t.Error("the browser at hand is signed out")
	}
	if f.alive(here.Cookie) || f.alive(there.Cookie) {
		t.Error("an old session goes on")
	}
	if f.grantOf("g-session").Ended.IsZero() || f.grantOf("g-offline").Ended.IsZero() {
		t.Error("a grant goes on")
	}
	if got, want := fmt.Sprint(f.rules()), "[subject u-alice]"; got != want {
		t.Errorf("rules = %s, want %s", got, want)
	}
	if lines := f.audits("user.password"); len(lines) != 1 || lines[0].Actor != "u-alice" {
		t.Errorf("audit lines = %+v, want one by u-alice", lines)
	}
	f.fail(by("alice"))
	if _, err := f.Password(t.Context(), by("alice")); !errors.Is(err, ErrCredentials) {
		t.Errorf("the old password: %v, want ErrCredentials", err)
	}
	a := by("alice")
	a.Password = c.New
	f.signIn(a)
}

// TestSetPasswordForgetsBrowsers: who knew the old password may hold any number of
// device cookies, each with a limit of its own for guessing the new one.
func TestSetPasswordForgetsBrowsers(t *testing.T) {
	f := newFixture(t)
	thief := f.signIn(by("alice"))
	in, err := f.SetPassword(t.Context(), Change{UserID: "u-alice", Old: alicePassword, New: "a bicycle for three", Address: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := f.user(t.Context(), "u-alice")
	if err != nil {
		t.Fatal(err)
	}
	if f.knows(u, string(thief.Device)) != nil {
		t.Error("the account knows a browser from before the new password")
	}
	if f.knows(u, string(in.Device)) == nil {
		t.Error("the account does not know the browser that set the new password")
	}
}

// TestGuessOldPassword: a borrowed session is no way around the limits.
func TestGuessOldPassword(t *testing.T) {
	f := newFixture(t)
	c := Change{UserID: "u-alice", Old: "wrong", New: "a bicycle for three"}
	for range changeLimit.burst {
		if _, err := f.SetPassword(t.Context(), c); !errors.Is(err, ErrCredentials) {
			t.Fatalf("wrong old password: %v, want ErrCredentials", err)
		}
	}
	c.Old = alicePassword
	var throttled *Throttled
	if _, err := f.SetPassword(t.Context(), c); !errors.As(err, &throttled) {
		t.Errorf("after %d guesses: %v, want Throttled", changeLimit.burst, err)
	}
}

// TestTwoChangesAtOnce: the second was proved against a password that is gone.
func TestTwoChangesAtOnce(t *testing.T) {
	f := newFixture(t)
	var inner error
	outer := &spy{}
	outer.fn = func() {
		f.cfg.Rand = rand.Reader
		_, inner = f.SetPassword(t.Context(), Change{UserID: "u-alice", Old: alicePassword, New: "a bicycle for three"})
	}
	f.cfg.Rand = outer
	// The first randomness drawn is the new hash's salt, inside a hashing slot.
	f.known = make(gate, 2)
	_, err := f.SetPassword(t.Context(), Change{UserID: "u-alice", Old: alicePassword, New: "a tandem for just one"})
	if inner != nil || !errors.Is(err, ErrCredentials) {
		t.Errorf("changes = %v, %v; want the inner one taken and ErrCredentials", inner, err)
	}
}
