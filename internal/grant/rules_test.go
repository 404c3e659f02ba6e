package grant

import (
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func TestJudgeRefresh(t *testing.T) {
	const s = time.Second
	grant := func(change ...func(*store.Grant)) *store.Grant {
		g := &store.Grant{ID: "g", Expires: now.Add(time.Hour)}
		for _, c := range change {
			c(g)
		}
		return g
	}
	newest := &store.Refresh{ClientID: "app", Expires: now.Add(time.Hour)}
	spent := func(age time.Duration) *store.Refresh {
		return &store.Refresh{ClientID: "app", Expires: now.Add(time.Hour), Spent: ago(age)}
	}
	fresh := &store.Refresh{Expires: now.Add(time.Hour)}
	used := func(age time.Duration) *store.Refresh { return &store.Refresh{Spent: ago(age)} }
	bound := grant(func(g *store.Grant) { g.KeyID = "k" })

	for _, tt := range []struct {
		name string
		p    presented
		want refreshVerdict
	}{
		{"newest", presented{record: newest, grant: grant(), public: true}, refreshRotate},
		{"newest, another client's", presented{record: newest, grant: grant(), clientID: "other"}, refreshRefused},
		{"newest, grant ended", presented{record: newest, grant: grant(func(g *store.Grant) { g.Ended = ago(s) })}, refreshRefused},
		{"newest, grant expired", presented{record: newest, grant: grant(func(g *store.Grant) { g.Expires = now })}, refreshRefused},
		{"newest, idle too long", presented{record: &store.Refresh{ClientID: "app", Expires: now}, grant: grant()}, refreshRefused},
		{"newest, signed out", presented{record: newest, grant: grant(), signedOut: true}, refreshRefused},
		{"newest, bound, with the key", presented{record: newest, grant: bound, public: true, keyID: "k"}, refreshRotate},
		{"newest, bound, another key", presented{record: newest, grant: bound, public: true, keyID: "x"}, refreshRefused},
		{"newest, bound, no key", presented{record: newest, grant: bound, public: true}, refreshRefused},

		{"public: replay at the window's end", presented{record: spent(30 * s), successor: fresh, grant: grant(), public: true}, refreshReplay},
		{"public: replay after it", presented{record: spent(30*s + 1), successor: fresh, grant: grant(), public: true}, refreshReused},
		{"confidential: replay much later", presented{record: spent(time.Hour), successor: fresh, grant: grant()}, refreshReplay},
		{"public with key: replay much later", presented{record: spent(time.Hour), successor: fresh, grant: bound, public: true, keyID: "k"}, refreshReplay},
		{"public with key: thief without it", presented{record: spent(s), successor: fresh, grant: bound, public: true}, refreshRefused},

		{"successor used just now", presented{record: spent(time.Hour), successor: used(30 * s), grant: grant()}, refreshStale},
		{"successor used before", presented{record: spent(time.Hour), successor: used(30*s + 1), grant: grant()}, refreshReused},
		{"public: successor used, still in the window", presented{record: spent(20 * s), successor: used(5 * s), grant: grant(), public: true}, refreshStale},
		{"successor idle too long", presented{record: spent(time.Hour), successor: &store.Refresh{Expires: now}, grant: grant()}, refreshRefused},
		{"successor forgotten", presented{record: spent(time.Hour), grant: grant()}, refreshReused},
		{"spent, but the grant has ended already", presented{record: spent(time.Hour), successor: used(time.Hour), grant: grant(func(g *store.Grant) { g.Ended = ago(s) })}, refreshRefused},
		{"spent, another client's: must not end the grant", presented{record: spent(time.Hour), successor: used(time.Hour), grant: grant(), clientID: "other"}, refreshRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.p.clientID == "" {
				tt.p.clientID = "app"
			}
			if got, why := judgeRefresh(tt.p, now); got != tt.want {
				t.Errorf("judgeRefresh = %v (%s), want %v", got, why, tt.want)
			}
		})
	}
}

