// Package bench measures Writ beside the bare minimum: a bare signature check, a
// plain reverse proxy, a server that only signs. Figure and baseline are taken in
// turns in one run on the same machine, so that their ratio means something where
// the figures alone do not.
//
// It owns no goal that a test checks: a goal not met is reported, never bent.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/token"
)

// Result is one figure beside its baseline.
type Result struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"` // of what Note says, in the same unit
	Ratio    float64 `json:"ratio"`    // Value by Baseline
	Goal     string  `json:"goal"`
	Met      *bool   `json:"met"` // nil where there is no goal
	Note     string  `json:"note"`
}

// Issuer is a real authorization server on a loopback port.
type Issuer struct {
	URL      string
	ClientID string   // guards Resource and may ask tokens for it and for Inner
	Watchers []string // clients that guard Resource too, with the same Secret; each follows the feed at most four times
	Secret   string
	Resource string
	Inner    string
	Gateway  string // origin that Resource begins with
	Mint     func(*token.Claims) (string, error)
	Close    func()
}

// Config says how to measure.
type Config struct {
	Start    func(context.Context) (*Issuer, error)
	Progress func(name string) // called before each name; may be nil
	Time     time.Duration     // for each name; 0: 8 s
}

type measure struct {
	name string
	run  func(context.Context, *Issuer, time.Duration) (Result, error)
}

func measures() []measure {
	return []measure{
		{"verify-es256", verifyES256},
		{"cache-hit-10k", cacheHit},
		{"gateway-repeated", gatewayRepeated},
		{"issue-client-credentials", issueClientCredentials},
		{"revoke-20", revoke20},
	}
}

// Names lists what can be measured, in order.
func Names() []string {
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

// Check says which of the names is none.
func Check(names ...string) error {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("no figure %q: choose from %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

// Run measures the named figures, all of them without names.
func Run(ctx context.Context, cfg Config, names ...string) ([]Result, error) {
	if err := Check(names...); err != nil {
		return nil, err
	}
	if cfg.Start == nil {
		return nil, errors.New("bench: Start is required")
	}
	if cfg.Time == 0 {
		cfg.Time = 8 * time.Second
	}
	results := []Result{}
	for _, m := range measures() {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		if cfg.Progress != nil {
			cfg.Progress(m.name)
		}
		r, err := one(ctx, cfg, m)
		if err != nil {
			return results, fmt.Errorf("measure %s: %w", m.name, err)
		}
		results = append(results, r)
	}
	return results, nil
}

func one(ctx context.Context, cfg Config, m measure) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	issuer, err := cfg.Start(ctx)
	if err != nil {
		return Result{}, err
	}
	defer issuer.Close()
	r, err := m.run(ctx, issuer, cfg.Time)
	r.Name = m.name
	if r.Baseline != 0 {
		r.Ratio = r.Value / r.Baseline
	}
	return r, err
}

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
