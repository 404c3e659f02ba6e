package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// ErrCredentials is a wrong user name or password; which of them, nobody is told.
var ErrCredentials = errors.New("login: wrong user name or password")

// The authentication context of a password (RFC 9068 §2.2.1, RFC 8176).
const (
	acrPassword = "1"
	amrPassword = "pwd"
)

// Attempt is what a browser brings to sign in.
type Attempt struct {
	Username  string
	Password  Secret
	Address   string
	UserAgent string
	Session   Secret // the session cookie's value until now, if any; it is replaced
	Device    Secret // the device cookie's value, if any
}

// SignIn is a new session and what the browser needs to hold for it.
type SignIn struct {
	Session *store.Session
	Cookie  Secret // the new value of the session cookie
	Device  Secret // the value of the device cookie
}

// candidate is what is known before the password is looked at.
type candidate struct {
	user    *store.User // nil: nobody has this name
	nonce   []byte      // of the device cookie; nil: a stranger
	buckets []bucket
}

// hash is what the password is verified against.
func (c *candidate) hash() string {
	if c.user == nil || c.user.Disabled || c.user.PasswordHash == "" {
		return dummy
	}
	return c.user.PasswordHash
}

// Password signs a person in. The error is ErrCredentials or a *Throttled when
// the person can do something about it.
func (l *Login) Password(ctx context.Context, a Attempt) (*SignIn, error) {
	a.Username = strings.TrimSpace(a.Username)
	c, err := l.candidate(ctx, a)
	if err != nil {
		return nil, err
	}
	slots := l.strangers
	if c.nonce != nil {
		slots = l.known
	}
	ok, err := l.prove(ctx, slots, c.buckets, c.hash(), a.Password)
	if err != nil {
		return nil, err
	}
	if !ok || c.user == nil {
		return nil, l.refuse(ctx, c.user, a.Address, "password")
	}
	return l.begin(ctx, c, a)
}

// candidate reads whom the attempt is about. It writes nothing, so that attempts
// over the limit cost next to nothing.
func (l *Login) candidate(ctx context.Context, a Attempt) (*candidate, error) {
	now := l.cfg.Now()
	var c *candidate
	var over time.Duration
	err := l.cfg.DB.View(ctx, func(tx *store.Tx) error {
		c = &candidate{buckets: l.stranger(a.Username, a.Address)}
		u, err := userByName(tx, a.Username)
		if err != nil {
			return err
		}
		if c.user = u; u != nil {
			c.nonce = l.knows(u, string(a.Device))
		}
		if c.nonce != nil {
			c.buckets = []bucket{{l.bucketKey("device", u.ID, string(c.nonce)), deviceLimit}}
		}
		over, err = wait(tx, c.buckets, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	if over > 0 {
		return nil, &Throttled{After: over}
	}
	return c, nil
}

// userByName returns nil when nobody has the name, as with one that no database
// could hold.
func userByName(tx *store.Tx, name string) (*store.User, error) {
	if name == "" || len(name) > 256 || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return nil, nil
	}
	u, err := tx.UserByName(name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return u, err
}

// prove verifies a password within the limits. The attempt is charged, durably,
// before the password is looked at: many at once get no more than the limit.
func (l *Login) prove(ctx context.Context, slots gate, buckets []bucket, hash string, password Secret) (bool, error) {
	leave, err := slots.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	now := l.cfg.Now()
	var over time.Duration
	err = l.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		over, err = charge(tx, buckets, now)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("charge attempt: %w", err)
	}
	if over > 0 {
		return false, &Throttled{After: over}
	}
	return verify(hash, string(password)), nil
}

// refuse leaves word of a failed attempt and returns ErrCredentials. Audit lines
// have a limit of their own, so that nobody can fill the table from outside; the
// next line then says how many are missing. A name that nobody has is not written
// down: people type passwords there.
func (l *Login) refuse(ctx context.Context, u *store.User, address, reason string) error {
	const missedKey = "login.audit-missed"
	sub, now := "", l.cfg.Now()
	if u != nil {
		sub = u.ID
	}
	l.cfg.Logger.Info("sign-in refused", "sub", sub, "address", address, "reason", reason)
	lines := []bucket{{"login.audit", auditLimit}}
	// Who hangs up now is not forgotten.
	err := l.cfg.DB.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		missed, err := tx.Attempt(missedKey)
		if err != nil {
			return err
		}
		over, err := charge(tx, lines, now)
		if err != nil {
			return err
		}
		if over > 0 {
			return tx.PutAttempt(store.Attempt{Key: missedKey, Level: missed.Level + 1, At: now})
		}
		if missed.Level > 0 {
			if err := tx.PutAttempt(store.Attempt{Key: missedKey, At: now}); err != nil {
				return err
			}
		}
		return tx.Audit(store.Audit{
			At: now, Actor: "system", Action: "session.refuse", Target: sub, Address: address,
			Detail: detail("reason", reason, "missed", missed.Level),
		})
	})
	if err != nil {
		return fmt.Errorf("note refused sign-in: %w", err)
	}
	return ErrCredentials
}

