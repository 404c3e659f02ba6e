package bench

import (
	"context"
	"encoding/json"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/config"
)

// TestReadStat: a command may call itself anything without changing what is counted.
func TestReadStat(t *testing.T) {
	const rest = " S 41 77 77 0 -1 4194560 1 2 3 4 250 50 7 3 20 0 1 0 99 12 34\n"
	for _, name := range []string{"(writ)", "(a b)", "(x) R 1 1 1 1)", "()"} {
		got, err := readStat([]byte("77 " + name + rest))
		if want := (stat{parent: 41, used: 3100 * time.Millisecond}); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	for _, broken := range []string{"", "77 (writ) S 41", "77 (writ) S ppid" + rest[5:], "77 (writ)" + strings.Replace(rest, "250", "much", 1)} {
		if got, err := readStat([]byte(broken)); err == nil {
			t.Errorf("%q: %v, want an error", broken, got)
		}
	}
}

func TestMeter(t *testing.T) {
	if got := PerRequests(2*time.Second, 50_000); got != 4 {
		t.Errorf("2 s for 50,000 requests = %v s for 100,000, want 4", got)
	}
	m := &meter{}
	if got := m.String(); strings.ContainsAny(got, "0123456789") {
		t.Errorf("nothing measured: %q, want no figure", got)
	}
	m.requests, m.used = 200_000, time.Second
	if got, want := m.String(), "0.50 CPU-s"; got != want {
		t.Errorf("1 s for 200,000 requests = %q, want %q", got, want)
	}
}

// TestGatewayFile: the configuration that is written is one that `writ gateway` reads.
func TestGatewayFile(t *testing.T) {
	i := &Issuer{URL: "http://127.0.0.1:1", Gateway: "http://gateway.bench", Resource: "http://gateway.bench/api", ClientID: "bench"}
	text, err := gatewayFile(i, "127.0.0.1:2", "secret", "http://127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	file, err := config.Parse("writ.yaml", text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	g := file.Gateway
	if g.Issuer != i.URL || g.Listen != "127.0.0.1:2" || g.ClientSecretFile != "secret" || len(g.Routes) != 1 {
		t.Fatalf("gateway = %+v, want what was asked for", g)
	}
	if r := g.Routes[0]; r.Path != "/api" || r.Audience != i.Resource || r.Open || r.Propagate != "none" || len(r.Rules) != 1 || r.Rules[0].Scopes[0] != "bench:read" {
		t.Errorf("route = %+v, want one that asks for a token", r)
	}
}

// TestChildProxy: the child does its work as long as the other side is there.
func TestChildProxy(t *testing.T) {
	upstream, err := Upstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, tell := io.Pipe()
	hear, out := io.Pipe()
	over := make(chan error, 1)
	go func() { over <- Child(t.Context(), Config{}, "proxy", in, out) }()
	if err := json.NewEncoder(tell).Encode(upstream); err != nil {
		t.Fatal(err)
	}
	var origin string
	if err := json.NewDecoder(hear).Decode(&origin); err != nil {
		t.Fatal(err)
	}
	got, err := Load{Target: origin, Connections: 2, Next: Once(Requests([]string{"a", "b", "c"})), Want: 200}.Run()
	if err != nil || got.Requests != 3 {
		t.Errorf("through the proxy: %d requests, %v, want 3", got.Requests, err)
	}
	if err := tell.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-over:
		if err != nil {
			t.Errorf("child = %v, want an end without error", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the child goes on after the other side has gone")
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, tell = io.Pipe()
	hear, out = io.Pipe()
	go func() { over <- Child(ctx, Config{}, "proxy", in, out) }()
	if err := json.NewEncoder(tell).Encode(upstream); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(hear).Decode(&origin); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-over:
		if err != nil {
			t.Errorf("child = %v, want an end without error", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the child goes on after its context has ended")
	}
	if err := Child(t.Context(), Config{}, "gatecrasher", strings.NewReader(""), io.Discard); err == nil {
		t.Error("a child of no known kind: no error, want one")
	}
}

// TestAwait: a server that never comes is an error within the limit.
func TestAwait(t *testing.T) {
	listen, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := Await(t.Context(), "http://"+listen, 50*time.Millisecond); err == nil {
		t.Error("nobody listens: no error, want one")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Await(gone, "http://"+listen, time.Hour); err == nil {
		t.Error("nobody waits any more: no error, want one")
	}
}

// TestDescriptors: more than the system can give is an error, and not a crash later on.
func TestDescriptors(t *testing.T) {
	if err := descriptors(64); err != nil {
		t.Errorf("64 open files: %v, want them allowed", err)
	}
	if err := descriptors(1 << 30); err == nil && runtime.GOOS != "windows" {
		t.Error("a thousand million open files: no error, want one")
	}
}
