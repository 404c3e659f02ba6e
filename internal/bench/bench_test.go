package bench

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		all  []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{1, 1000, 2, 3, 1}, 2}, // one slow round moves nothing
		{[]float64{4, 1, 3, 2}, 3},
	} {
		if got := median(slices.Clone(tt.all)); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.all, got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // falling: it has to be sorted
	}
	for _, tt := range []struct {
		all  []float64
		p    int
		want float64
	}{
		{[]float64{7}, 99, 7},
		{[]float64{3, 1, 2}, 50, 2},
		{hundred, 0, 1},
		{hundred, 50, 51},
		{hundred, 99, 100},
		{hundred, 100, 100},
	} {
		before := slices.Clone(tt.all)
		if got := percentile(tt.all, tt.p); got != tt.want {
			t.Errorf("percentile of %d figures, %d = %v, want %v", len(tt.all), tt.p, got, tt.want)
		}
		if !slices.Equal(tt.all, before) {
			t.Error("the figures were put into another order")
		}
	}
}

// TestTurns: figure and baseline take turns, each for its share of the time, and the
// first round, which warms up, does not count.
func TestTurns(t *testing.T) {
	var order strings.Builder
	calls := map[string]int{}
	measure := func(name string, first, rest float64) func(time.Duration) (float64, error) {
		return func(d time.Duration) (float64, error) {
			if want := time.Second; d != want {
				t.Errorf("%s is given %v, want %v", name, d, want)
			}
			order.WriteString(name)
			if calls[name]++; calls[name] == 1 {
				return first, nil
			}
			return rest + float64(calls[name]), nil
		}
	}
	v, b, err := turns(2*(rounds+1)*time.Second, measure("v", 1e9, 10), measure("b", -1e9, 20))
	if want := strings.Repeat("vb", rounds+1); err != nil || order.String() != want {
		t.Errorf("order = %s, %v, want %s", order.String(), err, want)
	}
	// All rounds but the first count; their figures rise, so the median is of the middle one.
	const middle = 2 + rounds/2
	if v != 10+middle || b != 20+middle {
		t.Errorf("turns = %v, %v, want %d and %d", v, b, 10+middle, 20+middle)
	}
	broken := errors.New("broken")
	fine := func(time.Duration) (float64, error) { return 1, nil }
	fails := func(time.Duration) (float64, error) { return 0, broken }
	if _, _, err := turns(time.Second, fails, fine); !errors.Is(err, broken) {
		t.Errorf("the figure fails: %v, want its error", err)
	}
	if _, _, err := turns(time.Second, fine, fails); !errors.Is(err, broken) {
		t.Errorf("the baseline fails: %v, want its error", err)
	}
}

func TestPerCall(t *testing.T) {
	n := 0
	took, err := perCall(time.Millisecond, func() error { n++; return nil })
	if err != nil || n == 0 || n%64 != 0 || took <= 0 || took*float64(n) < 1000 {
		t.Errorf("perCall = %v µs, %v after %d calls, want 1 ms or more in whole rounds of 64", took, err, n)
	}
	broken := errors.New("broken")
	if _, err := perCall(time.Hour, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("perCall of what fails: %v, want its error", err)
	}
}

// TestRunRefuses: a mistyped name starts no server, and a server that does not start
// is an error that says for which figure.
func TestRunRefuses(t *testing.T) {
	starts, broken := 0, errors.New("no port")
	cfg := Config{
		Start: func(context.Context, int) (*Issuer, error) { starts++; return nil, broken },
		Self:  func(ctx context.Context, args ...string) *exec.Cmd { return exec.CommandContext(ctx, "false", args...) },
	}
	if _, err := Run(t.Context(), cfg, Names()[0], "verify-rs512"); err == nil || !strings.Contains(err.Error(), "verify-rs512") || starts != 0 {
		t.Errorf("an unknown name: %v after %d starts, want an error that names it, and none", err, starts)
	}
	if _, err := Run(t.Context(), Config{}, Names()[0]); err == nil {
		t.Error("without Start: no error, want one")
	}
	got, err := Run(t.Context(), cfg, Names()[0])
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), Names()[0]) || starts != 1 || len(got) != 0 {
		t.Errorf("Run = %v, %v after %d starts, want the error of the first", got, err, starts)
	}
}

func TestGoals(t *testing.T) {
	for _, tt := range []struct {
		got, goal   float64
		most, least bool
	}{{1, 2, true, false}, {2, 2, true, true}, {3, 2, false, true}} {
		if most, least := *atMost(tt.got, tt.goal), *atLeast(tt.got, tt.goal); most != tt.most || least != tt.least {
			t.Errorf("%v for %v: at most %v, at least %v, want %v and %v", tt.got, tt.goal, most, least, tt.most, tt.least)
		}
	}
}

// TestChosen: what takes gigabytes or minutes is never measured unasked.
func TestChosen(t *testing.T) {
	names := func(all bool, asked ...string) (got []string) {
		for _, m := range chosen(all, asked) {
			got = append(got, m.name)
		}
		return got
	}
	for _, name := range names(false) {
		if Heavy(name) {
			t.Errorf("%s is measured without being asked for", name)
		}
	}
	for _, heavy := range []string{"cache-hit-1m", "revoke-10k", "feed-1m-rules"} {
		if !Heavy(heavy) || !slices.Equal(names(false, heavy), []string{heavy}) {
			t.Errorf("%s: heavy %v, by name %v, want it heavy, and measured when named", heavy, Heavy(heavy), names(false, heavy))
		}
	}
	if got := names(true); !slices.Equal(got, Names()) {
		t.Errorf("with all: %v, want %v", got, Names())
	}
}

func TestAllocations(t *testing.T) {
	if got := allocations(1000, func() {}); got >= 0.01 {
		t.Errorf("allocations of what makes none = %v, want less than 0.01", got)
	}
	var kept [][]byte
	if got := allocations(1000, func() { kept = append(kept[:0], make([]byte, 64)) }); got < 1 || got > 1.5 {
		t.Errorf("allocations of what makes one = %v, want 1", got)
	}
}

// TestInParallel: each number is handled once, and an error ends the rest.
func TestInParallel(t *testing.T) {
	const many = 25_000
	var calls [many]atomic.Int32
	var told []int
	err := inParallel(many, func(n int) { told = append(told, n) }, func(n int) error { calls[n].Add(1); return nil })
	if slices.Sort(told); err != nil || !slices.Equal(told, []int{10_000, 20_000}) {
		t.Errorf("inParallel: %v, told of %v, want 10000 and 20000", err, told)
	}
	for n := range calls {
		if got := calls[n].Load(); got != 1 {
			t.Fatalf("%d was handled %d times, want once", n, got)
		}
	}
	broken := errors.New("broken")
	var after atomic.Int32
	err = inParallel(many, func(int) {}, func(n int) error {
		if n >= 100 {
			return broken
		}
		after.Add(1)
		return nil
	})
	if !errors.Is(err, broken) || after.Load() > 100 {
		t.Errorf("inParallel = %v after %d calls, want the error and an end", err, after.Load())
	}
}
