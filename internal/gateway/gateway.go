// Package gateway is a reverse proxy that lets requests through only with an
// access token their route asks for, and sends them on with another one, or tells
// another proxy how to (forward-auth).
//
// It owns the way of a request: its form, its route, the headers that cross,
// the limits, and the answers when something is wrong. It does not own whether
// a token is good (package guard) nor how the next one is got (package relay),
// and it keeps nothing: gateways share no state but the issuer's.
//
// Invariant: no credential and no claim of identity that came from outside
// reaches an upstream; what does reach it is a token for that upstream alone,
// in Authorization, or a transaction token of the trust domain, in Txn-Token, and
// the path that the route's rule was found by.
package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/upstream"
	"github.com/writ-auth/writ/relay"
)

// Config is what a Gateway needs. It prints without its secret.
type Config struct {
	Issuer       string        // required; whose tokens are accepted
	URL          string        // required; origin clients reach the gateway at, e.g. "https://api.example": resource identifiers begin with it
	ClientID     string        // the gateway's own client at the issuer; "": public feed only, and no route can exchange
	ClientSecret string        // its secret; required with ClientID
	Routes       []Route       // see Reload
	MaxStaleness time.Duration // oldest trusted revocation state; 0 means 10 s
	StateDir     string        // directory for what outlives a restart, see guard.Config.StateFile, and the key for transaction tokens; "": nothing does
	TrustDomain  string        // whose services take the gateway's transaction tokens; its client must be marked with it. "": there is none

	TrustedProxies []netip.Prefix // whose X-Forwarded-For, -Host and -Proto are believed; nil: nobody's
	MaxHeader      int            // bytes of request line and header; 0 means 32 KiB. http.Server.MaxHeaderBytes must be larger, or the server answers first
	MaxBody        int64          // bytes of a request body; 0 means 10 MiB, negative no limit

	DialTimeout     time.Duration // to connect to an upstream; 0 means 5 s
	ResponseTimeout time.Duration // for an upstream to begin its response; 0 means 60 s, negative no limit
	IdleConns       int           // kept connections an upstream; 0 means 256
	UpstreamTLS     *tls.Config   // for https upstreams; nil: the system's roots

	Judging bool // the gateway only says what it would do: it makes no key known to the issuer

	HTTPClient   *http.Client     // for the issuer; nil: own client, no proxy from the environment
	InsecureHTTP bool             // accept an http issuer that is not loopback
	Now          func() time.Time // nil: time.Now
	Logger       *slog.Logger     // nil: slog.Default; refusals at info, all requests at debug

	url   *url.URL      // URL, parsed
	stall time.Duration // 0 means stall

	rhythm rhythm // zero values mean the usual
}

// Format prints the configuration without the secret, whatever the verb.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "gateway.Config{%s for %s as %s, %d routes, secret [redacted]}", c.URL, c.Issuer, c.ClientID, len(c.Routes))
}

// LogValue keeps the secret out of structured logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("url", c.URL), slog.String("issuer", c.Issuer),
		slog.String("client_id", c.ClientID), slog.Int("routes", len(c.Routes)))
}

// check fills in what is left out.
func (c *Config) check() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("gateway: url %q must be an http or https origin without a path", c.URL)
	}
	c.url = &url.URL{Scheme: u.Scheme, Host: u.Host}
	c.MaxHeader = cmp.Or(c.MaxHeader, 32<<10)
	c.MaxBody = cmp.Or(c.MaxBody, 10<<20)
	c.DialTimeout = cmp.Or(c.DialTimeout, 5*time.Second)
	c.ResponseTimeout = max(0, cmp.Or(c.ResponseTimeout, time.Minute))
	c.IdleConns = cmp.Or(c.IdleConns, 256)
	c.MaxStaleness = cmp.Or(c.MaxStaleness, 10*time.Second)
	c.stall = cmp.Or(c.stall, stall)
	if c.MaxHeader < 0 || c.DialTimeout < 0 || c.IdleConns < 0 {
		return errors.New("gateway: header limit, dial timeout and idle connections must not be negative")
	}
	switch {
	case c.TrustDomain == "":
	case !oauth.IsTrustDomain(c.TrustDomain):
		return fmt.Errorf("gateway: trust domain %q must be a name in lower case without a scheme, such as inside.example", c.TrustDomain)
	case c.ClientID == "":
		return errors.New("gateway: in a trust domain the gateway needs a client of its own")
	}
	if info, err := os.Stat(c.StateDir); c.StateDir != "" && (err != nil || !info.IsDir()) {
		return fmt.Errorf("gateway: state directory %s is not there: make it, for the gateway's user alone (mkdir -m 700)", c.StateDir)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// A Gateway is an http.Handler for everything its listener gets. It is safe for
// concurrent use. Its server should bound the time for headers, but not for
// bodies and responses: that would cut streams.
type Gateway struct {
	cfg       Config
	guard     *guard.Guard      // for the gateway's own URL; routes' guards share its keys and feed
	relay     *relay.Client     // nil without a client of its own
	mint      *minter           // nil without a trust domain
	transport http.RoundTripper // to upstreams
	buffers   buffers
	quiet     *log.Logger     // for what httputil has to say
	done      <-chan struct{} // closed when the guard and mint are

	reloading sync.Mutex
	table     atomic.Pointer[table] // replaced whole by Reload
}

// New checks cfg and begins to follow the issuer's keys and revocations until
// ctx ends. Like guard.New it waits for no network.
func New(ctx context.Context, cfg Config) (*Gateway, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	transport, err := upstream.New(cfg.transport())
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g := &Gateway{cfg: cfg, transport: transport}
	g.quiet = slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)
	if cfg.ClientID != "" {
		client, err := relay.New(relay.Config{
			Issuer: cfg.Issuer, ClientID: cfg.ClientID, Secret: cfg.ClientSecret,
			HTTPClient: cfg.HTTPClient, Now: cfg.Now, InsecureHTTP: cfg.InsecureHTTP,
		})
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		g.relay = client
	}
	if _, err := g.cfg.compile(cfg.Routes); err != nil { // before anything starts
		return nil, err
	}
	if cfg.TrustDomain != "" {
		made, err := newMinter(&g.cfg, g.relay)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		g.mint = made
	}
	base, err := guard.New(ctx, g.guardConfig())
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.guard = base
	g.done = base.Done()
	if g.mint != nil && !cfg.Judging {
		done := make(chan struct{})
		g.done = done
		go func() {
			g.mint.run(ctx)
			<-base.Done()
			close(done)
		}()
	}
	return g, g.Reload(cfg.Routes)
}

