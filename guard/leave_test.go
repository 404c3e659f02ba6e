package guard

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// A guard that is stopped tells the issuer, in time and whoever holds the line.
func TestGuardSaysThatItLeaves(t *testing.T) {
	i := newIssuer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g, err := New(ctx, i.config())
	if err != nil {
		t.Fatal(err)
	}
	last := func() (r report) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if n := len(i.reports); n > 0 {
			r = i.reports[n-1]
		}
		return r
	}
	eventually(t, "a report arrives", func() bool { return last().Instance == g.instance })
	if last().Gone {
		t.Error("a guard at work says that it is gone")
	}
	cancel()
	<-g.Done()
	if got := last(); !got.Gone || got.Instance != g.instance {
		t.Errorf("last word = %+v, want that %s is gone", got, g.instance)
	}
}

func TestLeavingWaitsForNobody(t *testing.T) {
	for name, with := range map[string]func(*issuer, *Config){
		"the issuer is down":         func(i *issuer, _ *Config) { i.fall(true) },
		"the issuer does not answer": func(_ *issuer, c *Config) { c.HTTPClient = &http.Client{Transport: deaf{}} },
		"nothing was ever reported":  func(_ *issuer, c *Config) { c.Credential = stuck },
	} {
		i := newIssuer(t)
		cfg := i.config()
		ctx, cancel := context.WithCancel(t.Context())
		with(i, &cfg)
		g, err := New(t.Context(), cfg) // its own reporter has nothing to report
		if err != nil {
			t.Fatal(err)
		}
		e := &engine{cfg: g.cfg, keys: g.keys, feed: g.feed, report: make(chan struct{})}
		e.told = name != "nothing was ever reported"
		left := make(chan struct{})
		go func() { defer close(left); e.leave(ctx) }()
		cancel()
		begun := time.Now()
		select {
		case <-left:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: not done after 5 s", name)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("%s: leaving took %s, want about a second at most", name, took)
		}
	}
}

// deaf takes requests and never answers.
type deaf struct{}

func (deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func stuck(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}
