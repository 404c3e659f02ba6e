package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
)

// rhythm is when a gateway sees to its key.
type rhythm struct {
	register time.Duration // from one registration to the next; the issuer forgets a key after two days
	rotate   time.Duration // from one key to the next
	settle   time.Duration // from when the issuer has a new key until it signs: services have it then, too
	hear     time.Duration // until services have heard of the first key; only then is the gateway ready
	retry    time.Duration // after a failure; doubles up to a minute
	pause    time.Duration // between registrations because a service refused a token
}

func (r rhythm) complete() rhythm {
	return rhythm{
		cmp.Or(r.register, 6*time.Hour), cmp.Or(r.rotate, 24*time.Hour), cmp.Or(r.settle, 2*time.Minute),
		cmp.Or(r.hear, time.Second), cmp.Or(r.retry, time.Second), cmp.Or(r.pause, time.Second),
	}
}

// An innerKey signs transaction tokens and nothing else. It is replaced, never changed.
type innerKey struct {
	private ed25519.PrivateKey
	public  jose.Key
	header  []byte    // of all tokens it signs
	made    time.Time // by the gateway's clock
	taken   time.Time // when the issuer last took it; zero: never
	bounded bool      // the issuer said what it may mint:
	scope   scope.Set
}

func newInnerKey(seed []byte, made time.Time) *innerKey {
	k := &innerKey{private: ed25519.NewKeyFromSeed(seed), made: made}
	k.public = jose.Key{Alg: jose.Ed25519, Public: k.private.Public()}
	k.public.ID = k.public.Thumbprint()
	k.header = jose.Header{Alg: jose.Ed25519, Typ: "txntoken+jwt", KeyID: k.public.ID}.Encode()
	return k
}

// fresh makes a key that nobody knows yet.
func (m *minter) fresh() *innerKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = crand.Read(seed) // never fails
	return newInnerKey(seed, m.cfg.Now())
}

// A minter mints transaction tokens with a key of its own, which it makes known to the
// issuer and replaces each day. Minting waits for none of that.
type minter struct {
	cfg    *Config
	http   *http.Client
	client *relay.Client
	rhythm rhythm
	key    atomic.Pointer[innerKey] // signs; written by run
	kept   errands
	asks   chan struct{} // capacity 1: a service refused a token
	known  chan struct{} // closed once services can know a key of ours

	first    time.Time // when the issuer first took a key of this process; owned by run
	next     *innerKey // waits for its turn; owned by run
	asked    bool      // since the last registration; owned by run
	answered time.Time // when one was made because of that; owned by run
	failures int       // in a row; owned by run
}

// newMinter takes the key that is kept, or makes one. It writes and sends nothing.
func newMinter(cfg *Config, client *relay.Client) (*minter, error) {
	m := &minter{
		cfg: cfg, client: client, rhythm: cfg.rhythm.complete(), http: &http.Client{Transport: plain()},
		asks: make(chan struct{}, 1), known: make(chan struct{}),
	}
	if cfg.HTTPClient != nil {
		own := *cfg.HTTPClient
		m.http = &own
	}
	// A redirected registration would carry the credential elsewhere.
	m.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	m.kept.byKey = make(map[errand]minted)
	kept, err := cfg.loadKey()
	if err != nil {
		return nil, err
	}
	if kept == nil {
		kept = m.fresh()
	} else {
		close(m.known)
	}
	m.key.Store(kept)
	return m, nil
}

// ready reports whether services can know the key.
func (m *minter) ready() bool {
	select {
	case <-m.known:
		return true
	default:
		return false
	}
}

// again asks for a registration soon: a service did not take a token, or the issuer the
// gateway's own, perhaps because the key was ended.
func (m *minter) again() {
	select {
	case m.asks <- struct{}{}:
	default:
	}
}

// run keeps the key known until ctx ends.
func (m *minter) run(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	m.keep()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.asks:
			m.asked = true
		}
		if err := m.step(ctx); err != nil && ctx.Err() == nil {
			if m.failures == 0 {
				m.cfg.Logger.Warn("key for transaction tokens not registered", "issuer", m.cfg.Issuer, "error", err)
			}
			wait := min(time.Minute, m.rhythm.retry<<min(m.failures, 10))
			m.failures++
			timer.Reset(wait - mrand.N(wait/4+1)) // so that many gateways do not come at once
			continue
		}
		m.failures = 0
		timer.Reset(m.wait(m.cfg.Now()))
	}
}

