//go:build unix

package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"syscall"
	"testing"

	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// BenchmarkProxy compares the gateway, with one token all the time and with a
// thousand, to a bare ReverseProxy over an http.Transport with the same settings.
// Client and upstream run in the same process, so the times hold their share, too.
func BenchmarkProxy(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"orders":[]}`)
	}))
	b.Cleanup(upstream.Close)
	w := newWorld(b, func(cfg *Config) {
		cfg.Routes = routes(upstream.URL)
		cfg.Logger = slog.New(slog.DiscardHandler)
	})
	target, err := url.Parse(upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	plain := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:    func(p *httputil.ProxyRequest) { p.SetURL(target); p.SetXForwarded() },
		Transport:  w.gateway.cfg.transport(),
		BufferPool: &w.gateway.buffers,
	})
	b.Cleanup(plain.Close)
	one := []string{w.request("GET", "/", "/orders", "orders:read").Header.Get("Authorization")}
	many := make([]string, 1000)
	for i := range many {
		many[i] = "Bearer " + w.issuer.Token(token.Claims{Audience: []string{w.url + "/orders"}, Scope: scope.Set{"orders:read"}})
	}
	b.Run("plain", func(b *testing.B) { load(b, plain.URL+"/orders/7", one) })
	b.Run("open", func(b *testing.B) { load(b, w.url+"/public/7", one) })
	b.Run("one token", func(b *testing.B) { load(b, w.url+"/orders/7", one) })
	b.Run("1000 tokens", func(b *testing.B) { load(b, w.url+"/orders/7", many) })
}

// load sends requests over 32 connections, each token at least once before.
func load(b *testing.B, target string, authorizations []string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	send := func(n int) {
		r, err := http.NewRequestWithContext(b.Context(), "GET", target, nil)
		if err != nil {
			b.Error(err)
			return
		}
		r.Header.Set("Authorization", authorizations[n%len(authorizations)])
		res, err := client.Do(r)
		if err != nil {
			b.Error(err)
			return
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			b.Errorf("answer = %s, %v, want 200", res.Status, err)
		}
	}
	for n := range authorizations {
		send(n)
	}
	b.SetParallelism(16)
	b.ReportAllocs()
	before := spent(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			send(n)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/op")
}

// spent is the processor time that this process has used, in nanoseconds. On a
// busy machine it says more than the time that went by.
func spent(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// BenchmarkOverhead leaves the network out: what the gateway itself costs.
func BenchmarkOverhead(b *testing.B) {
	w := newWorld(b, func(cfg *Config) { cfg.Logger = slog.New(slog.DiscardHandler) })
	w.gateway.transport = answering{}
	if err := w.gateway.Reload(routes(w.service.URL)); err != nil {
		b.Fatal(err)
	}
	target, err := url.Parse(w.service.URL)
	if err != nil {
		b.Fatal(err)
	}
	plain := &httputil.ReverseProxy{
		Rewrite:    func(p *httputil.ProxyRequest) { p.SetURL(target); p.SetXForwarded() },
		Transport:  answering{},
		BufferPool: &w.gateway.buffers,
	}
	exchange := w.request("GET", "/orders/7", "/orders", "orders:read")
	if res, body := w.do(exchange); res.StatusCode != 200 {
		b.Fatalf("answer = %s %s, want 200", res.Status, body)
	}
	for _, c := range []struct {
		name    string
		handler http.Handler
		request *http.Request
	}{
		{"plain", plain, exchange},
		{"open", w.gateway, w.request("GET", "/public", "")},
		{"none", w.gateway, w.request("GET", "/files", "/files")},
		{"exchange", w.gateway, exchange},
	} {
		c.request.Header.Set("Accept", "*/*")
		c.request.Header.Set("User-Agent", "bench")
		c.request.Header.Set("Accept-Encoding", "gzip")
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out := silent{make(http.Header)}
				c.handler.ServeHTTP(out, c.request)
				if len(out.header) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkCheck is a question that a proxy asks, without the network.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, func(cfg *Config) { cfg.Logger = slog.New(slog.DiscardHandler) })
	checker := w.gateway.Checker(nil)
	for _, c := range []struct{ name, path, audience string }{{"open", "/public", ""}, {"none", "/files", "/files"}, {"exchange", "/orders/7", "/orders"}} {
		r := httptest.NewRequest("GET", checkPath, nil)
		r.RemoteAddr, r.Header = "127.0.0.1:1", describedAs(map[string][]string{"X-Forwarded-Uri": {c.path}, "Accept": {"*/*"}, "User-Agent": {"bench"}})
		r.Header["Authorization"] = w.request("GET", "/", c.audience, "orders:read").Header["Authorization"]
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out := silent{make(http.Header)}
				checker.ServeHTTP(out, r)
				if len(out.header[uriHeader]) == 0 {
					b.Fatal("refused")
				}
			}
		})
	}
}

// answering is an upstream without a network.
type answering struct{}

func (answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody, ContentLength: 0}, nil
}

// silent is a ResponseWriter that keeps only headers.
type silent struct{ header http.Header }

func (s silent) Header() http.Header         { return s.header }
func (s silent) Write(p []byte) (int, error) { return len(p), nil }
func (s silent) WriteHeader(int)             {}
