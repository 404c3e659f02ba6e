package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// fail spends one wrong attempt and says what it was answered.
func (f *fixture) fail(a Attempt) error {
	f.t.Helper()
	a.Password = "wrong"
	_, err := f.Password(f.t.Context(), a)
	if err == nil {
		f.t.Fatal("a wrong password signs in")
	}
	return err
}

// TestGuessing: one address gets five guesses at an account, then has to wait,
// and the right password is not looked at meanwhile.
func TestGuessing(t *testing.T) {
	f := newFixture(t)
	a := by("alice")
	a.Address = "2001:db8::1"
	for i := range pairLimit.burst {
		if err := f.fail(a); !errors.Is(err, ErrCredentials) {
			t.Fatalf("guess %d: %v, want ErrCredentials", i+1, err)
		}
	}
	a.Address = "2001:db8::ffff:1" // the same /64
	var throttled *Throttled
	if _, err := f.Password(t.Context(), a); !errors.As(err, &throttled) || throttled.After > pairLimit.every {
		t.Fatalf("the right password after %d guesses: %v, want Throttled for at most %v", pairLimit.burst, err, pairLimit.every)
	}
	f.pass(throttled.After)
	f.signIn(a)
}

// TestManyAtOnce: attempts that run at the same time share one limit.
func TestManyAtOnce(t *testing.T) {
	f := newFixture(t)
	errs := make(chan error, 20)
	f.strangers = make(gate, cap(errs)) // really at once
	for range cap(errs) {
		go func() {
			a := by("alice")
			a.Password = "wrong"
			_, err := f.Password(t.Context(), a)
			errs <- err
		}()
	}
	looked := 0
	for range cap(errs) {
		err := <-errs
		var throttled *Throttled
		switch {
		case errors.Is(err, ErrCredentials):
			looked++
		case !errors.As(err, &throttled):
			t.Errorf("attempt: %v", err)
		}
	}
	if looked != pairLimit.burst {
		t.Errorf("%d of %d attempts were looked at, want %d", looked, cap(errs), pairLimit.burst)
	}
}

// TestFlood: an attacker fails as alice from 1000 addresses; alice signs in from
// her usual browser at once, even behind an address the attacker uses, and nobody
// else does.
func TestFlood(t *testing.T) {
	f := newFixture(t)
	usual := f.signIn(by("alice"))
	looked := 0
	for i := range 1000 {
		a := by("alice")
		a.Address = fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250)
		if errors.Is(f.fail(a), ErrCredentials) {
			looked++
		}
	}
	if looked > accountLimit.burst {
		t.Errorf("%d guesses were looked at, want at most %d", looked, accountLimit.burst)
	}
	a := by("alice")
	a.Device, a.Address = usual.Device, "198.51.100.1"
	f.signIn(a)

	var throttled *Throttled
	a.Device = ""
	if _, err := f.Password(t.Context(), a); !errors.As(err, &throttled) {
		t.Errorf("a stranger with the right password: %v, want Throttled", err)
	}
	bob := by("bob")
	bob.Address = "203.0.113.5"
	f.signIn(bob) // other accounts are not touched
}

// TestDeviceCookie: only the account that gave it out knows it, and it buys no
// more than its own limit.
func TestDeviceCookie(t *testing.T) {
	f := newFixture(t)
	alice, bob := f.signIn(by("alice")), f.signIn(by("bob"))
	for range pairLimit.burst {
		f.fail(by("alice"))
	}
	var throttled *Throttled
	for name, device := range map[string]Secret{
		"none":           "",
		"bob's":          bob.Device,
		"forged":         Secret(strings.Repeat("A", len(alice.Device))),
		"cut":            alice.Device[:20],
		"changed":        "AAAA" + alice.Device[4:],
		"session cookie": alice.Cookie,
	} {
		a := by("alice")
		a.Device = device
		if _, err := f.Password(t.Context(), a); !errors.As(err, &throttled) {
			t.Errorf("%s: %v, want Throttled", name, err)
		}
	}

	a := by("alice")
	a.Device = alice.Device
	for i := range deviceLimit.burst {
		if err := f.fail(a); !errors.Is(err, ErrCredentials) {
			t.Fatalf("guess %d in a stolen browser: %v, want ErrCredentials", i+1, err)
		}
	}
	if _, err := f.Password(t.Context(), a); !errors.As(err, &throttled) {
		t.Errorf("after %d guesses in a stolen browser: %v, want Throttled", deviceLimit.burst, err)
	}
	f.pass(deviceLimit.every)
	again := f.signIn(a)
	u, err := f.user(t.Context(), "u-alice")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.knows(u, string(again.Device)), f.knows(u, string(alice.Device)); !bytes.Equal(got, want) {
		t.Error("signing in gave the browser a fresh limit")
	}
}

