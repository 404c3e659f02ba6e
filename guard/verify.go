package guard

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/keyset"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

// maxToken bounds what is looked at before anything is decoded.
const maxToken = 16 << 10

// Need is what a route demands beyond a valid token.
type Need struct {
	Scopes     []string      // all of them (RFC 6750)
	ACR        []string      // any of them (RFC 9470)
	MaxAge     time.Duration // since auth_time; 0: any
	ProofBound bool          // DPoP or mTLS only
	WhenStale  *Stale        // nil: the guard's
}

// A fault is a reason to refuse, and what lay behind it, for the log.
type fault struct {
	reason string // "": none
	cause  error
}

// Verify is the middleware without HTTP plumbing: SDK, gateway, Envoy and
// forward-auth call it. A non-nil error is always a *Refusal. It is safe for
// concurrent use and does not allocate on a cache hit of a bearer token. An access
// token counts only in the Authorization header, a transaction token only in
// Txn-Token; one in the query, the body or a cookie is nothing presented.
func (g *Guard) Verify(r *http.Request, n Need) (*token.Claims, error) {
	e, refusal := g.verify(r, &n)
	if refusal != nil {
		return nil, refusal
	}
	return e.claims, nil
}

func (g *Guard) verify(r *http.Request, n *Need) (*entry, *Refusal) {
	c, f := g.present(r)
	if f.reason != "" {
		return nil, g.refuse(c, n, f, nil)
	}
	now := g.cfg.Now()
	e := g.recall(c, now)
	if e == nil {
		e, f = g.open(r.Context(), c, g.audience)
		now = g.cfg.Now()
	}
	if f.reason == "" {
		f = g.admit(r, c, e, n, now)
	}
	if f.reason != "" {
		return nil, g.refuse(c, n, f, e)
	}
	return e, nil
}

// A credential is what the caller presented.
type credential struct {
	scheme string // oauth.Bearer or oauth.DPoP; "" for a transaction token, and when nothing was presented
	kind   kind
	token  string
}

// present finds the request's one credential. RFC 6750 §2: clients "MUST NOT
// use more than one method to transmit the token in each request".
func (e *engine) present(r *http.Request) (credential, fault) {
	if e.inner != nil {
		if sent := r.Header["Txn-Token"]; len(sent) > 0 {
			return presentTransaction(sent, len(r.Header["Authorization"]))
		}
	}
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return credential{}, fault{reason: ReasonMissing}
	}
	if len(values) > 1 {
		return credential{}, fault{reason: ReasonCredentials}
	}
	// RFC 9110 §11.1: the scheme is case-insensitive; one space or more follow.
	c := credential{kind: access}
	rest, usual := strings.CutPrefix(values[0], oauth.Bearer+" ")
	scheme := oauth.Bearer
	if !usual {
		scheme, rest, _ = strings.Cut(values[0], " ")
	}
	switch {
	case usual, strings.EqualFold(scheme, oauth.Bearer):
		c.scheme = oauth.Bearer
	case strings.EqualFold(scheme, oauth.DPoP):
		c.scheme = oauth.DPoP
	default: // an answer to another challenge than ours
		return credential{}, fault{reason: ReasonMissing}
	}
	c.token = strings.TrimLeft(rest, " ")
	if len(c.token) > maxToken {
		return c, fault{reason: ReasonSize}
	}
	return c, fault{}
}

// presentTransaction takes the header Txn-Token, of which there is one or none, and
// none beside an access token: nobody could tell which of two callers is meant.
func presentTransaction(sent []string, others int) (credential, fault) {
	c := credential{kind: transaction, token: sent[0]}
	switch {
	case len(sent) > 1 || others > 0:
		return c, fault{reason: ReasonCredentials}
	case len(c.token) > maxToken:
		return c, fault{reason: ReasonSize}
	}
	return c, fault{}
}

