// Package grant decides whether a token may be issued: one file per grant
// (code.go, refresh.go, client.go, exchange.go) behind the pipeline in token.go,
// and authorize.go for the request that people answer. The rules are pure
// functions named judge…; the methods around them read, decide and write in one
// transaction.
//
// It does not speak HTTP, hold keys or verify people; packages server, mint and
// login do.
//
// Invariant: everything a decision rests on is read in the transaction that
// writes its outcome, and a token's rev is the feed position of that reading.
package grant

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
)

// Config is what the authority works with. The zero value of every optional
// field is sane.
type Config struct {
	Issuer      string // required
	DB          *store.DB
	Keys        *mint.Mint
	Clients     *client.Directory
	Login       *login.Login
	TokenLife   time.Duration    // access tokens; 0: 5 minutes
	CodeLife    time.Duration    // authorization codes; 0: 60 s
	FlowLife    time.Duration    // how long a person may take to answer; 0: 30 minutes
	RefreshIdle time.Duration    // a refresh token unused this long is dead; 0: 30 days
	GrantLife   time.Duration    // an offline grant ends after this; 0: 90 days
	Now         func() time.Time // nil: time.Now
	Rand        io.Reader        // nil: crypto/rand
	Logger      *slog.Logger     // nil: slog.Default
}

// Authority issues tokens for one issuer. It is safe for concurrent use.
type Authority struct {
	cfg    Config
	grants map[string]grantFunc

	foreign  atomic.Uint64 // alarms over a signing key
	alarming pace

	own                   map[string]*store.Resource // the issuer's own, by URI
	userinfo, admin, feed string                     // their URIs
}

// New checks cfg.
func New(cfg Config) (*Authority, error) {
	if cfg.Issuer == "" || cfg.DB == nil || cfg.Keys == nil || cfg.Clients == nil || cfg.Login == nil {
		return nil, errors.New("grant: Issuer, DB, Keys, Clients and Login are required")
	}
	for _, p := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&cfg.TokenLife, 5 * time.Minute}, {&cfg.CodeLife, time.Minute}, {&cfg.FlowLife, 30 * time.Minute},
		{&cfg.RefreshIdle, 30 * 24 * time.Hour}, {&cfg.GrantLife, 90 * 24 * time.Hour},
	} {
		if *p.field == 0 {
			*p.field = p.value
		}
	}
	if cfg.TokenLife > mint.LongestLife {
		return nil, fmt.Errorf("grant: TokenLife %v is over the longest life of an access token, %v", cfg.TokenLife, mint.LongestLife)
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
	userinfo, admin, feed := Own(cfg.Issuer)
	a := &Authority{
		cfg: cfg, userinfo: userinfo.URI, admin: admin.URI, feed: feed.URI,
		own: map[string]*store.Resource{userinfo.URI: userinfo, admin.URI: admin, feed.URI: feed},
	}
	a.grants = a.table()
	return a, nil
}

// random returns n random bytes in base64url with a prefix.
func (a *Authority) random(prefix string, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(a.cfg.Rand, b); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(b), nil
}

// RuleUntil is when a rule written now may be forgotten: no token it hits can
// be alive then.
func RuleUntil(now time.Time) time.Time { return now.Add(mint.LongestLife + 2*mint.Skew) }
