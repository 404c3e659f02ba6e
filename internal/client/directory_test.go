package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const issuer = "https://auth.example"

func put(t *testing.T, db *store.DB, c store.Client, entries ...store.Entry) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		for _, e := range entries {
			if err := tx.Append(e); err != nil {
				return err
			}
		}
		return tx.PutClient(&c)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A client is disabled, and the page of entries that the follower reads ends
// between the rule and the word of the change.
func TestRuleOnAClientForgetsIt(t *testing.T) {
	db := storetest.New(t, issuer)
	d := NewDirectory(db, false)
	put(t, db, store.Client{ID: "c"})
	if _, err := d.Client(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	put(t, db, store.Client{ID: "c", Disabled: true})
	for _, page := range [][]store.Entry{
		{{Position: 7, Kind: "jti", Value: "x"}},
		{{Position: 8, Kind: string(revoke.Client), Value: "c"}},
	} {
		d.Changed(page)
		c, err := d.Client(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.Disabled, d.Position() >= 8; got != want {
			t.Errorf("at position %d the client is disabled: %t, want %t", d.Position(), got, want)
		}
	}
}

// While a client is changed and changed again, nobody who read the position
// first sees it as it was before a rule at or below that position.
func TestPositionIsNeverAheadOfMemory(t *testing.T) {
	db := storetest.New(t, issuer)
	put(t, db, store.Client{ID: "c", Name: "0"})
	d := NewDirectory(db, false)
	log, err := feed.NewLog(feed.LogConfig{
		Issuer: issuer, Epoch: "e", Key: make([]byte, 32), Sign: func([]byte) (string, error) { return "", errors.New("nobody reads") },
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &revoke.Follower{DB: db, Log: log, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Changed: d.Changed}
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.Start(log.Applied())
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { _ = f.Run(ctx) }) // ctx's error

	// The n-th change is a rule at 2n-1 and word of it at 2n.
	const changes = 200
	var reads atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				rev := d.Position()
				c, err := d.Client(ctx, "c")
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				var n uint64
				if _, err := fmt.Sscan(c.Name, &n); err != nil || n < (rev+1)/2 {
					t.Errorf("at position %d the client is as after change %s, want %d or later", rev, c.Name, (rev+1)/2)
					return
				}
				reads.Add(1)
			}
		})
	}
	for n := range changes {
		put(t, db, store.Client{ID: "c", Name: fmt.Sprint(n + 1)},
			store.Entry{Kind: string(revoke.Client), Value: "c", Effect: "end", At: time.Now(), Until: time.Now().Add(time.Hour)},
			store.Entry{Kind: KindConfig, Value: "c", At: time.Now()})
	}
	for deadline := time.Now().Add(10 * time.Second); d.Position() < 2*changes || reads.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("position = %d after 10 s, want %d", d.Position(), 2*changes)
		}
	}
}
