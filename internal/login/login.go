// Package login says who the person at the browser is. It owns passwords and
// their hashes, browser sessions and their cookies, and the limits on guessing.
// It does not decide what a person may do, and renders nothing.
//
// Invariant: the store never holds what opens a session. A cookie's value is
// known by its SHA-256 alone, and every sign-in makes a new value and a new
// session id, so a session planted in a browser is worth nothing afterwards.
//
// # Signing in again
//
// Tokens carry the id of the session they came from, and a token is good only
// while a session of that id lives. When another person signs in, the browser's
// old session is ended like at sign-out. When the same person signs in again, the
// grants that end with the session move to the new id and then the old one is
// ended: their applications stay signed in, whose next access token carries the
// new id, and no token is left that a later sign-out would miss. (Keeping the old
// session beside the new one would leave just such tokens, and would show people a
// browser they cannot recognise.)
//
// # Guessing
//
// Each attempt is charged to leaky buckets before the password is looked at, and
// taken back when the password was right; a refused attempt costs neither a hash
// nor a write. Strangers are charged three times: for the account from this
// address, for the address, and for the account. The last is what stops a guess
// spread over many addresses, and alone it would let anyone lock anyone out. So a
// browser in which the person once signed in holds a device cookie: it is charged
// to a bucket of its own and to no other, and has hashing slots of its own. A flood
// keeps strangers to an account waiting, and its owner at a new browser with them,
// but never its owner at the usual one.
//
// Bucket names are cut keyed hashes: the table stays small whatever the flood, no
// one can aim at another's bucket, and no address is kept.
package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// ErrNoSession is a cookie that opens no session, or a session that is not this
// person's.
var ErrNoSession = errors.New("login: no such session")

// Config says how people sign in.
type Config struct {
	DB        *store.DB
	Key       []byte           // at least 32 bytes, per issuer: device cookies and names of limits
	TokenLife time.Duration    // longest token life ever allowed: rules are kept that long
	Idle      time.Duration    // a session unused for so long ends; 0: 24 h
	Absolute  time.Duration    // a session ends so long after sign-in; 0: 30 days
	Now       func() time.Time // nil: time.Now
	Rand      io.Reader        // nil: crypto/rand
	Logger    *slog.Logger     // nil: slog.Default
}

// Login proves who people are. It is safe for concurrent use.
type Login struct {
	cfg       Config
	strangers gate // hashing slots
	known     gate // hashing slots for browsers with a device cookie
}

const (
	skew  = time.Minute // clock difference that verifiers are allowed to forgive
	touch = time.Minute // how exactly Session.Seen is kept
)

// New checks cfg.
func New(cfg Config) (*Login, error) {
	if cfg.DB == nil || cfg.TokenLife <= 0 {
		return nil, errors.New("login: DB and TokenLife are required")
	}
	if len(cfg.Key) < 32 {
		return nil, errors.New("login: Key needs at least 32 bytes")
	}
	cfg.Idle = cmp.Or(cfg.Idle, 24*time.Hour)
	cfg.Absolute = cmp.Or(cfg.Absolute, 30*24*time.Hour)
	if cfg.Idle < 2*touch || cfg.Absolute < cfg.Idle {
		return nil, fmt.Errorf("login: a session that ends after %v unused and %v in all is not usable", cfg.Idle, cfg.Absolute)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	// A hash takes a core for some 25 ms: half of them keep on issuing tokens.
	slots := max(1, runtime.GOMAXPROCS(0)/2)
	return &Login{cfg: cfg, strangers: make(gate, slots), known: make(gate, slots)}, nil
}

// Session returns the session that a cookie's value opens, and whose it is.
func (l *Login) Session(ctx context.Context, cookie string) (*store.Session, *store.User, error) {
	hash, ok := hashSecret(cookie)
	if !ok {
		return nil, nil, ErrNoSession
	}
	now := l.cfg.Now()
	var s *store.Session
	var u *store.User
	err := l.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if s, err = tx.SessionBySecret(hash); err != nil {
			return err
		}
		u, err = tx.User(s.UserID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ErrNoSession
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read session: %w", err)
	}
	if u.Disabled || !now.Before(s.Expires) {
		return nil, nil, ErrNoSession
	}
	if now.Sub(s.Seen) < touch {
		return s, u, nil
	}
	if s, err = l.seen(ctx, s, now); err != nil {
		return nil, nil, err
	}
	return s, u, nil
}

// seen notes that a session is in use, which moves its idle end. A store that
// cannot write now does not sign anyone out.
func (l *Login) seen(ctx context.Context, s *store.Session, now time.Time) (*store.Session, error) {
	fresh := s
	err := l.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if fresh, err = tx.Session(s.ID); err != nil {
			return err
		}
		fresh.Seen, fresh.Expires = now, l.expires(fresh.Created, now)
		return tx.PutSession(fresh)
	})
	switch {
	case errors.Is(err, store.ErrNotFound): // ended since we read it
		return nil, ErrNoSession
	case err != nil:
		l.cfg.Logger.Warn("session not touched", "sub", s.UserID, "sid", s.ID, "error", err)
		return s, nil
	}
	return fresh, nil
}

