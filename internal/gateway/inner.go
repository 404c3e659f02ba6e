package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// A credential is the header by which an upstream learns who calls. The zero
// value is for upstreams that learn no identity.
type credential struct {
	name, value string
	from        *relay.Exchange // for which to get another one; nil: no other would help
	mint        *minter         // that minted it; nil: it is no transaction token
}

// errScopes says that nothing is left to ask for: asking for none would ask for all.
var errScopes = errors.New("the caller has none of the upstream's scopes")

// inner makes the credential that a request goes on with. It is the one step
// between the guard and the upstream, whether the gateway sends the request
// itself or tells a proxy how to. ctx has the caller in it, whom the guard
// admitted by the rule, and in is the request; nil for caller means that the
// route is open.
func (g *Gateway) inner(ctx context.Context, r *route, by *rule, caller *token.Claims, in *http.Request) (credential, error) {
	if caller == nil || r.Propagate == None {
		return credential{}, nil
	}
	if r.Propagate == Transaction {
		value, err := g.mint.token(errand{guard.Presented(ctx), by.text, callerOf(in, g.cfg.TrustedProxies)}, caller, by.asked)
		return credential{name: "Txn-Token", value: value, mint: g.mint}, err
	}
	from := by.exchange
	if r.UpstreamScopes != nil {
		target := by.target
		target.Scopes = scope.Set(r.UpstreamScopes).Intersect(caller.Scope)
		if len(target.Scopes) == 0 {
			return credential{}, errScopes
		}
		var err error
		if from, err = g.relay.Exchange(target); err != nil {
			return credential{}, err
		}
	}
	value, err := from.Authorization(ctx)
	return credential{name: "Authorization", value: value, from: from}, err
}
