package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/token"
)

// TestKillReplicas: four replicas of the authorization server stand behind one address,
// with guards connected through it. In the middle of many revocations two of them are
// killed. Whatever was acknowledged is enforced at every guard, those included whose
// replica died.
func TestKillReplicas(t *testing.T) {
	t.Parallel()
	many, guards := 300, 4
	switch {
	case os.Getenv("WRIT_SOAK") != "":
		many, guards = 10_000, 20
	case testing.Short():
		t.Skip("takes seconds")
	}
	database, _ := newPostgres(t)
	r := newReplicas(t, database, 4)
	var watching []*guard.Guard
	for range guards {
		watching = append(watching, r.guard(t))
	}
	issued := r.tokens(t, many)

	var ended atomic.Int64
	var once sync.Once
	work := make(chan string)
	var workers sync.WaitGroup
	failed := make(chan error, 16)
	for range 16 {
		workers.Go(func() {
			for compact := range work {
				if err := r.revoke(t.Context(), compact); err != nil {
					failed <- err
					return
				}
				if ended.Add(1) >= int64(many/2) {
					once.Do(func() { r.kill(0); r.kill(2) })
				}
			}
		})
	}
	began := time.Now()
	for _, compact := range issued {
		select {
		case work <- compact:
		case err := <-failed:
			t.Fatal(err)
		}
	}
	close(work)
	workers.Wait()
	acknowledged := time.Now()
	if n := ended.Load(); n != int64(many) {
		t.Fatalf("%d of %d revocations were acknowledged", n, many)
	}
	for n, g := range watching {
		within(t, patience, fmt.Sprintf("guard %d holds all", n), func() error {
			if held := g.State().Rules; held < many {
				return fmt.Errorf("%d of %d rules", held, many)
			}
			return nil
		})
	}
	t.Logf("%d revocations in %v, two of four replicas killed in the middle; held by all %d guards %v after the last was acknowledged",
		many, acknowledged.Sub(began).Round(time.Millisecond), guards, time.Since(acknowledged).Round(time.Millisecond))
	for n, g := range watching {
		within(t, patience, fmt.Sprintf("guard %d obeys all", n), func() error { return obeys(g, issued) })
	}
	// They follow, too, and do not just refuse everything.
	fresh := r.tokens(t, 1)
	for n, g := range watching {
		if _, err := g.Verify(presenting(fresh[0]), guard.Need{}); err != nil {
			t.Errorf("guard %d: a living token: %v", n, err)
		}
	}
}

func presenting(compact string) *http.Request {
	req, err := http.NewRequest(http.MethodGet, api, nil)
	if err != nil {
		panic(err) // a constant URL
	}
	req.Header.Set("Authorization", "Bearer "+compact)
	return req
}

// obeys reports an error for the first token that the guard does not refuse as ended.
func obeys(g *guard.Guard, ended []string) error {
	for n, compact := range ended {
		_, err := g.Verify(presenting(compact), guard.Need{})
		refusal, ok := errors.AsType[*guard.Refusal](err)
		if !ok || refusal.Reason != guard.ReasonRevoked {
			return fmt.Errorf("token %d: %v, want it refused as revoked", n, err)
		}
	}
	return nil
}

// replicas is several `writ serve` over one database, behind one address.
type replicas struct {
	*authority
	each []*process
	addr []string
	dead []atomic.Bool
	next atomic.Uint32
}

func newReplicas(t *testing.T, database string, n int) *replicas {
	t.Helper()
	r := &replicas{authority: prepare(t, "http", database), dead: make([]atomic.Bool, n)}
	front, err := net.Listen("tcp", r.flags[1]) // the address of the issuer
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		listen := "127.0.0.1:" + freePort(t)
		r.addr = append(r.addr, listen)
		r.each = append(r.each, run(t, "serve", "--issuer", r.issuer, "--database", database, "--seal-key-file", r.seal, "--listen", listen))
	}
	for i, p := range r.each {
		p.answers(t, r.http, "http://"+r.addr[i]+"/readyz")
	}
	go r.balance(front) // ends with front
	t.Cleanup(func() { front.Close() })
	return r
}

// balance gives each connection to one of the replicas that live.
func (r *replicas) balance(front net.Listener) {
	for {
		conn, err := front.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for range 2 * len(r.addr) {
				at := int(r.next.Add(1)) % len(r.addr)
				if r.dead[at].Load() {
					continue
				}
				back, err := net.DialTimeout("tcp", r.addr[at], time.Second)
				if err != nil {
					continue
				}
				go func() { _, _ = io.Copy(back, conn); back.Close() }()
				_, _ = io.Copy(conn, back)
				return
			}
		}()
	}
}

// kill ends a replica as a crash would.
func (r *replicas) kill(n int) {
	r.dead[n].Store(true)
	r.each[n].kill()
}

// guard follows the feed as a registered client.
func (r *replicas) guard(t *testing.T) *guard.Guard {
	t.Helper()
	client, err := relay.New(relay.Config{Issuer: r.issuer, ClientID: "gateway", Secret: secret("gateway")})
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New(t.Context(), client.Follow(guard.Config{Issuer: r.issuer, Audience: api, Logger: slog.New(slog.DiscardHandler)}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return g
}

// tokens is n tokens of a client's own.
func (r *replicas) tokens(t *testing.T, n int) []string {
	t.Helper()
	all := make([]string, n)
	var asking sync.WaitGroup
	for w := range 8 {
		asking.Go(func() {
			for i := w; i < n; i += 8 {
				all[i] = r.own(t)
			}
		})
	}
	asking.Wait()
	if i := slices.Index(all, ""); i >= 0 {
		t.Fatalf("token %d was not issued", i)
	}
	return all
}

func (r *replicas) own(t *testing.T) string {
	answer, err := r.try(t.Context(), r.http, own("service", api, ""))
	if err != nil || answer.status != http.StatusOK {
		return ""
	}
	var got tokens
	answer.decode(t, &got)
	if _, err := token.InsecureParse(got.Access); err != nil {
		return ""
	}
	return got.Access
}

// revoke gives a token up, again and again until that is acknowledged.
func (r *replicas) revoke(ctx context.Context, compact string) error {
	for {
		answer, err := r.try(ctx, r.http, post("/revoke", "service", url.Values{oauth.ParamToken: {compact}}))
		if err == nil && answer.status == http.StatusOK {
			return nil
		}
		if err == nil && answer.status != http.StatusServiceUnavailable {
			return fmt.Errorf("%d %s", answer.status, answer.body)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(20 * time.Millisecond)):
		}
	}
}
