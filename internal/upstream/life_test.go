package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBodyGivenUp: what is closed before its end takes the connection along, and
// what is never read holds it.
func TestBodyGivenUp(t *testing.T) {
	server := newServer(t, script{{{ok("first"), stay}}, {{ok("second"), stay}}, {{ok("third"), stay}}})
	rt := newTransport(t, nil)
	held, err := rt.RoundTrip(server.request(t, "GET"))
	if err != nil {
		t.Fatal(err)
	}
	dropped, err := rt.RoundTrip(server.request(t, "GET"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := dropped.Body.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := dropped.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after close: %v, want an error", err)
	}
	eventually(t, "the dropped connection is closed", func() bool { return server.left() == 1 })
	if got := read(t, rt, server.request(t, "GET")); got != "third" {
		t.Errorf("answer = %q, want third", got)
	}
	if body, err := io.ReadAll(held.Body); string(body) != "first" || err != nil {
		t.Errorf("held back: %q, %v, want first", body, err)
	}
	if n, err := held.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read after the end: %d, %v, want EOF", n, err)
	}
}

// TestCloseWhileReading frees the reader, and the connection is never used again.
func TestCloseWhileReading(t *testing.T) {
	server := newServer(t, script{{{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", stay}}, {{ok("second"), stay}}})
	rt := newTransport(t, nil)
	for range 2 {
		res, err := rt.RoundTrip(server.request(t, "GET"))
		if err != nil {
			t.Fatal(err)
		}
		if res.ContentLength != 9 {
			if body, err := io.ReadAll(res.Body); string(body) != "second" || err != nil {
				t.Errorf("answer = %q, %v, want second", body, err)
			}
			return
		}
		read := make(chan error)
		go func() {
			_, err := res.Body.Read(make([]byte, 1))
			read <- err
		}()
		time.AfterFunc(10*time.Millisecond, func() { res.Body.Close() })
		if err := <-read; err == nil || err == io.EOF {
			t.Errorf("read %v, want an error", err)
		}
	}
}

// idle is how many connections wait.
func (t *Transport) idle() int {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	n := 0
	for _, list := range t.pool.idle {
		n += len(list)
	}
	return n
}

func TestPoolIsBounded(t *testing.T) {
	server := newServer(t, script{{{ok("hello"), stay}}})
	rt := newTransport(t, nil)
	var bodies []io.ReadCloser
	for range 7 {
		res, err := rt.RoundTrip(server.request(t, "GET"))
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, res.Body)
	}
	for _, body := range bodies {
		if _, err := io.ReadAll(body); err != nil {
			t.Error(err)
		}
	}
	if got := rt.idle(); got != 4 {
		t.Errorf("%d idle connections, want 4", got)
	}
	eventually(t, "the others are closed", func() bool { return server.left() == 4 })
	rt.CloseIdleConnections()
	eventually(t, "all are closed", func() bool { return server.left() == 0 })
}

func TestIdleConnectionsEnd(t *testing.T) {
	server := newServer(t, script{{{ok("hello"), stay}, {ok("again"), stay}}})
	rt := newTransport(t, func(std *http.Transport) { std.IdleConnTimeout = 50 * time.Millisecond })
	if got := read(t, rt, server.request(t, "GET")); got != "hello" {
		t.Errorf("answer = %q, want hello", got)
	}
	eventually(t, "it is closed", func() bool { return server.left() == 0 && rt.idle() == 0 })
	eventually(t, "nothing is left to watch", func() bool {
		rt.pool.mu.Lock()
		defer rt.pool.mu.Unlock()
		return rt.pool.timer == nil && len(rt.pool.idle) == 0
	})
	if got := read(t, rt, server.request(t, "GET")); got != "hello" { // and it all begins anew
		t.Errorf("answer = %q, want hello", got)
	}
}

// TestOldConnectionIsNotUsed, though the sweep has not come by.
func TestOldConnectionIsNotUsed(t *testing.T) {
	server := newServer(t, script{{{ok("hello"), stay}, {ok("again"), stay}}})
	rt := newTransport(t, nil)
	read(t, rt, server.request(t, "GET"))
	rt.pool.mu.Lock()
	rt.pool.idle[server.host][0].since = time.Now().Add(-rt.pool.life)
	rt.pool.mu.Unlock()
	if got := read(t, rt, server.request(t, "GET")); got != "hello" {
		t.Errorf("answer = %q, want hello", got)
	}
}

// TestSweep: connections that the upstream closed take up no place for long.
func TestSweep(t *testing.T) {
	server := newServer(t, script{{{ok("hello"), half}}, {{ok("hello"), stay}}})
	rt := newTransport(t, nil)
	first, err := rt.RoundTrip(server.request(t, "GET"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := rt.RoundTrip(server.request(t, "GET"))
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range []*http.Response{second, first} {
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "one is swept", func() bool { rt.pool.sweep(); return rt.idle() == 1 })
}

func TestUpstreamRestarts(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	at := filepath.Join(t.TempDir(), "s")
	rt := newTransport(t, func(std *http.Transport) {
		std.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", at)
		}
	})
	for range 3 {
		l, err := net.Listen("unix", at)
		if err != nil {
			t.Fatal(err)
		}
		web := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
		web.Start()
		for range 2 {
			if got := read(t, rt, httptest.NewRequest("DELETE", "http://upstream.example", nil)); got != "hello" {
				t.Errorf("answer = %q, want hello", got)
			}
		}
		web.Close()
	}
	if got := try(rt, httptest.NewRequest("GET", "http://upstream.example", nil)); got != "error" {
		t.Errorf("nobody there: %s, want an error", got)
	}
}

// blind hides what a connection is.
type blind struct{ net.Conn }

// TestBlindConnectionIsUsedOnce: who cannot look whether something came does not
// send another request after it.
func TestBlindConnectionIsUsedOnce(t *testing.T) {
	server := newServer(t, script{{{ok("hello"), stay}, {ok("again"), stay}}})
	rt := newTransport(t, func(std *http.Transport) {
		std.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return blind{conn}, err
		}
	})
	for range 2 {
		if got := read(t, rt, server.request(t, "GET")); got != "hello" {
			t.Errorf("answer = %q, want hello", got)
		}
	}
	eventually(t, "both are closed", func() bool { return server.left() == 0 })
}

// TestTheRestIsLeftToTheStandard sends what is not plain.
func TestTheRestIsLeftToTheStandard(t *testing.T) {
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s", r.Method, body)
	}))
	defer web.Close()
	plainly := httptest.NewServer(web.Config.Handler)
	defer plainly.Close()
	rt := newTransport(t, func(std *http.Transport) {
		std.TLSClientConfig = &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	})
	for name, c := range map[string]struct {
		url    string
		change func(*http.Request)
		want   string
	}{
		"https":  {web.URL, func(*http.Request) {}, "POST "},
		"body":   {plainly.URL, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("b")), 1 }, "POST b"},
		"chunks": {plainly.URL, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("b")) }, "POST b"},
		"expect": {plainly.URL, func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("b")), 1
			r.Header.Set("Expect", "100-continue")
		}, "POST b"},
		"upgrade": {plainly.URL, func(r *http.Request) {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}, "POST "},
	} {
		r := httptest.NewRequest("POST", c.url, nil)
		r.Body = nil
		c.change(r)
		if plain(r) {
			t.Errorf("%s: plain, want left to the standard transport", name)
		}
		if got := read(t, rt, r); got != c.want {
			t.Errorf("%s: answer = %q, want %q", name, got, c.want)
		}
	}
}

