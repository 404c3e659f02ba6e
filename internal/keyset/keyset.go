// Package keyset is an issuer's JWK set as its verifiers hold it: fetched,
// cached, and rolled over when the issuer does.
//
// It owns when the set is fetched and how long a key is trusted. It does not
// own what a key may sign, nor the check of a signature.
//
// Invariant: every key handed out came from the issuer's own set over a
// connection as safe as the issuer's URL, within Config.MaxAge. A request that
// names a key the set holds never waits and never causes a fetch; requests that
// name other keys cause at most one fetch in Config.Cooldown between them.
package keyset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

var (
	// ErrUnknown is a key id that the issuer's set does not have, as far as
	// the last fetch tells.
	ErrUnknown = errors.New("keyset: no such key")
	// ErrUnavailable means that no set is held, or none young enough.
	ErrUnavailable = errors.New("keyset: no keys")
)

// Config says whose keys to hold. Issuer and one of URL and Metadata are
// required.
type Config struct {
	Issuer       string        // who the keys belong to
	URL          string        // where the JWK set is, or
	Metadata     string        // where the document is that names it (RFC 8414) and must name Issuer
	Member       string        // of that document, a URL, for Endpoint; "": none
	Algorithms   []string      // keys for others are left out; nil: all that package jose knows
	Refresh      time.Duration // from one fetch to the next; 0: what max-age says, from 1 min to 1 h, else 5 min
	MaxAge       time.Duration // how long keys are trusted while the issuer does not answer; 0: 24 h
	Cooldown     time.Duration // between fetches that unknown key ids cause; 0: 900 ms
	InsecureHTTP bool          // accept http URLs that are not loopback
	Changed      func()        // called by Run after keys came or went; may be nil
	Terms        bool          // keys come with Terms; one without is left out
	Client       *http.Client  // nil: http.DefaultTransport; redirects to another origin are refused in any case
	Now          func() time.Time
	Logger       *slog.Logger

	// Credential returns a bearer token for a set that is not public, and Refused
	// is told of one that was not taken. Both nil for a public set.
	Credential func(context.Context) (string, error)
	Refused    func(credential string)
}

const (
	defaultMaxAge   = 24 * time.Hour
	defaultCooldown = 900 * time.Millisecond

	// spacing is the least time between any two fetches.
	spacing = 100 * time.Millisecond
	// patience is how long one request waits for a fetch.
	patience = 500 * time.Millisecond
)

// looks are the pauses after a fetch that Refresh asked for, last one first: word
// of a change may outrun the change, on its way to the replica of the issuer that
// answers us. A withdrawn key must not stay for as long as the set may be cached.
var looks = [...]time.Duration{5 * time.Second, 500 * time.Millisecond}

// A Set holds the keys of one issuer. Its methods may be called at any time
// from any goroutine; Run fetches.
type Set struct {
	cfg    Config
	client *http.Client
	held   atomic.Pointer[held] // nil until the first good fetch; written by Run
	member atomic.Pointer[string]
	wake   chan struct{} // tells Run that pending is set; capacity 1

	mu      sync.Mutex
	pending bool          // a fetch was asked for and has not begun; guarded by mu
	told    bool          // by Refresh; guarded by mu
	begun   time.Time     // when the latest fetch began; guarded by mu
	asked   time.Time     // when Key last asked for one; guarded by mu
	running chan struct{} // closed when the fetch under way ends, nil between fetches; guarded by mu
	next    chan struct{} // closed when the fetch that begins next ends; guarded by mu
	err     error         // of the latest fetch; guarded by mu

	source     string    // the JWK set's URL, "" when it must be looked up; owned by Run
	discovered time.Time // when it was looked up; owned by Run
	failures   int       // in a row; owned by Run
	looks      int       // fetches to come, this one included, that no cache may answer; owned by Run
}

// held is one state of the set. It is never modified.
type held struct {
	keys    map[string]known // by id
	fetched time.Time
}

type known struct {
	key   *jose.Key
	since time.Time
	terms *Terms // nil in sets without
}

// over reports whether a key that comes with an end has reached it.
func (k known) over(now time.Time) bool {
	return k.terms != nil && !now.Before(k.terms.Expiry)
}

