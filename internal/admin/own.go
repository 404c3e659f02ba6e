package admin

import (
	"bytes"
	"encoding/json"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
)

// Scopes of the admin API, those about a person, and those of the feed.
var (
	adminScopes  = scope.Set{"admin:read", "admin:revoke", "admin:write"}
	personScopes = scope.Set{oauth.ScopeEmail, oauth.ScopeOpenID, oauth.ScopeProfile}
	feedScopes   = scope.Set{"feed:read", "keys:write", "usage:write"}
)

// own is one of the issuer's own resources. A mark opens it, never a registration.
type own struct {
	scopes scope.Set
	open   func(Client) bool
	rule   string
}

// own returns the issuer's own resource of that URI, nil if it is another's.
func (a *Admin) own(uri string) *own {
	switch uri {
	case a.cfg.Issuer + "/admin":
		return &own{adminScopes, func(c Client) bool { return c.Admin }, "it is for clients marked admin"}
	case a.cfg.Issuer + "/feed":
		return &own{feedScopes, func(c Client) bool { return len(c.Guards) > 0 }, "it is for clients that guard a resource"}
	case a.cfg.Issuer + "/userinfo":
		return &own{personScopes, func(Client) bool { return false }, "the scope openid opens it"}
	case a.cfg.Issuer, a.cfg.Issuer + "/":
		return &own{nil, func(Client) bool { return false }, "it is no API"}
	}
	return nil
}

// same reports whether two views read the same as JSON.
func same(x, y any) bool {
	a, errA := json.Marshal(x)
	b, errB := json.Marshal(y)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// changed returns the members of is that was has otherwise, for the audit line.
func changed(was, is any) map[string]any {
	before, after := members(was), members(is)
	for name, value := range before {
		if same(value, after[name]) {
			delete(after, name)
		}
	}
	return after
}

func members(v any) map[string]any {
	m := map[string]any{}
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return map[string]any{} // our own structs always do both
	}
	return m
}
