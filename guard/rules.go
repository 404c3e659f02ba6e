package guard

import (
	"bytes"
	"context"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/token"
)

const (
	// welcome is how long after the first keys came requests wait for the
	// first revocation state: it is on its way.
	welcome = 3 * time.Second
	// patience is how long one of them waits.
	patience = 500 * time.Millisecond
)

// refs is what rules can name a token by, hashed under the key of one epoch.
type refs struct {
	key    []byte
	values []feed.Value
}

// current checks that revocations are known and none hits the token.
func (g *Guard) current(ctx context.Context, e *entry, n *Need, now time.Time) fault {
	rules := g.rules.Load() // before the view, which may be newer
	v := g.feed.View()
	if !v.Ready {
		if v = g.awaitFeed(ctx); !v.Ready {
			return fault{reason: ReasonNoFeed}
		}
	}
	if g.stale(&v, n, now) {
		return fault{reason: ReasonStale}
	}
	if e.clean.Load() == rules+1 {
		return fault{} // none hit it, and none came since
	}
	switch g.hit(e, &v) {
	case feed.End:
		return fault{reason: ReasonRevoked}
	case feed.StepUp:
		return fault{reason: ReasonStepUp}
	}
	e.clean.Store(rules + 1)
	return fault{}
}

// stale reports whether the revocation state is too old for the route. Its age
// is that of the issuer's word, not of the last byte received.
func (g *Guard) stale(v *feed.View, n *Need, now time.Time) bool {
	over := v.Age(now) - g.cfg.MaxStaleness
	if over <= 0 {
		return false
	}
	policy := g.cfg.WhenStale
	if n.WhenStale != nil {
		policy = *n.WhenStale
	}
	if policy.Do != Allow {
		return true
	}
	if policy.For == 0 {
		policy.For = defaultAllow
	}
	return over > policy.For
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

// hit returns the hardest effect of the rules that hit the token, "" when none
// does.
func (e *engine) hit(t *entry, v *feed.View) feed.Effect {
	if v.Set.Len() == 0 {
		return ""
	}
	r := t.refs.Load()
	if r == nil || !bytes.Equal(r.key, v.Key) {
		r = &refs{key: v.Key, values: e.hashes(v.Key, t.claims)}
		t.refs.Store(r)
	}
	var worst feed.Effect
	for _, value := range r.values {
		rule, ok := v.Set.Hit(value, t.claims.Rev)
		if !ok {
			continue
		}
		if rule.Effect != feed.StepUp {
			return feed.End
		}
		worst = feed.StepUp
	}
	return worst
}

// hashes is what the rules of this epoch can name the token by.
func (e *engine) hashes(key []byte, c *token.Claims) []feed.Value {
	h, _ := e.hashers.Get().(*feed.Hasher)
	if h == nil || !h.Uses(key) {
		h = feed.NewHasher(key)
	}
	defer e.hashers.Put(h)
	values := make([]feed.Value, 0, 5+2*len(c.Via))
	for n := range c.Names() {
		values = append(values, h.Hash(feed.Kind(n.Kind), n.Issuer, n.Value))
	}
	return values
}