// Use is Session for whoever acts under a session without its cookie: it returns
// the session if it is alive, and keeps it so. ErrNoSession otherwise.
func (l *Login) Use(tx *store.Tx, id string, now time.Time) (*store.Session, error) {
	s, err := tx.Session(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !now.Before(s.Expires) {
		return nil, ErrNoSession
	}
	if err != nil || now.Sub(s.Seen) < touch {
		return s, err
	}
	s.Seen, s.Expires = now, l.expires(s.Created, now)
	return s, tx.PutSession(s)
}

// Latest is when a session ends at the latest, however much it is used.
func (l *Login) Latest(s *store.Session) time.Time { return s.Created.Add(l.cfg.Absolute) }

// expires is when a session that is in use now ends by itself.
func (l *Login) expires(created, now time.Time) time.Time {
	idle, absolute := now.Add(l.cfg.Idle), created.Add(l.cfg.Absolute)
	if idle.Before(absolute) {
		return idle
	}
	return absolute
}

// Sessions returns where a person is signed in, the latest used first.
func (l *Login) Sessions(ctx context.Context, userID string) ([]*store.Session, error) {
	var all []*store.Session
	err := l.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.SessionsOf(userID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	now := l.cfg.Now()
	all = slices.DeleteFunc(all, func(s *store.Session) bool { return !now.Before(s.Expires) })
	slices.SortFunc(all, func(a, b *store.Session) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// End signs a person out of one of their sessions: it ends with the grants that
// were to end with it. ErrNoSession says that it is over or another's.
func (l *Login) End(ctx context.Context, userID, sessionID, address string) error {
	o := l.order(revoke.Session, sessionID, "signed out", userID, address)
	err := l.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		s, err := tx.Session(sessionID)
		if err != nil {
			return err
		}
		if s.UserID != userID {
			return store.ErrNotFound
		}
		return revoke.Write(tx, o)
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoSession
	}
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	l.cfg.Logger.Info("session ended", "sub", userID, "sid", sessionID, "reason", o.Reason)
	return nil
}

// EndAll signs a person out everywhere and takes back every grant, those that go
// on while the person is away too.
func (l *Login) EndAll(ctx context.Context, userID, address string) error {
	o := l.order(revoke.Subject, userID, "signed out everywhere", userID, address)
	err := l.cfg.DB.Update(ctx, func(tx *store.Tx) error { return revoke.Write(tx, o) })
	if err != nil {
		return fmt.Errorf("end everything: %w", err)
	}
	l.cfg.Logger.Info("subject ended", "sub", userID, "reason", o.Reason)
	return nil
}

// order fills in what every order of this package has in common.
func (l *Login) order(kind revoke.Kind, value, reason, by, address string) revoke.Order {
	now := l.cfg.Now()
	return revoke.Order{
		Kind: kind, Value: value, Reason: reason, By: by, Address: address,
		Now: now, Until: now.Add(l.cfg.TokenLife + 2*skew),
	}
}