// Format prints the gateway without what it holds, whatever the verb.
func (g *Gateway) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "gateway.Gateway{%s for %s}", g.cfg.URL, g.cfg.Issuer)
}

// guardConfig is for the guard that all routes' guards share with.
func (g *Gateway) guardConfig() guard.Config {
	cfg := guard.Config{
		Issuer: g.cfg.Issuer, Audience: g.cfg.url.String(), MaxStaleness: g.cfg.MaxStaleness,
		Proxies: g.cfg.TrustedProxies, HTTPClient: g.cfg.HTTPClient, Logger: g.cfg.Logger,
		Now: g.cfg.Now, InsecureHTTP: g.cfg.InsecureHTTP,
	}
	if g.cfg.StateDir != "" {
		cfg.StateFile = filepath.Join(g.cfg.StateDir, stateFile)
	}
	if g.relay != nil {
		cfg = g.relay.Follow(cfg)
		if g.mint != nil {
			refused := cfg.Refused
			cfg.Refused = func(credential string) { refused(credential); g.mint.again() }
		}
	}
	return cfg
}

// stateFile is the guard's, in Config.StateDir.
const stateFile = "guard.state"

// Done is closed some time after the ctx of New ended, when all that outlives
// it is written. Wait for it before the process ends.
func (g *Gateway) Done() <-chan struct{} { return g.done }

// State is what the gateway's guard holds.
func (g *Gateway) State() guard.State { return g.guard.State() }

// Ready waits until keys and revocations are there, and in a trust domain until
// services can know the gateway's own key; or ctx ends.
func (g *Gateway) Ready(ctx context.Context) error {
	if g.mint != nil && !g.cfg.Judging {
		select {
		case <-g.mint.known:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return g.guard.Ready(ctx)
}

// ready answers a probe: keys and revocations are there, and these are fresh.
func (g *Gateway) ready() bool {
	if g.mint != nil && !g.mint.ready() {
		return false
	}
	s := g.guard.State()
	return s.Ready && len(s.Keys) > 0 && g.cfg.Now().Sub(s.AsOf) <= g.cfg.MaxStaleness
}

// transport is what package upstream takes its settings from: enough kept
// connections that none is opened in the middle of load, every step but the
// response itself bounded in time, and no proxy from the environment, which
// would see inner tokens.
func (c *Config) transport() *http.Transport {
	dialer := net.Dialer{Timeout: c.DialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        c.UpstreamTLS,
		ForceAttemptHTTP2:      true, // for https upstreams; it does nothing for the others
		MaxIdleConnsPerHost:    c.IdleConns,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    c.DialTimeout,
		ResponseHeaderTimeout:  c.ResponseTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // client and upstream settle that between them
	}
}

// plain is for the issuer, without a proxy from the environment either.
func plain() *http.Transport {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 90 * time.Second}
}

// origin is the gateway's, at another host name if there is one.
func (c *Config) origin(host string) *url.URL {
	u := *c.url
	if host != "" {
		u.Host = strings.TrimSuffix(net.JoinHostPort(host, u.Port()), ":")
	}
	return &u
}

// buffers lends the memory that bodies are copied through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if held, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return held[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
