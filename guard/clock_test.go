package guard

import (
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/token"
)

// A guard whose clock is five minutes behind goes by the issuer's: it takes no token
// longer, and refuses none for being new. One whose clock is ahead admits nobody,
// because it cannot tell that from a feed that was held back. Neither admits a token
// that was ended.
func TestSkew(t *testing.T) {
	i := newIssuer(t)
	with := func(skew time.Duration) *Guard {
		return i.guard(t, func(c *Config) { c.Now = func() time.Time { return i.now().Add(skew) } })
	}
	slow, fast := with(-5*time.Minute), with(5*time.Minute)
	i.rule(feed.KindGrant, "ended", feed.End)
	settled(t, slow, i)
	settled(t, fast, i)
	living, expired, ended, long, old := i.claims(), i.claims(), i.claims(), i.claims(), i.claims()
	expired.IssuedAt, expired.Expiry = i.in(-6*time.Minute), i.in(-time.Minute)
	ended.GrantID, ended.Rev = "ended", 0
	long.Expiry = i.in(time.Hour)
	old.AuthTime = i.in(-4 * time.Minute)
	for _, c := range []struct {
		name       string
		claims     token.Claims
		need       Need
		slow, fast string
	}{
		{"living", living, Need{}, "", ReasonStale},
		{"living for an hour", long, Need{}, "", ReasonStale},
		{"living, stale ones allowed", long, Need{WhenStale: &Stale{Do: Allow}}, "", ""},
		{"expired", expired, Need{}, ReasonExpired, ReasonExpired},
		{"ended", ended, Need{}, ReasonRevoked, ReasonStale},
		{"authenticated too long ago", old, Need{MaxAge: 2 * time.Minute}, ReasonAge, ReasonStale},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // verified, and remembered
				expect(t, slow, bearer(i.token(t, c.claims)), c.need, c.slow)
				expect(t, fast, bearer(i.token(t, c.claims)), c.need, c.fast)
			}
		})
	}
	for g, want := range map[*Guard]time.Duration{slow: 5 * time.Minute, fast: -5 * time.Minute} {
		if off := g.State().Behind - want; off.Abs() > time.Second {
			t.Errorf("behind by %s, want about %s", g.State().Behind, want)
		}
	}
}

// A request under way ends with its token although the guard's clock is behind.
func TestSkewEndsWhatRuns(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.Now = func() time.Time { return i.now().Add(-5 * time.Minute) } })
	settled(t, g, i)
	r := bearer(i.token(t, i.claims()))
	run, release, err := g.Admit(r, Need{})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	i.advance(6 * time.Minute)
	select {
	case <-run.Done():
	case <-time.After(5 * time.Second):
		t.Error("goes on although its token expired by the issuer's clock")
	}
}
