package token

import (
	"errors"
	"slices"
	"time"
)

// Why Check refuses.
var (
	ErrIssuer   = errors.New("token: from another issuer")
	ErrAudience = errors.New("token: for another audience")
	ErrExpired  = errors.New("token: expired")
	ErrNotYet   = errors.New("token: not valid yet")
)

// Expect is what a resource server knows before it sees a token.
type Expect struct {
	Issuer   string
	Audience string // the resource server's own identifier (RFC 8707)
	Now      time.Time
	Leeway   time.Duration // how far the issuer's clock may be off
}

// Check makes the checks of RFC 9068 §4 that need no key, in this order:
// issuer and audience, byte by byte, then times. A token is expired at the
// second of exp plus the leeway; nbf and iat may lie ahead by the leeway. The
// error is one of the four above.
func (c *Claims) Check(e Expect) error {
	switch {
	case c.Issuer != e.Issuer:
		return ErrIssuer
	case !slices.Contains(c.Audience, e.Audience):
		return ErrAudience
	case !e.Now.Before(c.Expiry.Add(e.Leeway)):
		return ErrExpired
	case e.Now.Add(e.Leeway).Before(c.NotBefore), e.Now.Add(e.Leeway).Before(c.IssuedAt):
		return ErrNotYet
	}
	return nil
}
