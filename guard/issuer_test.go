package guard

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const audience = "https://api.example/orders"

// clock is time.Now, moved.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time               { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration)      { c.offset.Add(int64(d)) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d).Truncate(time.Second) }

// signer is a private key with the public one that belongs to it.
type signer struct {
	jose.Key
	private crypto.Signer
}

func newSigner(t testing.TB, id, alg string) signer {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.Ed25519, jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{jose.Key{ID: id, Alg: alg, Public: private.Public()}, private}
}

// sign makes a token of any header and payload.
func (s signer) sign(t testing.TB, header, payload string) string {
	t.Helper()
	compact, err := jose.Sign(s.private, s.Alg, []byte(header), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// issuer is an authorization server as a guard sees it.
type issuer struct {
	clock
	*httptest.Server
	key    signer                 // signs tokens
	feeder atomic.Pointer[signer] // signs the feed
	log    *feed.Log

	private bool             // serves no public snapshot
	asked   http.HandlerFunc // answers introspection; nil: 404
	told    http.HandlerFunc // answers reports of usage; nil: 404

	mu      sync.Mutex
	jwks    []byte         // guarded by mu
	inner   string         // guarded by mu; the keys of gateways
	down    bool           // guarded by mu; answers 503
	mute    bool           // guarded by mu; the head of the feed is not known
	fetches map[string]int // guarded by mu; by path
	reports []report       // guarded by mu
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{
		key:     newSigner(t, "key-1", jose.ES256),
		fetches: make(map[string]int),
	}
	feeder := newSigner(t, "feed-1", jose.Ed25519)
	i.feeder.Store(&feeder)
	i.publish(t, i.key.Key)
	i.Server = httptest.NewUnstartedServer(i)
	url := "http://" + i.Listener.Addr().String()
	log, err := feed.NewLog(feed.LogConfig{
		Issuer: url, Epoch: "e1", Key: []byte("0123456789abcdef0123456789abcdef"), Public: true,
		Heartbeat: 100 * time.Millisecond, Now: i.now, Logger: quiet(),
		Sign: func(payload []byte) (string, error) {
			by := i.feeder.Load()
			header := jose.Header{Alg: by.Alg, Typ: feedType, KeyID: by.ID}
			return jose.Sign(by.private, by.Alg, header.Encode(), payload)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	i.log = log
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = log.Run(ctx) })
	wg.Go(func() { i.freshen(ctx) })
	i.Start()
	t.Cleanup(func() {
		cancel()
		i.CloseClientConnections()
		i.Close()
		wg.Wait()
	})
	return i
}

// freshen vouches for the head of the feed.
func (i *issuer) freshen(ctx context.Context) {
	for ctx.Err() == nil {
		i.change(func() {
			if !i.mute {
				i.log.Fresh(i.log.Applied(), i.now())
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *issuer) publish(t testing.TB, keys ...jose.Key) {
	t.Helper()
	jwks, err := jose.EncodeSet(keys)
	if err != nil {
		t.Fatal(err)
	}
	i.change(func() { i.jwks = jwks })
}

// rule appends one rule to the feed.
func (i *issuer) rule(kind feed.Kind, value string, effect feed.Effect) {
	position := i.log.Applied() + 1
	rule := feed.Plain{Position: position, Kind: kind, Value: value, Effect: effect, Before: i.in(0), Until: i.in(time.Hour)}
	i.log.Append([]feed.Plain{rule}, position, false)
}

// keysChanged tells the guards to fetch the keys.
func (i *issuer) keysChanged() { i.log.Append(nil, i.log.Applied()+1, true) }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.fetches[r.URL.Path]++
	down, jwks, inner := i.down, i.jwks, i.inner
	i.mu.Unlock()
	if r.URL.Path == "/feed/snapshot" && i.private {
		http.NotFound(w, r)
		return
	}
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	own := r.URL.Path == "/inner/jwks" || r.URL.Path == "/feed/events" || r.URL.Path == "/feed/state"
	if own && r.Header.Get("Authorization") != "Bearer feed-credential" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /.well-known/oauth-authorization-server":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q}`, i.URL, i.URL+"/jwks", i.URL+"/introspect")
	case "GET /jwks":
		_, _ = w.Write(jwks)
	case "GET /inner/jwks":
		fmt.Fprint(w, inner)
	case "GET /feed/jwks":
		set, err := jose.EncodeSet([]jose.Key{i.feeder.Load().Key})
		if err != nil {
			panic(err)
		}
		_, _ = w.Write(set)
	case "POST /introspect":
		if i.asked == nil {
			http.NotFound(w, r)
			return
		}
		i.asked(w, r)
	case "POST /usage":
		if i.told == nil {
			http.NotFound(w, r)
			return
		}
		i.told(w, r)
	case "GET /feed/events":
		i.log.Events().ServeHTTP(w, r)
	case "GET /feed/snapshot":
		i.log.Snapshot().ServeHTTP(w, r)
	case "POST /feed/state":
		var news report
		if err := json.NewDecoder(r.Body).Decode(&news); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		i.change(func() { i.reports = append(i.reports, news) })
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

// claims are those of a good token.
func (i *issuer) claims() token.Claims {
	return token.Claims{
		Issuer: i.URL, Subject: "user-1", ClientID: "client-1", ID: rand.Text(),
		Audience: []string{audience}, Scope: scope.Set{"orders:read"},
		IssuedAt: i.in(0), Expiry: i.in(5 * time.Minute),
		GrantID: "grant-1", SessionID: "session-1", Rev: i.log.Applied(),
	}
}

// token signs c.
func (i *issuer) token(t testing.TB, c token.Claims) string {
	t.Helper()
	payload, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return i.key.sign(t, i.header(), string(payload))
}

// header is that of a good token.
func (i *issuer) header() string {
	return string(jose.Header{Alg: i.key.Alg, Typ: "at+jwt", KeyID: i.key.ID}.Encode())
}

func (i *issuer) config() Config {
	return Config{
		Issuer:     i.URL,
		Audience:   audience,
		Credential: func(context.Context) (string, error) { return "feed-credential", nil },
		Logger:     quiet(),
		Now:        i.now,
	}
}

// guard returns a ready one.
func (i *issuer) guard(t testing.TB, with func(*Config)) *Guard {
	t.Helper()
	g := start(t, i, with)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatalf("guard is not ready: %v", err)
	}
	return g
}

func start(t testing.TB, i *issuer, with func(*Config)) *Guard {
	t.Helper()
	cfg := i.config()
	if with != nil {
		with(&cfg)
	}
	g, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// settled waits until the guard holds all rules and the feed is fresh.
func settled(t testing.TB, g *Guard, i *issuer) {
	t.Helper()
	eventually(t, "the guard is up to date", func() bool {
		s := g.State()
		return s.Position >= i.log.Applied() && i.now().Sub(s.AsOf) < time.Second
	})
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// request carries an Authorization header for each value.
func request(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, audience+"/17?q=1", nil)
	for _, value := range authorization {
		r.Header.Add("Authorization", value)
	}
	return r
}

func bearer(compact string) *http.Request { return request("Bearer " + compact) }

// reason verifies a request and returns why it was refused, "" when admitted.
func reason(t testing.TB, g *Guard, r *http.Request, n Need) string {
	t.Helper()
	claims, err := g.Verify(r, n)
	if err == nil {
		if claims == nil {
			t.Error("admitted without claims")
		}
		return ""
	}
	if claims != nil {
		t.Error("refused with claims")
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v is no *Refusal", err)
	}
	return refusal.Reason
}

func expect(t testing.TB, g *Guard, r *http.Request, n Need, want string) {
	t.Helper()
	if got := reason(t, g, r, n); got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
}
