package revoke

import (
	"log/slog"
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

func until(kind string, now time.Time) time.Time {
	if kind == "config" {
		return time.Time{}
	}
	return now.Add(time.Hour)
}
