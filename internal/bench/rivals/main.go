// Command rivals sets the gateway beside other people's programs: the same machine,
// upstream, tokens and load, in turns in one run. scripts/bench-gateways runs it.
//
// It owns how the others are set up, each by what its manual advises and with the
// least that is fair. It judges nothing: a target that is missed is printed as
// missed, and a program that is not here is left out with a line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/bench"
	"github.com/writ-auth/writ/internal/jose"
)

func main() {
	writ := flag.String("writ", "", "the writ binary to measure; required")
	asJSON := flag.Bool("json", false, "one JSON object instead of a table")
	rounds := flag.Int("rounds", 7, "how many times the programs take turns")
	each := flag.Duration("time", 1500*time.Millisecond, "how long each turn is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *writ, *asJSON, *rounds, *each); err != nil {
		fmt.Fprintln(os.Stderr, "rivals: "+err.Error())
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, writ string, asJSON bool, rounds int, each time.Duration) error {
	if writ == "" || rounds < 1 || each <= 0 || flag.NArg() > 0 {
		return errors.New("want --writ FILE, one round or more, and some time")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "writ-rivals-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	f, err := newField(ctx, dir, writ)
	if err != nil {
		return err
	}
	defer f.close()
	rows, err := f.measure(rounds, each)
	if err != nil {
		return err
	}
	report := judge(rows, f.leftOut)
	if !asJSON {
		return report.table(os.Stdout)
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// connections and tokens are what all figures are measured with.
const (
	connections = 32
	tokens      = 10_000
)

// A field is everything that runs.
type field struct {
	dir      string
	self     bench.Config
	issuer   *bench.Process
	issued   bench.Issued
	upstream string
	requests map[string][][]byte // by algorithm
	runners  []*runner
	leftOut  []string
}

// A runner is one program at its mark.
type runner struct {
	name, alg string         // alg "": tokens are not looked at
	process   *bench.Process // nil: there is none, the load goes to the upstream
	origin    string
	next      func() []byte
}

func newField(ctx context.Context, dir, writ string) (_ *field, err error) {
	f := &field{dir: dir, requests: map[string][][]byte{}}
	f.self.Self = func(ctx context.Context, args ...string) *exec.Cmd { return exec.CommandContext(ctx, writ, args...) }
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	fmt.Fprintf(os.Stderr, "signing %d tokens…\n", 2*tokens)
	if f.issuer, err = bench.Launch(f.self.Self(ctx, "bench", "child", "issuer")); err != nil {
		return nil, err
	}
	wanted := bench.Wanted{Tokens: map[string]int{jose.RS256: tokens, jose.ES256: tokens}}
	if err := errors.Join(f.issuer.Tell(wanted), f.issuer.Hear(&f.issued, time.Minute)); err != nil {
		return nil, err
	}
	for alg, all := range f.issued.Tokens {
		f.requests[alg] = bench.Requests(all)
	}
	if f.upstream, err = bench.Upstream(ctx); err != nil {
		return nil, err
	}
	f.runners = append(f.runners, &runner{name: "no gateway", origin: f.upstream, next: bench.Around(f.requests[jose.ES256])})
	for _, p := range programs() {
		if err := f.enter(ctx, p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return f, nil
}

// enter starts a program, or notes that it is not here.
func (f *field) enter(ctx context.Context, p program) error {
	if p.binary != "" {
		if _, err := exec.LookPath(p.binary); err != nil {
			f.leftOut = append(f.leftOut, fmt.Sprintf("%s: %s is not installed", strings.TrimSpace(p.name+" "+p.alg), p.binary))
			return nil
		}
	}
	process, origin, err := p.start(ctx, f, p.alg)
	if err != nil {
		return err
	}
	alg := p.alg
	if alg == "" {
		alg = jose.ES256 // somebody's, for the same bytes
	}
	requests := f.requests[alg]
	f.runners = append(f.runners, &runner{name: p.name, alg: p.alg, process: process, origin: origin, next: bench.Around(requests)})
	if err := ready(ctx, origin, requests[0]); err != nil {
		return err
	}
	if p.alg != "" {
		if err := refuses(origin, f.issued.Tokens[alg][0], p.refusal); err != nil {
			return err
		}
	}
	// All have seen every token once: what one remembers, and others do not, is their business.
	_, err = bench.Load{Target: origin, Connections: connections, Next: bench.Once(requests), Want: 200}.Run()
	return err
}

// ready waits until a program lets a good request through.
func ready(ctx context.Context, origin string, request []byte) error {
	for end := time.Now().Add(10 * time.Second); ; {
		_, err := bench.Load{Target: origin, Connections: 1, Next: bench.Once([][]byte{request}), Want: 200}.Run()
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// refuses reports an error unless a token with a broken signature is answered with
// the status: figures of a program that checks nothing would mean nothing.
func refuses(origin, good string, status int) error {
	_, err := bench.Load{Target: origin, Connections: 1, Next: bench.Once([][]byte{bench.Request(broken(good))}), Want: status}.Run()
	if err != nil {
		return fmt.Errorf("a forged token: %w", err)
	}
	return nil
}

// broken is the token with one character of its signature changed.
func broken(compact string) string {
	at := len(compact) - 20
	other := byte('A')
	if compact[at] == other {
		other = 'B'
	}
	return compact[:at] + string(other) + compact[at+1:]
}

func (f *field) close() {
	for _, r := range f.runners {
		if r.process != nil {
			r.process.Close()
		}
	}
	if f.issuer != nil {
		f.issuer.Close()
	}
}

// measure lets all take turns; the first round warms up.
func (f *field) measure(rounds int, each time.Duration) ([]row, error) {
	turns := make([][]turn, len(f.runners))
	for round := range rounds + 1 {
		fmt.Fprintf(os.Stderr, "round %d of %d, %v…\n", round, rounds, each*time.Duration(len(f.runners)))
		for n, r := range f.runners {
			t, err := r.run(each)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", r.name, r.alg, err)
			}
			if round > 0 {
				turns[n] = append(turns[n], t)
			}
		}
	}
	var rows []row
	for n, r := range f.runners {
		rows = append(rows, summary(r.name, r.alg, turns[n]))
	}
	return rows, nil
}

func (r *runner) run(d time.Duration) (turn, error) {
	var before, after time.Duration
	var err error
	if r.process != nil {
		if before, err = r.process.CPU(); err != nil {
			return turn{}, err
		}
	}
	l, err := bench.Load{Target: r.origin, Connections: connections, Time: d, Next: r.next, Want: 200}.Run()
	if err != nil {
		return turn{}, err
	}
	if r.process != nil {
		if after, err = r.process.CPU(); err != nil {
			return turn{}, err
		}
	}
	return turn{rate: l.Rate(), cpu: bench.PerRequests(after-before, l.Requests), p99: l.Wait(99)}, nil
}
