package guardtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
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
