package bench

import (
	"math"
	"runtime"
	"slices"
	"time"
)

func atMost(got, goal float64) *bool  { ok := got <= goal; return &ok }
func atLeast(got, goal float64) *bool { ok := got >= goal; return &ok }

// rounds is how many times figure and baseline take turns.
const rounds = 15

// turns measures two things in turns and returns the median of each. What the
// machine does meanwhile hits both alike.
func turns(total time.Duration, value, baseline func(time.Duration) (float64, error)) (v, b float64, err error) {
	slice := total / (2 * (rounds + 1))
	var vs, bs []float64
	for i := range rounds + 1 {
		x, err := value(slice)
		if err != nil {
			return 0, 0, err
		}
		y, err := baseline(slice)
		if err != nil {
			return 0, 0, err
		}
		if i > 0 { // the first round warms up
			vs, bs = append(vs, x), append(bs, y)
		}
	}
	return median(vs), median(bs), nil
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// perCall runs f over and over for d and returns microseconds a call.
func perCall(d time.Duration, f func() error) (float64, error) {
	start := time.Now()
	n := 0
	for {
		for range 64 {
			if err := f(); err != nil {
				return 0, err
			}
		}
		n += 64
		if took := time.Since(start); took >= d {
			return float64(took.Nanoseconds()) / 1000 / float64(n), nil
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func percentile(all []float64, p int) float64 {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// allocations counts allocations a call. Other goroutines allocate now and then,
// so it is the least of a few counts, and still rarely exactly 0.
func allocations(n int, f func()) float64 {
	least := math.Inf(1)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			f()
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/float64(n))
	}
	return least
}

// memory is the heap and the stacks in use once what is not was given back.
func memory() int {
	runtime.GC()
	runtime.GC() // the second one empties pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
