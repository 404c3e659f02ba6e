package grant

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// TokenRequest is a request to the token endpoint, parsed and not yet believed.
type TokenRequest struct {
	Credentials client.Credentials
	Params      url.Values  // none repeated but resource and audience
	Proof       *dpop.Proof // the verified DPoP proof, nil without one
	Address     string      // of the caller, for audit lines
}

// TokenResponse is the answer (RFC 6749 §5.1, RFC 8693 §2.2.1).
type TokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	IssuedType   string `json:"issued_token_type,omitempty"`
}

// asked is a token request that passed the steps all grants share.
type asked struct {
	client  *store.Client
	params  url.Values
	keyID   string // thumbprint of the proof's key, "" without a proof
	address string
	rev     uint64 // the feed position before anything was read from memory
	now     time.Time
}

// grantFunc decides one grant.
type grantFunc func(context.Context, asked) (*TokenResponse, error)

// table is the grants by name.
func (a *Authority) table() map[string]grantFunc {
	return map[string]grantFunc{
		oauth.GrantCode:     a.code,
		oauth.GrantRefresh:  a.refresh,
		oauth.GrantClient:   a.clientCredentials,
		oauth.GrantExchange: a.exchange,
	}
}

// GrantTypes lists the grants by name, for metadata.
func (a *Authority) GrantTypes() []string {
	return []string{oauth.GrantCode, oauth.GrantRefresh, oauth.GrantClient, oauth.GrantExchange}
}

// Token answers the token endpoint: one pipeline for every grant.
func (a *Authority) Token(ctx context.Context, r TokenRequest) (*TokenResponse, error) {
	// 0. A replica whose clock is wrong issues nothing.
	if err := a.cfg.Keys.Fit(); err != nil {
		return nil, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "this server can issue nothing now: try again", Cause: err}
	}

	// 1. The position comes first: whatever is read afterwards is at least as new,
	//    so a rule written meanwhile has a higher position and hits the token.
	q := asked{params: r.Params, address: r.Address, rev: a.cfg.Clients.Position(), now: a.cfg.Now()}

	// 2. Who is the client?
	var err error
	if q.client, err = a.cfg.Clients.Authenticate(ctx, r.Credentials); err != nil {
		return nil, err
	}

	// 3. Which grant, and may this client use it?
	name := r.Params.Get(oauth.ParamGrantType)
	if name == "" {
		return nil, refuse(oauth.InvalidRequest, "grant_type is missing")
	}
	decide := a.grants[name]
	if decide == nil {
		return nil, refuse(oauth.UnsupportedGrantType, "this grant_type is not offered here")
	}
	if !slices.Contains(q.client.GrantTypes, name) {
		return nil, refuse(oauth.UnauthorizedClient, "this client may not use this grant_type")
	}

	// 4. A proof of possession counts once (RFC 9449 §11.1).
	if q.client.BoundTokens && r.Proof == nil {
		return nil, refuse(oauth.InvalidDPoPProof, "this client must prove possession of a key (DPoP)")
	}
	if r.Proof != nil {
		if err := a.spendProof(ctx, *r.Proof); err != nil {
			return nil, err
		}
		q.keyID = r.Proof.Thumbprint
	}

	// 5. The grant's own rules.
	return decide(ctx, q)
}

// current reads the client again, in the transaction that decides with tx.Head
// as the token's rev. What memory says may be older than that position, and a
// rule that took something from the client would not hit the token.
func current(tx *store.Tx, known *store.Client) (*store.Client, error) {
	c, err := tx.Client(known.ID)
	if errors.Is(err, store.ErrNotFound) ||
		err == nil && (c.Disabled || c.AuthMethod != known.AuthMethod || !bytes.Equal(c.SecretHash, known.SecretHash)) {
		return nil, refuse(oauth.InvalidClient, "the client was changed a moment ago")
	}
	return c, err
}

// proofLife is how long a proof is remembered: past the window in which its iat
// would be accepted.
const proofLife = 5 * time.Minute

func (a *Authority) spendProof(ctx context.Context, p dpop.Proof) error {
	fresh := false
	err := a.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		fresh, err = tx.Once("dpop", client.HashSecret(p.Thumbprint+"\x00"+p.ID), p.IssuedAt.Add(proofLife))
		return err
	})
	if err != nil {
		return err
	}
	if !fresh {
		return refuse(oauth.InvalidDPoPProof, "this proof was used before")
	}
	return nil
}

// claims begins the claims of an access token.
func (a *Authority) claims(q asked, r *store.Resource, subject string, granted scope.Set) *token.Claims {
	life := r.TokenLife
	if life == 0 {
		life = a.cfg.TokenLife
	}
	issued := q.now.Truncate(time.Second)
	c := &token.Claims{
		Issuer: a.cfg.Issuer, Subject: subject, ClientID: q.client.ID, Audience: []string{r.URI},
		Scope: granted, IssuedAt: issued, Expiry: issued.Add(life), Rev: q.rev,
	}
	if q.keyID != "" {
		c.Confirmation = &token.Confirmation{KeyThumbprint: q.keyID}
	}
	return c
}

// respond signs c, after the transaction.
func (a *Authority) respond(c *token.Claims, r *store.Resource) (*TokenResponse, error) {
	compact, err := a.cfg.Keys.Access(c, r.Algorithm)
	if err != nil {
		return nil, err
	}
	kind := oauth.Bearer
	if c.Confirmation != nil {
		kind = oauth.DPoP
	}
	return &TokenResponse{
		AccessToken: compact, TokenType: kind, Scope: c.Scope.String(),
		ExpiresIn: int64(c.Expiry.Sub(c.IssuedAt) / time.Second),
	}, nil
}

func refuse(code, description string) error {
	return &oauth.Error{Code: code, Description: description}
}

// refusal reports whether err is an answer to the caller rather than trouble of ours.
func refusal(err error) bool {
	var e *oauth.Error
	return errors.As(err, &e)
}
