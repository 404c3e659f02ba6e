// Package guard verifies access tokens in a resource server, locally, and
// refuses ended ones. Inside a trust domain it also takes the transaction tokens
// of the domain's gateways (draft-ietf-oauth-transaction-tokens).
//
// It owns the verdict on a request: which checks, in which order, and the
// answer to each failure (RFC 9068 §4, RFC 6750, RFC 9449, RFC 9470, RFC 9728).
// It does not own the form of tokens (package token), how keys are fetched, nor
// how revocations travel.
//
// Invariant: no request is admitted unless the signature of its token was
// checked with a key that the issuer publishes now for tokens of this kind, and every check that
// depends on time, request or revocations was made for this very request.
package guard

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/keyset"
	"github.com/writ-auth/writ/internal/usage"
)

// Config says whose tokens a guard accepts, and for what.
type Config struct {
	Issuer       string           // required; compared with iss byte by byte; metadata by RFC 8414
	Audience     string           // required; this API's resource identifier (RFC 8707)
	Algorithms   []string         // nil: ES256 Ed25519 PS256 RS256; "none" and HS* are not spellable
	Leeway       time.Duration    // clock skew; 0 means 30 s, at most 60 s
	MaxStaleness time.Duration    // oldest trusted revocation state; 0 means 10 s
	WhenStale    Stale            // zero value denies
	CacheTokens  int              // verified-token cache, in steps of eight; 0 means 65536, negative turns it off
	Metadata     ResourceMetadata // the rest of the RFC 9728 document
	Proxies      []netip.Prefix   // whose X-Forwarded-Proto and X-Forwarded-Host are believed (DPoP htu)
	HTTPClient   *http.Client     // nil: own client with timeouts and no proxy from the environment
	Logger       *slog.Logger     // nil: slog.Default
	Now          func() time.Time // nil: time.Now
	InsecureHTTP bool             // accept an http issuer that is not loopback

	// StateFile is where the guard keeps a copy of the issuer's keys and
	// revocations, so that it can start while the issuer is down; "": nowhere.
	// One guard writes it, in a directory that is there. What a copy says of
	// revocations is signed by the issuer, checked again when it is read, and as
	// old as the issuer's word in it; where the clock was put back since, nobody
	// can tell how old, and the copy is refused. Key sets are not signed: whoever can write
	// the file can make the guard accept tokens of his own. So it is written with
	// mode 0600 and, on Unix, refused when it is a link, another user's, or
	// writable by group or others. It names nobody, but keep it from others all
	// the same: who reads it can tell whether a token he holds was ended.
	StateFile string
	// TrustDomain is the name of the domain this service stands in. With it the
	// guard also takes the transaction tokens that the domain's gateways mint, in the
	// header Txn-Token; it needs a Credential then. Without it the header is nothing.
	TrustDomain string

	// Credential returns a bearer token for resource <Issuer>/feed. With it
	// the guard follows the whole feed and reports what it holds, and of each
	// token it sees for the first time its kid, jti and a digest, by which the
	// issuer tells whether it ever made it; without, it polls the public
	// snapshot, which only some issuers serve, and reports nothing.
	Credential func(context.Context) (string, error)

	// Refused is told of a credential that the issuer does not take any more,
	// so that Credential returns another one at the next call; nil: Credential
	// keeps none. A credential can end before it expires, as any token can.
	Refused func(credential string)
}

// Stale says what becomes of requests while the revocation state is older than
// Config.MaxStaleness.
type Stale struct {
	Do   Action
	For  time.Duration // how long Allow lasts, counted from MaxStaleness; 0 means 15 min
	Else Action        // of Introspect, Deny or Allow: what becomes of requests when the issuer cannot be asked
}

// Action is Deny, Allow or Introspect.
type Action int

// The actions.
const (
	Deny  Action = iota // refuse with 503 and Retry-After
	Allow               // go on with the revocations known so far

	// Introspect asks the issuer about each token (RFC 7662), beside all other
	// checks: one call at a time for a token, at most 50 a second for the guard,
	// and what is found active is not asked for again for five seconds. It needs
	// Config.Credential. Requests under way are not asked about. Of a transaction
	// token the issuer knows nothing, so that Else decides.
	Introspect
)

// A Guard verifies tokens for one audience. It is safe for concurrent use.
type Guard struct {
	*engine
	resource
}

// engine is what guards for several audiences of one issuer share.
type engine struct {
	cfg      Config // completed by check
	instance string // names this process in its reports
	keys     *keyset.Set
	inner    *keyset.Set // of gateways, for transaction tokens; nil outside a trust domain
	signers  *keyset.Set // of the feed
	feed     *feed.Reader
	headers  headers
	shapes   shapes
	hashers  sync.Pool // of *feed.Hasher
	cache    *cache    // nil when turned off
	replay   dpop.Replay
	running  registry
	usage    *usage.Sender // nil without a credential
	disk     copied
	asker    asker
	refusals map[string]*atomic.Uint64 // by reason; the map never changes

	done   chan struct{} // closed when all is said and written after the end
	came   chan struct{} // closed by the first keys
	rules  atomic.Uint64 // counts the batches of rules that were applied
	cameAt atomic.Int64  // when that was, Unix nanoseconds; 0 before
	report chan struct{} // capacity 1: there is news for the issuer
	told   bool          // a report was made; owned by leave
	sweep  chan struct{} // capacity 1: running requests may have been ended
}

