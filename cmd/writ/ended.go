package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

const stateGood = "good"

// named is one value of a token that a revocation may be about.
type named struct {
	kind  feed.Kind
	value string
}

// names lists them all, as guards look at them.
func names(c *token.Claims) []named {
	list := []named{
		{feed.KindToken, c.ID}, {feed.KindGrant, c.GrantID}, {feed.KindSession, c.SessionID},
		{feed.KindSubject, c.Subject}, {feed.KindClient, c.ClientID},
	}
	for _, id := range c.Via {
		list = append(list, named{feed.KindToken, id}, named{feed.KindGrant, id})
	}
	for a := c.Actor; a != nil; a = a.Actor {
		list = append(list, named{feed.KindSubject, a.Subject}, named{feed.KindClient, a.Subject})
	}
	return list
}

// ended asks whether the token was ended: the server itself where somebody is
// signed in to it, else the public snapshot.
func (v *verdict) ended(ctx context.Context, p *place) error {
	v.state = stateGood
	s, err := p.operator(ctx)
	if err == nil {
		err = v.askServer(ctx, newAPI(p.issuer, s))
	}
	var said *failure
	if err == nil || errors.As(err, &said) && said.code == exitUnreachable {
		return err
	}
	// Nobody is signed in here, or no operator.
	if err := v.askSnapshot(ctx, p.issuer); err != nil {
		v.left = "revocations, because nobody is signed in (writ login) and the server has no public snapshot"
	}
	return nil
}

func (v *verdict) askServer(ctx context.Context, a *api) error {
	for _, n := range names(v.read.claims) {
		if n.value == "" {
			continue
		}
		var answer struct {
			Items []admin.Rule `json:"items"`
		}
		q := url.Values{"kind": {string(n.kind)}, "value": {n.value}}
		if err := a.call(ctx, http.MethodGet, "revocations?"+q.Encode(), nil, &answer); err != nil {
			return err
		}
		for _, r := range answer.Items {
			rule := feed.Rule{Position: r.Position, Kind: n.kind}
			if rule.Hits(v.read.claims.Rev) && v.now.Before(r.Until) {
				v.say("ended", fmt.Sprintf("%s %s was ended %s (%s)", r.Kind, visible(r.Value), ago(r.At, v.now), visible(r.Reason)))
				return nil
			}
		}
	}
	return nil
}

// askSnapshot looks into the public snapshot, which knows tokens, grants and
// sessions only.
func (v *verdict) askSnapshot(ctx context.Context, issuer string) error {
	signed, err := get(ctx, issuer+"/feed/snapshot")
	if err != nil {
		return err
	}
	m, err := jose.Parse(string(signed))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	key, err := keyOf(ctx, issuer+"/feed/jwks", m.Header.KeyID)
	if err != nil {
		return err
	}
	if key == nil || m.Header.Typ != "writ-feed+jwt" || key.Alg != m.Header.Alg || key.Verify(m.Signed, m.Signature) != nil {
		return errors.New("the snapshot is not signed by the server")
	}
	b, err := feed.Decode(m.Payload)
	if err != nil {
		return err
	}
	if b.Issuer != issuer || !b.Snapshot || v.now.Sub(b.AsOf) > time.Minute {
		return errors.New("the snapshot is not the server's of now")
	}
	for _, n := range names(v.read.claims) {
		hash := feed.Hash(b.Key, n.kind, issuer, n.value)
		for _, r := range b.Rules {
			if n.value != "" && r.Kind == n.kind && r.Value == hash && r.Hits(v.read.claims.Rev) {
				v.say("ended", fmt.Sprintf("%s %s was ended", n.kind, visible(n.value)))
				return nil
			}
		}
	}
	v.left = "revocations of people and clients, which the public snapshot does not name"
	return nil
}
