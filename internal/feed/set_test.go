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
	if r, hit := s.Hit(Value{}, Token{Rev: 0}); hit {
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
		if r, hit := s.Hit(numbered(i), Token{Rev: i}); !hit || r != want {
			t.Fatalf("Hit(%d) = %+v, %t; want %+v", i, r, hit, want)
		}
		if r, hit := s.Hit(numbered(i), Token{Rev: i + 1}); hit {
			t.Fatalf("token issued after rule %d is hit by %+v", i, r)
		}
		if r, hit := s.Hit(numbered(i+n), Token{Rev: 0}); hit {
			t.Fatalf("value without a rule is hit by %+v", r)
		}
	}
}

func TestSetHoldsTheZeroValue(t *testing.T) {
	var s Set
	s.Add(Rule{Position: 1, Kind: KindToken, Effect: End, Until: testUntil})
	if _, hit := s.Hit(Value{}, Token{Rev: 9}); !hit {
		t.Error("rule on the zero value does not hit")
	}
}

func TestSetKeepsWhatHitsMost(t *testing.T) {
	early, late := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	add := func(position uint64, effect Effect, until time.Time) Rule {
		r := Rule{Position: position, Kind: KindSubject, Value: numbered(1), Effect: effect, Until: until}
		if effect == StepUp {
			r.Before = early
		}
		return r
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
		{"step-up outlasts its position", []Rule{add(9, StepUp, late), add(7, End, early)}, 9, add(9, StepUp, late), true, 2},
		{"after the end", []Rule{add(7, End, early)}, 9, Rule{}, false, 1},
	}
	for _, tt := range tests {
		var s Set
		for _, r := range tt.rules {
			s.Add(r)
		}
		if got, hit := s.Hit(numbered(1), Token{Rev: tt.rev}); got != tt.want || hit != tt.hit {
			t.Errorf("%s: Hit = %+v, %t; want %+v, %t", tt.name, got, hit, tt.want, tt.hit)
		}
		if s.Len() != tt.len {
			t.Errorf("%s: Len = %d, want %d", tt.name, s.Len(), tt.len)
		}
	}
}

// TestSetBroad: rules about every token are few, whatever comes, and are found without a value.
func TestSetBroad(t *testing.T) {
	early, late := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	var s Set
	if _, hit := s.Broad(Token{}); hit {
		t.Error("an empty set hits")
	}
	for i := range uint64(100) {
		s.Add(Rule{Position: i + 1, Kind: KindEverything, Effect: End, Until: early})
		s.Add(Rule{Position: i + 1, Kind: KindEverything, Effect: StepUp, Before: time.Unix(int64(i), 0), Until: late})
		s.Add(Rule{Position: i + 1, Kind: KindIssuedBefore, Effect: End, Before: time.Unix(int64(i), 0), Until: late})
	}
	if s.Len() != 3 {
		t.Errorf("Len = %d, want 3", s.Len())
	}
	tests := []struct {
		name string
		t    Token
		want Kind
		how  Effect
	}{
		{"decided before the last", Token{Rev: 99, IssuedAt: 500, AuthTime: 500}, KindEverything, End},
		{"issued before", Token{Rev: 100, IssuedAt: 98, AuthTime: 500}, KindIssuedBefore, End},
		{"ended over asked for more", Token{Rev: 100, IssuedAt: 98, AuthTime: 1}, KindIssuedBefore, End},
		{"authenticated before", Token{Rev: 100, IssuedAt: 500, AuthTime: 98}, KindEverything, StepUp},
		{"none", Token{Rev: 100, IssuedAt: 99, AuthTime: 99}, "", ""},
	}
	for _, tt := range tests {
		if r, hit := s.Broad(tt.t); r.Kind != tt.want || r.Effect != tt.how || hit != (tt.want != "") {
			t.Errorf("%s: Broad = %s %s, %t; want %s %s", tt.name, r.Effect, r.Kind, hit, tt.how, tt.want)
		}
	}
	s.Sweep(time.Unix(1500, 0))
	if s.Len() != 2 {
		t.Errorf("Len = %d after the sweep, want 2", s.Len())
	}
	if _, hit := s.Broad(Token{IssuedAt: 500, AuthTime: 500}); hit {
		t.Error("a rule past its end hits")
	}
	n := 0
	for range s.all() {
		n++
	}
	if n != 2 {
		t.Errorf("a snapshot has %d rules, want 2", n)
	}
	if got := testing.AllocsPerRun(100, func() { s.Broad(Token{}) }); got != 0 {
		t.Errorf("Broad allocates %v times, want 0", got)
	}
}

// TestSetStepUp: growing and sweeping keep the time a step-up is about.
func TestSetStepUp(t *testing.T) {
	var s Set
	for i := range uint64(1000) {
		s.Add(Rule{Position: 1, Kind: KindSubject, Value: numbered(i), Effect: StepUp, Before: time.Unix(int64(i), 0), Until: testUntil})
	}
	s.Add(Rule{Position: 2, Kind: KindSubject, Value: numbered(7), Effect: StepUp, Before: time.Unix(5000, 0), Until: testUntil})
	for i := range uint64(1000) {
		at := int64(i)
		if i == 7 {
			at = 5000
		}
		if _, hit := s.Hit(numbered(i), Token{Rev: 9, AuthTime: at - 1}); !hit {
			t.Fatalf("%d: no hit for an authentication before", i)
		}
		if _, hit := s.Hit(numbered(i), Token{Rev: 0, AuthTime: at}); hit {
			t.Fatalf("%d: a hit for an authentication since", i)
		}
	}
	if !s.Has(KindSubject) || s.Has(KindGrant) {
		t.Error("Has is wrong about the kinds that were added")
	}
}

func TestSetKeepsKindsItDoesNotKnow(t *testing.T) {
	var s Set
	s.Add(Rule{Position: 4, Kind: "planet", Value: numbered(1), Effect: End, Until: testUntil})
	if r, hit := s.Hit(numbered(1), Token{Rev: 3}); !hit || r.Kind != "other" {
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
		if _, hit := s.Hit(numbered(i), Token{Rev: 0}); hit != (i >= 400) {
			t.Errorf("rule %d hits = %t", i, hit)
		}
	}
	s.Sweep(time.Unix(5000, 0))
	s.Add(Rule{Position: 1, Kind: KindToken, Value: numbered(1), Effect: End, Until: testUntil})
	if _, hit := s.Hit(numbered(1), Token{Rev: 0}); !hit || s.Len() != 1 {
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
				if _, hit := s.Hit(numbered(i), Token{Rev: 0}); !hit {
					t.Errorf("rule %d was added and is not seen", i)
				}
				if _, hit := s.Hit(numbered(i+n), Token{Rev: 0}); hit {
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
		s.Hit(numbered(1), Token{Rev: 0})
		s.Hit(numbered(2), Token{Rev: 0})
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
				if _, hit := s.Hit(numbered(i+offset), Token{Rev: 0}); hit != (offset == 0) {
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
