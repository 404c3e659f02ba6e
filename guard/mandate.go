package guard

import (
	"errors"
	"fmt"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// longestErrand is how long a transaction token may live. The draft asks for minutes
// or less; it is forwarded from hand to hand, and each hand could keep it.
const longestErrand = 5 * time.Minute

// within checks that a transaction token says no more than its gateway's key is
// published for. The outcome is kept with the token: when the terms of a key change,
// the key set hands out another pointer, and the token is checked anew.
func (e *engine) within(k kind, c *token.Claims, key *jose.Key) fault {
	if k != transaction {
		return fault{}
	}
	terms, ok := e.inner.Terms(key)
	if !ok {
		return fault{ReasonKey, errors.New("withdrawn meanwhile")}
	}
	allowed, err := scope.Parse(terms.Scope)
	beyond := func(what string) fault { return fault{ReasonMandate, fmt.Errorf("%s of key %.64q", what, key.ID)} }
	switch {
	case err != nil:
		return fault{ReasonMandate, err}
	case c.Audience[0] != terms.TrustDomain:
		return beyond("aud is not the trust domain")
	case c.Workload != terms.ClientID:
		return beyond("req_wl is not the client")
	// The gateway acts in what it mints, so that ending what it does ends these too.
	case c.Actor == nil || c.Actor.Issuer != c.Issuer || c.Actor.Subject != c.Workload:
		return beyond("act is not the client")
	case !allowed.Contains(c.Scope):
		return beyond("scope exceeds that")
	case c.Expiry.Sub(c.IssuedAt) > longestErrand:
		return fault{ReasonMandate, fmt.Errorf("lives longer than %v", longestErrand)}
	}
	return fault{}
}
