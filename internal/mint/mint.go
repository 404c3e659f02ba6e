// Package mint makes tokens: it holds the issuer's signing keys, rotates them,
// and signs access tokens, ID tokens and feed batches with them. It does not
// decide whether a token may be made; package grant does.
//
// Invariant: a key signs only while it is public, and stays public until the
// last token it signed has expired.
package mint

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/usage"
)

// setMaxAge is for how long a key set may be kept, unless Config says otherwise.
const setMaxAge = 5 * time.Minute

// ShortestPublish is how long a key must be public before it signs, at least: as long as a
// key set is kept that does not hold it yet.
const ShortestPublish = setMaxAge + Skew

// LongestLife is the longest an access token may ever live. A revocation rule is
// kept this long and twice the permitted clock skew.
const LongestLife = 24 * time.Hour

// Skew is the clock difference that verifiers are allowed to forgive.
const Skew = time.Minute

// Config says how tokens are made. The zero value of every optional field is sane.
type Config struct {
	Issuer     string // required
	DB         *store.DB
	Seal       *Sealer
	Vault      Vault            // makes the keys that sign tokens; nil: they are sealed in the store
	Leave      bool             // make no more keys in Vault; those there sign until they retire
	Algorithms []string         // signing algorithms kept ready; nil: ES256 and RS256
	KeyLife    time.Duration    // how long a key signs; 0: 30 days
	Publish    time.Duration    // how long it is public before; 0: 2 hours
	Deadline   time.Duration    // how much longer guards that do not report it are waited for; 0: 24 hours
	SetMaxAge  time.Duration    // max-age of the JWK set; 0: 5 minutes
	Now        func() time.Time // nil: time.Now
	Rand       io.Reader        // nil: crypto/rand
	Logger     *slog.Logger     // nil: slog.Default
}

// Mint signs for one issuer. It is safe for concurrent use.
type Mint struct {
	cfg   Config
	plan  schedule
	state atomic.Pointer[ring]
	mac   []byte // set by Open, never changed

	wrongClock atomic.Bool
	again      pace // of reloads because of a tag

	loading sync.Mutex // held by Reload
}

// pace lets something happen once a second.
type pace struct{ last atomic.Int64 }

func (p *pace) allow(now time.Time) bool {
	last := p.last.Load()
	return now.UnixNano()-last >= int64(time.Second) && p.last.CompareAndSwap(last, now.UnixNano())
}

// ring is the keys in memory; replaced as a whole, never changed.
type ring struct {
	signers map[string]*signer       // by algorithm: the one that signs now
	feed    *signer                  // signs feed batches
	public  map[string]*jose.Key     // every published signing key by kid
	vault   map[string]crypto.Signer // those found in the vault, by kid
	tags    [][]byte                 // tag keys, the current one first
	keys    []*store.Key
	proven  proven // tokens checked under these keys
}

type signer struct {
	id, alg string
	key     crypto.Signer
	header  []byte // of an access token
	segment string // the same, encoded
	latest  *latest
}

// Open reads the issuer's keys and makes those that are missing. It fails with
// ErrSeal when the sealing key is not the one they were sealed with.
func Open(ctx context.Context, cfg Config) (*Mint, error) {
	if cfg.Issuer == "" || cfg.DB == nil || cfg.Seal == nil {
		return nil, errors.New("mint: Issuer, DB and Seal are required")
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{jose.ES256, jose.RS256}
	}
	if err := cfg.fits(); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		field *time.Duration
		value time.Duration
	}{{&cfg.KeyLife, 30 * 24 * time.Hour}, {&cfg.Publish, 2 * time.Hour}, {&cfg.Deadline, 24 * time.Hour}, {&cfg.SetMaxAge, setMaxAge}} {
		if *p.field == 0 {
			*p.field = p.value
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Publish < cfg.SetMaxAge+Skew {
		return nil, fmt.Errorf("mint: a key must be public for the key set's max-age and a margin (%v) before it signs, not %v", cfg.SetMaxAge+Skew, cfg.Publish)
	}
	m := &Mint{cfg: cfg, plan: schedule{
		life: cfg.KeyLife, publish: cfg.Publish, deadline: cfg.Deadline,
		retain: LongestLife + cfg.SetMaxAge + 2*Skew + usage.Kept, // a guard may tell late of what a key tagged
	}}
	if err := m.Reload(ctx); err != nil {
		return nil, err
	}
	if err := m.Rotate(ctx); err != nil {
		return nil, err
	}
	// Rotate leaves out what another replica was faster with, and reads nothing again
	// for it.
	if err := m.Reload(ctx); err != nil {
		return nil, err
	}
	if m.mac == nil {
		return nil, errors.New("mint: the store has no key for standing grants and the feed")
	}
	return m, nil
}

// Run rotates keys by schedule, and looks after the clock, until ctx ends.
func (m *Mint) Run(ctx context.Context) error {
	tick, look := time.NewTicker(time.Minute), time.NewTicker(clockEvery)
	defer tick.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			m.CheckClock(ctx)
		case <-tick.C:
			err := m.note(ctx)
			if err == nil {
				err = m.Rotate(ctx)
			}
			if err == nil {
				err = m.Reload(ctx) // what another replica did, should word of it be lost
			}
			if err != nil && ctx.Err() == nil {
				m.cfg.Logger.Error("rotate keys", "error", err)
			}
		}
	}
}

// Ready reports whether a signing key is there for every algorithm, and the clock right.
func (m *Mint) Ready() bool {
	r := m.state.Load()
	if m.Fit() != nil {
		return false
	}
	for _, alg := range m.cfg.Algorithms {
		if r == nil || r.signers[alg] == nil {
			return false
		}
	}
	return r.feed != nil
}

// StandingPrefix begins the ids of standing grants, and of no others.
const StandingPrefix = "s_"

// Standing is the id of the grant a client has on its own behalf at a resource.
// It is computed, never written: StandingPrefix and HMAC(issuer key; client, resource).
func (m *Mint) Standing(clientID, resource string) string {
	mac := hmac.New(sha256.New, m.mac)
	mac.Write([]byte("standing\x00" + strconv.Itoa(len(clientID)) + "\x00" + clientID + resource))
	return StandingPrefix + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}

// FeedKey is the key that hashes rule values in this epoch of the feed.
func (m *Mint) FeedKey(epoch string) []byte {
	mac := hmac.New(sha256.New, m.mac)
	mac.Write([]byte("feed\x00" + epoch))
	return mac.Sum(nil)
}

// SetMaxAge is how long the key sets may be cached.
func (m *Mint) SetMaxAge() time.Duration { return m.cfg.SetMaxAge }

// Set is the issuer's public JWK set. The waiting keys are in it.
func (m *Mint) Set() ([]byte, error) { return m.encode(useSign) }

// FeedSet is the key set of the feed.
func (m *Mint) FeedSet() ([]byte, error) { return m.encode(useFeed) }

func (m *Mint) encode(use string) ([]byte, error) {
	var keys []jose.Key
	for _, k := range m.state.Load().keys {
		if k.Use != use || !k.Ended.IsZero() {
			continue
		}
		key, err := jose.ParseKey(k.Public)
		if err != nil {
			return nil, fmt.Errorf("read public key %s: %w", k.ID, err)
		}
		keys = append(keys, key)
	}
	return jose.EncodeSet(keys)
}

// Algorithms lists the algorithms with a key ready, the default first.
func (m *Mint) Algorithms() []string { return m.cfg.Algorithms }

// ProofAlgorithms lists the algorithms of a DPoP proof that are accepted here.
func (m *Mint) ProofAlgorithms() []string { return jose.Algorithms() }
