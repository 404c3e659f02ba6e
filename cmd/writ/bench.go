package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/bench"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
)

func benchCommand() *cobra.Command {
	var asJSON, all bool
	var each time.Duration
	cmd := &cobra.Command{
		Use:   "bench [NAME...]",
		Short: "Measure this machine: each figure beside its bare minimum",
		Long: "Measures each figure and its baseline in turns, in one run, against a real\nauthorization server in a temporary directory. Names:\n\n" + benchNames() +
			"\nThose with a * take a minute or gigabytes: they are measured when they are named,\nor with --all.",
		ValidArgs: bench.Names(),
		Args:      func(_ *cobra.Command, names []string) error { return bench.Check(names...) },
		RunE: func(cmd *cobra.Command, names []string) error {
			cfg := bench.Config{Start: startBench, Self: again, Time: each, All: all, Progress: func(text string) {
				fmt.Fprintln(os.Stderr, text)
			}}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			results, err := bench.Run(ctx, cfg, names...)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(results)
			}
			return benchTable(cmd.OutOrStdout(), results)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON array instead of a table")
	cmd.Flags().DurationVar(&each, "time", 8*time.Second, "how long to measure each figure")
	cmd.Flags().BoolVar(&all, "all", false, "without names: the heavy ones too")
	cmd.AddCommand(benchChild())
	return cmd
}

// benchChild is what a measurement starts beside itself, as a process of its own.
func benchChild() *cobra.Command {
	return &cobra.Command{
		Use: "child KIND", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, kind []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return bench.Child(ctx, bench.Config{Start: startBench, Self: again}, kind[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// interruptible is a context that the first signal ends, so that children and
// temporary files go; the second one ends the program at once.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// again is this program once more.
func again(ctx context.Context, args ...string) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return exec.CommandContext(ctx, path, args...)
}

func benchNames() string {
	var b strings.Builder
	for _, name := range bench.Names() {
		b.WriteString("  " + name)
		if bench.Heavy(name) {
			b.WriteString(" *")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func benchTable(out io.Writer, results []bench.Result) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tVALUE\tBASELINE\tRATIO\tGOAL\tMET")
	for _, r := range results {
		met := "-"
		if r.Met != nil {
			met = map[bool]string{true: "yes", false: "no"}[*r.Met]
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%.2f\t%s\t%s\n", r.Name, figure(r.Value), r.Unit, figure(r.Baseline), r.Ratio, r.Goal, met)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		fmt.Fprintf(out, "%s: %s.\n", r.Name, r.Note)
	}
	return nil
}

// figure prints three significant digits.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// startBench runs an authorization server as `writ serve` would, on a free port
// and an embedded database in a temporary directory.
func startBench(ctx context.Context, watchers int) (*bench.Issuer, error) {
	dir, err := os.MkdirTemp("", "writ-bench-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	i, done, err := openBench(ctx, dir, watchers)
	if err != nil {
		cancel()
		_ = os.RemoveAll(dir)
		return nil, err
	}
	i.Close = func() {
		cancel()
		<-done
		_ = os.RemoveAll(dir)
	}
	return i, nil
}

func openBench(ctx context.Context, dir string, watchers int) (*bench.Issuer, <-chan struct{}, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, nil, err
	}
	seal, err := mint.NewSealer(key)
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	i := &bench.Issuer{URL: "http://" + l.Addr().String(), ClientID: "bench", Gateway: "http://gateway.bench"}
	for n := range watchers {
		i.Watchers = append(i.Watchers, fmt.Sprintf("watch-%d", n+1))
	}
	i.Resource, i.Inner = i.Gateway+"/api", "http://api.bench"
	if i.Secret, err = client.NewSecret(client.SecretPrefix, rand.Reader); err != nil {
		_ = l.Close()
		return nil, nil, err
	}
	a, err := openAuthority(ctx, setup{
		issuer: i.URL, database: "sqlite:" + filepath.Join(dir, "writ.db"), kind: "serve", seal: seal, plan: benchPlan(i), log: log,
		keys: config.Keys{Algorithms: []string{jose.ES256, jose.Ed25519, jose.RS256}},
	})
	if err != nil {
		_ = l.Close()
		return nil, nil, err
	}
	i.Mint = a.keys.Access
	var delay atomic.Int64
	i.Delay = func(d time.Duration) { delay.Store(int64(d)) }
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(delay.Load()))
		a.handler.ServeHTTP(w, r)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve(ctx, []*face{newFace("issuer", []net.Listener{l}, slow, log)}, a.loops...)
		_ = a.close()
	}()
	return i, done, nil
}

func benchPlan(i *bench.Issuer) admin.Plan {
	scopes := []admin.Scope{{Name: "bench:read", Text: "Read"}, {Name: "bench:write", Text: "Write"}}
	plan := admin.Plan{Resources: []admin.Resource{
		{URI: i.Resource, Name: "Bench", Scopes: scopes}, {URI: i.Inner, Name: "Bench, inside", Scopes: scopes},
	}}
	for _, id := range append([]string{i.ClientID}, i.Watchers...) {
		plan.Clients = append(plan.Clients, admin.Registration{Secret: login.Secret(i.Secret), Client: admin.Client{
			ID: id, Name: "Bench", AuthMethod: oauth.AuthBasic, Application: "web",
			GrantTypes: []string{oauth.GrantClient, oauth.GrantExchange}, Scope: "bench:read bench:write",
			Resources: []string{i.Resource, i.Inner}, Guards: []string{i.Resource},
		}})
	}
	return plan
}
