//go:build unix

package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"syscall"
	"testing"
)

// BenchmarkProxy compares the two transports under a plain ReverseProxy with 32
// clients. Clients and upstream run in the same process, so that the times hold
// their share.
func BenchmarkProxy(b *testing.B) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer web.Close()
	target, err := url.Parse(web.URL)
	if err != nil {
		b.Fatal(err)
	}
	each(b, func(b *testing.B, rt http.RoundTripper) {
		proxy := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }, Transport: rt, BufferPool: new(buffers),
		})
		defer proxy.Close()
		client := newTransport(b, func(std *http.Transport) { std.MaxIdleConnsPerHost = 256 })
		load(b, client, proxy.URL)
	})
}

// BenchmarkRoundTrip leaves the proxy out.
func BenchmarkRoundTrip(b *testing.B) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer web.Close()
	each(b, func(b *testing.B, rt http.RoundTripper) { load(b, rt, web.URL) })
}

func each(b *testing.B, run func(*testing.B, http.RoundTripper)) {
	std := settings()
	std.MaxIdleConnsPerHost = 256
	defer std.CloseIdleConnections()
	b.Run("standard", func(b *testing.B) { run(b, std) })
	b.Run("ours", func(b *testing.B) {
		run(b, newTransport(b, func(std *http.Transport) { std.MaxIdleConnsPerHost = 256 }))
	})
}

func load(b *testing.B, rt http.RoundTripper, target string) {
	b.SetParallelism(16)
	b.ReportAllocs()
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := http.NewRequestWithContext(b.Context(), "GET", target, nil)
			if err != nil {
				b.Error(err)
				return
			}
			res, err := rt.RoundTrip(r)
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				b.Error(err)
			}
			res.Body.Close()
		}
	})
	b.StopTimer()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	spent := func(u syscall.Rusage) int64 { return u.Utime.Nano() + u.Stime.Nano() }
	b.ReportMetric(float64(spent(after)-spent(before))/float64(b.N), "cpu-ns/op")
}

// buffers lends one buffer a copy.
type buffers struct{}

func (buffers) Get() []byte { return make([]byte, 4<<10) }
func (buffers) Put([]byte)  {}
