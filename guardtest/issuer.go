// Package guardtest is a working issuer on the loopback interface, for tests of services that
// package guard protects. It signs tokens, publishes keys, serves the revocation feed, trades
// tokens, plays the gateway of a trust domain, and forges every kind of token a service must
// refuse.
//
// It does not authenticate anybody: whoever asks for a token gets it. It keeps everything in
// memory and ends with the test.
//
// The invariant: its wire formats are those of the real issuer, so a guard under test runs the
// code it runs in production.
package guardtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// Issuer is an authorization server for one test. Its methods may be called from any goroutine
// of the test; they end the test when they cannot do what they say.
type Issuer struct {
	tb      testing.TB
	url     string
	log     *feed.Log
	feedKey pair // signs the feed and nothing else
	foreign pair // belongs to an attacker; only /forged/jwks gives it out
	gateway pair // mints transaction tokens and signs nothing else
	routes  *http.ServeMux

	mu      sync.Mutex
	keys    []pair              // guarded by mu; all are published, the last one signs
	removed []pair              // guarded by mu; once published, good for the feed only
	rules   []feed.Plain        // guarded by mu
	scopes  scope.Set           // guarded by mu; what gateways may mint
	minters []minter            // guarded by mu; gateways that registered a key
	held    map[instance]report // guarded by mu; the latest of each instance
	polls   map[string]*poll    // guarded by mu; by remote address
	up      context.Context     // guarded by mu; done when the issuer goes down
	stop    context.CancelFunc  // guarded by mu
	news    chan struct{}       // guarded by mu; closed and replaced when held or polls change
}

const (
	life  = 5 * time.Minute
	epoch = "guardtest"
)

// NewIssuer starts an issuer that tb's end stops.
func NewIssuer(tb testing.TB) *Issuer {
	tb.Helper()
	i := &Issuer{
		tb:      tb,
		feedKey: newPair(tb),
		foreign: newPair(tb),
		gateway: newPair(tb),
		keys:    []pair{newPair(tb)},
		held:    make(map[instance]report),
		polls:   make(map[string]*poll),
		news:    make(chan struct{}),
	}
	i.up, i.stop = context.WithCancel(context.Background())
	srv := httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	i.url = "http://" + srv.Listener.Addr().String()
	var err error
	i.log, err = feed.NewLog(feed.LogConfig{
		Issuer: i.url, Epoch: epoch, Key: random(32), Sign: i.signFeed, Public: true,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	i.log.Fresh(0, time.Now())
	i.mount()
	srv.Start()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = i.log.Run(ctx) }) // always ctx's error
	running.Go(func() { i.freshen(ctx) })
	tb.Cleanup(func() {
		cancel() // lets followers of the feed go, which Close would wait for
		running.Wait()
		srv.CloseClientConnections()
		srv.Close()
	})
	return i
}

// freshen vouches for the feed: this issuer's memory is all there is to know.
func (i *Issuer) freshen(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			i.log.Fresh(i.log.Applied(), time.Now())
		}
	}
}

// URL is the issuer: http, on 127.0.0.1.
func (i *Issuer) URL() string { return i.url }

// mount lists what the issuer answers.
func (i *Issuer) mount() {
	i.routes = http.NewServeMux()
	i.routes.HandleFunc("GET /.well-known/oauth-authorization-server", i.metadata)
	i.routes.HandleFunc("GET /jwks", i.jwks)
	i.routes.HandleFunc("POST /token", i.trade)
	i.routes.HandleFunc("POST /introspect", i.introspect)
	i.routes.HandleFunc("GET /feed/jwks", func(w http.ResponseWriter, _ *http.Request) { i.set(w, i.feedKey) })
	i.routes.HandleFunc("GET /feed/events", i.events)
	i.routes.HandleFunc("GET /feed/snapshot", i.snapshot)
	i.routes.HandleFunc("POST /feed/state", i.state)
	i.routes.HandleFunc("POST /usage", i.usage)
	i.routes.HandleFunc("GET /inner/jwks", i.innerKeys)
	i.routes.HandleFunc("POST /inner/keys", i.register)
	i.routes.HandleFunc("GET /forged/jwks", func(w http.ResponseWriter, _ *http.Request) { i.set(w, i.foreign) })
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	if i.running().Err() != nil {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	i.routes.ServeHTTP(w, r)
}

// running is done when the issuer goes down.
func (i *Issuer) running() context.Context {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.up
}

// SetDown makes the issuer answer 503 to everything and cuts the feed, or ends that. It
// returns when the feed is cut.
func (i *Issuer) SetDown(down bool) {
	i.tb.Helper()
	i.mu.Lock()
	if down {
		i.stop()
	} else if i.up.Err() != nil {
		i.up, i.stop = context.WithCancel(context.Background())
	}
	i.mu.Unlock()
	for deadline := time.Now().Add(5 * time.Second); down && i.log.Subscribers() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			i.tb.Fatalf("guardtest: %d guards still connected 5 s after SetDown", i.log.Subscribers())
		}
	}
}

func (i *Issuer) metadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, oauth.Metadata{
		Issuer:        i.url,
		JWKSURI:       i.url + "/jwks",
		TokenEndpoint: i.url + "/token", IntrospectionEndpoint: i.url + "/introspect",
		IntrospectionAuthMethods: []string{oauth.Bearer},
		GrantTypes:               []string{oauth.GrantClient, oauth.GrantExchange},
		AuthMethods:              []string{oauth.AuthBasic, oauth.AuthPost},
	})
}

func (i *Issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	keys := append([]pair(nil), i.keys...)
	i.mu.Unlock()
	i.set(w, keys...)
}

func (i *Issuer) set(w http.ResponseWriter, pairs ...pair) {
	var keys []jose.Key
	for _, p := range pairs {
		keys = append(keys, p.public)
	}
	data, err := jose.EncodeSet(keys)
	if err != nil {
		i.tb.Errorf("guardtest: encode key set: %v", err)
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(data) // the reader went away
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader went away
}

// random is n bytes. crypto/rand never fails.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// name is a fresh id: 24 characters, as the real issuer's.
func name() string { return base64.RawURLEncoding.EncodeToString(random(18)) }

// check verifies a token of this issuer as the issuer itself would: signature, end and rules.
func (i *Issuer) check(compact, audience string) (*token.Claims, bool) {
	m, err := jose.Parse(compact)
	if err != nil || !token.TypeOK(m.Header.Typ) {
		return nil, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := i.keys
	if audience == i.url+"/feed" {
		keys = slices.Concat(keys, i.removed)
	}
	for _, p := range keys {
		if p.public.ID != m.Header.KeyID || m.Verify(&p.public) != nil {
			continue
		}
		c, err := token.Decode(m.Payload)
		if err != nil {
			return nil, false
		}
		if audience == "" {
			audience = c.Audience[0]
		}
		// Of the times only exp: clocks of an issuer's replicas differ, so iat may lie ahead.
		good := c.Issuer == i.url && slices.Contains(c.Audience, audience) && time.Now().Before(c.Expiry)
		return c, good && !ended(i.rules, c)
	}
	return nil, false
}