// TestOwnAccountBuysNoGuesses: somebody with an account of their own signs in
// between guesses at others, from one address.
func TestOwnAccountBuysNoGuesses(t *testing.T) {
	f := newFixture(t)
	looked := 0
	for i := range 2 * addressLimit.burst {
		a := by(fmt.Sprintf("user%d", i))
		if errors.Is(f.fail(a), ErrCredentials) {
			looked++
		}
		if i%4 == 0 {
			if _, err := f.Password(t.Context(), by("bob")); err != nil {
				break
			}
		}
	}
	if looked > addressLimit.burst {
		t.Errorf("%d guesses from one address, want at most %d", looked, addressLimit.burst)
	}
}

// TestSuccessIsFree: signing in all day is no guessing.
func TestSuccessIsFree(t *testing.T) {
	f := newFixture(t)
	for range 2 * pairLimit.burst {
		f.signIn(by("alice"))
	}
}

// TestBoundedAudit: failures cannot fill the audit table; the lines that are
// missing are counted in the next one.
func TestBoundedAudit(t *testing.T) {
	f := newFixture(t)
	full := (time.Duration(auditLimit.burst) * auditLimit.every).Microseconds()
	f.update(func(tx *store.Tx) error {
		return tx.PutAttempt(store.Attempt{Key: "login.audit", Level: full, At: f.clock()})
	})
	f.fail(by("alice"))
	f.fail(by("alice"))
	if lines := f.audits("session.refuse"); len(lines) != 0 {
		t.Errorf("%d lines over the limit", len(lines))
	}
	f.pass(auditLimit.every)
	f.fail(by("alice"))
	f.pass(auditLimit.every)
	f.fail(by("nobody"))
	lines := f.audits("session.refuse")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2", len(lines))
	}
	if got, want := lines[1].Detail+lines[1].Target, `{"missed":2,"reason":"password"}u-alice`; got != want {
		t.Errorf("first line = %s, want %s", got, want)
	}
	if got, want := lines[0].Detail+lines[0].Target, `{"missed":0,"reason":"password"}`; got != want {
		t.Errorf("second line = %s, want %s", got, want)
	}
}

// TestHangUp: who closes the connection right after guessing leaves a line too.
func TestHangUp(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.refuse(ctx, nil, "192.0.2.1", "password"); !errors.Is(err, ErrCredentials) {
		t.Errorf("refuse = %v, want ErrCredentials", err)
	}
	if lines := f.audits("session.refuse"); len(lines) != 1 {
		t.Errorf("%d audit lines, want 1", len(lines))
	}
}

// TestThrottledCostsNothing: over the limit there is neither a hash nor a row.
func TestThrottledCostsNothing(t *testing.T) {
	f := newFixture(t)
	for range pairLimit.burst {
		f.fail(by("alice"))
	}
	if _, err := f.candidate(t.Context(), by("alice")); err == nil {
		t.Error("the limit is not looked at before the hashing slots")
	}
	before := len(f.audits("session.refuse"))
	for range 100 {
		f.fail(by("alice"))
	}
	if got := len(f.audits("session.refuse")); got != before {
		t.Errorf("%d audit lines for refused attempts, want none", got-before)
	}
}

func TestUnknownNameCostsTheSame(t *testing.T) {
	for name, c := range map[string]candidate{
		"unknown":          {},
		"without password": {user: &store.User{ID: "u"}},
		"disabled":         {user: &store.User{ID: "u", PasswordHash: aliceHash(), Disabled: true}},
	} {
		if c.hash() != dummy {
			t.Errorf("%s: verified against %q, want the dummy", name, c.hash())
		}
	}
}