// New checks cfg. It does not fetch.
func New(cfg Config) (*Set, error) {
	if cfg.Issuer == "" {
		return nil, errors.New("keyset: an issuer is required")
	}
	if (cfg.Credential == nil) != (cfg.Refused == nil) {
		return nil, errors.New("keyset: Credential and Refused go together")
	}
	if (cfg.URL == "") == (cfg.Metadata == "") {
		return nil, errors.New("keyset: either the set's URL or the metadata's is required")
	}
	if err := CheckURL(cfg.URL+cfg.Metadata, cfg.InsecureHTTP); err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	if cfg.Refresh < 0 || cfg.MaxAge < 0 || cfg.Cooldown < 0 {
		return nil, errors.New("keyset: durations must not be negative")
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = defaultMaxAge
	}
	if cfg.Cooldown == 0 {
		cfg.Cooldown = defaultCooldown
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	var client http.Client
	if cfg.Client != nil {
		client = *cfg.Client
	}
	client.CheckRedirect = sameOrigin
	return &Set{
		cfg:    cfg,
		client: &client,
		wake:   make(chan struct{}, 1),
		next:   make(chan struct{}),
	}, nil
}

// Lookup returns the key with the id, nil when the set does not hold it or is
// too old to be trusted. It takes no lock. As long as it returns the same pointer,
// the key's terms are the same, but for a later end.
func (s *Set) Lookup(kid string) *jose.Key {
	return s.LookupAt(kid, s.cfg.Now())
}

// LookupAt is Lookup for who knows what time it is.
func (s *Set) LookupAt(kid string, now time.Time) *jose.Key {
	h := s.held.Load()
	if h == nil || now.Sub(h.fetched) > s.cfg.MaxAge {
		return nil
	}
	k := h.keys[kid]
	if k.over(now) {
		return nil
	}
	return k.key
}

// Endpoint is the URL in the member of the issuer's document that Config.Member
// names; "" while it is not known, or not one that may be called.
func (s *Set) Endpoint() string {
	if u := s.member.Load(); u != nil {
		return *u
	}
	return ""
}

// Ready reports whether the set holds keys that may be trusted.
func (s *Set) Ready() bool {
	h := s.held.Load()
	return h != nil && !s.old(h)
}

func (s *Set) old(h *held) bool { return s.cfg.Now().Sub(h.fetched) > s.cfg.MaxAge }

// Key returns the key with the id. When the set does not hold it, Key may wait
// for a fetch that it shares with others, for half a second at most. The error
// is ErrUnknown or ErrUnavailable.
func (s *Set) Key(ctx context.Context, kid string) (*jose.Key, error) {
	if k := s.Lookup(kid); k != nil {
		return k, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ctx.Err() == nil {
		over, last := s.ask(kid)
		if over == nil {
			break
		}
		select {
		case <-over:
		case <-ctx.Done():
		}
		if k := s.Lookup(kid); k != nil {
			return k, nil
		}
		if last || s.Ready() {
			break
		}
	}
	if !s.Ready() {
		return nil, ErrUnavailable
	}
	return nil, ErrUnknown
}

// ask returns the end of a fetch that may bring the key, nil when none is due.
// last is false for a fetch that began earlier: without keys, only one that
// begins from now on tells whether the issuer is back.
func (s *Set) ask(kid string) (over <-chan struct{}, last bool) {
	ready := s.Ready()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case kid == "":
		return nil, true
	case s.running != nil:
		return s.running, false
	case ready && !s.pending && time.Since(s.asked) < s.cfg.Cooldown:
		return nil, true
	}
	s.asked = time.Now()
	s.request()
	return s.next, true
}

// Refresh asks for a fetch soon, whatever the cool-down and past all caches, and
// for two more a little later: the issuer said that its keys changed. It does
// not wait.
func (s *Set) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = true
	s.request()
}

// request is called with mu held.
func (s *Set) request() {
	if s.pending {
		return
	}
	s.pending = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run fetches until ctx ends, and returns its error.
func (s *Set) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		s.begin()
		life, err := s.fetch(ctx)
		s.end(err)
		s.sleep(ctx, s.pause(life, err))
	}
	return ctx.Err()
}

// begin notes that a fetch starts; what was asked for until now is met by it.
func (s *Set) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = false
	if s.told {
		s.told, s.looks = false, 1+len(looks)
	}
	select {
	case <-s.wake:
	default:
	}
	s.begun = time.Now()
	s.running, s.next = s.next, make(chan struct{})
}

// end lets those go who wait for the fetch.
func (s *Set) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.running)
	s.running = nil
	s.err = err
}

// pause is how long to wait after a fetch when nobody asks for another.
func (s *Set) pause(life time.Duration, err error) time.Duration {
	if err == nil {
		s.failures = 0
		if s.cfg.Refresh > 0 {
			life = s.cfg.Refresh
		}
		if s.looks = max(0, s.looks-1); s.looks > 0 {
			return min(life, looks[s.looks-1])
		}
		return life
	}
	most := 30 * time.Second
	if !s.Ready() {
		most = 2 * time.Second
	}
	wait := min(most, 250*time.Millisecond<<min(s.failures, 8))
	s.failures++
	return wait - rand.N(wait/4) // so that many verifiers do not come back at once
}

// sleep waits for d to pass or for somebody to ask, and keeps the spacing.
func (s *Set) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	case <-s.wake:
	}
	s.mu.Lock()
	rest := spacing - time.Since(s.begun)
	s.mu.Unlock()
	if rest <= 0 {
		return
	}
	timer.Reset(rest)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// State is what a set holds and how the latest fetch went.
type State struct {
	Keys    []Known   // sorted by id
	Fetched time.Time // the latest good fetch; zero before the first
	Err     error     // of the latest fetch; nil when it was good
}

// Known is a key of the set.
type Known struct {
	ID, Alg string
	Since   time.Time // when a fetch first showed it
}

// State returns what the set holds now, trusted or not.
func (s *Set) State() State {
	s.mu.Lock()
	state := State{Err: s.err}
	s.mu.Unlock()
	h := s.held.Load()
	if h == nil {
		return state
	}
	state.Fetched = h.fetched
	for id, k := range h.keys {
		state.Keys = append(state.Keys, Known{ID: id, Alg: k.key.Alg, Since: k.since})
	}
	slices.SortFunc(state.Keys, func(a, b Known) int { return strings.Compare(a.ID, b.ID) })
	return state
}

// sameOrigin keeps a fetch at the origin that was checked.
func sameOrigin(req *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("too many redirects")
	}
	if from := via[0].URL; req.URL.Scheme != from.Scheme || req.URL.Host != from.Host {
		return fmt.Errorf("redirect to another origin, %s://%s", req.URL.Scheme, req.URL.Host)
	}
	return nil
}

// CheckURL reports whether keys may be fetched from a URL: https, or http on
// the loopback interface, or any http when insecure.
func CheckURL(raw string, insecure bool) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("parse URL: %w", err)
	}
	switch {
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not an absolute URL without user and fragment", u.Redacted())
	case u.Scheme == "https":
	case u.Scheme == "http" && (insecure || isLoopback(u.Hostname())):
	default:
		return fmt.Errorf("%q must be https, or http on the loopback interface", raw)
	}
	return nil
}
