package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/store"
)

// TestKill kills the server again and again while a client refreshes. Whatever
// the moment, the client goes on with the token it holds: an answer that was lost
// must not log anybody out, and what was acknowledged is there after the restart.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 25
	switch {
	case os.Getenv("WRIT_SOAK") != "":
		kills = 200
	case testing.Short():
		kills = 3
	}
	eachDatabase(t, func(t *testing.T, database string) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		k := &killing{authority: serve(t, database), chance: rand.New(rand.NewPCG(seed, 0)), held: map[string]string{}}
		alice := k.person(t, "alice")
		ids := []string{"web", "spa"}
		for _, id := range ids {
			k.held[id] = k.grant(t, alice.allow(t, id, "offline_access orders:read")).Refresh
		}
		k.spread = k.latency(t)
		for i := range kills {
			k.once(t, ids[i%len(ids)])
		}
		slices.Sort(k.starts)
		t.Logf("%d kills within %v: %d before the commit, %d between commit and answer; restarts took %v (median) to %v",
			kills, k.spread, kills-k.between, k.between, k.starts[kills/2], k.starts[kills-1])
	})
}

// killing is a server that is killed while a client refreshes.
type killing struct {
	*authority
	chance *rand.Rand
	held   map[string]string // the newest refresh token each client got
	spread time.Duration     // kills come within so long of a request

	between int             // kills that came after the commit and before the answer
	starts  []time.Duration // how long each restart took
}

// latency returns somewhat more than a refresh takes here, so that kills come
// before, in and after its commit.
func (k *killing) latency(t *testing.T) time.Duration {
	t.Helper()
	const times = 10
	began := time.Now()
	for range times {
		k.held["web"] = k.authority.grant(t, refreshing("web", k.held["web"])).Refresh
	}
	return max(3*time.Millisecond, time.Since(began)/times*3/2)
}

// once refreshes until the server is killed, restarts it, and refreshes again.
func (k *killing) once(t *testing.T, id string) {
	t.Helper()
	fresh := newClient(t) // no connection from before the last restart
	requests, delay := 1+k.chance.IntN(3), time.Duration(k.chance.Int64N(int64(k.spread)))
	sent := make(chan struct{}, 1)
	lost := make(chan error, 1)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			select {
			case sent <- struct{}{}:
			default:
			}
		},
	})
	go func() { lost <- k.refresh(ctx, fresh, id) }()
	for range requests {
		select {
		case <-sent:
		case err := <-lost:
			t.Fatalf("the server did not answer before it was killed: %v", err)
		}
	}
	time.Sleep(delay) // the moment is what the test is about
	k.kill()
	var refused *refusal
	if err := <-lost; errors.As(err, &refused) {
		t.Fatalf("%s: a refresh was refused: %s", id, refused.body)
	}
	k.starts = append(k.starts, k.start(t))
	k.count(t, id)

	next := k.authority.grant(t, refreshing(id, k.held[id]))
	if !k.active(t, "gateway", next.Access) {
		t.Fatalf("%s: the access token after the restart is not good", id)
	}
	k.held[id] = next.Refresh
}

// refresh refreshes until there is no answer.
func (k *killing) refresh(ctx context.Context, through *http.Client, id string) error {
	for {
		r, err := k.try(ctx, through, refreshing(id, k.held[id]))
		if err != nil {
			return err
		}
		var got tokens
		_ = json.Unmarshal(r.body, &got) // what is missing is checked next
		if r.status != http.StatusOK || got.Refresh == "" {
			return &refusal{r}
		}
		k.held[id] = got.Refresh
	}
}

// refusal is an answer that the client must not get.
type refusal struct{ reply }

func (r *refusal) Error() string { return string(r.body) }

// count looks into the store for what the kill did, and that there is one grant
// of each client, alive.
func (k *killing) count(t *testing.T, id string) {
	t.Helper()
	db := k.open(t)
	defer db.Close()
	var record *store.Refresh
	var grants []*store.Grant
	err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		if record, err = tx.Refresh(client.HashSecret(k.held[id])); err != nil {
			return err
		}
		grants, err = tx.GrantsOf("u_alice")
		return err
	})
	if err != nil {
		t.Fatalf("the token that was acknowledged is not in the store: %v", err)
	}
	if len(grants) != len(k.held) {
		t.Fatalf("%d grants live, want %d", len(grants), len(k.held))
	}
	if !record.Spent.IsZero() {
		k.between++
	}
}
