package mint_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// TestWrongClockDoesNotMint: a replica whose clock is off signs nothing, whichever way it
// is off, and goes on once it is right again. Its keys stay published.
func TestWrongClockDoesNotMint(t *testing.T) {
	db := storetest.Open(t, storetest.Postgres(t), issuer)
	off := time.Duration(0)
	m, err := mint.Open(t.Context(), mint.Config{
		Issuer: issuer, DB: db, Seal: sealer(t, 1), Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(off) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		off  time.Duration
		fits bool
	}{{0, true}, {3 * time.Second, false}, {500 * time.Millisecond, true}, {-3 * time.Second, false}, {-500 * time.Millisecond, true}} {
		off = row.off
		m.CheckClock(t.Context())
		_, err := m.Access(claims(time.Now(), time.Minute), "")
		_, id := m.IDToken(map[string]any{"sub": "u_1"})
		if row.fits && (err != nil || id != nil || !m.Ready()) {
			t.Errorf("off by %v: %v, %v, ready %t, want tokens", row.off, err, id, m.Ready())
		}
		if !row.fits && (!errors.Is(err, mint.ErrClock) || !errors.Is(id, mint.ErrClock) || m.Ready()) {
			t.Errorf("off by %v: %v, %v, ready %t, want ErrClock", row.off, err, id, m.Ready())
		}
		if set, err := m.Set(); err != nil || len(set) == 0 {
			t.Errorf("off by %v: no key set, %v", row.off, err)
		}
	}
}
