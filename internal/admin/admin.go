// Package admin does what operators ask for: each action once, for the admin API,
// the command line and the pages. It owns what a client, a resource or a person
// may look like, and the words that tell an operator what is wrong with one.
//
// It does not decide who may act as an operator: its callers have.
//
// Invariant: a change, its audit line, the word of it to the other replicas and
// the rule that ends what it takes away are written in one transaction.
package admin

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// Config is what the actions work with. The zero value of every optional field
// is sane.
type Config struct {
	Issuer string // required
	DB     *store.DB
	Keys   *mint.Mint // nil where the sealing key is not at hand: then nothing about keys
	// AuthLife is how long after an authentication tokens may still be issued that
	// rest on it: the longest life of a session and of a grant; 0: 180 days.
	AuthLife time.Duration
	Now      func() time.Time // nil: time.Now
	Rand     io.Reader        // nil: crypto/rand
	Logger   *slog.Logger     // nil: slog.Default
}

// Admin acts on one issuer. It is safe for concurrent use.
type Admin struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Admin, error) {
	if cfg.Issuer == "" || cfg.DB == nil {
		return nil, errors.New("admin: Issuer and DB are required")
	}
	if cfg.AuthLife == 0 {
		cfg.AuthLife = 180 * 24 * time.Hour
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
	return &Admin{cfg: cfg}, nil
}

// Logger is where the actions log, for those who answer for them.
func (a *Admin) Logger() *slog.Logger { return a.cfg.Logger }

// Issuer is whose clients, resources and people these are.
func (a *Admin) Issuer() string { return a.cfg.Issuer }

// By is who asked for an action, for the audit line.
type By struct {
	Actor   string // sub or client_id, "system" for the server itself, "host:NAME" for a user of its host
	Address string
}

// System is the server acting on its own account.
var System = By{Actor: "system"}

// Error says what is wrong with what an operator asked for.
type Error struct {
	Field   string // as in the JSON, "" when it is about the whole
	Message string // a sentence without the field's name in it
}

// Error joins both.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func wrong(field, format string, args ...any) error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

// Page is a part of a list and where the next part begins.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"` // give it as after; "" at the end
}

// Bounds of a page.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// pageSize reads a limit as asked for; 0 means the default.
func pageSize(limit int) (int, error) {
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 1 || limit > MaxLimit {
		return 0, wrong("limit", "must be from 1 to %d", MaxLimit)
	}
	return limit, nil
}

// page turns limit+1 records into a page of limit.
func page[R, T any](records []R, limit int, view func(R) T, key func(R) string) Page[T] {
	p := Page[T]{Items: []T{}}
	if len(records) > limit {
		records = records[:limit]
		p.Next = key(records[limit-1])
	}
	for _, r := range records {
		p.Items = append(p.Items, view(r))
	}
	return p
}

// act is one change under way: when, by whom, what.
type act struct {
	by     By
	now    time.Time
	action string // noun.verb
	target string
}

func (a *Admin) act(by By, action, target string) act {
	// What is answered now is what the store will say later, to the microsecond.
	return act{by: by, now: a.cfg.Now().UTC().Truncate(time.Microsecond), action: action, target: target}
}

// note writes the audit line, and tells the replicas to read configuration again.
func (c act) note(tx *store.Tx, detail map[string]any) error {
	if err := tx.Append(store.Entry{Kind: client.KindConfig, Value: c.target, Reason: c.action, At: c.now}); err != nil {
		return err
	}
	return c.audit(tx, detail)
}

// audit writes the line alone, for what replicas hold no copy of.
func (c act) audit(tx *store.Tx, detail map[string]any) error {
	text := ""
	if len(detail) > 0 {
		b, err := json.Marshal(detail)
		if err != nil {
			return fmt.Errorf("write audit detail: %w", err)
		}
		text = string(b)
	}
	return tx.Audit(store.Audit{
		At: c.now, Actor: c.by.Actor, Action: c.action, Target: c.target, Detail: text, Address: c.by.Address,
	})
}

// end ends what the change takes away, in the same transaction.
func (c act) end(tx *store.Tx, kind, value, reason string) error {
	return revoke.Write(tx, revoke.Order{
		Kind: revoke.Kind(kind), Value: value, Reason: reason, By: c.by.Actor, Address: c.by.Address,
		Now: c.now, Until: c.now.Add(mint.LongestLife + 2*mint.Skew),
	})
}

// random returns n random bytes in base64url behind a prefix.
func (a *Admin) random(prefix string, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(a.cfg.Rand, b); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(b), nil
}

// plain checks text that people will read: trimmed, of bounded length, and
// without characters that no reader sees, which could make one name look like
// another.
func plain(field, s string, longest int) error {
	if !utf8.ValidString(s) {
		return wrong(field, "must be UTF-8")
	}
	if s != strings.TrimSpace(s) {
		return wrong(field, "must not begin or end with a space")
	}
	if utf8.RuneCountInString(s) > longest {
		return wrong(field, "must not be longer than %d characters", longest)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return wrong(field, "must not contain control or invisible characters")
		}
	}
	return nil
}
