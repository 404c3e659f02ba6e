package guard

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/writ-auth/writ/internal/feed"
)

const (
	// welcome is how long after the first keys came requests wait for the
	// first revocation state: it is on its way.
	welcome = 3 * time.Second
	// patience is how long one of them waits.
	patience = 500 * time.Millisecond
)

// refs is what rules can name a token by, hashed under the key of one epoch.
// Values of kinds that no rule is of are left out: hashing is most of the work.
type refs struct {
	key    []byte
	kinds  uint32 // of rules, as of when it was made
	values []feed.Value
}

// current checks that what is known of revocations is fresh enough, and that none
// hits the token. rules is how many batches of them there were before v was read.
func (g *Guard) current(ctx context.Context, e *entry, n *Need, now time.Time, v *feed.View, rules uint64) fault {
	policy, over := g.stale(v, n, now)
	ask := over > 0 && policy.Do == Introspect
	if over > 0 && !ask && !allows(policy.Do, policy.For, over) {
		return fault{reason: ReasonStale}
	}
	f := g.known(e, v, rules)
	if f.reason == "" && ask {
		return g.introspected(ctx, e, policy, over)
	}
	return f
}

// introspected is what the issuer itself says of a token while the revocations
// known are too old.
func (g *Guard) introspected(ctx context.Context, e *entry, policy Stale, over time.Duration) fault {
	err := errors.New("introspection: no credential")
	switch {
	case e.shape.kind == transaction:
		err = errors.New("introspection: not the issuer's to answer for: a gateway minted it")
	case g.cfg.Credential != nil:
		err = g.ask(ctx, e)
	}
	switch {
	case err == nil:
		return fault{}
	case errors.Is(err, errInactive):
		return fault{ReasonRevoked, err}
	case !allows(policy.Else, policy.For, over):
		return fault{ReasonStale, err}
	}
	g.cfg.Logger.Debug("request admitted without introspection", "issuer", g.cfg.Issuer, "error", err)
	return fault{}
}

// known looks for a rule that hits the token.
func (g *Guard) known(e *entry, v *feed.View, rules uint64) fault {
	if e.clean.Load() == rules+1 {
		return fault{} // none hit it, and none came since
	}
	r, hit := g.hit(e, v)
	if !hit {
		e.clean.Store(rules + 1)
		return fault{}
	}
	reason := ReasonRevoked
	if r.Effect == feed.StepUp {
		reason = ReasonStepUp
	}
	return fault{reason, fmt.Errorf("rule on %s at position %d", r.Kind, r.Position)}
}

// stale returns by how much the revocation state is too old, and what the route
// does then. Its age is that of the issuer's word, not of the last byte received.
func (g *Guard) stale(v *feed.View, n *Need, now time.Time) (policy Stale, over time.Duration) {
	if over = v.Age(now) - g.cfg.MaxStaleness; over <= 0 {
		return Stale{}, 0
	}
	if n.WhenStale != nil {
		return *n.WhenStale, over
	}
	return g.cfg.WhenStale, over
}

// allows reports whether a request may go on when the state is too old by over.
func allows(do Action, most, over time.Duration) bool {
	return do == Allow && over <= cmp.Or(most, defaultAllow)
}

// awaitFeed returns the view, once it is ready if that is soon and to be
// expected: then the first request after the issuer's return succeeds.
func (e *engine) awaitFeed(ctx context.Context) feed.View {
	came := e.cameAt.Load()
	if came == 0 || time.Since(time.Unix(0, came)) > welcome {
		return e.feed.View()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		v := e.feed.View()
		if v.Ready {
			return v
		}
		select {
		case <-ctx.Done():
			return v
		case <-tick.C:
		}
	}
}

// hit returns the hardest of the rules that hit the token.
func (e *engine) hit(t *entry, v *feed.View) (worst feed.Rule, hit bool) {
	if v.Set.Len() == 0 {
		return worst, false
	}
	facts := t.facts()
	if worst, hit = v.Set.Broad(facts); hit && worst.Effect != feed.StepUp {
		return worst, true
	}
	for _, value := range e.values(t, v) {
		rule, ok := v.Set.Hit(value, facts)
		if ok && rule.Effect != feed.StepUp {
			return rule, true
		}
		if ok {
			worst, hit = rule, true
		}
	}
	return worst, hit
}

// facts is what of the token a rule looks at besides the values it names.
func (t *entry) facts() feed.Token {
	c := t.claims
	return feed.TokenOf(c.Rev, c.IssuedAt, c.AuthTime, c.Subject == c.ClientID)
}

// values is what the rules there are now can name the token by.
func (e *engine) values(t *entry, v *feed.View) []feed.Value {
	kinds := v.Set.Kinds()
	r := t.refs.Load()
	if r == nil || r.kinds != kinds || !bytes.Equal(r.key, v.Key) {
		r = &refs{key: v.Key, kinds: kinds, values: e.hashes(v, t)}
		t.refs.Store(r)
	}
	return r.values
}

func (e *engine) hashes(v *feed.View, t *entry) []feed.Value {
	h, _ := e.hashers.Get().(*feed.Hasher)
	if h == nil || !h.Uses(v.Key) {
		h = feed.NewHasher(v.Key)
	}
	defer e.hashers.Put(h)
	values := make([]feed.Value, 0, bits.OnesCount32(v.Set.Kinds()))
	for n := range t.claims.Names() {
		if kind := feed.Kind(n.Kind); v.Set.Has(kind) {
			values = append(values, h.Hash(kind, n.Issuer, n.Value))
		}
	}
	if v.Set.Has(feed.KindSigningKey) {
		values = append(values, h.Hash(feed.KindSigningKey, t.claims.Issuer, t.shape.key.ID))
	}
	return values
}