// New checks cfg and starts following keys and revocations until ctx ends; ctx
// bounds the guard's life, not the call. It never waits for the issuer: with
// the issuer down the first requests are refused with 503 and Retry-After, the
// first after its return succeeds.
func New(ctx context.Context, cfg Config) (*Guard, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	res, err := newResource(cfg, cfg.Audience, cfg.Metadata)
	if err != nil {
		return nil, err
	}
	e := &engine{
		cfg:      cfg,
		instance: rand.Text(),
		refusals: make(map[string]*atomic.Uint64),
		done:     make(chan struct{}),
		came:     make(chan struct{}),
		report:   make(chan struct{}, 1),
		sweep:    make(chan struct{}, 1),
	}
	for _, reason := range reasons() {
		e.refusals[reason] = new(atomic.Uint64)
	}
	if cfg.CacheTokens > 0 {
		e.cache = newCache(cfg.CacheTokens)
	}
	if cfg.Credential != nil {
		e.usage = usage.NewSender(e.instance, e.sendUsage, cfg.Logger)
	}
	if err := e.sources(); err != nil {
		return nil, err
	}
	e.restore()
	e.start(ctx)
	return &Guard{engine: e, resource: res}, nil
}

// For returns a guard for another audience of the same issuer. It shares keys,
// revocations, cache and reports with g, and g's Config in all else.
func (g *Guard) For(audience string, m ResourceMetadata) (*Guard, error) {
	res, err := newResource(g.cfg, audience, m)
	if err != nil {
		return nil, err
	}
	return &Guard{engine: g.engine, resource: res}, nil
}

// start runs what New promises to run.
func (e *engine) start(ctx context.Context) {
	go e.keys.Run(ctx)
	go e.signers.Run(ctx)
	if e.inner != nil {
		go e.inner.Run(ctx)
	}
	go e.follow(ctx)
	go e.supervise(ctx)
	var last sync.WaitGroup
	if e.cfg.Credential != nil {
		last.Go(func() { e.leave(ctx) })
		go e.usage.Run(ctx)
	}
	if e.cfg.StateFile != "" {
		last.Go(func() { e.keep(ctx) })
	}
	go func() {
		<-ctx.Done()
		last.Wait()
		close(e.done)
	}()
}

// Done is closed some time after the ctx of New ended, when Config.StateFile is
// written and the issuer told that this guard is gone, or a second has passed.
// Wait for it before the process ends.
func (g *Guard) Done() <-chan struct{} { return g.done }

// Ready waits until keys and revocation state are there; use it in a readiness
// probe. Its error is ctx's.
func (g *Guard) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !g.keys.Ready() || !g.feed.View().Ready || g.inner != nil && !g.inner.Ready() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// State is what a guard holds.
type State struct {
	Keys        []Key             // sorted by ID
	KeysFetched time.Time         // zero before the first time
	KeysError   error             // of the latest fetch
	Ready       bool              // a revocation state was received, however old
	Epoch       string            // of the feed
	Position    uint64            // in the feed
	AsOf        time.Time         // up to when revocations are known
	Behind      time.Duration     // of the issuer's clock, as of its last word; below zero: ahead of it, or the word was late
	Staleness   time.Duration     // how old the revocations are now, as MaxStaleness counts; 0 before the first
	Rules       int               // revocations held
	Restored    time.Time         // up to when those were known that Config.StateFile had at the start; zero: it had none
	FileError   error             // of the latest reading or writing of Config.StateFile
	Refusals    map[string]uint64 // by reason, over all audiences
}

// Key is a signing key of the issuer.
type Key struct {
	ID, Algorithm string
	Since         time.Time // when this guard first saw it
}

// State returns what the guard holds now.
func (g *Guard) State() State {
	k, v := g.keys.State(), g.feed.View()
	s := State{
		KeysFetched: k.Fetched,
		KeysError:   k.Err,
		Ready:       v.Ready,
		Epoch:       v.Epoch,
		Position:    v.Position,
		AsOf:        v.AsOf,
		Behind:      v.Behind(),
		Rules:       v.Set.Len(),
		Refusals:    make(map[string]uint64),
	}
	if v.Ready {
		s.Staleness = max(0, v.Age(g.cfg.Now()))
	}
	s.Restored = g.disk.start
	if err := g.disk.err.Load(); err != nil {
		s.FileError = *err
	}
	for _, known := range k.Keys {
		s.Keys = append(s.Keys, Key{ID: known.ID, Algorithm: known.Alg, Since: known.Since})
	}
	for reason, n := range g.refusals {
		s.Refusals[reason] = n.Load()
	}
	return s
}

// ownClient is used unless Config names one. It takes no proxy from the
// environment: whoever can set a variable would see the credential.
func ownClient() *http.Client {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
	}}
}
