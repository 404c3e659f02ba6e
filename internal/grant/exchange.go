package grant

import (
	"context"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// Bounds of a chain of exchanges. Beyond them a request is refused, never cut.
const (
	maxActors = 4
	maxVia    = 8
)

// exchange answers RFC 8693: a resource server trades the token it was called
// with for one to call the next. It only ever narrows.
//
// client_id stays the client the grant belongs to; the exchanging client becomes
// the outermost act. So ending the first client ends what was made of its tokens.
func (a *Authority) exchange(ctx context.Context, q asked) (*TokenResponse, error) {
	if q.client.AuthMethod == oauth.AuthNone {
		return nil, refuse(oauth.UnauthorizedClient, "a public client cannot act for others")
	}
	subject, err := a.subject(ctx, q)
	if err != nil {
		return nil, err
	}
	want, err := askedScope(q.params)
	if err != nil {
		return nil, err
	}
	var asks *store.Client
	var rev uint64
	var dead bool
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if asks, err = current(tx, q.client); err != nil {
			return err
		}
		if dead, err = a.ended(tx, subject); err != nil {
			return err
		}
		rev, err = tx.Head()
		return err
	})
	if err != nil {
		return nil, err
	}
	if dead {
		return nil, refuse(oauth.InvalidRequest, "subject_token has ended")
	}
	q.client, q.rev = asks, min(subject.Rev, rev)
	r, err := a.exchangeTarget(ctx, q)
	if err != nil {
		return nil, err
	}
	granted, err := judgeExchange(q.client, subject, r, want, q.now)
	if err != nil {
		return nil, err
	}
	c, err := a.inherit(q, subject, r, granted)
	if err != nil {
		return nil, err
	}
	response, err := a.respond(c, r)
	if err == nil {
		response.IssuedType = oauth.TypeAccess
	}
	return response, err
}

// subject reads the subject token. RFC 8693 §2.2.2: one that is invalid or
// unacceptable is invalid_request.
func (a *Authority) subject(ctx context.Context, q asked) (*token.Claims, error) {
	switch {
	case q.params.Get(oauth.ParamSubjectToken) == "":
		return nil, refuse(oauth.InvalidRequest, "subject_token is missing")
	case q.params.Get(oauth.ParamSubjectTokenType) != oauth.TypeAccess:
		return nil, refuse(oauth.InvalidRequest, "subject_token_type must be "+oauth.TypeAccess)
	case q.params.Has(oauth.ParamActorToken) || q.params.Has(oauth.ParamActorTokenType):
		return nil, refuse(oauth.InvalidRequest, "actor_token is not offered here: the actor is the client that asks")
	}
	if t := q.params.Get(oauth.ParamRequestedType); t != "" && t != oauth.TypeAccess {
		return nil, refuse(oauth.InvalidRequest, "requested_token_type must be "+oauth.TypeAccess)
	}
	compact := q.params.Get(oauth.ParamSubjectToken)
	c, err := a.cfg.Keys.Verify(compact)
	if err != nil {
		a.suspect(ctx, compact, err)
		return nil, refuse(oauth.InvalidRequest, "subject_token is not a token of this issuer")
	}
	return c, nil
}

func (a *Authority) exchangeTarget(ctx context.Context, q asked) (*store.Resource, error) {
	named, err := targets(q.params)
	if err != nil {
		return nil, err
	}
	if len(named) != 1 {
		return nil, refuse(oauth.InvalidTarget, "name the one resource the new token is for")
	}
	// The issuer's own resources are never reached by exchange.
	if !slices.Contains(q.client.Resources, named[0]) || a.own[named[0]] != nil {
		return nil, refuse(oauth.InvalidTarget, "unknown resource, or not one of this client's")
	}
	return a.resource(ctx, named[0])
}

// judgeExchange decides whether the client may trade this token, and for which
// scope. Nothing asked means all of the subject's scope that the target knows.
// The client's own scope, where it has one, is the most it gets in this way too.
func judgeExchange(c *store.Client, subject *token.Claims, target *store.Resource, want scope.Set, now time.Time) (scope.Set, error) {
	if !now.Before(subject.Expiry) {
		return nil, refuse(oauth.InvalidRequest, "subject_token has expired")
	}
	if !slices.Contains(c.Guards, subject.Audience[0]) {
		return nil, refuse(oauth.InvalidRequest, "subject_token is not for a resource this client guards")
	}
	allowed := scopes(target).Intersect(subject.Scope)
	if len(c.Scope) > 0 {
		allowed = allowed.Intersect(scope.Set(c.Scope))
	}
	if len(want) == 0 {
		want = allowed
	}
	if len(want) == 0 || !allowed.Contains(want) {
		return nil, refuse(oauth.InvalidScope, "exchange only narrows: not a scope of the token, the target and the client")
	}
	return want, nil
}

// inherit makes the claims of the new token: never beyond the old one's end, and
// depending on everything the old one depends on.
func (a *Authority) inherit(q asked, subject *token.Claims, r *store.Resource, granted scope.Set) (*token.Claims, error) {
	c := a.claims(q, r, subject.Subject, granted)
	c.ClientID = subject.ClientID
	c.GrantID, c.SessionID = subject.GrantID, subject.SessionID
	c.AuthTime, c.ACR = subject.AuthTime, subject.ACR
	if c.Expiry.After(subject.Expiry) {
		c.Expiry = subject.Expiry
	}
	c.Actor = &token.Actor{Issuer: a.cfg.Issuer, Subject: q.client.ID, Actor: subject.Actor}
	depth := 0
	for actor := c.Actor; actor != nil; actor = actor.Actor {
		depth++
	}
	c.Via = append(slices.Clone(subject.Via), subject.ID)
	if standing := a.cfg.Keys.Standing(q.client.ID, r.URI); !slices.Contains(c.Via, standing) {
		c.Via = append(c.Via, standing)
	}
	if depth > maxActors || len(c.Via) > maxVia {
		return nil, refuse(oauth.InvalidTarget, "the chain of exchanges is too long")
	}
	return c, nil
}
