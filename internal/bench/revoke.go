package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/jose"
)

// revoked is the time from the acknowledged revocation of a token to its refusal at
// the last of many guards, each with a connection of its own.
func revoked(many int, goal float64) func(context.Context, rig, time.Duration) (Result, error) {
	return func(ctx context.Context, r rig, d time.Duration) (Result, error) {
		guards, err := crowd(ctx, r.Issuer, many)
		if err != nil {
			return Result{}, err
		}
		return refusals(ctx, r.Issuer, guards, longer*d, goal)
	}
}

// revokedLoaded is the same at 200 guards while a gateway is kept busy.
func revokedLoaded(ctx context.Context, r rig, d time.Duration) (Result, error) {
	guards, err := crowd(ctx, r.Issuer, 200)
	if err != nil {
		return Result{}, err
	}
	compact, err := sample(r.Issuer, jose.ES256, 1)
	if err != nil {
		return Result{}, err
	}
	p, err := r.pair(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	type outcome struct {
		Loaded
		err error
	}
	over := make(chan outcome, 1)
	go func() {
		l, err := Load{Target: p.gateOrigin, Connections: 32, Time: longer * d, Next: Around([][]byte{Request(compact)}), Want: http.StatusOK}.Run()
		over <- outcome{l, err}
	}()
	result, err := refusals(ctx, r.Issuer, guards, longer*d, 25)
	load := <-over
	result.Note += fmt.Sprintf("; meanwhile 32 connections kept a gateway on the same processors busy with %.0f req/s", load.Rate())
	return result, errors.Join(err, load.err)
}

// crowd makes many guards, sixteen at a time, and waits until all are ready.
func crowd(ctx context.Context, i *Issuer, many int) ([]*guard.Guard, error) {
	guards := make([]*guard.Guard, many)
	failed := make([]error, many)
	places := make(chan struct{}, 16)
	var making sync.WaitGroup
	for n := range guards {
		making.Go(func() {
			places <- struct{}{}
			guards[n], failed[n] = watch(ctx, i, i.Watchers[n%len(i.Watchers)], 0)
			<-places
		})
	}
	making.Wait()
	return guards, errors.Join(failed...)
}

// calm is how long the guards are left alone before each revocation: their reports of the
// one before come within 50 ms, and of one soon after it within half a second.
const calm = 600 * time.Millisecond

// longer is how much more time revocations get than other figures: most of it is calm.
const longer = 3

// refusals revokes one token after another, each once every guard has accepted it.
func refusals(ctx context.Context, i *Issuer, guards []*guard.Guard, d time.Duration, goal float64) (Result, error) {
	var last, acknowledged []float64
	need := guard.Need{Scopes: []string{"bench:read"}}
	for end := time.Now().Add(d); time.Now().Before(end) && len(last) < 1000; {
		compact, err := ownToken(ctx, i)
		if err != nil {
			return Result{}, err
		}
		request := call(compact)
		for _, g := range guards {
			if _, err := g.Verify(request, need); err != nil {
				return Result{}, err
			}
		}
		time.Sleep(calm)
		start := time.Now()
		if err := giveUp(ctx, i, compact); err != nil {
			return Result{}, err
		}
		told := time.Now()
		if err := refused(guards, request, need, told.Add(5*time.Second)); err != nil {
			return Result{}, err
		}
		last = append(last, ms(time.Since(told)))
		acknowledged = append(acknowledged, ms(told.Sub(start)))
	}
	if len(last) == 0 {
		return Result{}, errors.New("no revocation fitted into the time")
	}
	v := percentile(last, 99)
	return Result{
		Value: v, Unit: "ms", Baseline: percentile(acknowledged, 99), Goal: fmt.Sprintf("p99 ≤ %v ms", goal), Met: atMost(v, goal),
		Note: fmt.Sprintf("to the last of %d guards in one process, p99 of %d, p50 %.2f ms, after the acknowledgement; baseline: p99 of the acknowledged call itself",
			len(guards), len(last), percentile(last, 50)),
	}, nil
}

// refused waits until every guard refuses the request because it was revoked.
func refused(guards []*guard.Guard, request *http.Request, need guard.Need, limit time.Time) error {
	for _, g := range guards {
		for {
			_, err := g.Verify(request, need)
			var refusal *guard.Refusal
			if errors.As(err, &refusal) {
				if refusal.Reason != guard.ReasonRevoked {
					return err
				}
				break
			}
			if time.Now().After(limit) {
				return errors.New("a guard still accepts the token")
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	return nil
}
