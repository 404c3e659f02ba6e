package feed

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"
)

// numbered is a value that spreads as a hash does.
func numbered(n uint64) Value {
	var v Value
	binary.BigEndian.PutUint64(v[:8], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(v[8:], n)
	return v
}

func TestSetFindsWhatHits(t *testing.T) {
	var s Set
	if r, hit := s.Hit(Value{}, 0); hit {
		t.Errorf("empty set hits with %+v", r)
	}
	const n = 10_000
	for i := range uint64(n) {
		s.Add(Rule{Position: i + 1, Kind: KindGrant, Value: numbered(i), Effect: End, Until: testUntil})
	}
	if s.Len() != n {
		t.Errorf("Len = %d, want %d", s.Len(), n)
	}
	for i := range uint64(n) {
		want := Rule{Position: i + 1, Kind: KindGrant, Value: numbered(i), Effect: End, Until: testUntil}
		if r, hit := s.Hit(numbered(i), i); !hit || r != want {
			t.Fatalf("Hit(%d) = %+v, %t; want %+v", i, r, hit, want)
		}
		if r, hit := s.Hit(numbered(i), i+1); hit {
			t.Fatalf("token issued after rule %d is hit by %+v", i, r)
		}
		if r, hit := s.Hit(numbered(i+n), 0); hit {
			t.Fatalf("value without a rule is hit by %+v", r)
		}
	}
}

func TestSetHoldsTheZeroValue(t *testing.T) {
	var s Set
	s.Add(Rule{Position: 1, Kind: KindToken, Effect: End, Until: testUntil})
	if _, hit := s.Hit(Value{}, 9); !hit {
		t.Error("rule on the zero value does not hit")
	}
}

func TestSetKeepsWhatHitsMost(t *testing.T) {
	early, late := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	add := func(position uint64, effect Effect, until time.Time) Rule {
		return Rule{Position: position, Kind: KindSubject, Value: numbered(1), Effect: effect, Until: until}
	}
	tests := []struct {
		name  string
		rules []Rule
		rev   uint64
		want  Rule
		hit   bool
		len   int
	}{
		{"later position", []Rule{add(3, End, early), add(7, End, early)}, 5, add(7, End, early), true, 1},
		{"later position came first", []Rule{add(7, End, early), add(3, End, late)}, 5, add(7, End, late), true, 1},
		{"end over step-up", []Rule{add(9, StepUp, late), add(7, End, early)}, 5, add(7, End, early), true, 2},
		{"step-up past the end", []Rule{add(9, StepUp, late), add(7, End, early)}, 8, add(9, StepUp, late), true, 2},
		{"after both", []Rule{add(9, StepUp, late), add(7, End, early)}, 9, Rule{}, false, 2},
	}
	for _, tt := range tests {
		var s Set
		for _, r := range tt.rules {
			s.Add(r)
		}
		if got, hit := s.Hit(numbered(1), tt.rev); got != tt.want || hit != tt.hit {
			t.Errorf("%s: Hit = %+v, %t; want %+v, %t", tt.name, got, hit, tt.want, tt.hit)
		}
		if s.Len() != tt.len {
			t.Errorf("%s: Len = %d, want %d", tt.name, s.Len(), tt.len)
		}
	}
}

func TestSetKeepsKindsItDoesNotKnow(t *testing.T) {
	var s Set
	s.Add(Rule{Position: 4, Kind: "planet", Value: numbered(1), Effect: End, Until: testUntil})
	if r, hit := s.Hit(numbered(1), 3); !hit || r.Kind != "other" {
		t.Errorf("Hit = %+v, %t; want a rule of kind other", r, hit)
	}
}

func TestSweepForgetsRulesPastTheirEnd(t *testing.T) {
	var s Set
	for i := range uint64(1000) {
		s.Add(Rule{Position: 1, Kind: KindToken, Value: numbered(i), Effect: End, Until: time.Unix(int64(i), 0)})
	}
	s.Sweep(time.Unix(400, 0))
	if s.Len() != 600 {
		t.Errorf("Len = %d, want 600", s.Len())
	}
	for i := range uint64(1000) {
		if _, hit := s.Hit(numbered(i), 0); hit != (i >= 400) {
			t.Errorf("rule %d hits = %t", i, hit)
		}
	}
	s.Sweep(time.Unix(5000, 0))
	s.Add(Rule{Position: 1, Kind: KindToken, Value: numbered(1), Effect: End, Until: testUntil})
	if _, hit := s.Hit(numbered(1), 0); !hit || s.Len() != 1 {
		t.Errorf("rule added after a sweep: hit %t, Len %d; want true, 1", hit, s.Len())
	}
}

// A rule once added must be seen by every reader, whatever the writer does meanwhile.
func TestSetWithReadersAndAWriter(t *testing.T) {
	var s Set
	const n = 20_000
	added := make(chan uint64, 64)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range added {
				if _, hit := s.Hit(numbered(i), 0); !hit {
					t.Errorf("rule %d was added and is not seen", i)
				}
				if _, hit := s.Hit(numbered(i+n), 0); hit {
					t.Errorf("value %d without a rule is hit", i+n)
				}
			}
		})
	}
	for i := range uint64(n) {
		s.Add(Rule{Position: i + 1, Kind: KindToken, Value: numbered(i), Effect: End, Until: testUntil})
		if i%1000 == 0 {
			s.Add(Rule{Position: 1, Kind: KindToken, Value: numbered(i + 2*n), Effect: End, Until: time.Unix(1, 0)})
			s.Sweep(time.Unix(2, 0))
		}
		added <- i
	}
	close(added)
	wg.Wait()
}

func TestHitDoesNotAllocate(t *testing.T) {
	var s Set
	s.Add(Rule{Position: 4, Kind: KindGrant, Value: numbered(1), Effect: End, Until: testUntil})
	got := testing.AllocsPerRun(100, func() {
		s.Hit(numbered(1), 0)
		s.Hit(numbered(2), 0)
	})
	if got != 0 {
		t.Errorf("Hit allocates %.0f times, want 0", got)
	}
}

func BenchmarkHitMillion(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var s Set
	const n = 1_000_000
	for i := range uint64(n) {
		s.Add(Rule{Position: i + 1, Kind: KindGrant, Value: numbered(i), Effect: End, Until: testUntil})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := float64(after.HeapAlloc-before.HeapAlloc) / n
	for name, offset := range map[string]uint64{"held": 0, "absent": n} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var i uint64
			for b.Loop() {
				i = (i + 0x9e3779b1) % n
				if _, hit := s.Hit(numbered(i+offset), 0); hit != (offset == 0) {
					b.Fatalf("value %d: hit = %t", i+offset, hit)
				}
			}
			b.ReportMetric(size, "B/rule")
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	var s Set
	var i uint64
	for b.Loop() {
		i++
		s.Add(Rule{Position: i, Kind: KindGrant, Value: numbered(i % 1_000_000), Effect: End, Until: testUntil})
	}
}
