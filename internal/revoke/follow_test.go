package revoke

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// TestFollowerAfterGap: word of a changed client is not kept for ever. A replica
// that could not read for so long, because it slept or was cut off, must take all
// it knows for old, or a client that was disabled meanwhile goes on there.
func TestFollowerAfterGap(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db, now := open("https://as.example"), time.Now()
		log, err := feed.NewLog(feed.LogConfig{
			Issuer: "https://as.example", Epoch: "e", Key: make([]byte, 32), Sign: func([]byte) (string, error) { return "x", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		forgot := 0
		f := &Follower{
			DB: db, Log: log, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
			Changed: func(entries []store.Entry) {
				if entries == nil {
					forgot++
				}
			},
		}
		step := func() {
			t.Helper()
			if err := f.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		add := func(kind string) {
			t.Helper()
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				return tx.Append(store.Entry{Kind: kind, Value: "x", Effect: "end", At: now, Until: until(kind, now)})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		add("config")
		now = now.Add(time.Minute)
		step()
		if forgot != 0 {
			t.Fatal("all was forgotten although nothing was missed")
		}

		add("config") // never read
		now = now.Add(2 * time.Hour)
		add("jti")
		if _, err := db.Purge(t.Context(), now, 1000); err != nil {
			t.Fatal(err)
		}
		step()
		if forgot != 1 {
			t.Errorf("forgot all %d times, want once: an entry was gone before it was read", forgot)
		}
		step()
		if forgot != 1 {
			t.Errorf("forgot all %d times, want once", forgot)
		}
	})
}

// TestWrongClockVouchesForNothing: rules of a replica whose clock is wrong go out, its
// word of how fresh they are does not.
func TestWrongClockVouchesForNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db, now := open(issuer), time.Now()
		log, err := feed.NewLog(feed.LogConfig{Issuer: issuer, Epoch: "e", Key: make([]byte, 32), Sign: func([]byte) (string, error) { return "x", nil }})
		if err != nil {
			t.Fatal(err)
		}
		var wrong error
		f := &Follower{DB: db, Log: log, Now: func() time.Time { return now }, Fit: func() error { return wrong }, Logger: slog.New(slog.DiscardHandler)}
		if err := f.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		right := now
		wrong, now = errors.New("ahead"), now.Add(5*time.Minute)
		err = db.Update(t.Context(), func(tx *store.Tx) error {
			return tx.Append(store.Entry{Kind: "jti", Value: "x", Effect: "end", At: now, Until: until("jti", now)})
		})
		if err == nil {
			err = f.step(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if log.Applied() == 0 || !log.AsOf().Equal(right) {
			t.Errorf("position %d as of %s, want the rule, as of %s", log.Applied(), log.AsOf(), right)
		}
		wrong, now = nil, right.Add(time.Second)
		if err := f.step(t.Context()); err != nil || !log.AsOf().Equal(now) {
			t.Errorf("put right: as of %s, %v, want %s", log.AsOf(), err, now)
		}
	})
}

// TestReplicas: a rule written at one replica reaches the feeds of the others, by
// LISTEN/NOTIFY long before they would poll, and by polling where notifications are lost.
func TestReplicas(t *testing.T) {
	database := storetest.Postgres(t)
	for name, row := range map[string]struct {
		listens bool
		poll    time.Duration
		within  time.Duration
	}{
		"notified": {true, time.Hour, 5 * time.Second},
		"polling":  {false, 50 * time.Millisecond, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			writer, other := storetest.Open(t, database, issuer), storetest.Open(t, database, issuer)
			ctx, stop := context.WithCancel(t.Context())
			var loops sync.WaitGroup
			defer loops.Wait()
			defer stop()
			loops.Go(func() { _ = writer.Run(ctx) }) // sends the notifications
			if row.listens {
				loops.Go(func() { _ = other.Run(ctx) })
				<-other.Changed() // it listens
			}
			log, err := feed.NewLog(feed.LogConfig{
				Issuer: issuer, Epoch: "e", Key: make([]byte, 32), Sign: func([]byte) (string, error) { return "x", nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			f := &Follower{DB: other, Log: log, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Poll: row.poll}
			if err := f.Load(ctx); err != nil {
				t.Fatal(err)
			}
			loops.Go(func() { _ = f.Run(ctx) })
			for n := range 20 {
				before, now := log.Applied(), time.Now()
				o := Order{Kind: Grant, Value: fmt.Sprint(name, n), Now: now, Until: now.Add(time.Hour)}
				if err := writer.Update(ctx, func(tx *store.Tx) error { return Write(tx, o) }); err != nil {
					t.Fatal(err)
				}
				for log.Applied() == before {
					if time.Since(now) > row.within {
						t.Fatalf("rule %d did not arrive within %v", n, row.within)
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
}

// TestCutOffReplicaGoesSilent: a replica that cannot read the database vouches for nothing,
// although its guards' connections stand; they see their state age.
func TestCutOffReplicaGoesSilent(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db := open(issuer)
		ctx, stop := context.WithCancel(t.Context())
		var loops sync.WaitGroup
		defer loops.Wait()
		defer stop()
		plainly := func(payload []byte) (string, error) { return base64.RawURLEncoding.EncodeToString(payload), nil }
		log, err := feed.NewLog(feed.LogConfig{
			Issuer: issuer, Epoch: "e", Key: make([]byte, 32), Sign: plainly, Heartbeat: 20 * time.Millisecond,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		f := &Follower{DB: db, Log: log, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Poll: 20 * time.Millisecond}
		if err := f.Load(ctx); err != nil {
			t.Fatal(err)
		}
		loops.Go(func() { _ = f.Run(ctx) })
		loops.Go(func() { _ = log.Run(ctx) })
		server := httptest.NewServer(log.Events())
		defer server.Close()
		defer stop() // lets the stream go, which Close waits for
		reader, err := feed.NewReader(feed.ReaderConfig{
			Issuer: issuer, URL: server.URL, Credential: func(context.Context) (string, error) { return "x", nil },
			Verify: func(_ context.Context, compact string) ([]byte, error) {
				return base64.RawURLEncoding.DecodeString(compact)
			},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		loops.Go(func() { _ = reader.Run(ctx) })
		age := func() time.Duration { v := reader.View(); return v.Age(time.Now()) }
		deadline := time.Now().Add(10 * time.Second)
		for v := reader.View(); !v.Ready || age() > 200*time.Millisecond; v = reader.View() {
			if time.Now().After(deadline) {
				t.Fatalf("the reader is not up to date: %+v", v)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := db.Close(); err != nil { // the database is gone for this replica
			t.Fatal(err)
		}
		cut := time.Now()
		for age() < 1500*time.Millisecond {
			if time.Since(cut) > 10*time.Second {
				t.Fatalf("the state is %v old %v after the replica lost the database", age(), time.Since(cut))
			}
			time.Sleep(10 * time.Millisecond)
		}
		// Heartbeats need a reading of the head younger than 500 ms.
		if vouched := reader.View().AsOf; vouched.After(cut.Add(time.Second)) {
			t.Errorf("the replica vouched for %v after it was cut off", vouched.Sub(cut))
		}
		if log.Subscribers() != 1 {
			t.Errorf("%d connections, want the one to stand", log.Subscribers())
		}
	})
}

func until(kind string, now time.Time) time.Time {
	if kind == "config" {
		return time.Time{}
	}
	return now.Add(time.Hour)
}