// An entry is a token whose signature was checked, with all that depends on
// its bytes, the key and nothing else. It is 64 bytes long, one line of the
// processor's cache: of a token not seen lately, all that a hit reads from main
// memory besides its text. A hit does not look at the claims.
type entry struct {
	compact string
	claims  *token.Claims
	shape   *shape

	home  atomic.Pointer[resource] // whose audience it last was found to name
	clean atomic.Uint64            // state of the rules under which none hit it, and 1; 0: none
	refs  atomic.Pointer[refs]

	from, until uint32 // seconds of the epoch: the later of nbf and iat; exp
}

// recall finds a token verified before, if the key it was checked with is still
// the one that the issuer publishes.
func (e *engine) recall(c credential, now time.Time) *entry {
	if e.cache == nil {
		return nil
	}
	if hit := e.cache.get(c.token); hit != nil && hit.shape.kind == c.kind && e.trusts(hit, now) {
		return hit
	}
	return nil
}

// open verifies a token and remembers it.
func (e *engine) open(ctx context.Context, c credential, audience string) (*entry, fault) {
	fresh, f := e.check(ctx, c)
	if f.reason != "" {
		return nil, f
	}
	if e.usage != nil && c.kind == access { // of others the issuer knows nothing
		e.usage.Saw(fresh.shape.key.ID, fresh.claims.ID, fresh.compact)
	}
	if e.cache != nil {
		fresh.share(e.cfg.Issuer, audience)
		e.cache.put(fresh)
	}
	return fresh, fault{}
}

// share puts equal strings that many tokens have in common in the place of the
// token's own. Comparing a string with itself does not read its bytes, which
// for a token not seen lately would have to come from main memory.
func (e *entry) share(issuer, audience string) {
	e.claims.Issuer = issuer
	if at := slices.Index(e.claims.Audience, audience); at >= 0 {
		e.claims.Audience[at] = audience
	}
}

// trusts reports whether the issuer still publishes the token's key.
func (e *engine) trusts(t *entry, now time.Time) bool {
	return e.set(t.shape.kind).LookupAt(t.shape.key.ID, now) == t.shape.key
}

// set holds the keys for tokens of a kind. No key of one set counts in the other.
func (e *engine) set(k kind) *keyset.Set {
	if k == transaction {
		return e.inner
	}
	return e.keys
}

// check verifies form, header, claims' form, issuer, key and signature, in
// this order: nothing is fetched for a token that names another issuer, and
// the signature, which costs the most, comes last.
func (e *engine) check(ctx context.Context, c credential) (*entry, fault) {
	head, body, signature, err := jose.Split(c.token)
	if err != nil {
		return nil, fault{ReasonForm, err}
	}
	h, known := e.headers.get(head)
	if !known {
		if h, err = readHeader(head); err != nil {
			return nil, fault{ReasonHeader, err}
		}
	}
	if h.kind != c.kind {
		return nil, fault{reason: ReasonType}
	}
	if !slices.Contains(e.cfg.Algorithms, h.alg) {
		return nil, fault{reason: ReasonAlgorithm}
	}
	var space [512]byte // of most signatures
	sig, err := jose.DecodeSegment(space[:0], signature)
	if err != nil {
		return nil, fault{ReasonForm, err}
	}
	var text [1024]byte // of most payloads; the claims have their own copy
	payload, err := jose.DecodeSegment(text[:0], body)
	if err != nil {
		return nil, fault{ReasonForm, err}
	}
	claims, err := decode(h.kind, payload)
	if err != nil {
		return nil, fault{ReasonClaims, err}
	}
	if claims.Issuer != e.cfg.Issuer {
		return nil, fault{reason: ReasonIssuer}
	}
	key, f := e.key(ctx, h)
	if f.reason != "" {
		return nil, f
	}
	if err := key.Verify(c.token[:len(head)+1+len(body)], sig); err != nil {
		return nil, fault{ReasonSignature, err}
	}
	if f := e.within(h.kind, claims, key); f.reason != "" {
		return nil, f
	}
	e.headers.put(head, h)
	return newEntry(strings.Clone(c.token), claims, e.shapes.of(claims, key, h.kind)), fault{}
}

func decode(k kind, payload []byte) (*token.Claims, error) {
	if k == transaction {
		return token.DecodeTransaction(payload)
	}
	return token.Decode(payload)
}

