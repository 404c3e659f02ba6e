package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/gateway"
	"github.com/writ-auth/writ/internal/jose"
)

// gatewayRepeated is the gateway with one token over and over, beside a plain
// reverse proxy with a tuned transport.
func gatewayRepeated(ctx context.Context, r rig, d time.Duration) (Result, error) {
	i := r.Issuer
	upstream, err := serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = w.Write([]byte("ok"))
	}))
	if err != nil {
		return Result{}, err
	}
	gate, err := gateway.New(ctx, gateway.Config{
		Issuer: i.URL, URL: i.Gateway, ClientID: i.ClientID, ClientSecret: i.Secret, Logger: quiet(),
		Routes: []gateway.Route{{
			Path: "/api", Rules: []gateway.Rule{{Methods: []string{"GET"}, Scopes: []string{"bench:read"}}},
			Upstream: upstream, UpstreamAudience: i.Inner, Audience: i.Resource,
		}},
	})
	if err != nil {
		return Result{}, err
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := gate.Ready(limit); err != nil {
		return Result{}, err
	}
	front, err := serve(ctx, gate)
	if err != nil {
		return Result{}, err
	}
	plain, err := plainProxy(ctx, upstream)
	if err != nil {
		return Result{}, err
	}
	compact, err := sample(i, jose.ES256, 1)
	if err != nil {
		return Result{}, err
	}
	request := string(Request(compact))
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) { return rate(front, 32, d, request) },
		func(d time.Duration) (float64, error) { return rate(plain, 32, d, request) })
	return Result{
		Value: v, Unit: "req/s", Baseline: b, Goal: "ratio ≥ 0.90", Met: atLeast(v/b, 0.90),
		Note: "32 connections, one token, small GET; baseline: httputil.ReverseProxy with 256 idle connections a host and a pool of buffers",
	}, err
}

// plainProxy is ReverseProxy at its best: without the pool it would take 32 KiB for
// every response, and in a process that holds nothing else, collect garbage all day.
func plainProxy(ctx context.Context, upstream string) (string, error) {
	u, err := url.Parse(upstream)
	if err != nil {
		return "", err
	}
	return serve(ctx, &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport:  &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &buffers{},
	})
}

type buffers struct{ pool sync.Pool }

// Get lends a buffer.
func (b *buffers) Get() []byte {
	if held, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return held[:]
	}
	return make([]byte, 32<<10)
}

// Put takes it back.
func (b *buffers) Put(buf []byte) { b.pool.Put((*[32 << 10]byte)(buf)) }

// Request is a small GET through a gateway with a token.
func Request(compact string) []byte {
	return []byte("GET /api HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + compact + "\r\n\r\n")
}

// Requests is one for each token.
func Requests(tokens []string) [][]byte {
	all := make([][]byte, len(tokens))
	for n, compact := range tokens {
		all[n] = Request(compact)
	}
	return all
}

// Around hands out all in turn, over and over.
func Around(all [][]byte) func() []byte {
	var next atomic.Uint64
	return func() []byte { return all[next.Add(1)%uint64(len(all))] }
}

// Once hands out each a single time.
func Once(all [][]byte) func() []byte {
	var next atomic.Int64
	return func() []byte {
		at := next.Add(1) - 1
		if at >= int64(len(all)) {
			return nil
		}
		return all[at]
	}
}

// A pair is the gateway and a plain proxy, each a process of its own, before the same
// upstream.
type pair struct {
	gate, plain           *Process
	gateOrigin, gateFiles string
	plainOrigin           string
}

func (r rig) pair(ctx context.Context) (_ *pair, err error) {
	upstream, err := Upstream(ctx)
	if err != nil {
		return nil, err
	}
	p := &pair{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.gateFiles, err = os.MkdirTemp("", "writ-bench-gateway-"); err != nil {
		return nil, err
	}
	if p.gate, p.gateOrigin, err = StartGateway(ctx, r.Config, r.Issuer, p.gateFiles, upstream); err != nil {
		return nil, err
	}
	if p.plain, p.plainOrigin, err = StartProxy(ctx, r.Config, upstream); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *pair) close() {
	if p.gate != nil {
		p.gate.Close()
	}
	if p.plain != nil {
		p.plain.Close()
	}
	_ = os.RemoveAll(p.gateFiles)
}

// StartGateway runs `writ gateway` as a process, with its files in dir, and returns
// its origin once it is ready.
func StartGateway(ctx context.Context, cfg Config, i *Issuer, dir, upstream string) (*Process, string, error) {
	listen, err := FreePort()
	if err != nil {
		return nil, "", err
	}
	secret, file := filepath.Join(dir, "secret"), filepath.Join(dir, "writ.yaml")
	text, err := gatewayFile(i, listen, secret, upstream)
	if err != nil {
		return nil, "", err
	}
	err = errors.Join(os.WriteFile(secret, []byte(i.Secret), 0o600), os.WriteFile(file, text, 0o600))
	if err != nil {
		return nil, "", err
	}
	p, err := Launch(cfg.Self(ctx, "gateway", "--config", file))
	if err != nil {
		return nil, "", err
	}
	if err := Await(ctx, "http://"+listen+"/readyz", 10*time.Second); err != nil {
		p.Close()
		return nil, "", fmt.Errorf("writ gateway: %w", err)
	}
	return p, "http://" + listen, nil
}

// gatewayFile is its configuration: JSON, which is YAML too.
func gatewayFile(i *Issuer, listen, secretFile, upstream string) ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{"gateway": object{
		"issuer": i.URL, "listen": listen, "url": i.Gateway,
		"client_id": i.ClientID, "client_secret_file": secretFile,
		"routes": []object{{
			"path": "/api", "audience": i.Resource, "upstream": upstream, "propagate": "none",
			"rules": []object{{"methods": []string{http.MethodGet}, "scopes": []string{"bench:read"}}},
		}},
	}})
}

