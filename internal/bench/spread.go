package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
)

// idle is how long the readers are left alone to see what heartbeats cost.
const idle = 3 * time.Second

// pause is how long the readers are left alone before each revocation.
const pause = 100 * time.Millisecond

// spread is the time from the acknowledged revocation of a token until the last of
// many readers of the feed holds the rule. The readers are in another process, each
// with a connection of its own, so that what they cost the server can be told.
func spread(many int, goal float64) func(context.Context, rig, time.Duration) (Result, error) {
	return func(ctx context.Context, r rig, d time.Duration) (Result, error) {
		if err := descriptors(many + 1000); err != nil {
			return Result{Unit: "ms", Goal: fmt.Sprintf("p99 ≤ %v ms", goal), Note: "left out: " + err.Error()}, nil
		}
		before := memory()
		p, err := Launch(r.Self(ctx, "bench", "child", "readers"))
		if err != nil {
			return Result{}, err
		}
		defer p.Close()
		ready := 0
		if err := errors.Join(p.Tell(readers{r.URL, r.Watchers, r.Secret, many}), p.Hear(&ready, 2*time.Minute)); err != nil {
			return Result{}, err
		}
		cost := costs(many, memory()-before)
		last, acknowledged, err := arrivals(ctx, r, p, d)
		if err != nil {
			return Result{}, err
		}
		v := percentile(last, 99)
		return Result{
			Value: v, Unit: "ms", Baseline: percentile(acknowledged, 99), Goal: fmt.Sprintf("p99 ≤ %v ms", goal), Met: atMost(v, goal),
			Note: fmt.Sprintf("to the last of %d readers in one other process, which check each batch's signature once for all and do not report back, p99 of %d, p50 %.2f ms, after the acknowledgement; %s; baseline: p99 of the acknowledged call itself",
				many, len(last), percentile(last, 50), cost),
		}, nil
	}
}

// costs says in words what the readers cost the server while nothing happens.
func costs(many, memory int) string {
	text := fmt.Sprintf("the server needs %.1f KiB of heap and stacks for each", float64(memory)/1024/float64(many))
	before, err := ownCPU(os.Getpid())
	time.Sleep(idle)
	after, err2 := ownCPU(os.Getpid())
	if err != nil || err2 != nil {
		return text
	}
	return fmt.Sprintf("%s and, with heartbeats alone, %.1f %% of a processor for all", text, 100*(after-before).Seconds()/idle.Seconds())
}

// arrivals revokes one token after another and asks when all readers held the rule.
func arrivals(ctx context.Context, r rig, p *Process, d time.Duration) (last, acknowledged []float64, err error) {
	for end := time.Now().Add(d); time.Now().Before(end) && len(last) < 1000; {
		compact, err := ownToken(ctx, r.Issuer)
		if err != nil {
			return nil, nil, err
		}
		time.Sleep(pause)
		start := time.Now()
		if err := giveUp(ctx, r.Issuer, compact); err != nil {
			return nil, nil, err
		}
		told := time.Now()
		var held time.Time
		if err := p.Hear(&held, 30*time.Second); err != nil {
			return nil, nil, err
		}
		last = append(last, max(0, ms(held.Sub(told))))
		acknowledged = append(acknowledged, ms(told.Sub(start)))
	}
	if len(last) == 0 {
		return nil, nil, errors.New("no revocation fitted into the time")
	}
	return last, acknowledged, nil
}

// readers is what a child that follows the feed many times over is asked for.
type readers struct {
	Issuer  string
	Clients []string // each follows it with the same number of connections
	Secret  string
	Count   int
}