func TestPlain(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"trailer":  func(r *http.Request) { r.Trailer = http.Header{"X-A": nil} },
		"encoding": func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		//lint:ignore SA1019 who still sets it gets what heeds it
		"cancel":     func(r *http.Request) { r.Cancel = make(chan struct{}) },
		"letters":    func(r *http.Request) { r.URL.Host = "b\u00fccher.example" },
		"CONNECT":    func(r *http.Request) { r.Method = "CONNECT" },
		"small":      func(r *http.Request) { r.Method = "get" },
		"connection": func(r *http.Request) { r.Header["connection"] = []string{"x"} },
		"expect":     func(r *http.Request) { r.Header["EXPECT"] = []string{"100-continue"} },
		"te":         func(r *http.Request) { r.Header["transfer-Encoding"] = []string{"chunked"} },
	} {
		r := (&server{host: "upstream.example"}).request(t, "GET")
		if !plain(r) {
			t.Fatal("a plain request is none")
		}
		if change(r); plain(r) {
			t.Errorf("%s: plain, want left to the standard transport", name)
		}
	}
}

func TestNewRefusesWhatItCannotKeep(t *testing.T) {
	for name, change := range map[string]func(*http.Transport){
		"proxy":       func(std *http.Transport) { std.Proxy = http.ProxyFromEnvironment },
		"compression": func(std *http.Transport) { std.DisableCompression = false },
		"not kept":    func(std *http.Transport) { std.DisableKeepAlives = true },
		"all":         func(std *http.Transport) { std.MaxIdleConns = 1 },
		"a host":      func(std *http.Transport) { std.MaxConnsPerHost = 1 },
		"protocols":   func(std *http.Transport) { std.Protocols = new(http.Protocols) },
	} {
		std := settings()
		change(std)
		if _, err := New(std); err == nil {
			t.Errorf("%s: no error, want one", name)
		}
	}
}
