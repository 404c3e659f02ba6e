package grant

import (
	"context"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// clientCredentials issues a token to a client acting for itself (RFC 6749 §4.4).
// It is decided from memory and writes nothing: the grant is a standing one.
func (a *Authority) clientCredentials(ctx context.Context, q asked) (*TokenResponse, error) {
	if q.client.AuthMethod == oauth.AuthNone {
		return nil, refuse(oauth.UnauthorizedClient, "a public client cannot act for itself (RFC 6749 §4.4)")
	}
	r, err := a.clientTarget(ctx, q)
	if err != nil {
		return nil, err
	}
	want, err := askedScope(q.params)
	if err != nil {
		return nil, err
	}
	granted, err := a.judgeClient(q.client, r, want)
	if err != nil {
		return nil, err
	}
	if r.URI == a.admin && q.keyID == "" {
		return nil, refuse(oauth.InvalidDPoPProof, "admin tokens are bound to a key: send a DPoP proof")
	}
	c := a.claims(q, r, q.client.ID, granted)
	c.GrantID = a.cfg.Keys.Standing(q.client.ID, r.URI)
	return a.respond(c, r)
}

// clientTarget finds the one resource the request names, or the first the client
// may ask for, which is its default (RFC 9068 §3).
func (a *Authority) clientTarget(ctx context.Context, q asked) (*store.Resource, error) {
	named, err := targets(q.params)
	if err != nil {
		return nil, err
	}
	switch {
	case len(named) > 1:
		return nil, refuse(oauth.InvalidTarget, "one token is for one resource")
	case len(named) == 0 && len(q.client.Resources) > 0:
		named = q.client.Resources
	case len(named) == 0:
		return nil, refuse(oauth.InvalidTarget, "name the resource the token is for")
	}
	if !a.reachable(q.client, named[0]) {
		return nil, refuse(oauth.InvalidTarget, "unknown resource, or not one of this client's")
	}
	return a.resource(ctx, named[0])
}

// judgeClient says which scopes a client gets for itself at r. Nothing asked
// means all it may have there.
func (a *Authority) judgeClient(c *store.Client, r *store.Resource, want scope.Set) (scope.Set, error) {
	allowed := scopes(r)
	switch r.URI {
	case a.userinfo:
		return nil, refuse(oauth.InvalidTarget, "a client is no person: it has no userinfo")
	case a.feed: // the marks are the list of guarded resources and the trust domain, not the scope
		if c.TrustDomain == "" {
			allowed = scope.Set{ScopeFeedRead, ScopeUsageWrite}
		}
	default:
		allowed = allowed.Intersect(scope.Set(c.Scope))
	}
	if len(want) == 0 {
		want = allowed
	}
	if len(want) == 0 || !allowed.Contains(want) {
		return nil, refuse(oauth.InvalidScope, "not a scope of this resource that the client may have")
	}
	return want, nil
}
