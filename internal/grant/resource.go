package grant

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// Scopes of the issuer's own resources.
const (
	ScopeAdminRead   = "admin:read"
	ScopeAdminWrite  = "admin:write"
	ScopeAdminRevoke = "admin:revoke"
	ScopeFeedRead    = "feed:read"
	ScopeUsageWrite  = "usage:write"
	ScopeKeysWrite   = "keys:write" // for clients marked with a trust domain
)

// Own returns the issuer's own resources: who the person is (userinfo), the
// admin API, and the revocation feed.
func Own(issuer string) (userinfo, admin, feed *store.Resource) {
	return &store.Resource{URI: issuer + "/userinfo", Name: "Your account", Scopes: []store.ScopeText{
			{Name: oauth.ScopeOpenID, Text: "Know who you are"},
			{Name: oauth.ScopeProfile, Text: "See your name and user name"},
			{Name: oauth.ScopeEmail, Text: "See your e-mail address"},
		}},
		&store.Resource{URI: issuer + "/admin", Name: "Administration", Scopes: []store.ScopeText{
			{Name: ScopeAdminRead, Text: "See all clients, people, resources and keys"},
			{Name: ScopeAdminWrite, Text: "Change clients, people, resources and keys"},
			{Name: ScopeAdminRevoke, Text: "End anyone's access"},
		}},
		&store.Resource{URI: issuer + "/feed", Name: "Revocation feed", Scopes: []store.ScopeText{
			{Name: ScopeFeedRead, Text: "Follow what was revoked"},
			{Name: ScopeUsageWrite, Text: "Report how tokens are used"},
			{Name: ScopeKeysWrite, Text: "Register keys that mint transaction tokens"},
		}}
}

var adminScopes = scope.Set{ScopeAdminRead, ScopeAdminRevoke, ScopeAdminWrite}

// resource finds a resource, the issuer's own among them.
func (a *Authority) resource(ctx context.Context, uri string) (*store.Resource, error) {
	if own := a.own[uri]; own != nil {
		return own, nil
	}
	r, err := a.cfg.Clients.Resource(ctx, uri)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(oauth.InvalidTarget, "unknown resource")
	}
	return r, err
}

// scopes is the set of scopes a resource knows.
func scopes(r *store.Resource) scope.Set {
	s := make(scope.Set, 0, len(r.Scopes))
	for _, t := range r.Scopes {
		s = append(s, t.Name)
	}
	slices.Sort(s)
	return s
}

// reachable reports whether the client may ask tokens for the resource.
// Marks decide about the issuer's own resources, never a registration.
func (a *Authority) reachable(c *store.Client, uri string) bool {
	switch uri {
	case a.admin:
		return c.Admin
	case a.feed:
		return len(c.Guards) > 0
	case a.userinfo:
		return slices.Contains(c.Scope, oauth.ScopeOpenID)
	}
	return slices.Contains(c.Resources, uri)
}

// allows reports whether the client may still be given all of this on behalf of
// people. Between a request and its answer an operator may have taken it away.
func (a *Authority) allows(c *store.Client, want scope.Set, resources []string) bool {
	unreachable := func(uri string) bool { return !a.reachable(c, uri) }
	return slices.Contains(c.GrantTypes, oauth.GrantCode) && scope.Set(c.Scope).Contains(want) &&
		!slices.ContainsFunc(resources, unreachable)
}

// targets reads resource and audience (RFC 8707 §2, RFC 8693 §2.1).
func targets(params url.Values) ([]string, error) {
	named := append(slices.Clone(params[oauth.ParamResource]), params[oauth.ParamAudience]...)
	named = slices.DeleteFunc(named, func(uri string) bool { return uri == "" }) // RFC 6749 §3.1: as if left out
	for _, uri := range named {
		u, err := url.Parse(uri)
		if err != nil || !u.IsAbs() || u.Fragment != "" {
			return nil, refuse(oauth.InvalidTarget, "resource must be an absolute URI without a fragment")
		}
	}
	slices.Sort(named)
	return slices.Compact(named), nil
}

// askedScope reads the parameter scope.
func askedScope(params url.Values) (scope.Set, error) {
	if params.Get(oauth.ParamScope) == "" {
		return nil, nil
	}
	s, err := scope.Parse(params.Get(oauth.ParamScope))
	if err != nil {
		return nil, refuse(oauth.InvalidScope, "scope is not a list of scope tokens with single spaces between")
	}
	return s, nil
}
