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
	before := spent(b)
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

// buffers lends one buffer a copy.
type buffers struct{}

func (buffers) Get() []byte { return make([]byte, 4<<10) }
func (buffers) Put([]byte)  {}
