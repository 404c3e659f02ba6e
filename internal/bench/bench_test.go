package bench

import (
	"bufio"
	"context"
	"errors"
	"slices"
	"strings"
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

// TestAnswer: an answer that could not be read is never counted as one.
func TestAnswer(t *testing.T) {
	const next = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name, text string
		status     int // 0: an error
	}{
		{"with a body", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok", 200},
		{"name in lower case", "HTTP/1.1 401 Unauthorized\r\ncontent-length:3\r\n\r\nno\n", 401},
		{"without a body", "HTTP/1.1 303 See Other\r\nContent-Length: 0\r\n\r\n", 303},
		{"without a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0},
		{"a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", 0},
		{"a status that is no number", "HTTP/1.1 OK! fine\r\nContent-Length: 0\r\n\r\n", 0},
		{"a short status line", "HTTP\r\n\r\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bufio.NewReader(strings.NewReader(tt.text + next))
			got, err := answer(in)
			if tt.status == 0 {
				if err == nil {
					t.Errorf("answer = %d, want an error", got)
				}
				return
			}
			if err != nil || got != tt.status {
				t.Fatalf("answer = %d, %v, want %d", got, err, tt.status)
			}
			if got, err := answer(in); err != nil || got != 204 {
				t.Errorf("the next answer = %d, %v, want 204: the first was not read to its end", got, err)
			}
		})
	}
	for _, cut := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"} {
		if got, err := answer(bufio.NewReader(strings.NewReader(cut))); err == nil {
			t.Errorf("answer of %q = %d, want an error", cut, got)
		}
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
	cfg := Config{Start: func(context.Context) (*Issuer, error) { starts++; return nil, broken }}
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
