package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

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
