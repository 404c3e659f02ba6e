package login

import (
	"bytes"
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
	f.known = make(gate, 4)
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
