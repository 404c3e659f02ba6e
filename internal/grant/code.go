package grant

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// A codeVerdict is what redeeming a code leads to.
type codeVerdict int

const (
	codeGood codeVerdict = iota
	codeRefused
	codeReused // the grant it opened must end (RFC 6749 §4.1.2)
)

// judgeCode decides whether a client may redeem a code with this redirect URI,
// verifier and key.
func judgeCode(c *store.Code, clientID, redirectURI, verifier, keyID string, now time.Time) (codeVerdict, string) {
	switch {
	case c.ClientID != clientID:
		return codeRefused, "the code was issued to another client"
	case !c.Used.IsZero():
		return codeReused, "the code was used before"
	case !now.Before(c.Expires):
		return codeRefused, "the code has expired"
	case c.RedirectURI != redirectURI:
		return codeRefused, "redirect_uri is not the one of the authorization request"
	case !verifierOK(c.Challenge, verifier):
		return codeRefused, "code_verifier does not match code_challenge"
	case c.KeyID != "" && c.KeyID != keyID:
		return codeRefused, "the code is bound to another key (RFC 9449 §10)"
	}
	return codeGood, ""
}

// verifierOK is RFC 7636 §4.6: BASE64URL(SHA256(code_verifier)) == code_challenge.
func verifierOK(challenge, verifier string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// opened is what the transaction that redeemed a code or rotated a refresh token
// decided; the tokens are made from it afterwards.
type opened struct {
	grant    *store.Grant
	resource *store.Resource // the access token is for it
	scope    scope.Set       // and carries this
	refresh  string
	nonce    string
	rev      uint64
}

// code redeems an authorization code (RFC 6749 §4.1.3). One Update takes the
// code, opens the grant and puts the refresh token; signing comes after it.
func (a *Authority) code(ctx context.Context, q asked) (*TokenResponse, error) {
	secret := q.params.Get(oauth.ParamCode)
	if secret == "" {
		return nil, refuse(oauth.InvalidRequest, "code is missing")
	}
	grantID, err := a.random("g_", 16)
	if err != nil {
		return nil, err
	}
	refresh, err := client.NewSecret(client.RefreshPrefix, a.cfg.Rand)
	if err != nil {
		return nil, err
	}
	var out opened
	var refused error
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		out, refused = opened{}, nil
		c, err := tx.Code(client.HashSecret(secret))
		if errors.Is(err, store.ErrNotFound) {
			refused = refuse(oauth.InvalidGrant, "unknown code")
			return nil
		}
		if err != nil {
			return err
		}
		v, why := judgeCode(c, q.client.ID, q.params.Get(oauth.ParamRedirectURI), q.params.Get(oauth.ParamCodeVerifier), q.keyID, q.now)
		if v != codeGood {
			refused = refuse(oauth.InvalidGrant, why)
		}
		switch v {
		case codeReused: // a verdict, not an error: the end of the grant is committed
			return a.endGrant(tx, q, c.GrantID, "authorization code used twice")
		case codeRefused:
			return nil
		}
		out, refused, err = a.open(tx, q, c, grantID, refresh)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return a.issue(q, out)
}

// open writes the grant a code stands for.
func (a *Authority) open(tx *store.Tx, q asked, c *store.Code, grantID, refresh string) (out opened, refused, err error) {
	err = a.stands(tx, q, c)
	if refusal(err) {
		return out, err, nil
	}
	if err != nil {
		return out, nil, err
	}
	session, err := a.cfg.Login.Use(tx, c.SessionID, q.now)
	if errors.Is(err, login.ErrNoSession) {
		return out, refuse(oauth.InvalidGrant, "the person has signed out"), nil
	}
	if err != nil {
		return out, nil, err
	}
	r, granted, err := a.target(tx, q.params, c.Resources, c.Scope, nil)
	if refusal(err) {
		return out, err, nil // the code is not spent: nothing is lost by a mistyped resource
	}
	if err != nil {
		return out, nil, err
	}
	g := &store.Grant{
		ID: grantID, UserID: c.UserID, ClientID: c.ClientID, Scope: c.Scope, Resources: c.Resources,
		ACR: c.ACR, AMR: c.AMR, AuthTime: c.AuthTime, Created: q.now, Used: q.now, Expires: q.now.Add(a.cfg.GrantLife),
	}
	if !scope.Set(c.Scope).Has(oauth.ScopeOffline) {
		g.SessionID = session.ID
		if latest := a.cfg.Login.Latest(session); latest.Before(g.Expires) {
			g.Expires = latest
		}
	}
	if q.client.AuthMethod == oauth.AuthNone {
		g.KeyID = q.keyID // RFC 9449 §5: a public client's refresh tokens are bound to its key
	}
	if err := tx.PutGrant(g); err != nil {
		return out, nil, err
	}
	c.Used, c.GrantID = q.now, g.ID
	if err := tx.PutCode(c); err != nil {
		return out, nil, err
	}
	out = opened{grant: g, resource: r, scope: granted, nonce: c.Nonce}
	if slices.Contains(q.client.GrantTypes, oauth.GrantRefresh) {
		out.refresh = refresh
		if err := tx.PutRefresh(a.newRefresh(g, refresh, q.now)); err != nil {
			return out, nil, err
		}
	}
	if err := tx.Audit(store.Audit{At: q.now, Actor: g.UserID, Action: "grant.open", Target: g.ID, Detail: g.ClientID, Address: q.address}); err != nil {
		return out, nil, err
	}
	out.rev, err = tx.Head()
	return out, nil, err
}

// stands checks that the person and the client of a code are still what they were.
func (a *Authority) stands(tx *store.Tx, q asked, c *store.Code) error {
	user, err := tx.User(c.UserID)
	if errors.Is(err, store.ErrNotFound) || err == nil && user.Disabled {
		return refuse(oauth.InvalidGrant, "the person has no account any more")
	}
	if err != nil {
		return err
	}
	asks, err := current(tx, q.client)
	if err == nil && !a.allows(asks, c.Scope, c.Resources) {
		return refuse(oauth.InvalidGrant, "the client may not have any more what the code is for")
	}
	return err
}

// endGrant ends a grant inside tx on the server's own account. One that is over
// is left alone: whoever has a used code could fill the feed with it.
func (a *Authority) endGrant(tx *store.Tx, q asked, id, reason string) error {
	g, err := tx.Grant(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !g.Ended.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	return revoke.Write(tx, revoke.Order{
		Kind: revoke.Grant, Value: id, Reason: reason, By: "system", Address: q.address,
		Now: q.now, Until: RuleUntil(q.now),
	})
}

// issue makes the tokens that a grant's decision allows.
func (a *Authority) issue(q asked, out opened) (*TokenResponse, error) {
	g := out.grant
	q.rev = out.rev
	c := a.claims(q, out.resource, g.UserID, out.scope)
	c.GrantID, c.SessionID, c.AuthTime, c.ACR = g.ID, g.SessionID, g.AuthTime, g.ACR
	if c.Expiry.After(g.Expires) {
		c.Expiry = g.Expires.Truncate(time.Second)
	}
	response, err := a.respond(c, out.resource)
	if err != nil {
		return nil, err
	}
	response.RefreshToken = out.refresh
	if scope.Set(g.Scope).Has(oauth.ScopeOpenID) && q.params.Get(oauth.ParamGrantType) == oauth.GrantCode {
		response.IDToken, err = a.idToken(c, g, out.nonce, response.AccessToken)
	}
	return response, err
}

// target is the resource the access token is for: the one the token request
// names, which must be covered (RFC 8707 §2.2), else the first of the grant; and
// what of the granted scope is about it. narrowed is what the request asks for.
func (a *Authority) target(tx *store.Tx, params url.Values, covered []string, granted, narrowed scope.Set) (*store.Resource, scope.Set, error) {
	named, err := targets(params)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(named) > 1:
		return nil, nil, refuse(oauth.InvalidTarget, "one token is for one resource")
	case len(named) == 0:
		named = covered
	case !slices.Contains(covered, named[0]):
		return nil, nil, refuse(oauth.InvalidTarget, "the grant does not cover this resource")
	}
	r := a.own[named[0]]
	if r == nil {
		r, err = tx.Resource(named[0])
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, refuse(oauth.InvalidTarget, "the resource is not there any more")
	}
	if err != nil {
		return nil, nil, err
	}
	if !granted.Contains(narrowed) {
		return nil, nil, refuse(oauth.InvalidScope, "scope goes beyond the grant")
	}
	allowed := scopes(r).Intersect(granted)
	if len(narrowed) > 0 {
		allowed = allowed.Intersect(narrowed)
	}
	if len(allowed) == 0 {
		return nil, nil, refuse(oauth.InvalidScope, "none of these scopes is one of the resource")
	}
	return r, allowed, nil
}

// idToken makes the ID token of a sign-in (OIDC Core §2, §3.1.3.6).
func (a *Authority) idToken(c *token.Claims, g *store.Grant, nonce, access string) (string, error) {
	half := sha256.Sum256([]byte(access))
	claims := map[string]any{
		"iss": c.Issuer, "sub": g.UserID, "aud": g.ClientID, "iat": c.IssuedAt.Unix(), "exp": c.IssuedAt.Add(a.cfg.TokenLife).Unix(),
		"auth_time": g.AuthTime.Unix(), "at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	}
	for name, value := range map[string]string{"nonce": nonce, "acr": g.ACR, "sid": g.SessionID} {
		if value != "" {
			claims[name] = value
		}
	}
	if len(g.AMR) > 0 {
		claims["amr"] = g.AMR
	}
	return a.cfg.Keys.IDToken(claims)
}
