package dpop

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func proofs(n int, expires time.Time) []Proof {
	all := make([]Proof, n)
	for i := range all {
		all[i] = Proof{Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", ID: fmt.Sprint(i), Expires: expires}
	}
	return all
}

func TestProofIsTakenOnce(t *testing.T) {
	var r Replay
	now := clock()
	p := proofs(2, now.Add(time.Minute))
	other := p[0]
	other.Thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	for i, c := range []struct {
		p    Proof
		at   time.Duration
		want bool
	}{
		{p[0], 0, true}, {p[0], 0, false}, {p[1], 0, true}, {other, 0, true}, {other, time.Second, false},
		{p[0], 59 * time.Second, false}, {p[0], time.Minute, false}, {p[0], time.Minute + 1, false}, {p[0], time.Hour, false},
	} {
		if got := r.Fresh(c.p, now.Add(c.at)); got != c.want {
			t.Errorf("step %d: fresh = %v, want %v", i, got, c.want)
		}
	}
}

// TestSameIDWithAnotherTime: the pair of key and jti counts, so that a new iat
// does not make an old jti new.
func TestSameIDWithAnotherTime(t *testing.T) {
	var r Replay
	p := proofs(1, clock().Add(time.Minute))[0]
	later := p
	later.Expires = p.Expires.Add(time.Second)
	if !r.Fresh(p, clock()) || r.Fresh(later, clock()) {
		t.Error("a jti was taken twice by changing iat")
	}
}

func TestFullReplayRefusesAndRecovers(t *testing.T) {
	r := Replay{Limit: 3}
	now := clock()
	p := proofs(5, now.Add(10*time.Second))
	for i := range 3 {
		if !r.Fresh(p[i], now) {
			t.Fatalf("proof %d is not fresh", i)
		}
	}
	if r.Fresh(p[3], now) {
		t.Error("a fourth proof found room, want none")
	}
	if r.Fresh(p[0], now) {
		t.Error("the first proof was forgotten to make room")
	}
	late := now.Add(11 * time.Second)
	next := proofs(3, late.Add(time.Minute))
	for i, p := range next {
		if !r.Fresh(p, late) {
			t.Errorf("proof %d found no room after the others expired", i)
		}
	}
	if len(r.due) != 1 || len(r.seen) != 3 {
		t.Errorf("%d seconds with %d proofs are kept, want 1 with 3", len(r.due), len(r.seen))
	}
}

// TestClockSetBack: what a clock ahead of its time made the Replay forget must
// not become fresh when the clock is set right.
func TestClockSetBack(t *testing.T) {
	var r Replay
	now := clock()
	p := proofs(2, now.Add(time.Minute))
	ahead := p[1]
	ahead.Expires = now.Add(2 * time.Hour)
	if !r.Fresh(p[0], now) || !r.Fresh(ahead, now.Add(time.Hour)) {
		t.Fatal("fresh proofs are refused")
	}
	if r.Fresh(p[0], now) {
		t.Error("a proof is taken twice after the clock was set back")
	}
}

func TestOneOfManyWins(t *testing.T) {
	var r Replay
	var wins atomic.Int32
	var all sync.WaitGroup
	p := proofs(1, clock().Add(time.Minute))[0]
	for range 8 {
		all.Go(func() {
			if r.Fresh(p, clock()) {
				wins.Add(1)
			}
		})
	}
	all.Wait()
	if got := wins.Load(); got != 1 {
		t.Errorf("a proof was taken %d times, want once", got)
	}
}

func BenchmarkFresh(b *testing.B) {
	var r Replay
	now := clock()
	p := proofs(1<<16, now.Add(time.Minute))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.Fresh(p[i%len(p)], now)
		i++
	}
}
