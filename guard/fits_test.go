package guard

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/writ-auth/writ/token"
)

// What the guard remembers of a token must not change what token.Check says of
// it: at every moment around every bound, the second look equals the first.
func TestFitsIsCheck(t *testing.T) {
	base := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(1, 2))
	near := func(at time.Time) time.Time {
		return at.Add(time.Duration(random.IntN(7)-3) * 500 * time.Millisecond).Add(time.Duration(random.IntN(3) - 1))
	}
	seen := map[string]int{}
	for range 20_000 {
		leeway := time.Duration(random.IntN(4)) * 500 * time.Millisecond
		c := &token.Claims{Issuer: "https://as.example", Audience: []string{"https://api.example"}}
		c.IssuedAt = base.Add(time.Duration(random.IntN(5)) * time.Second)
		c.Expiry = c.IssuedAt.Add(time.Duration(1+random.IntN(5)) * time.Second)
		if random.IntN(2) == 0 {
			c.NotBefore = base.Add(time.Duration(random.IntN(8)) * time.Second)
		}
		bounds := []time.Time{c.IssuedAt.Add(-leeway), c.NotBefore.Add(-leeway), c.Expiry.Add(leeway)}
		now := near(bounds[random.IntN(len(bounds))])

		g := &Guard{engine: &engine{cfg: Config{Issuer: c.Issuer, Leeway: leeway}}, resource: resource{audience: c.Audience[0]}}
		e := newEntry("a.b.c", c, &shape{})
		e.home.Store(&g.resource) // seen before
		want := ""
		if err := c.Check(token.Expect{Issuer: c.Issuer, Audience: c.Audience[0], Now: now, Leeway: leeway}); err != nil {
			want = claimReason(err)
		}
		if got := g.fits(e, now).reason; got != want {
			t.Fatalf("at %v (iat %v, nbf %v, exp %v, leeway %v): %q, want %q", now, c.IssuedAt, c.NotBefore, c.Expiry, leeway, got, want)
		}
		seen[want]++
	}
	for _, reason := range []string{"", ReasonExpired, ReasonEarly} {
		if seen[reason] == 0 {
			t.Errorf("no case was %q", reason)
		}
	}
}

// A guard for another audience shares the cache, not the verdict.
func TestFitsIsPerAudience(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	c := &token.Claims{Issuer: "https://as.example", Audience: []string{"https://a.example"}, IssuedAt: now, Expiry: now.Add(time.Minute)}
	shared := &engine{cfg: Config{Issuer: c.Issuer}}
	a := &Guard{engine: shared, resource: resource{audience: "https://a.example"}}
	b := &Guard{engine: shared, resource: resource{audience: "https://b.example"}}
	e := newEntry("a.b.c", c, &shape{})
	for range 2 {
		if f := a.fits(e, now); f.reason != "" {
			t.Fatalf("its own audience: %q, want none", f.reason)
		}
		if f := b.fits(e, now); f.reason != ReasonAudience || errors.Is(f.cause, token.ErrExpired) {
			t.Fatalf("another audience: %q, want %q", f.reason, ReasonAudience)
		}
	}
}