// begin opens the session.
func (l *Login) begin(ctx context.Context, c *candidate, a Attempt) (*SignIn, error) {
	f, err := l.fresh(c.user, c.nonce, a.Address, a.UserAgent)
	if err != nil {
		return nil, err
	}
	s := f.session
	replaced := l.order(revoke.Session, "", "replaced", s.UserID, a.Address)
	err = l.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := current(tx, c.user); err != nil {
			return err
		}
		if err := replace(tx, string(a.Session), s, replaced); err != nil {
			return err
		}
		if err := tx.PutSession(s); err != nil {
			return err
		}
		if err := refund(tx, c.buckets, s.AuthTime); err != nil {
			return err
		}
		return tx.Audit(started(s))
	})
	if errors.Is(err, errChanged) {
		return nil, l.refuse(ctx, c.user, a.Address, "account changed")
	}
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	l.cfg.Logger.Info("signed in", "sub", s.UserID, "sid", s.ID, "address", a.Address)
	return f.signIn(), nil
}

// errChanged says that the account is not any more what the password was
// verified against. Nothing may be written then.
var errChanged = errors.New("login: account disabled or password changed")

// current reads the account again, in the transaction that decides: verifying
// took a while.
func current(tx *store.Tx, u *store.User) (*store.User, error) {
	is, err := tx.User(u.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errChanged
	}
	if err != nil {
		return nil, err
	}
	if is.Disabled || is.PasswordHash != u.PasswordHash {
		return nil, errChanged
	}
	return is, nil
}

// replace ends the session that the browser had. See "Signing in again" in the
// package comment.
func replace(tx *store.Tx, cookie string, next *store.Session, o revoke.Order) error {
	hash, ok := hashSecret(cookie)
	if !ok {
		return nil
	}
	old, err := tx.SessionBySecret(hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if old.UserID == next.UserID && o.Now.Before(old.Expires) {
		grants, err := tx.GrantsOfSession(old.ID)
		if err != nil {
			return err
		}
		for _, g := range grants {
			g.SessionID = next.ID
			if err := tx.PutGrant(g); err != nil {
				return err
			}
		}
	}
	o.Value = old.ID
	return revoke.Write(tx, o)
}

// detail is the JSON of an audit line's detail.
func detail(pairs ...any) string {
	m := make(map[string]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return string(b)
}

// opening is a session to be written, and the secrets that only the browser gets.
type opening struct {
	session        *store.Session
	cookie, device string
}

// fresh draws everything random of a new session. A browser that the account
// knows keeps its nonce, and so its limit.
func (l *Login) fresh(u *store.User, nonce []byte, address, agent string) (*opening, error) {
	cookie, err := NewSecret(l.cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("draw session: %w", err)
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(l.cfg.Rand, id); err != nil {
		return nil, fmt.Errorf("draw session: %w", err)
	}
	if nonce == nil {
		nonce = make([]byte, deviceNonce)
		if _, err := io.ReadFull(l.cfg.Rand, nonce); err != nil {
			return nil, fmt.Errorf("draw session: %w", err)
		}
	}
	hash, _ := hashSecret(cookie) // of our own making
	now := l.cfg.Now()
	return &opening{
		session: &store.Session{
			ID: base64.RawURLEncoding.EncodeToString(id), SecretHash: hash, UserID: u.ID,
			ACR: acrPassword, AMR: []string{amrPassword},
			AuthTime: now, Created: now, Seen: now, Expires: l.expires(now, now),
			Address: address, UserAgent: cut(agent, 256),
		},
		cookie: cookie, device: l.device(u, nonce),
	}, nil
}

func (o *opening) signIn() *SignIn {
	return &SignIn{Session: o.session, Cookie: Secret(o.cookie), Device: Secret(o.device)}
}

// started is the audit line of a new session.
func started(s *store.Session) store.Audit {
	return store.Audit{
		At: s.Created, Actor: s.UserID, Action: "session.start", Target: s.ID, Address: s.Address,
		Detail: detail("amr", s.AMR),
	}
}

// cut bounds what a browser says of itself to text that every database takes.
func cut(s string, size int) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), size)], ""), "\x00", "")
}
