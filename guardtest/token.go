package guardtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// pair is a signing key with what is published of it.
type pair struct {
	private *ecdsa.PrivateKey
	public  jose.Key
}

func newPair(tb testing.TB) pair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	p := pair{key, jose.Key{Alg: jose.ES256, Public: key.Public()}}
	p.public.ID = p.public.Thumbprint()
	return p
}

func (p pair) sign(typ string, payload []byte) (string, error) {
	header := jose.Header{Alg: jose.ES256, Typ: typ, KeyID: p.public.ID}
	return jose.Sign(p.private, jose.ES256, header.Encode(), payload)
}

func (i *Issuer) signFeed(payload []byte) (string, error) {
	return i.feedKey.sign("writ-feed+jwt", payload)
}

// current is the key that signs now.
func (i *Issuer) current() pair {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Token signs an access token with the claims c, of which Audience must be set. Where they are
// zero it fills in Issuer, ID, IssuedAt and Expiry (in five minutes), Subject and ClientID, and
// in Rev the position of the feed, so that what was revoked before does not touch the token.
func (i *Issuer) Token(c token.Claims) string {
	i.tb.Helper()
	compact, err := i.issue(i.fill(c))
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	return compact
}

func (i *Issuer) issue(c token.Claims) (string, error) {
	payload, err := c.Encode()
	if err != nil {
		return "", err
	}
	return i.current().sign("at+jwt", payload)
}

func (i *Issuer) fill(c token.Claims) token.Claims {
	if c.Issuer == "" {
		c.Issuer = i.url
	}
	if c.ID == "" {
		c.ID = name()
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = time.Now()
	}
	if c.Expiry.IsZero() {
		c.Expiry = time.Now().Add(life)
	}
	if c.Subject == "" {
		c.Subject = "guardtest-subject"
	}
	if c.ClientID == "" {
		c.ClientID = "guardtest-client"
	}
	if c.Rev == 0 {
		c.Rev = i.log.Applied()
	}
	return c
}

// Request is a request that presents Token(c) as a bearer token. It may be sent by a client or
// handed to a handler.
func (i *Issuer) Request(method, url string, c token.Claims) *http.Request {
	i.tb.Helper()
	r, err := http.NewRequestWithContext(i.tb.Context(), method, url, http.NoBody)
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	r.RemoteAddr = "192.0.2.1:1234" // as package httptest has it
	r.Header.Set("Authorization", "Bearer "+i.Token(c))
	return r
}

// Credential returns a token for the feed. It is made for guard.Config.Credential: a guard that
// has it follows the feed as it is written, and Revoke waits for it only milliseconds.
func (i *Issuer) Credential(context.Context) (string, error) {
	return i.issue(i.fill(token.Claims{
		Subject:  "guardtest-guard",
		ClientID: "guardtest-guard",
		Audience: []string{i.url + "/feed"},
		Scope:    scope.Set{"feed:read", "usage:write"},
	}))
}

// Sign signs header and payload as they are, with the key that signs now, whatever they say: for
// tokens that neither Token nor Forgeries makes. Both are JSON; take those of a Token apart to
// begin with good ones.
func (i *Issuer) Sign(header, payload string) string {
	i.tb.Helper()
	compact, err := jose.Sign(i.current().private, jose.ES256, []byte(header), []byte(payload))
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	return compact
}

// RotateKey makes a new key, publishes it, signs with it from now on and tells guards over the
// feed. The old keys stay published. It returns the new key's id.
func (i *Issuer) RotateKey() (kid string) {
	i.tb.Helper()
	p := newPair(i.tb)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, p)
	i.log.Append(nil, i.log.Applied()+1, true)
	return p.public.ID
}

// RemoveKey takes a key out of the published set and tells guards over the feed, as an issuer
// does whose key leaked: what it signed is refused from then on, however long it would live. The
// key that signs must stay; call RotateKey first. RemoveKey returns when every guard connected
// with Credential reports to have dropped the key, and fails the test when one does not within
// seconds. Guards that poll the public feed drop it some seconds later.
//
// A credential for the feed that the key signed stays good, or guards could not report.
func (i *Issuer) RemoveKey(kid string) {
	i.tb.Helper()
	i.mu.Lock()
	at := slices.IndexFunc(i.keys, func(p pair) bool { return p.public.ID == kid })
	if at < 0 || at == len(i.keys)-1 {
		i.mu.Unlock()
		i.tb.Fatalf("guardtest: RemoveKey: %q is not a published key that signs no more", kid)
		return
	}
	i.removed = append(i.removed, i.keys[at])
	i.keys = slices.Delete(i.keys, at, at+1)
	position := i.log.Applied() + 1
	i.log.Append(nil, position, true)
	i.mu.Unlock()
	dropped := func(r report) bool { return r.Position >= position && !slices.Contains(r.KeyIDs, kid) }
	if !i.await(patience, func() bool { return i.reporting(dropped) >= i.log.Subscribers() }) {
		i.tb.Errorf("guardtest: RemoveKey: not all of %d connected guards report to have dropped the key after %s", i.log.Subscribers(), patience)
	}
}
