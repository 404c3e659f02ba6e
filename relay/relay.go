// Package relay carries the caller's identity to the next service, never the
// caller's access token.
//
// It owns getting tokens from the issuer for calls to other services (RFC 8693
// exchange, RFC 6749 §4.4 client credentials), keeping them while they are
// good, and putting them on outgoing requests; and passing on the transaction
// token that a request came with, inside its trust domain. It does not verify: package
// guard did that before, and the next service's own guard does it again.
//
// Invariant: a token leaves only in its own header of a request to an origin that
// was named for it, and never into a log or an error.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/oauth"
)

// ErrNoCaller is the error of a request on behalf of a caller whose context
// has no caller verified by package guard.
var ErrNoCaller = errors.New("relay: no verified caller in the request's context")

// ErrTransaction is the error of OnBehalf for a caller who came with a transaction
// token: issuers exchange access tokens only. Forward passes it on.
var ErrTransaction = errors.New("relay: the caller came with a transaction token, which is not exchanged: use Forward inside the trust domain")

// Config is what a Client needs. It prints without its secret.
type Config struct {
	Issuer       string           // required; token endpoint by RFC 8414 metadata
	ClientID     string           // required; this service's own client
	Secret       string           // required; sent as client_secret_basic to the token endpoint only
	HTTPClient   *http.Client     // for the issuer; nil: own client, no proxy from the environment
	Now          func() time.Time // nil: time.Now
	InsecureHTTP bool             // accept an http issuer that is not loopback
}

// Format prints the configuration without the secret, whatever the verb.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "relay.Config{%s as %s, secret [redacted]}", c.Issuer, c.ClientID)
}

// LogValue keeps the secret out of structured logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("issuer", c.Issuer), slog.String("client_id", c.ClientID))
}

// A Client gets tokens as one registered client of one issuer and keeps them
// in memory. It is safe for concurrent use; make one and share it.
type Client struct {
	cfg       Config
	http      *http.Client      // for the issuer: no redirects, no cookies
	transport http.RoundTripper // for services, when the caller names no base
	leases    leases
	outage    outage

	asking   chan struct{} // holds a value while one call fetches metadata
	mu       sync.Mutex
	endpoint string // guarded by mu; "" until metadata was read
}

// New checks cfg. It does not use the network: the first request does.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("relay: issuer %q must be an https URL without query and fragment", cfg.Issuer)
	case !confidential(u, cfg.InsecureHTTP):
		return nil, fmt.Errorf("relay: issuer %q would get the client's secret in clear: use https, or set InsecureHTTP", cfg.Issuer)
	case cfg.ClientID == "" || cfg.Secret == "":
		return nil, errors.New("relay: client id and secret must be set")
	case strings.TrimSpace(cfg.Secret) != cfg.Secret:
		return nil, errors.New("relay: the secret has white space around it: trim what was read from a file")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{cfg: cfg, transport: newTransport(), asking: make(chan struct{}, 1)}
	c.http = &http.Client{Transport: c.transport}
	if cfg.HTTPClient != nil {
		own := *cfg.HTTPClient
		c.http = &own
	}
	// A redirected token request would carry secret and token elsewhere.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http.Jar = nil
	c.leases.init(cfg.Now)
	return c, nil
}

// Format prints the client without its secret and tokens, whatever the verb.
func (c *Client) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "relay.Client{%s as %s}", c.cfg.Issuer, c.cfg.ClientID)
}