func newEntry(compact string, c *token.Claims, s *shape) *entry {
	c.Scope = s.scope // equal
	return &entry{
		compact: compact, claims: c, shape: s, until: seconds(c.Expiry.Unix()),
		from: seconds(max(c.IssuedAt.Unix(), c.NotBefore.Unix())), // the zero time lies before both
	}
}

// seconds is a time of the epoch, or the end of 32 bits that is next to it: no
// token outlives the year 2106.
func seconds(t int64) uint32 { return uint32(min(max(t, 0), math.MaxUint32)) }

// key finds the issuer's key that the header names.
func (e *engine) key(ctx context.Context, h header) (*jose.Key, fault) {
	if h.kid == "" {
		return nil, fault{ReasonKey, errors.New("no kid")}
	}
	key, err := e.set(h.kind).Key(ctx, h.kid)
	if errors.Is(err, keyset.ErrUnavailable) {
		return nil, fault{ReasonNoKeys, err}
	}
	if err != nil {
		return nil, fault{ReasonKey, err}
	}
	// RFC 8725 §3.1: each key is used with exactly one algorithm.
	if key.Alg != h.alg {
		return nil, fault{reason: ReasonAlgorithm}
	}
	return key, fault{}
}

// admit makes every check that a cached token must pass again.
func (g *Guard) admit(r *http.Request, c credential, e *entry, n *Need, now time.Time) fault {
	rules := g.rules.Load() // before the view, which may be newer
	v := g.feed.View()
	at := v.Clock(now)
	if f := g.fits(e, at); f.reason != "" {
		return f
	}
	if f := g.bound(r, c, e, n, at); f.reason != "" {
		return f
	}
	if !v.Ready {
		if v = g.awaitFeed(r.Context()); !v.Ready {
			return fault{reason: ReasonNoFeed}
		}
		at = v.Clock(now)
		if f := g.fits(e, at); f.reason != "" {
			return f
		}
	}
	if f := g.current(r.Context(), e, n, now, &v, rules); f.reason != "" {
		return f
	}
	for _, scope := range n.Scopes {
		if !e.shape.scope.Has(scope) {
			return fault{reason: ReasonScope}
		}
	}
	if len(n.ACR) > 0 && !slices.Contains(n.ACR, e.claims.ACR) {
		return fault{reason: ReasonACR}
	}
	// RFC 9470 §6.1: a token without auth_time does not say how old the
	// authentication is.
	if n.MaxAge > 0 && at.Sub(e.claims.AuthTime) > n.MaxAge {
		return fault{reason: ReasonAge}
	}
	return fault{}
}

// names is what a token's aud must be: a transaction token is for the whole domain.
func (g *Guard) names(k kind) string {
	if k == transaction {
		return g.cfg.TrustDomain
	}
	return g.audience
}

// fits is token.Check. Whom a token is from and for depends on token and guard
// alone and is remembered; the times are looked at every time, in the entry, so
// that a hit touches little memory.
func (g *Guard) fits(e *entry, now time.Time) fault {
	if e.home.Load() != &g.resource {
		err := e.claims.Check(token.Expect{Issuer: g.cfg.Issuer, Audience: g.names(e.shape.kind), Now: now, Leeway: g.cfg.Leeway})
		if err != nil {
			return fault{reason: claimReason(err)}
		}
		e.home.Store(&g.resource)
		return fault{}
	}
	switch at, leeway := now.UnixNano(), int64(g.cfg.Leeway); {
	case at-leeway >= int64(e.until)*1e9:
		return fault{reason: ReasonExpired}
	case at+leeway < int64(e.from)*1e9:
		return fault{reason: ReasonEarly}
	}
	return fault{}
}

func claimReason(err error) string {
	switch {
	case errors.Is(err, token.ErrExpired):
		return ReasonExpired
	case errors.Is(err, token.ErrNotYet):
		return ReasonEarly
	case errors.Is(err, token.ErrAudience):
		return ReasonAudience
	}
	return ReasonIssuer
}
