package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// flood is how long good tokens wait at the gateway while four clients send tokens
// of made-up keys and the issuer takes 100 ms for every answer, beside the same
// without them.
func flood(ctx context.Context, r rig, d time.Duration) (Result, error) {
	tokens, err := samples(r.Issuer, jose.ES256, 1000, func(int) {})
	if err != nil {
		return Result{}, err
	}
	p, err := r.pair(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	requests, forge := Requests(tokens), forger(tokens[0])
	live := Load{Target: p.gateOrigin, Connections: 32, Next: Once(requests), Want: http.StatusOK}
	if _, err := live.Run(); err != nil {
		return Result{}, err
	}
	r.Delay(100 * time.Millisecond)
	live.Next = Around(requests)
	forged := 0
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) {
			live.Time = d
			over := make(chan error, 1)
			go func() {
				l, err := Load{Target: p.gateOrigin, Connections: 4, Time: d, Next: forge, Want: http.StatusUnauthorized}.Run()
				forged += l.Requests
				over <- err
			}()
			l, err := live.Run()
			if err := errors.Join(err, <-over); err != nil {
				return 0, err
			}
			return l.Wait(99), nil
		},
		func(d time.Duration) (float64, error) {
			live.Time = d
			l, err := live.Run()
			if err != nil {
				return 0, err
			}
			return l.Wait(99), nil
		})
	return Result{
		Value: v, Unit: "ms", Baseline: b, Goal: "ratio ≤ 1.2", Met: atMost(v/b, 1.2),
		Note: fmt.Sprintf("p99 of 32 connections with good tokens, while four others sent %d tokens with a random kid and the issuer took 100 ms to answer; baseline: the same without the four", forged),
	}, err
}

// forger makes tokens like compact under keys that the issuer never had.
func forger(compact string) func() []byte {
	_, rest, _ := strings.Cut(compact, ".")
	return func() []byte {
		header := jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: rand.Text()}.Encode()
		return Request(base64.RawURLEncoding.EncodeToString(header) + "." + rest)
	}
}
