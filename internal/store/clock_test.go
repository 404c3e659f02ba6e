package store_test

import (
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// TestOffset: a clock that is wrong is found out against the one that replicas share.
func TestOffset(t *testing.T) {
	db := storetest.Open(t, storetest.Postgres(t), "https://as.example")
	for _, by := range []time.Duration{0, 5 * time.Second, -5 * time.Second} {
		got, err := db.Offset(t.Context(), func() time.Time { return time.Now().Add(by) })
		if err != nil {
			t.Fatal(err)
		}
		if off := got - by; off < -time.Second || off > time.Second || by == 0 && got != 0 {
			t.Errorf("offset of a clock that is off by %v = %v", by, got)
		}
	}
}

// TestOffsetOfEmbedded: there is one clock, the machine's.
func TestOffsetOfEmbedded(t *testing.T) {
	var db *store.DB = storetest.New(t, "https://as.example")
	got, err := db.Offset(t.Context(), func() time.Time { return time.Now().Add(time.Hour) })
	if err != nil || got != 0 {
		t.Errorf("offset = %v, %v, want none", got, err)
	}
}
