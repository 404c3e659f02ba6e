package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// watch makes a guard for the issuer's resource that follows its feed as client.
func watch(ctx context.Context, i *Issuer, clientID string, cached int) (*guard.Guard, error) {
	client, err := relay.New(relay.Config{Issuer: i.URL, ClientID: clientID, Secret: i.Secret})
	if err != nil {
		return nil, err
	}
	g, err := guard.New(ctx, client.Follow(guard.Config{
		Issuer: i.URL, Audience: i.Resource, CacheTokens: cached, Logger: quiet(),
	}))
	if err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := g.Ready(limit); err != nil {
		return nil, fmt.Errorf("guard is not ready: %w", err)
	}
	return g, nil
}

// sample mints an ordinary access token of 14 claims.
func sample(i *Issuer, n int) (string, error) {
	now := time.Now().Truncate(time.Second)
	return i.Mint(&token.Claims{
		Issuer: i.URL, Subject: fmt.Sprintf("u_%022d", n), ClientID: i.ClientID, Audience: []string{i.Resource},
		Scope: scope.Set{"bench:read", "bench:write"}, IssuedAt: now, Expiry: now.Add(time.Hour), AuthTime: now,
		GrantID: fmt.Sprintf("g_%022d", n), SessionID: fmt.Sprintf("b_%022d", n), ACR: "1", Rev: 1 << 32,
	})
}

func call(compact string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)
	if err != nil {
		panic(err) // a constant URL
	}
	r.Header.Set("Authorization", "Bearer "+compact)
	return r
}

// verifyES256 is the first sight of a token, all checks on, beside the check of
// its signature and nothing else.
func verifyES256(ctx context.Context, i *Issuer, d time.Duration) (Result, error) {
	g, err := watch(ctx, i, i.ClientID, -1)
	if err != nil {
		return Result{}, err
	}
	if err := revokeOne(ctx, i); err != nil { // so that there is a rule to check against
		return Result{}, err
	}
	compact, err := sample(i, 1)
	if err != nil {
		return Result{}, err
	}
	key, err := publicKey(ctx, i, compact)
	if err != nil {
		return Result{}, err
	}
	request, need := call(compact), guard.Need{Scopes: []string{"bench:read"}}
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) {
			return perCall(d, func() error { _, err := g.Verify(request, need); return err })
		},
		func(d time.Duration) (float64, error) { return bareCheck(d, key, compact) })
	return Result{
		Value: v, Unit: "µs", Baseline: b, Goal: "ratio ≤ 1.15", Met: atMost(v/b, 1.15),
		Note: "first sight of a token, all checks; baseline: SHA-256 and ecdsa.VerifyASN1 alone",
	}, err
}

// bareCheck hashes and checks one signature, already decoded.
func bareCheck(d time.Duration, key *ecdsa.PublicKey, compact string) (float64, error) {
	signed := []byte(compact[:strings.LastIndexByte(compact, '.')])
	m, err := jose.Parse(compact)
	if err != nil {
		return 0, err
	}
	half := len(m.Signature) / 2
	der, err := asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(m.Signature[:half]), new(big.Int).SetBytes(m.Signature[half:]),
	})
	if err != nil {
		return 0, err
	}
	return perCall(d, func() error {
		sum := sha256.Sum256(signed)
		if !ecdsa.VerifyASN1(key, sum[:], der) {
			return errors.New("the signature does not verify")
		}
		return nil
	})
}

func publicKey(ctx context.Context, i *Issuer, compact string) (*ecdsa.PublicKey, error) {
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	body, err := get(ctx, i.URL+"/jwks")
	if err != nil {
		return nil, err
	}
	keys, _, err := jose.ParseSet(body)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if public, ok := k.Public.(*ecdsa.PublicKey); ok && k.ID == m.Header.KeyID {
			return public, nil
		}
	}
	return nil, errors.New("the token's key is not in the key set")
}

// cacheHit is a token seen before, among 10,000 hot ones, with revocation check.
func cacheHit(ctx context.Context, i *Issuer, d time.Duration) (Result, error) {
	const hot = 10_000
	g, err := watch(ctx, i, i.ClientID, 0)
	if err != nil {
		return Result{}, err
	}
	if err := revokeOne(ctx, i); err != nil {
		return Result{}, err
	}
	headers := make([]string, hot)
	known := make(map[string]*token.Claims, hot)
	need := guard.Need{Scopes: []string{"bench:read"}}
	for n := range headers {
		compact, err := sample(i, n)
		if err != nil {
			return Result{}, err
		}
		headers[n] = "Bearer " + compact
		if known[headers[n]], err = g.Verify(call(compact), need); err != nil {
			return Result{}, err
		}
	}
	// One request takes every header in turn: the request itself has just been
	// read when a guard sees it.
	request, n := call(""), 0
	next := func() *http.Request {
		n = (n + 7919) % hot
		request.Header["Authorization"][0] = headers[n]
		return request
	}
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) {
			return perCall(d, func() error { _, err := g.Verify(next(), need); return err })
		},
		func(d time.Duration) (float64, error) {
			return perCall(d, func() error {
				if known[next().Header["Authorization"][0]] == nil {
					return errors.New("lost a token")
				}
				return nil
			})
		})
	if err != nil {
		return Result{}, err
	}
	allocs := allocations(10_000, func() { _, _ = g.Verify(next(), need) })
	met := v <= 1 && allocs < 0.01
	return Result{
		Value: v, Unit: "µs", Baseline: b, Goal: "≤ 1 µs, no allocation", Met: &met,
		Note: fmt.Sprintf("%.2f allocations a hit; baseline: looking the token up in a Go map", allocs),
	}, nil
}

// allocations counts allocations a call. Other goroutines allocate now and then,
// so it is rarely exactly 0.
func allocations(n int, f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}