// newTransport is http.DefaultTransport without the environment's proxy, which
// would see tokens sent to http origins, and with room for busy services.
func newTransport() *http.Transport {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// confidential reports whether what is sent to u stays between the two ends.
func confidential(u *url.URL, insecure bool) bool {
	switch u.Scheme {
	case "https":
		return true
	case "http":
		addr, err := netip.ParseAddr(u.Hostname())
		return insecure || u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	}
	return false
}

// OnBehalf returns a RoundTripper that calls t on behalf of guard.From of the
// request's context: it exchanges the token the caller presented (RFC 8693)
// for one that is good at t alone. A request without a verified caller fails
// with ErrNoCaller, one for which the issuer gives no token with *Error.
//
// Exchanged tokens are kept per caller's token until the earlier expiry of the
// two, less a margin; requests that miss at once share one exchange. When the
// service answers 401 the token is dropped and the next request exchanges
// anew; nothing is sent twice. A nil base is a transport without proxy.
func (c *Client) OnBehalf(t Target, base http.RoundTripper) http.RoundTripper {
	return c.roundTripper(t, base, c.callerLease)
}

// AsSelf returns a RoundTripper that calls t as this client itself (RFC 6749
// §4.4). The token is renewed ahead of its expiry, by one request at a time,
// while the old one still serves. Otherwise it behaves like OnBehalf.
func (c *Client) AsSelf(t Target, base http.RoundTripper) http.RoundTripper {
	return c.roundTripper(t, base, c.ownLease)
}

// Token returns this client's own token for t, as AsSelf would send it, and
// when it expires (the zero time when the issuer did not say). The caller
// answers for where it goes; t.Origins is not looked at.
func (c *Client) Token(ctx context.Context, t Target) (string, time.Time, error) {
	to, err := t.check()
	if err != nil {
		return "", time.Time{}, err
	}
	_, l, err := c.ownLease(ctx, to)
	return l.token, l.expiry, err
}

// Follow returns cfg with the credential by which its guard follows the issuer's
// whole revocation feed as this client, which must be registered as guarding
// something.
func (c *Client) Follow(cfg guard.Config) guard.Config {
	feed := Target{Resource: strings.TrimSuffix(c.cfg.Issuer, "/") + "/feed", Scopes: []string{"feed:read", "usage:write"}}
	cfg.Credential = func(ctx context.Context) (string, error) {
		token, _, err := c.Token(ctx, feed)
		return token, err
	}
	cfg.Refused = func(token string) { c.Drop(feed, token) }
	return cfg
}

// Drop forgets a token that Token returned for t and that was refused, so that
// the next call gets another. AsSelf and OnBehalf do so by themselves.
func (c *Client) Drop(t Target, token string) {
	if to, err := t.check(); err == nil {
		c.leases.drop(key{resource: to.resource, scope: to.scope}, token)
	}
}

// callerLease is the token for calls on behalf of the caller in ctx.
func (c *Client) callerLease(ctx context.Context, to destination) (key, lease, error) {
	caller, k := guard.From(ctx), callerKey(ctx, to)
	if caller == nil || k.caller == "" {
		return key{}, lease{}, ErrNoCaller
	}
	if caller.Workload != "" {
		return key{}, lease{}, ErrTransaction
	}
	if l, ok := c.leases.held(k); ok {
		return k, l, nil
	}
	l, err := c.leases.get(ctx, k, func(ctx context.Context) (lease, error) {
		return c.exchange(ctx, k.caller, caller.Expiry, to)
	})
	return k, l, err
}

func callerKey(ctx context.Context, to destination) key {
	return key{caller: guard.Presented(ctx), resource: to.resource, scope: to.scope}
}

// ownLease is the token for calls as this client.
func (c *Client) ownLease(ctx context.Context, to destination) (key, lease, error) {
	k := key{resource: to.resource, scope: to.scope}
	l, err := c.leases.get(ctx, k, func(ctx context.Context) (lease, error) {
		return c.credentials(ctx, to)
	})
	return k, l, err
}

// exchange asks for a token that speaks for the bearer of subject (RFC 8693
// §2.1). It is held no longer than subject lives.
func (c *Client) exchange(ctx context.Context, subject string, until time.Time, to destination) (lease, error) {
	form := to.form(oauth.GrantExchange)
	form.Set(oauth.ParamSubjectToken, subject)
	form.Set(oauth.ParamSubjectTokenType, oauth.TypeAccess)
	form.Set(oauth.ParamRequestedType, oauth.TypeAccess)
	start := c.cfg.Now()
	a, err := c.request(ctx, form)
	if err != nil {
		return lease{}, err
	}
	// RFC 8693 §2.2.1: REQUIRED. A token of another kind is not for a header.
	if a.IssuedTokenType != oauth.TypeAccess {
		return lease{}, unfit("an exchanged token that is not an access token")
	}
	return a.lease(start, until), nil
}

// credentials asks for a token of this client's own.
func (c *Client) credentials(ctx context.Context, to destination) (lease, error) {
	start := c.cfg.Now()
	a, err := c.request(ctx, to.form(oauth.GrantClient))
	if err != nil {
		return lease{}, err
	}
	l := a.lease(start, time.Time{})
	l.renew = start.Add(l.expiry.Sub(start) * 4 / 5)
	return l, nil
}

func (c *Client) roundTripper(t Target, base http.RoundTripper, from source) http.RoundTripper {
	if base == nil {
		base = c.transport
	}
	to, err := t.check()
	return &transport{leases: &c.leases, to: to, err: err, base: base, lease: from}
}

// A source returns the lease for a request, and its key.
type source func(context.Context, destination) (key, lease, error)

// transport puts a token on requests to one destination.
type transport struct {
	leases *leases
	to     destination
	err    error // why the target is unusable
	base   http.RoundTripper
	lease  source
}

// RoundTrip sends req with the token of its lease. http.Client calls it anew
// for every redirect, so each hop's origin is checked.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	k, l, err := t.token(req)
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // a RoundTripper always does; err says more than its error could
		}
		return nil, err
	}
	res, err := t.base.RoundTrip(only(req, "Authorization", l.header))
	if err == nil && res.StatusCode == http.StatusUnauthorized {
		t.leases.drop(k, l.token)
	}
	return res, err
}

func (t *transport) token(req *http.Request) (key, lease, error) {
	if t.err != nil {
		return key{}, lease{}, t.err
	}
	if to := originOf(req.URL); !to.in(t.to.origins) {
		return key{}, lease{}, fmt.Errorf("relay: the token for %s may not be sent to %s", t.to.resource, to)
	}
	return t.lease(req.Context(), t.to)
}

// only returns a copy of req with one header as its only credential. The original
// is the caller's and stays as it is.
func only(req *http.Request, name, value string) *http.Request {
	out := req.WithContext(req.Context())
	out.Header = make(http.Header, len(req.Header)+1)
	for name, values := range req.Header {
		if !strings.EqualFold(name, "Authorization") && !strings.EqualFold(name, "Txn-Token") { // however they are spelled
			out.Header[name] = values
		}
	}
	out.Header[name] = []string{value}
	return out
}
