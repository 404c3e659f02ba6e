package bench

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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
func sample(i *Issuer, alg string, n int) (string, error) {
	now := time.Now().Truncate(time.Second)
	return i.Mint(&token.Claims{
		Issuer: i.URL, Subject: fmt.Sprintf("u_%022d", n), ClientID: i.ClientID, Audience: []string{i.Resource},
		Scope: scope.Set{"bench:read", "bench:write"}, IssuedAt: now, Expiry: now.Add(time.Hour), AuthTime: now,
		GrantID: fmt.Sprintf("g_%022d", n), SessionID: fmt.Sprintf("b_%022d", n), ACR: "1", Rev: 1 << 32,
	}, alg)
}

// samples mints n different ones on all processors. done is told of every 10,000th.
func samples(i *Issuer, alg string, n int, done func(int)) ([]string, error) {
	all := make([]string, n)
	err := inParallel(n, done, func(at int) (err error) {
		all[at], err = sample(i, alg, at)
		return err
	})
	return all, err
}

// inParallel calls f for 0 to n-1 on all processors until one fails, and done after
// every 10,000 of them, by one goroutine at a time.
func inParallel(n int, done func(int), f func(int) error) error {
	var next, finished atomic.Int64
	var failed atomic.Pointer[error]
	var telling sync.Mutex
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for at := int(next.Add(1) - 1); at < n && failed.Load() == nil; at = int(next.Add(1) - 1) {
				if err := f(at); err != nil {
					failed.Store(&err)
					return
				}
				if over := finished.Add(1); over%10_000 == 0 {
					telling.Lock()
					done(int(over))
					telling.Unlock()
				}
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func call(compact string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)
	if err != nil {
		panic(err) // a constant URL
	}
	r.Header.Set("Authorization", "Bearer "+compact)
	return r
}

// verify is the first sight of a token, all checks on, beside the check of its
// signature and nothing else.
func verify(alg string, goal float64) func(context.Context, rig, time.Duration) (Result, error) {
	return func(ctx context.Context, r rig, d time.Duration) (Result, error) {
		g, err := watch(ctx, r.Issuer, r.ClientID, -1)
		if err != nil {
			return Result{}, err
		}
		if err := revokeOne(ctx, r.Issuer, g); err != nil { // so that there is a rule to check against
			return Result{}, err
		}
		compact, err := sample(r.Issuer, alg, 1)
		if err != nil {
			return Result{}, err
		}
		key, err := publicKey(ctx, r.Issuer, compact)
		if err != nil {
			return Result{}, err
		}
		bare, err := bareCheck(key, compact)
		if err != nil {
			return Result{}, err
		}
		request, need := call(compact), guard.Need{Scopes: []string{"bench:read"}}
		v, b, err := turns(d,
			func(d time.Duration) (float64, error) {
				return perCall(d, func() error { _, err := g.Verify(request, need); return err })
			},
			func(d time.Duration) (float64, error) { return perCall(d, bare) })
		return Result{
			Value: v, Unit: "µs", Baseline: b, Goal: fmt.Sprintf("ratio ≤ %.2f", goal), Met: atMost(v/b, goal),
			Note: "first sight of a token, all checks, one live rule; baseline: the check of the decoded signature alone, in Go's crypto",
		}, err
	}
}

// bareCheck checks one signature, already decoded, and nothing else.
func bareCheck(key crypto.PublicKey, compact string) (func() error, error) {
	signed := []byte(compact[:strings.LastIndexByte(compact, '.')])
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	wrong := errors.New("the signature does not verify")
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		half := len(m.Signature) / 2
		der, err := asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(m.Signature[:half]), new(big.Int).SetBytes(m.Signature[half:]),
		})
		return func() error {
			sum := sha256.Sum256(signed)
			if !ecdsa.VerifyASN1(key, sum[:], der) {
				return wrong
			}
			return nil
		}, err
	case ed25519.PublicKey:
		return func() error {
			if !ed25519.Verify(key, signed, m.Signature) {
				return wrong
			}
			return nil
		}, nil
	case *rsa.PublicKey:
		return func() error {
			sum := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], m.Signature)
		}, nil
	}
	return nil, fmt.Errorf("no bare check for a key of type %T", key)
}

func publicKey(ctx context.Context, i *Issuer, compact string) (crypto.PublicKey, error) {
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
		if k.ID == m.Header.KeyID {
			return k.Public, nil
		}
	}
	return nil, errors.New("the token's key is not in the key set")
}
