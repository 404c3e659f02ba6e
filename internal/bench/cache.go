package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/jose"
)

// cacheHit is a token seen before, among many, with revocation check.
func cacheHit(many int, goal float64) func(context.Context, rig, time.Duration) (Result, error) {
	return func(ctx context.Context, r rig, d time.Duration) (Result, error) {
		// The cheapest to sign and check together: what a hit costs does not depend on it.
		tokens, err := samples(r.Issuer, jose.Ed25519, many, r.counted("signed", many))
		if err != nil {
			return Result{}, err
		}
		headers := make([]string, many)
		for n, compact := range tokens {
			headers[n] = "Bearer " + compact
		}
		tokens = nil
		before := memory()
		// Four times the room, because a set of the cache may be full while others are not.
		g, err := watch(ctx, r.Issuer, r.ClientID, 4*many)
		if err != nil {
			return Result{}, err
		}
		if err := revokeOne(ctx, r.Issuer, g); err != nil {
			return Result{}, err
		}
		need := guard.Need{Scopes: []string{"bench:read"}}
		err = inParallel(many, r.counted("verified", many), func(n int) error {
			_, err := g.Verify(call(headers[n][len("Bearer "):]), need)
			return err
		})
		if err != nil {
			return Result{}, err
		}
		size := float64(memory()-before) / float64(many)
		v, b, allocs, err := hits(d, g, headers, need)
		if err != nil {
			return Result{}, err
		}
		met := v <= goal && allocs < 0.01
		return Result{
			Value: v, Unit: "µs", Baseline: b, Goal: fmt.Sprintf("≤ %v µs, no allocation", goal), Met: &met,
			Note: fmt.Sprintf("%.2f allocations a hit, %.0f bytes an entry (room for four times as many, and a token of %d bytes, included); baseline: looking the token up in a Go map",
				allocs, size, len(headers[0])-len("Bearer ")),
		}, nil
	}
}

// counted tells how far a long preparation has come; a short one is none of anybody's concern.
func (r rig) counted(what string, many int) func(int) {
	return func(n int) {
		if many >= 100_000 && n%100_000 == 0 {
			r.Progress(fmt.Sprintf("%d of %d tokens %s…", n, many, what))
		}
	}
}

// hits measures lookups of all headers in turn, by the guard and in a Go map.
func hits(d time.Duration, g *guard.Guard, headers []string, need guard.Need) (v, b, allocs float64, err error) {
	known := make(map[string]bool, len(headers))
	for _, h := range headers {
		known[h] = true
	}
	// One request takes every header in turn: the request itself has just been
	// read when a guard sees it.
	request, n := call(""), 0
	next := func() *http.Request {
		n = (n + 7919) % len(headers)
		request.Header["Authorization"][0] = headers[n]
		return request
	}
	v, b, err = turns(d,
		func(d time.Duration) (float64, error) {
			return perCall(d, func() error { _, err := g.Verify(next(), need); return err })
		},
		func(d time.Duration) (float64, error) {
			return perCall(d, func() error {
				if !known[next().Header["Authorization"][0]] {
					return errors.New("lost a token")
				}
				return nil
			})
		})
	return v, b, allocations(10_000, func() { _, _ = g.Verify(next(), need) }), err
}