// A meter adds up what a process used for what it did.
type meter struct {
	process  *Process
	requests int
	used     time.Duration
}

// run is l, measured.
func (m *meter) run(l Load) (Loaded, error) {
	before, failed := m.process.CPU()
	out, err := l.Run()
	if err != nil {
		return Loaded{}, err
	}
	if after, err := m.process.CPU(); failed == nil && err == nil {
		m.requests += out.Requests
		m.used += after - before
	}
	return out, nil
}

// String is processor seconds for 100,000 requests.
func (m *meter) String() string {
	if m.requests == 0 {
		return "processor time not known here"
	}
	return fmt.Sprintf("%.2f CPU-s", PerRequests(m.used, m.requests))
}

// gatewayDistinct is the gateway with 10,000 tokens that it has seen, beside the plain proxy.
func gatewayDistinct(ctx context.Context, r rig, d time.Duration) (Result, error) {
	tokens, err := samples(r.Issuer, jose.ES256, 10_000, func(int) {})
	if err != nil {
		return Result{}, err
	}
	p, err := r.pair(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	requests := Requests(tokens)
	warm := Load{Target: p.gateOrigin, Connections: 32, Next: Once(requests), Want: 200}
	if _, err := warm.Run(); err != nil {
		return Result{}, err
	}
	gate, plain, next := &meter{process: p.gate}, &meter{process: p.plain}, Around(requests)
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) {
			l, err := gate.run(Load{Target: p.gateOrigin, Connections: 32, Time: d, Next: next, Want: 200})
			return l.Rate(), err
		},
		func(d time.Duration) (float64, error) {
			l, err := plain.run(Load{Target: p.plainOrigin, Connections: 32, Time: d, Next: next, Want: 200})
			return l.Rate(), err
		})
	return Result{
		Value: v, Unit: "req/s", Baseline: b, Goal: "ratio ≥ 0.95", Met: atLeast(v/b, 0.95),
		Note: fmt.Sprintf("32 connections, 10,000 ES256 tokens seen before, small GET, propagate none, a process of its own; per 100,000 requests %v, baseline %v; baseline: httputil.ReverseProxy with 256 idle connections a host and a pool of buffers", gate, plain),
	}, err
}

// gatewayCold is the gateway with tokens none of which comes twice, beside the plain proxy.
func gatewayCold(ctx context.Context, r rig, d time.Duration) (Result, error) {
	p, err := r.pair(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	gate, plain := &meter{process: p.gate}, &meter{process: p.plain}
	minted := 0
	// Each turn sends a number of tokens, made before its clock starts, and not for a time.
	fresh := func(d time.Duration) ([][]byte, error) {
		many := max(64, int(d.Seconds()*12_000))
		all := make([][]byte, many)
		err := inParallel(many, func(int) {}, func(n int) error {
			compact, err := sample(r.Issuer, jose.ES256, minted+n)
			all[n] = Request(compact)
			return err
		})
		minted += many
		return all, err
	}
	once := func(m *meter, origin string) func(time.Duration) (float64, error) {
		return func(d time.Duration) (float64, error) {
			all, err := fresh(d)
			if err != nil {
				return 0, err
			}
			l, err := m.run(Load{Target: origin, Connections: 32, Next: Once(all), Want: 200})
			return l.Rate(), err
		}
	}
	v, b, err := turns(d, once(gate, p.gateOrigin), once(plain, p.plainOrigin))
	return Result{
		Value: v, Unit: "req/s", Baseline: b,
		Note: fmt.Sprintf("32 connections, no ES256 token twice, small GET, propagate none, a process of its own; per 100,000 requests %v, baseline %v; baseline: httputil.ReverseProxy with 256 idle connections a host and a pool of buffers", gate, plain),
	}, err
}
