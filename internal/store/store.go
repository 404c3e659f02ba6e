// Package store is what the authorization server remembers, in SQLite or in PostgreSQL.
//
// It owns the records, the schema with its migrations, transactions and their repetition,
// and the order of the feed. It does not own meaning: it stores and finds, and never judges
// whether a token is good. It holds hashes and sealed blobs, never a secret in the clear.
//
// The invariant: an Update that returned nil is durable, one that returned an error wrote
// nothing, and all Updates behave as if they had run one after another.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// The three errors that callers tell apart; others are for the log.
var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a record with this key, or this unique name, is there already.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable says that the database could not do it, however often it was tried.
	ErrUnavailable = errors.New("store unavailable")
)

// Config says where the store is and whose rows it shows.
type Config struct {
	URL    string           // "sqlite:PATH" or a bare path, or postgres://…
	Issuer string           // every row belongs to it; a Tx cannot name another
	Kind   string           // "dev" or "serve": marks a new store; a store of the other kind is refused
	Conns  int              // most PostgreSQL connections in use at once; 0: 20
	Now    func() time.Time // stamps a new store and tells Run what has expired; nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
}

// Open connects, brings the schema up to date and gives the store to one issuer.
// Several replicas may open the same new database at once.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Issuer == "" {
		return nil, errors.New("open store: an issuer is required")
	}
	if cfg.Kind != "dev" && cfg.Kind != "serve" {
		return nil, fmt.Errorf("open store: kind %q is neither dev nor serve", cfg.Kind)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Conns <= 0 {
		cfg.Conns = 20
	}
	back, err := dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	d := &DB{cfg: cfg, back: back, changed: make(chan struct{}, 1)}
	if err := d.claim(ctx); err != nil {
		back.close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	return d, nil
}

// dial picks the database by the form of the URL.
func dial(ctx context.Context, cfg Config) (backend, error) {
	scheme, rest, found := strings.Cut(cfg.URL, ":")
	switch {
	case cfg.URL == "" || rest == "" && found:
		return nil, fmt.Errorf("database %q: want sqlite:PATH or postgres://…", cfg.URL)
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, cfg)
	case scheme == "sqlite":
		return openSQLite(cfg, rest)
	case strings.HasPrefix(rest, "//"):
		return nil, fmt.Errorf("database scheme %q: want sqlite:PATH or postgres://…", scheme)
	}
	return openSQLite(cfg, cfg.URL)
}