// childReaders says how many readers hold the feed, and then for each batch of rules
// at what time the last of them held it.
func childReaders(ctx context.Context, asked *json.Decoder, out io.Writer) error {
	var want readers
	if err := asked.Decode(&want); err != nil {
		return err
	}
	if err := descriptors(want.Count + 100); err != nil {
		return err
	}
	in, err := newInspector(ctx, want.Issuer)
	if err != nil {
		return err
	}
	held := &audience{size: want.Count, holding: map[uint64]int{}, all: make(chan time.Time, 16)}
	if err := want.follow(ctx, in, held); err != nil {
		return err
	}
	say := json.NewEncoder(out)
	if err := say.Encode(want.Count); err != nil {
		return err
	}
	go func() {
		for at := range held.all {
			_ = say.Encode(at) // the other side may be gone
		}
	}()
	return nil
}

// follow starts the readers and returns when all have a snapshot.
func (want readers) follow(ctx context.Context, in *inspector, held *audience) error {
	const together = 250 // that connect at once
	credentials := want.credentials()
	arrived := make(chan struct{}, want.Count)
	waiting := 0
	for n := range want.Count {
		first := sync.OnceFunc(func() { arrived <- struct{}{} })
		reader, err := feed.NewReader(feed.ReaderConfig{
			Issuer: want.Issuer, URL: want.Issuer + "/feed/events", Client: &http.Client{Transport: &http.Transport{}},
			Credential: credentials[n%len(credentials)], Verify: in.verify, Logger: quiet(),
			Applied: func(b feed.Batch) {
				first()
				if !b.Snapshot {
					held.holds(b.Position)
				}
			},
		})
		if err != nil {
			return err
		}
		go func() { _ = reader.Run(ctx) }() // ctx's error
		if waiting++; waiting < together && n+1 < want.Count {
			continue
		}
		for ; waiting > 0; waiting-- {
			select {
			case <-arrived:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// credentials are a token for each client, got when its first reader asks.
func (want readers) credentials() []func(context.Context) (string, error) {
	var all []func(context.Context) (string, error)
	for _, id := range want.Clients {
		i := &Issuer{URL: want.Issuer, ClientID: id, Secret: want.Secret, Resource: want.Issuer + "/feed"}
		var token string
		var failed error
		once := sync.OnceFunc(func() { token, failed = ownToken(context.Background(), i) })
		all = append(all, func(context.Context) (string, error) { once(); return token, failed })
	}
	return all
}

// An audience counts how many readers hold each batch.
type audience struct {
	size int
	all  chan time.Time // when the last of them held one

	mu      sync.Mutex
	holding map[uint64]int // guarded by mu; by position
}

func (a *audience) holds(position uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holding[position]++; a.holding[position] == a.size {
		delete(a.holding, position)
		a.all <- time.Now()
	}
}

// An inspector checks each message of the feed once, whoever asks: readers of the
// real world have a processor each.
type inspector struct {
	keys map[string]*jose.Key

	mu      sync.Mutex
	seen    string // guarded by mu; the message checked last
	payload []byte // guarded by mu; and what it says
}

func newInspector(ctx context.Context, issuer string) (*inspector, error) {
	body, err := get(ctx, issuer+"/feed/jwks")
	if err != nil {
		return nil, err
	}
	keys, _, err := jose.ParseSet(body)
	if err != nil {
		return nil, err
	}
	in := &inspector{keys: map[string]*jose.Key{}}
	for _, k := range keys {
		in.keys[k.ID] = &k
	}
	return in, nil
}

func (in *inspector) verify(_ context.Context, compact string) ([]byte, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if compact == in.seen {
		return in.payload, nil
	}
	payload, err := in.check(compact)
	if err == nil {
		in.seen, in.payload = compact, payload
	}
	return payload, err
}

// check is verify for one who checks alone.
func (in *inspector) check(compact string) ([]byte, error) {
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	key := in.keys[m.Header.KeyID]
	if key == nil || !m.Header.Is("writ-feed+jwt") {
		return nil, errors.New("not a message of the feed")
	}
	if err := m.Verify(key); err != nil {
		return nil, err
	}
	return m.Payload, nil
}
