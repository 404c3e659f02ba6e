package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/writ-auth/writ/internal/store"
)

func TestPassword(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("  alice "))
	s, u, err := f.Session(t.Context(), string(in.Cookie))
	if err != nil {
		t.Fatal(err)
	}
	if u.ID != "u-alice" || s.UserID != "u-alice" || s.ID != in.Session.ID {
		t.Errorf("the cookie opens session %s of %s, want %s of u-alice", s.ID, u.ID, in.Session.ID)
	}
	if s.ACR != "1" || !slices.Equal(s.AMR, []string{"pwd"}) || !s.AuthTime.Equal(epoch) {
		t.Errorf("acr %q amr %q auth_time %v, want 1 [pwd] %v", s.ACR, s.AMR, s.AuthTime, epoch)
	}
	if bytes.Contains(s.SecretHash, []byte(in.Cookie)) || len(s.SecretHash) != 32 {
		t.Errorf("the store holds %d bytes that are no SHA-256", len(s.SecretHash))
	}
	if lines := f.audits("session.start"); len(lines) != 1 || lines[0].Actor != "u-alice" || lines[0].Target != s.ID || lines[0].Detail != `{"amr":["pwd"]}` {
		t.Errorf("audit lines = %+v, want one session.start of u-alice", lines)
	}
}

func TestWrongCredentials(t *testing.T) {
	f := newFixture(t)
	f.update(func(tx *store.Tx) error {
		return tx.AddUser(&store.User{ID: "u-nopass", Username: "nopass", Created: epoch})
	})
	for name, a := range map[string]Attempt{
		"wrong password":       {Username: "alice", Password: "incorrect horse"},
		"no password":          {Username: "alice"},
		"unknown user":         {Username: "mallory", Password: alicePassword},
		"no user":              {Password: alicePassword},
		"other case":           {Username: "Alice", Password: alicePassword},
		"user id":              {Username: "u-alice", Password: alicePassword},
		"account without one":  {Username: "nopass"},
		"name with a zero":     {Username: "alice\x00", Password: alicePassword},
		"name not UTF-8":       {Username: "alice\xff", Password: alicePassword},
		"very long name":       {Username: strings.Repeat("a", 300), Password: alicePassword},
		"the hash as password": {Username: "alice", Password: Secret(aliceHash())},
	} {
		a.Address = "2001:db8:0:" + fmt.Sprintf("%x", len(name)) + "::1"
		if _, err := f.Password(t.Context(), a); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v, want ErrCredentials", name, err)
		}
	}
	if strings.Contains(f.log.String(), "incorrect horse") || strings.Contains(f.log.String(), "mallory") {
		t.Errorf("the log tells what was typed:\n%s", f.log)
	}
	for _, line := range f.audits("session.refuse") {
		if strings.Contains(fmt.Sprint(line), "mallory") {
			t.Errorf("the audit tells what was typed: %+v", line)
		}
	}
}

// TestFixation plants a session in the victim's browser: the attacker's own, and
// one of the victim's that the attacker knows.
func TestFixation(t *testing.T) {
	f := newFixture(t)
	planted := f.signIn(by("bob"))
	a := by("alice")
	a.Session = planted.Cookie
	in := f.signIn(a)
	if in.Cookie == planted.Cookie || in.Session.ID == planted.Session.ID {
		t.Error("the planted session was kept")
	}
	if f.alive(planted.Cookie) {
		t.Error("bob's session goes on in alice's browser")
	}

	a.Session = in.Cookie
	again := f.signIn(a)
	if again.Cookie == in.Cookie || again.Session.ID == in.Session.ID {
		t.Error("signing in again kept the session id")
	}
	if f.alive(in.Cookie) {
		t.Error("the old cookie still opens a session")
	}
}

// TestOtherPerson: what the first person's applications hold ends.
func TestOtherPerson(t *testing.T) {
	f := newFixture(t)
	bob := f.signIn(by("bob"))
	f.grant("g-bob", "u-bob", bob.Session.ID)
	a := by("alice")
	a.Session = bob.Cookie
	f.signIn(a)
	if f.grantOf("g-bob").Ended.IsZero() {
		t.Error("bob's grant goes on after alice signed in")
	}
	if got, want := fmt.Sprint(f.rules()), "[session "+bob.Session.ID+"]"; got != want {
		t.Errorf("rules = %s, want %s", got, want)
	}
}

