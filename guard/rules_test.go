package guard

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// Every rule, against a token that the cache holds already: the next request
// is refused.
func TestRulesEndCachedTokens(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	full := func() token.Claims {
		c := i.claims()
		c.ID, c.GrantID, c.SessionID, c.Subject, c.ClientID = "t", "g", "s", "u", "c"
		c.Via, c.Confirmation = []string{"via-token", "via-grant"}, nil
		c.Actor = &token.Actor{Issuer: i.URL, Subject: "actor", Actor: &token.Actor{Issuer: i.URL, Subject: "before"}}
		return c
	}
	for _, row := range []struct {
		name   string
		kind   feed.Kind
		value  string
		effect feed.Effect
		want   string
		next   string // for the same claims issued after the rule
	}{
		{"token", feed.KindToken, "t", feed.End, ReasonRevoked, ReasonRevoked},
		{"grant", feed.KindGrant, "g", feed.End, ReasonRevoked, ""},
		{"session", feed.KindSession, "s", feed.End, ReasonRevoked, ""},
		{"subject", feed.KindSubject, "u", feed.End, ReasonRevoked, ""},
		{"client", feed.KindClient, "c", feed.End, ReasonRevoked, ""},
		{"token it was made from", feed.KindToken, "via-token", feed.End, ReasonRevoked, ReasonRevoked},
		{"grant it was made from", feed.KindGrant, "via-grant", feed.End, ReasonRevoked, ""},
		{"actor", feed.KindSubject, "actor", feed.End, ReasonRevoked, ""},
		{"actor before", feed.KindSubject, "before", feed.End, ReasonRevoked, ""},
		{"subject at a client", feed.KindPair, "u\nc", feed.End, ReasonRevoked, ""},
		{"subject at another client", feed.KindPair, "u\nc2", feed.End, "", ""},
		{"whoever acts", feed.KindActor, "actor", feed.End, ReasonRevoked, ""},
		{"whoever acted before", feed.KindActor, "before", feed.End, ReasonRevoked, ""},
		{"the subject as actor", feed.KindActor, "u", feed.End, "", ""},
		{"resource", feed.KindResource, audience, feed.End, ReasonRevoked, ""},
		{"another resource", feed.KindResource, audience + "/2", feed.End, "", ""},
		{"signing key", feed.KindSigningKey, "key-1", feed.End, ReasonRevoked, ReasonRevoked},
		{"another signing key", feed.KindSigningKey, "key-2", feed.End, "", ""},
		{"everything", feed.KindEverything, feed.Any, feed.End, ReasonRevoked, ""},
		{"issued before now", feed.KindIssuedBefore, feed.Any, feed.End, "", ""},
		{"step-up", feed.KindSubject, "u", feed.StepUp, ReasonStepUp, ReasonStepUp},
		{"step-up for everything", feed.KindEverything, feed.Any, feed.StepUp, ReasonStepUp, ReasonStepUp},
		{"unknown effect", feed.KindSession, "s", "melt", ReasonRevoked, ""},
		{"a grant's id as another kind", feed.KindSession, "g", feed.End, "", ""},
		{"another's value", feed.KindSubject, "u2", feed.End, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := newIssuer(t)
			g := i.guard(t, nil)
			c := full()
			c.Issuer, c.Actor.Issuer, c.Actor.Actor.Issuer = i.URL, i.URL, i.URL
			r := bearer(i.token(t, c))
			expect(t, g, r, Need{}, "")
			i.rule(row.kind, row.value, row.effect)
			settled(t, g, i)
			expect(t, g, r, Need{}, row.want)
			if got := g.State().Rules; got != 1 {
				t.Errorf("rules held = %d, want 1", got)
			}
			c.Rev = i.log.Applied()
			expect(t, g, bearer(i.token(t, c)), Need{}, row.next)
		})
	}
	// Hitting nothing of this guard's, none of the above may have an effect.
	expect(t, g, bearer(i.token(t, full())), Need{}, "")
}