func TestJudgeCode(t *testing.T) {
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  // RFC 7636 appendix B
	const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
	good := store.Code{ClientID: "app", RedirectURI: "https://app.example/cb", Challenge: challenge, Expires: now.Add(time.Second)}
	type try struct{ client, uri, verifier, key string }
	right := try{"app", "https://app.example/cb", verifier, ""}
	for _, tt := range []struct {
		name   string
		change func(*store.Code, *try)
		want   codeVerdict
	}{
		{"right", func(*store.Code, *try) {}, codeGood},
		{"another client", func(_ *store.Code, q *try) { q.client = "other" }, codeRefused},
		{"another client, used", func(c *store.Code, q *try) { q.client, c.Used = "other", ago(1) }, codeRefused},
		{"used", func(c *store.Code, _ *try) { c.Used = ago(1) }, codeReused},
		{"used and expired", func(c *store.Code, _ *try) { c.Used, c.Expires = ago(2), ago(1) }, codeReused},
		{"expired", func(c *store.Code, _ *try) { c.Expires = now }, codeRefused},
		{"another redirect", func(_ *store.Code, q *try) { q.uri = "https://app.example/cb2" }, codeRefused},
		{"no redirect", func(_ *store.Code, q *try) { q.uri = "" }, codeRefused},
		{"no verifier", func(_ *store.Code, q *try) { q.verifier = "" }, codeRefused},
		{"wrong verifier", func(_ *store.Code, q *try) { q.verifier = verifier[:42] + "x" }, codeRefused},
		{"the challenge as verifier", func(_ *store.Code, q *try) { q.verifier = challenge }, codeRefused},
		{"bound to a key, without it", func(c *store.Code, _ *try) { c.KeyID = "k" }, codeRefused},
		{"bound to a key, with it", func(c *store.Code, q *try) { c.KeyID, q.key = "k", "k" }, codeGood},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, q := good, right
			tt.change(&c, &q)
			if got, why := judgeCode(&c, q.client, q.uri, q.verifier, q.key, now); got != tt.want {
				t.Errorf("judgeCode = %v (%s), want %v", got, why, tt.want)
			}
		})
	}
}

func TestJudgeAuthorize(t *testing.T) {
	third := &store.Client{}
	first := &store.Client{FirstParty: true}
	session := func(age time.Duration) *store.Session { return &store.Session{ID: "s", AuthTime: ago(age)} }
	flow := &store.Flow{Created: ago(time.Minute)}
	allowed := &store.Flow{Created: ago(time.Minute), Consent: "allowed", ConsentSession: "s"}
	age := func(s int64) *int64 { return &s }
	req := func(change ...func(*request)) *request {
		r := &request{RedirectURI: "https://app.example/cb", Scope: scope.Set{"orders:read"}}
		for _, c := range change {
			c(r)
		}
		return r
	}
	prompt := func(words ...string) func(*request) { return func(r *request) { r.Prompt = words } }
	for _, tt := range []struct {
		name string
		r    *request
		c    *store.Client
		s    *store.Session
		f    *store.Flow
		want verdict
		code string
	}{
		{"nobody", req(), first, nil, flow, needLogin, ""},
		{"first party", req(), first, session(time.Hour), flow, issueCode, ""},
		{"third party", req(), third, session(time.Hour), flow, needConsent, ""},
		{"third party, allowed", req(), third, session(time.Hour), allowed, issueCode, ""},
		{"allowed by another session", req(), third, session(time.Hour), &store.Flow{Consent: "allowed", ConsentSession: "x"}, needConsent, ""},
		{"denied", req(), third, session(time.Hour), &store.Flow{Consent: "denied", ConsentSession: "s"}, denied, ""},
		{"first party, loopback redirect", req(func(r *request) { r.RedirectURI = "http://127.0.0.1/cb" }), first, session(time.Hour), flow, needConsent, ""},
		{"first party, private scheme", req(func(r *request) { r.RedirectURI = "com.example.app:/cb" }), first, session(time.Hour), flow, needConsent, ""},
		{"first party, offline_access", req(func(r *request) { r.Scope = scope.Set{oauth.ScopeOffline} }), first, session(time.Hour), flow, needConsent, ""},
		{"first party, admin scope", req(func(r *request) { r.Scope = scope.Set{ScopeAdminRead} }), first, session(time.Hour), flow, needConsent, ""},
		{"first party, prompt=consent", req(prompt("consent")), first, session(time.Hour), flow, needConsent, ""},
		{"prompt=login, old session", req(prompt("login")), first, session(time.Hour), flow, needLogin, ""},
		{"prompt=login, signed in for it", req(prompt("login")), first, session(time.Second), flow, issueCode, ""},
		{"max_age passed", req(func(r *request) { r.MaxAge = age(60) }), first, session(time.Hour), flow, needLogin, ""},
		{"max_age=0, signed in for it", req(func(r *request) { r.MaxAge = age(0) }), first, session(time.Second), flow, issueCode, ""},
		{"max_age=0, old session", req(func(r *request) { r.MaxAge = age(0) }), first, session(2 * time.Minute), flow, needLogin, ""},
		{"prompt=none, nobody", req(prompt("none")), first, nil, flow, needLogin, oauth.LoginRequired},
		{"prompt=none, consent needed", req(prompt("none")), third, session(time.Hour), flow, needConsent, oauth.ConsentRequired},
		{"prompt=none, fine", req(prompt("none")), first, session(time.Hour), flow, issueCode, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := judgeAuthorize(tt.r, tt.c, tt.s, tt.f, now)
			if got != tt.want {
				t.Errorf("judgeAuthorize = %v, want %v", got, tt.want)
			}
			if e, ok := err.(*oauth.Error); tt.code != "" && (!ok || e.Code != tt.code) {
				t.Errorf("error = %v, want %s", err, tt.code)
			} else if tt.code == "" && err != nil {
				t.Errorf("error = %v, want none", err)
			}
		})
	}
}