// step does what is due.
func (m *minter) step(ctx context.Context) error {
	now, current := m.cfg.Now(), m.key.Load()
	due := current.taken.Add(m.rhythm.register)
	if m.asked {
		due = m.answered.Add(m.rhythm.pause)
	}
	if m.first.IsZero() || current.taken.IsZero() || !now.Before(due) { // at the start in any case
		taken, err := m.register(ctx, current)
		if errors.Is(err, errKey) {
			current = m.fresh()
			m.key.Store(current)
			taken, err = m.register(ctx, current)
		}
		if err != nil {
			return err
		}
		if m.asked {
			m.asked, m.answered = false, now
		}
		if m.first.IsZero() {
			m.first = taken.taken
		}
		m.key.Store(taken)
		m.keep()
	}
	if !m.ready() && !now.Before(m.first.Add(m.rhythm.hear)) {
		close(m.known)
	}
	if m.next == nil && !now.Before(current.made.Add(m.rhythm.rotate)) {
		m.next = m.fresh()
	}
	if m.next == nil {
		return nil
	}
	if m.next.taken.IsZero() {
		taken, err := m.register(ctx, m.next)
		if errors.Is(err, errKey) {
			m.next = m.fresh()
		}
		if err != nil {
			return err
		}
		m.next = taken
	}
	if !now.Before(m.next.taken.Add(m.rhythm.settle)) {
		m.key.Store(m.next)
		m.next = nil
		m.keep()
	}
	return nil
}

// wait is how long nothing is due.
func (m *minter) wait(now time.Time) time.Duration {
	current := m.key.Load()
	at := current.taken.Add(m.rhythm.register)
	if m.asked {
		at = m.answered.Add(m.rhythm.pause)
	}
	turn := current.made.Add(m.rhythm.rotate)
	if m.next != nil {
		turn = m.next.taken.Add(m.rhythm.settle)
	}
	if turn.Before(at) {
		at = turn
	}
	if heard := m.first.Add(m.rhythm.hear); !m.ready() && heard.Before(at) {
		at = heard
	}
	return max(0, at.Sub(now))
}

// errKey is that the issuer does not take this key: it was ended, or another client has it,
// or pretends to.
var errKey = errors.New("the issuer does not take the key")

// errCredential is that the issuer does not take the token that the gateway showed.
var errCredential = errors.New("the issuer did not take the gateway's credential")

// register makes a key known to the issuer, or prolongs what it knows. It returns the
// key as the issuer took it.
func (m *minter) register(ctx context.Context, k *innerKey) (*innerKey, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	taken, err := m.present(ctx, k)
	if errors.Is(err, errCredential) { // what ended the key may have ended it, too
		taken, err = m.present(ctx, k)
	}
	return taken, err
}

// present is one attempt to register.
func (m *minter) present(ctx context.Context, k *innerKey) (*innerKey, error) {
	jwk, err := k.public.Encode()
	if err != nil {
		return nil, err
	}
	issuer := strings.TrimSuffix(m.cfg.Issuer, "/")
	registering := relay.Target{Resource: issuer + "/feed", Scopes: []string{"keys:write"}}
	credential, _, err := m.client.Token(ctx, registering)
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	url := issuer + "/inner/keys"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(fmt.Appendf(nil, `{"jwk":%s}`, jwk)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", oauth.Bearer+" "+credential)
	start := m.cfg.Now()
	res, err := m.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var told struct {
		TrustDomain string `json:"trust_domain"`
		Scope       string `json:"scope"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&told)
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		m.client.Drop(registering, credential)
		return nil, errCredential
	case told.Error == oauth.InvalidRequest:
		return nil, fmt.Errorf("%w: %s", errKey, oauth.Text(told.Description))
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s: %s %s", url, res.Status, oauth.Text(told.Error), oauth.Text(told.Description))
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case told.TrustDomain != m.cfg.TrustDomain:
		return nil, fmt.Errorf("the issuer has %s marked for trust domain %q, not %q", m.cfg.ClientID, oauth.Text(told.TrustDomain), m.cfg.TrustDomain)
	}
	taken := *k
	taken.taken, taken.bounded = start, true
	if taken.scope, err = scope.Parse(told.Scope); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if k.taken.IsZero() {
		m.cfg.Logger.Info("key for transaction tokens registered", "kid", k.public.ID, "trust_domain", told.TrustDomain)
	}
	return &taken, nil
}