// TestRulesOnBinding: a rule on the key or certificate a token is bound to hits it, whenever
// it was issued, and only there.
func TestRulesOnBinding(t *testing.T) {
	for kind, bind := range map[feed.Kind]func(string) *token.Confirmation{
		feed.KindProofKey: func(v string) *token.Confirmation { return &token.Confirmation{KeyThumbprint: v} },
		feed.KindCert:     func(v string) *token.Confirmation { return &token.Confirmation{CertThumbprint: v} },
	} {
		i := newIssuer(t)
		g := i.guard(t, nil)
		i.rule(kind, "lost", feed.End)
		settled(t, g, i)
		for value, want := range map[string]bool{"lost": true, "kept": false} {
			c := i.claims()
			c.Confirmation, c.Rev = bind(value), i.log.Applied()
			v := g.feed.View()
			if _, hit := g.hit(newEntry("", &c, &shape{key: &jose.Key{ID: "key-1"}}), &v); hit != want {
				t.Errorf("rule on %s: hit on the one %s = %t, want %t", kind, value, hit, want)
			}
		}
	}
}

// TestIssuedBefore compares iat alone, whatever the token's rev.
func TestIssuedBefore(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	old, fresh := i.claims(), i.claims()
	fresh.IssuedAt = i.in(2 * time.Second)
	old.Rev, fresh.Rev = 1<<40, 0
	i.log.Append([]feed.Plain{{
		Position: 1, Kind: feed.KindIssuedBefore, Value: feed.Any, Effect: feed.End, Before: i.in(time.Second), Until: i.in(time.Hour),
	}}, 1, false)
	settled(t, g, i)
	expect(t, g, bearer(i.token(t, old)), Need{}, ReasonRevoked)
	expect(t, g, bearer(i.token(t, fresh)), Need{}, "")
}

// TestStepUpUntilAuthenticated: refreshing does not get past a step-up, a new
// authentication does, and a client that acts for itself is not asked.
func TestStepUpUntilAuthenticated(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	c := i.claims()
	c.AuthTime = i.in(-time.Minute)
	r := bearer(i.token(t, c))
	expect(t, g, r, Need{}, "")
	i.rule(feed.KindSubject, c.Subject, feed.StepUp)
	settled(t, g, i)
	expect(t, g, r, Need{}, ReasonStepUp)
	c.Rev = i.log.Applied() + 100
	expect(t, g, bearer(i.token(t, c)), Need{}, ReasonStepUp)
	c.AuthTime = i.in(2 * time.Second)
	expect(t, g, bearer(i.token(t, c)), Need{}, "")
	own := i.claims()
	own.ClientID = own.Subject
	expect(t, g, bearer(i.token(t, own)), Need{}, "")
}

// A rule on an actor names its issuer too: others may use the same name.
func TestActorOfAnotherIssuer(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	c := i.claims()
	c.Actor = &token.Actor{Issuer: "https://other.example", Subject: "actor"}
	r := bearer(i.token(t, c))
	i.rule(feed.KindSubject, "actor", feed.End)
	settled(t, g, i)
	expect(t, g, r, Need{}, "")
}

// Ending wins over asking for more, in whichever order they came.
func TestEndWinsOverStepUp(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	r := bearer(i.token(t, i.claims()))
	i.rule(feed.KindGrant, "grant-1", feed.StepUp)
	i.rule(feed.KindClient, "client-1", feed.End)
	settled(t, g, i)
	expect(t, g, r, Need{}, ReasonRevoked)
}

func TestCachedThenExpired(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.MaxStaleness = time.Hour })
	r := bearer(i.token(t, i.claims()))
	expect(t, g, r, Need{}, "")
	expect(t, g, r, Need{}, "")
	i.advance(6 * time.Minute)
	expect(t, g, r, Need{}, ReasonExpired)
}

func TestCachedThenKeyRemoved(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	r := bearer(i.token(t, i.claims()))
	expect(t, g, r, Need{}, "")
	expect(t, g, r, Need{}, "")
	next := newSigner(t, "key-2", jose.ES256)
	i.publish(t, next.Key)
	i.keysChanged()
	eventually(t, "the guard knows the key is gone", func() bool {
		keys := g.State().Keys
		return len(keys) == 1 && keys[0].ID == "key-2"
	})
	expect(t, g, r, Need{}, ReasonKey)
	i.key = next
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
}