// TestSamePersonAgain: applications stay signed in, and a later sign-out misses
// none of their tokens.
func TestSamePersonAgain(t *testing.T) {
	f := newFixture(t)
	first := f.signIn(by("alice"))
	f.grant("g", "u-alice", first.Session.ID)
	a := by("alice")
	a.Session = first.Cookie
	second := f.signIn(a)

	g := f.grantOf("g")
	if !g.Ended.IsZero() || g.SessionID != second.Session.ID {
		t.Errorf("grant ended %v, of session %s; want it alive and of %s", g.Ended, g.SessionID, second.Session.ID)
	}
	if got, want := fmt.Sprint(f.rules()), "[session "+first.Session.ID+"]"; got != want {
		t.Errorf("rules = %s, want %s: tokens with the old sid live on", got, want)
	}
	if all, err := f.Sessions(t.Context(), "u-alice"); err != nil || len(all) != 1 {
		t.Errorf("%d sessions, %v; want the new one alone", len(all), err)
	}
	if err := f.End(t.Context(), "u-alice", second.Session.ID, ""); err != nil {
		t.Fatal(err)
	}
	if f.grantOf("g").Ended.IsZero() {
		t.Error("sign-out missed the grant of before")
	}
}

// TestExpiredSessionIsNotRevived: what ended by itself stays ended.
func TestExpiredSessionIsNotRevived(t *testing.T) {
	f := newFixture(t)
	first := f.signIn(by("alice"))
	f.grant("g", "u-alice", first.Session.ID)
	f.pass(25 * time.Hour)
	a := by("alice")
	a.Session = first.Cookie
	f.signIn(a)
	if f.grantOf("g").Ended.IsZero() {
		t.Error("signing in again revived the grant of an expired session")
	}
}

// TestAccountChangesWhileVerifying: the password was right a moment ago.
func TestAccountChangesWhileVerifying(t *testing.T) {
	for name, change := range map[string]func(*store.Tx, *store.User) error{
		"disabled": func(tx *store.Tx, u *store.User) error { u.Disabled = true; return tx.PutUser(u) },
		"password": func(tx *store.Tx, u *store.User) error { u.PasswordHash = dummy; return tx.PutUser(u) },
		"removed":  func(tx *store.Tx, u *store.User) error { return tx.DeleteUser(u.ID) },
	} {
		f := newFixture(t)
		f.cfg.Rand = &spy{fn: func() {
			f.update(func(tx *store.Tx) error {
				u, err := tx.User("u-alice")
				if err != nil {
					return err
				}
				return change(tx, u)
			})
		}}
		if _, err := f.Password(t.Context(), by("alice")); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v, want ErrCredentials", name, err)
		}
		if all, err := f.Sessions(t.Context(), "u-alice"); err != nil || len(all) != 0 {
			t.Errorf("%s: %d sessions, %v; want none", name, len(all), err)
		}
	}
}

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
	if got, want := f.knows("u-alice", string(again.Device)), f.knows("u-alice", string(alice.Device)); !bytes.Equal(got, want) {
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

func TestNoRandomness(t *testing.T) {
	f := newFixture(t)
	f.cfg.Rand = bytes.NewReader(nil)
	if _, err := f.Password(t.Context(), by("alice")); err == nil {
		t.Error("a session was made without randomness")
	}
}

func TestUserAgentIsCut(t *testing.T) {
	f := newFixture(t)
	a := by("alice")
	a.UserAgent = strings.Repeat("ä\x00", 500) + "\xff"
	if got := f.signIn(a).Session.UserAgent; len(got) > 256 || strings.Contains(got, "\x00") || !utf8.ValidString(got) {
		t.Errorf("user agent kept as %q", got)
	}
}

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

// TestSecretsDoNotPrint logs everything that holds one.
func TestSecretsDoNotPrint(t *testing.T) {
	f := newFixture(t)
	in := f.signIn(by("alice"))
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", in.Cookie)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&out, format, by("alice"))
		fmt.Fprintf(&out, format, in)
		fmt.Fprintf(&out, format, *in)
		fmt.Fprintf(&out, format, Change{Old: alicePassword})
	}
	out.WriteString(f.log.String())
	for _, secret := range []string{alicePassword, string(in.Cookie), string(in.Device)} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is printed", secret)
		}
	}
}

// TestConcurrentSignIns: sessions of one person in many browsers do not disturb
// each other.
func TestConcurrentSignIns(t *testing.T) {
	f := newFixture(t)
	device := f.signIn(by("alice")).Device
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			a := by("alice")
			a.Device = device
			if _, err := f.Password(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := f.Sessions(t.Context(), "u-alice"); err != nil || len(all) != 5 {
		t.Errorf("%d sessions, %v; want 5", len(all), err)
	}
}
