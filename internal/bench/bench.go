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
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
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
	Mint     func(c *token.Claims, alg string) (string, error)
	Delay    func(time.Duration) // from now on every request waits so long before it is looked at
	Close    func()
}

// Config says how to measure.
type Config struct {
	Start    func(ctx context.Context, watchers int) (*Issuer, error)
	Self     func(ctx context.Context, args ...string) *exec.Cmd // runs writ: what is measured as a process of its own
	Progress func(text string)                                   // told what is under way; may be nil
	Time     time.Duration                                       // for each name; 0: 8 s
	All      bool                                                // without names: the heavy ones too
}

// A measure is one figure and how to get it.
type measure struct {
	name     string
	watchers int  // clients beside the first that guard the resource
	heavy    bool // takes so long, or so much memory, that it has to be asked for
	run      func(context.Context, rig, time.Duration) (Result, error)
}

// A rig is what a figure is measured with.
type rig struct {
	*Issuer
	Config
}

func measures() []measure {
	return []measure{
		{name: "verify-es256", run: verify(jose.ES256, 1.10)},
		{name: "verify-ed25519", run: verify(jose.Ed25519, 1.10)},
		{name: "verify-rs256", run: verify(jose.RS256, 1.15)},
		{name: "cache-hit-10k", run: cacheHit(10_000, 0.4)},
		{name: "cache-hit-1m", run: cacheHit(1_000_000, 2), heavy: true},
		{name: "gateway-repeated", run: gatewayRepeated},
		{name: "gateway-distinct", run: gatewayDistinct},
		{name: "gateway-cold", run: gatewayCold},
		{name: "flood", run: flood},
		{name: "issue-client-credentials", run: issueClientCredentials},
		{name: "revoke-20", run: revoked(20, 100), watchers: 5},
		{name: "revoke-200", run: revoked(200, 10), watchers: 50},
		{name: "revoke-loaded", run: revokedLoaded, watchers: 50},
		{name: "revoke-1k", run: spread(1000, 25), watchers: 250},
		{name: "revoke-10k", run: spread(10_000, 150), watchers: 2500, heavy: true},
		{name: "feed-1m-rules", run: manyRules, heavy: true},
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

// Heavy reports whether a figure is measured only when it is asked for.
func Heavy(name string) bool {
	return slices.ContainsFunc(measures(), func(m measure) bool { return m.name == name && m.heavy })
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

// Run measures the named figures; without names all of them but the heavy ones.
func Run(ctx context.Context, cfg Config, names ...string) ([]Result, error) {
	if err := Check(names...); err != nil {
		return nil, err
	}
	if cfg.Start == nil || cfg.Self == nil {
		return nil, errors.New("bench: Start and Self are required")
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Time == 0 {
		cfg.Time = 8 * time.Second
	}
	results := []Result{}
	for _, m := range chosen(cfg.All, names) {
		cfg.Progress(fmt.Sprintf("measuring %s for %v…", m.name, cfg.Time))
		r, err := one(ctx, cfg, m)
		if err != nil {
			return results, fmt.Errorf("measure %s: %w", m.name, err)
		}
		results = append(results, r)
	}
	return results, nil
}

// chosen are the named ones, without names all but the heavy ones, or all.
func chosen(all bool, names []string) []measure {
	return slices.DeleteFunc(measures(), func(m measure) bool {
		if len(names) > 0 {
			return !slices.Contains(names, m.name)
		}
		return m.heavy && !all
	})
}

func one(ctx context.Context, cfg Config, m measure) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	issuer, err := cfg.Start(ctx, m.watchers)
	if err != nil {
		return Result{}, err
	}
	defer issuer.Close()
	r, err := m.run(ctx, rig{issuer, cfg}, cfg.Time)
	r.Name = m.name
	if r.Baseline != 0 {
		r.Ratio = r.Value / r.Baseline
	}
	return r, err
}