func TestCachedThenKeyReplacedUnderItsID(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	r := bearer(i.token(t, i.claims()))
	expect(t, g, r, Need{}, "")
	since := g.State().Keys[0].Since
	i.publish(t, newSigner(t, "key-1", jose.ES256).Key)
	i.keysChanged()
	eventually(t, "the guard has the new key", func() bool { return g.State().Keys[0].Since.After(since) })
	expect(t, g, r, Need{}, ReasonSignature)
}

// What one guard verified for its audience must not pass at another's.
func TestCacheIsSharedButNotTheVerdict(t *testing.T) {
	i := newIssuer(t)
	orders := i.guard(t, nil)
	users, err := orders.For("https://api.example/users", ResourceMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	r := bearer(i.token(t, i.claims()))
	expect(t, orders, r, Need{}, "")
	expect(t, users, r, Need{}, ReasonAudience)
	expect(t, orders, r, Need{}, "")
	c := i.claims()
	c.Audience = []string{"https://api.example/users"}
	r = bearer(i.token(t, c))
	expect(t, users, r, Need{}, "")
	expect(t, orders, r, Need{}, ReasonAudience)
}

func TestStale(t *testing.T) {
	i := newIssuer(t)
	deny := i.guard(t, nil)
	allow := i.guard(t, func(c *Config) { c.WhenStale = Stale{Do: Allow, For: time.Minute} })
	r := bearer(i.token(t, i.claims()))
	i.rule(feed.KindGrant, "grant-2", feed.End)
	settled(t, deny, i)
	settled(t, allow, i)
	ended := i.claims()
	ended.GrantID, ended.Rev = "grant-2", 0
	i.change(func() { i.mute = true }) // connected, but nobody vouches for the head

	i.advance(5 * time.Second)
	expect(t, deny, r, Need{}, "")
	i.advance(6 * time.Second)
	expect(t, deny, r, Need{}, ReasonStale)
	expect(t, deny, r, Need{WhenStale: &Stale{Do: Allow}}, "")
	expect(t, allow, r, Need{}, "")
	expect(t, allow, r, Need{WhenStale: &Stale{}}, ReasonStale)
	expect(t, allow, bearer(i.token(t, ended)), Need{}, ReasonRevoked)
	i.advance(50 * time.Second)
	expect(t, allow, r, Need{}, "")
	i.advance(20 * time.Second)
	expect(t, allow, r, Need{}, ReasonStale)

	i.change(func() { i.mute = false })
	settled(t, deny, i)
	expect(t, deny, r, Need{}, "")
}

func TestAllowLasts15MinutesUnlessSaid(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.WhenStale = Stale{Do: Allow} })
	c := i.claims()
	c.Expiry = i.in(time.Hour)
	r := bearer(i.token(t, c))
	settled(t, g, i)
	i.change(func() { i.mute = true })
	i.advance(15 * time.Minute)
	expect(t, g, r, Need{}, "")
	i.advance(15 * time.Second)
	expect(t, g, r, Need{}, ReasonStale)
}

// A guard that never had a revocation state admits nobody.
func TestNoFeed(t *testing.T) {
	for name, with := range map[string]func(*Config){
		"no public snapshot": func(c *Config) { c.Credential = nil },
		"no credential to be had": func(c *Config) {
			c.Credential = func(context.Context) (string, error) { return "", errors.New("none") }
		},
		"credential not accepted": func(c *Config) {
			c.Credential = func(context.Context) (string, error) { return "another", nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.private = true
			g := start(t, i, with)
			r := bearer(i.token(t, i.claims()))
			eventually(t, "the keys are there", func() bool { return len(g.State().Keys) > 0 })
			expect(t, g, r, Need{}, ReasonNoFeed)
			expect(t, g, r, Need{WhenStale: &Stale{Do: Allow}}, ReasonNoFeed)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := g.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Ready = %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
}

func TestPublicSnapshot(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.Credential = nil })
	r := bearer(i.token(t, i.claims()))
	expect(t, g, r, Need{}, "")
	i.rule(feed.KindGrant, "grant-1", feed.End)
	settled(t, g, i)
	expect(t, g, r, Need{}, ReasonRevoked)
}
