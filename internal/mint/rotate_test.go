package mint

import (
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

func TestJudgeKeys(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	s := schedule{life: 30 * day, publish: 2 * time.Hour, deadline: day, retain: 25 * time.Hour}
	signing := func(age time.Duration) *store.Key {
		return &store.Key{ID: "s", Created: at(-age), Active: at(-age)}
	}
	waiting := func(age time.Duration) *store.Key { return &store.Key{ID: "w", Created: at(-age)} }
	retired := func(left time.Duration) []*store.Key {
		return []*store.Key{{ID: "r", Retired: at(-day), Expires: at(left)}}
	}
	for _, tt := range []struct {
		name string
		f    family
		held bool
		want step
	}{
		{"nothing there", family{}, false, stepFirst},
		{"young key", family{signing: signing(day)}, false, stepNone},
		{"just before the lead time", family{signing: signing(30*day - 2*time.Hour - 1)}, false, stepNone},
		{"lead time begins", family{signing: signing(30*day - 2*time.Hour)}, false, stepNext},
		{"not public long enough, though held", family{signing: signing(30 * day), waiting: waiting(2*time.Hour - 1)}, true, stepNone},
		{"public, guards late", family{signing: signing(30 * day), waiting: waiting(2 * time.Hour)}, false, stepNone},
		{"public and held", family{signing: signing(30 * day), waiting: waiting(2 * time.Hour)}, true, stepPromote},
		{"guards late past the deadline", family{signing: signing(31 * day), waiting: waiting(day + 2*time.Hour)}, false, stepPromote},
		{"operator asked ahead of time", family{signing: signing(day), waiting: waiting(2 * time.Hour)}, true, stepPromote},
		{"only a waiting key", family{waiting: waiting(0)}, false, stepPromote},
		{"retired, tokens may live", family{signing: signing(day), retired: retired(1)}, false, stepNone},
		{"retired, all tokens dead", family{signing: signing(day), retired: retired(0)}, false, stepDrop},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.judge(tt.f, tt.held, now); got != tt.want {
				t.Errorf("judge = %v, want %v", got, tt.want)
			}
		})
	}
}

const day = 24 * time.Hour

func TestHeld(t *testing.T) {
	yes := store.GuardState{KeyIDs: []string{"a", "k"}}
	no := store.GuardState{KeyIDs: []string{"a"}}
	if !held(nil, "k") {
		t.Error("no guards registered: a key must not wait for them")
	}
	if !held([]store.GuardState{yes, yes}, "k") {
		t.Error("all guards hold the key")
	}
	if held([]store.GuardState{yes, no}, "k") {
		t.Error("one guard lacks the key")
	}
}
