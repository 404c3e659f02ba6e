package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

const stateGood = "good"

// ended asks whether the token was ended by any of its names: the server itself where somebody is
// signed in to it, else the public snapshot.
func (v *verdict) ended(ctx context.Context, p *place, names []token.Name) error {
	v.state = stateGood
	s, err := p.operator(ctx)
	if err == nil {
		err = v.askServer(ctx, newAPI(p.issuer, s), names)
	}
	var said *failure
	if err == nil || errors.As(err, &said) && said.code == exitUnreachable {
		return err
	}
	// Nobody is signed in here, or no operator.
	if err := v.askSnapshot(ctx, p.issuer, names); err != nil {
		v.left = "revocations, because nobody is signed in (writ login) and the server has no public snapshot"
	}
	return nil
}

func (v *verdict) askServer(ctx context.Context, a *api, names []token.Name) error {
	facts := v.facts()
	for _, n := range names {
		var answer struct {
			Items []admin.Rule `json:"items"`
		}
		q := url.Values{"kind": {n.Kind}, "value": {n.Value}}
		if err := a.call(ctx, http.MethodGet, "revocations?"+q.Encode(), nil, &answer); err != nil {
			return err
		}
		for _, r := range answer.Items {
			rule := feed.Plain{Position: r.Position, Kind: feed.Kind(n.Kind), Effect: feed.Effect(r.Effect), Before: r.Before}
			if rule.Hits(facts) && v.now.Before(r.Until) {
				v.say("ended", fmt.Sprintf("%s was ended %s (%s)", ruleOn(r), ago(r.At, v.now), visible(r.Reason)))
				return nil
			}
		}
	}
	return nil
}

// ruleOn says what a rule is about.
func ruleOn(r admin.Rule) string {
	switch feed.Kind(r.Kind) {
	case feed.KindEverything:
		return "everything"
	case feed.KindIssuedBefore:
		return "what was issued before " + moment(r.Before)
	case feed.KindSigningKey:
		return "its key " + visible(r.Value)
	}
	return r.Kind + " " + visible(r.Value)
}

// names is everything that a rule can be about and still hit the token.
func (v *verdict) names() []token.Name {
	c := v.read.claims
	all := slices.Collect(c.Names())
	all = append(all, v.key())
	for kind, value := range map[feed.Kind]string{
		feed.KindEverything: feed.Any, feed.KindIssuedBefore: feed.Any,
	} {
		all = append(all, token.Name{Kind: string(kind), Issuer: c.Issuer, Value: value})
	}
	return all
}

// key names the key that signed.
func (v *verdict) key() token.Name {
	return token.Name{Kind: string(feed.KindSigningKey), Issuer: v.read.claims.Issuer, Value: v.read.message.Header.KeyID}
}

// facts is what a rule looks at besides.
func (v *verdict) facts() feed.Token {
	c := v.read.claims
	return feed.TokenOf(c.Rev, c.IssuedAt, c.AuthTime, c.Subject == c.ClientID)
}

// askSnapshot looks into the public snapshot, which knows tokens, grants and
// sessions only.
func (v *verdict) askSnapshot(ctx context.Context, issuer string, names []token.Name) error {
	b, err := snapshot(ctx, issuer, v.now)
	if err != nil {
		return err
	}
	facts := v.facts()
	for _, n := range names {
		hash := feed.Hash(b.Key, feed.Kind(n.Kind), n.Issuer, n.Value)
		for _, r := range b.Rules {
			if r.Kind == feed.Kind(n.Kind) && r.Value == hash && r.Hits(facts) {
				v.say("ended", ruleOn(admin.Rule{Kind: n.Kind, Value: n.Value, Before: r.Before})+" was ended")
				return nil
			}
		}
	}
	v.left = "revocations of people and clients, which the public snapshot does not name"
	return nil
}

// snapshot reads the public snapshot as it is now. The server signs one at most
// once a second, so the first that comes may be a little older.
func snapshot(ctx context.Context, issuer string, now time.Time) (feed.Batch, error) {
	for {
		b, err := oneSnapshot(ctx, issuer)
		if err != nil || !b.AsOf.Before(now) {
			return b, err
		}
		if time.Since(now) > 3*time.Second {
			return b, errors.New("the snapshot stands still")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// oneSnapshot fetches a snapshot and checks whose it is.
func oneSnapshot(ctx context.Context, issuer string) (feed.Batch, error) {
	signed, err := get(ctx, issuer+"/feed/snapshot")
	if err != nil {
		return feed.Batch{}, err
	}
	m, err := jose.Parse(string(signed))
	if err != nil {
		return feed.Batch{}, fmt.Errorf("read snapshot: %w", err)
	}
	key, err := keyOf(ctx, issuer+"/feed/jwks", m.Header.KeyID)
	if err != nil {
		return feed.Batch{}, err
	}
	if key == nil || m.Header.Typ != "writ-feed+jwt" || key.Alg != m.Header.Alg || key.Verify(m.Signed, m.Signature) != nil {
		return feed.Batch{}, errors.New("the snapshot is not signed by the server")
	}
	b, err := feed.Decode(m.Payload)
	if err == nil && (b.Issuer != issuer || !b.Snapshot) {
		err = errors.New("the snapshot is another server's")
	}
	return b, err
}
