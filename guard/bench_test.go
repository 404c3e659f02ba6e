package guard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// benched is a guard with rules that hit nobody, and requests to it.
func benched(b *testing.B, alg string, rules, tokens int, with func(*Config)) (*Guard, []*http.Request) {
	i := newIssuer(b)
	i.key = newSigner(b, "key-1", alg)
	i.publish(b, i.key.Key)
	g := i.guard(b, with)
	for n := range rules {
		i.rule(feed.KindGrant, fmt.Sprint("ended-", n), feed.End)
	}
	settled(b, g, i)
	requests := make([]*http.Request, tokens)
	for n := range requests {
		c := i.claims()
		c.ACR, c.AuthTime = "urn:example:mfa", i.in(0)
		requests[n] = bearer(i.token(b, c))
	}
	rand.Shuffle(len(requests), func(x, y int) { requests[x], requests[y] = requests[y], requests[x] })
	return g, requests
}

func BenchmarkBare(b *testing.B) {
	for _, alg := range jose.Algorithms() {
		b.Run(alg, func(b *testing.B) {
			i := newIssuer(b)
			i.key = newSigner(b, "key-1", alg)
			m, err := jose.Parse(i.token(b, i.claims()))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := i.key.Verify(m.Signed, m.Signature); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCold(b *testing.B) {
	for _, alg := range jose.Algorithms() {
		for _, rules := range []int{0, 1000} {
			b.Run(fmt.Sprintf("%s/rules=%d", alg, rules), func(b *testing.B) {
				g, requests := benched(b, alg, rules, 1, func(c *Config) { c.CacheTokens = -1 })
				b.ReportAllocs()
				for b.Loop() {
					if _, err := g.Verify(requests[0], Need{Scopes: []string{"orders:read"}}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkHit(b *testing.B) {
	for _, tokens := range []int{1, 10000} {
		for _, rules := range []int{0, 1000} {
			b.Run(fmt.Sprintf("tokens=%d/rules=%d", tokens, rules), func(b *testing.B) {
				g, requests := benched(b, jose.ES256, rules, tokens, nil)
				n := Need{Scopes: []string{"orders:read"}}
				for _, r := range requests {
					if _, err := g.Verify(r, n); err != nil {
						b.Fatal(err)
					}
				}
				// One request with changing headers: a server has just read it.
				values := make([]string, len(requests))
				for at, r := range requests {
					values[at] = r.Header.Get("Authorization")
				}
				r := requests[0].Clone(b.Context())
				b.ReportAllocs()
				at := 0
				for b.Loop() {
					r.Header["Authorization"][0] = values[at]
					if _, err := g.Verify(r, n); err != nil {
						b.Fatal(err)
					}
					if at++; at == len(values) {
						at = 0
					}
				}
			})
		}
	}
}

func BenchmarkRequire(b *testing.B) {
	g, requests := benched(b, jose.ES256, 1000, 1, nil)
	h := g.Require("orders:read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := requests[0].WithContext(context.Background())
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkForged(b *testing.B) {
	g, requests := benched(b, jose.ES256, 0, 1, nil)
	thief := newSigner(b, "key-1", jose.ES256)
	claims, err := token.InsecureParse(requests[0].Header.Get("Authorization")[len("Bearer "):])
	if err != nil {
		b.Fatal(err)
	}
	payload, err := claims.Encode()
	if err != nil {
		b.Fatal(err)
	}
	r := bearer(thief.sign(b, `{"alg":"ES256","typ":"at+jwt","kid":"key-1"}`, string(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Verify(r, Need{}); err == nil {
			b.Fatal("admitted")
		}
	}
}
