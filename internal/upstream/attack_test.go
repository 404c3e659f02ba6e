package upstream

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLeftoverIsNobodysAnswer has upstreams that say more than a response. It
// must never be taken for the answer to the next request.
func TestLeftoverIsNobodysAnswer(t *testing.T) {
	evil := ok("evil")
	for _, c := range []struct{ name, method, say, want string }{
		{"after a length", "GET", ok("first") + evil, "first"},
		{"a few bytes", "GET", ok("first") + "\r\n", "first"},
		{"after chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n" + evil, "first"},
		{"after an empty body", "GET", ok("") + evil, ""},
		{"HEAD with a body", "HEAD", ok("first") + evil, ""},
		{"HEAD with chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + evil, ""},
		{"204 with a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 60\r\n\r\n" + evil, ""},
		{"304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 60\r\n\r\n" + evil, ""},
		{"length and chunks", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n" + evil, "first"},
		{"long body", "GET", ok(strings.Repeat("x", 10000)) + evil, strings.Repeat("x", 10000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newServer(t, script{{{c.say, stay}, {evil, stay}}, {{ok("second"), stay}}})
			rt := newTransport(t, nil)
			for n, want := range []string{c.want, "second"} {
				method := []string{c.method, "GET"}[n]
				if got := read(t, rt, server.request(t, method)); got != want {
					t.Errorf("answer %d = %q, want %q", n+1, got, want)
				}
			}
			if _, conns := server.seen(); conns != 2 {
				t.Errorf("%d connections, want 2: the first one is not to be trusted", conns)
			}
		})
	}
}

// read returns the body of what came.
func read(t testing.TB, rt http.RoundTripper, r *http.Request) string {
	t.Helper()
	res, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestIdleConnectionThatSpeaks has an upstream that sends a response ahead of the
// request, once the connection is idle: it would be the next caller's answer.
func TestIdleConnectionThatSpeaks(t *testing.T) {
	for _, what := range []string{ok("evil"), "x", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"} {
		server := newServer(t, script{{{ok("first"), stay}, {ok("evil too"), stay}}, {{ok("second"), stay}}})
		rt := newTransport(t, nil)
		if got := read(t, rt, server.request(t, "GET")); got != "first" {
			t.Errorf("answer = %q, want first", got)
		}
		server.mu.Lock()
		conn := server.conns[0]
		server.mu.Unlock()
		if _, err := io.WriteString(conn, what); err != nil {
			t.Fatal(err)
		}
		idle := rt.pool.idle[server.host]
		if len(idle) != 1 {
			t.Fatalf("%d idle connections, want 1", len(idle))
		}
		eventually(t, "what was sent has come", func() bool { return !quiet(idle[0].raw) })
		if got := read(t, rt, server.request(t, "GET")); got != "second" {
			t.Errorf("after %q: answer = %q, want second, over a new connection", what, got)
		}
	}
}

// TestEnds has upstreams that end the connection where they may and may not.
func TestEnds(t *testing.T) {
	twice := func(then int) script { return script{{{ok("first"), then}}, {{ok("second"), stay}}} }
	instead := func(say string, then int) script {
		return script{{{ok("first"), stay}, {say, then}}, {{ok("second"), stay}}}
	}
	for _, c := range []struct {
		name, method string
		script       script
		want         string // the second answer; "": an error
		repeated     bool   // the second request is sent twice
	}{
		{"while idle", "GET", twice(leave), "second", false},
		{"half, while idle", "GET", twice(half), "second", false},
		{"by reset, while idle", "DELETE", twice(reset), "second", false},
		{"by saying so", "GET", script{{{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst", stay}, {ok("late"), stay}}, {{ok("second"), stay}}}, "second", false},
		{"HTTP/1.0", "GET", script{{{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst", stay}, {ok("late"), stay}}, {{ok("second"), stay}}}, "second", false},
		{"while idle, not repeatable", "DELETE", twice(leave), "second", false},
		{"in the request", "GET", instead("", leave), "second", true},
		{"in the request, by reset", "GET", instead("", reset), "second", true},
		{"in the request, half", "OPTIONS", instead("", half), "second", true},
		{"in the request, not repeatable", "DELETE", instead("", leave), "", false},
		{"in the request, POST", "POST", instead("", leave), "", false},
		{"in the request, PATCH", "PATCH", instead("", leave), "", false},
		{"in the status", "GET", instead("H", leave), "", false},
		{"in the header", "GET", instead("HTTP/1.1 200 OK\r\nX-A: b\r\n", leave), "", false},
		{"after a 103", "GET", instead("HTTP/1.1 103 Early Hints\r\n\r\n", leave), "", false},
		{"in the body", "GET", instead("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsec", leave), "", false},
		{"nothing but ends", "GET", script{{{ok("first"), stay}, {"", leave}}, {{"", leave}}}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newServer(t, c.script)
			rt := newTransport(t, nil)
			if got := read(t, rt, server.request(t, "GET")); got != "first" {
				t.Errorf("answer = %q, want first", got)
			}
			if c.script[0][0].then != stay {
				idle := rt.pool.idle[server.host]
				if len(idle) == 1 {
					eventually(t, "the end is seen", func() bool { return !quiet(idle[0].raw) })
				}
			}
			got := try(rt, server.request(t, c.method))
			failed := !strings.Contains(got, "no error")
			if failed != (c.want == "") || !failed && !strings.Contains(got, fmt.Sprintf("%q", c.want)) {
				t.Errorf("second: %s, want %q", got, c.want)
			}
			heads, _ := server.seen()
			if sent := len(heads) - 1; sent != 1 && !c.repeated || sent != 2 && c.repeated {
				t.Errorf("the second request was sent %d times (repeated: %t)", sent, c.repeated)
			}
		})
	}
}

func TestIdempotencyKeyIsRepeated(t *testing.T) {
	server := newServer(t, script{{{ok("first"), stay}, {"", leave}}, {{ok("second"), stay}}})
	rt := newTransport(t, nil)
	read(t, rt, server.request(t, "GET"))
	r := server.request(t, "POST")
	r.Header.Set("Idempotency-Key", "1")
	if got := read(t, rt, r); got != "second" {
		t.Errorf("answer = %q, want second", got)
	}
}

// TestSwitchUnasked: nobody asked for another protocol, and what speaks it must
// not be reached by way of a request that was let through as a plain one.
func TestSwitchUnasked(t *testing.T) {
	for _, header := range []string{"", "Connection: Upgrade\r\nUpgrade: h2c\r\n"} {
		server := newServer(t, script{{{"HTTP/1.1 101 Switching Protocols\r\n" + header + "\r\n", stay}}})
		if _, err := newTransport(t, nil).RoundTrip(server.request(t, "GET")); !errors.Is(err, errSwitched) {
			t.Errorf("with %q: error = %v, want %v", header, err, errSwitched)
		}
		eventually(t, "the connection is closed", func() bool { return server.left() == 0 })
	}
}

// TestInformationalResponsesAreCounted: each is sent on, so that no length bounds
// them all.
func TestInformationalResponsesAreCounted(t *testing.T) {
	hint := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for _, c := range []struct {
		many int
		want string
	}{{informational - 1, "\"hello\" no error map[]"}, {informational, "\nerror"}} {
		server := newServer(t, said(strings.Repeat(hint, c.many)+ok("hello")))
		got := try(newTransport(t, nil), server.request(t, "GET"))
		if !strings.HasSuffix(got, c.want) || strings.Count(got, "103") != min(c.many, informational) {
			t.Errorf("%d: %.200s, want each 103 and %s", c.many, got, c.want)
		}
	}
}

func TestInformationalResponseRefused(t *testing.T) {
	server := newServer(t, said("HTTP/1.1 103 Early Hints\r\n\r\n"+ok("hello")))
	refused := errors.New("refused")
	r := server.request(t, "GET")
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { return refused },
	}))
	if _, err := newTransport(t, nil).RoundTrip(r); !errors.Is(err, refused) {
		t.Errorf("error = %v, want %v", err, refused)
	}
}

// TestEarlyAnswer has an upstream that answers what it has not read.
func TestEarlyAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				_, _ = io.WriteString(conn, ok("too busy"))
			}
		}
	}()
	server := &server{host: l.Addr().String()}
	rt := newTransport(t, nil)
	for _, size := range []int{0, maxHead - 1000, 16 << 20} { // the last fills all that the kernel has
		r := server.request(t, "GET")
		r.Header.Set("X-A", strings.Repeat("a", size))
		if got := read(t, rt, r); got != "too busy" {
			t.Errorf("answer = %q, want too busy", got)
		}
		// What waits for its answer next must not get this one.
		rt.CloseIdleConnections()
	}
}

// TestEverybodyGetsTheirOwn mixes requests that are read, dropped, given up and
// closed by the upstream. Each answer names its request.
func TestEverybodyGetsTheirOwn(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		switch r.URL.Query().Get("do") {
		case "0":
			w.Header().Set("Connection", "close")
		case "1":
			_ = http.NewResponseController(w).Flush()
		case "2":
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, strings.Repeat(id+" ", 1+len(id)*500))
	}))
	defer web.Close()
	rt := newTransport(t, nil)
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for n := range 200 {
				id := fmt.Sprintf("%d-%d", worker, n)
				if err := once(t, rt, web.URL, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	rt.CloseIdleConnections()
}

// once sends a request in one of many ways. It returns an error only when the
// answer is another's.
func once(t *testing.T, rt http.RoundTripper, url, id string) error {
	r, err := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("%s/?id=%s&do=%d", url, id, rand.IntN(20)), nil)
	if err != nil {
		return err
	}
	ctx, cancel := contextFor(r, rand.IntN(10))
	defer cancel()
	res, err := rt.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, int64(rand.IntN(8000)))) // broken off as often as not
	for part := range strings.FieldsSeq(string(body)) {
		if !strings.HasPrefix(id, part) {
			return fmt.Errorf("the answer to %s says %q", id, part)
		}
	}
	return nil
}

// TestPatience: the limit is for the header, not for the body that follows.
func TestPatience(t *testing.T) {
	t.Parallel()
	hasty := func(std *http.Transport) { std.ResponseHeaderTimeout = 500 * time.Millisecond }
	var silent atomic.Int32
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			silent.Add(1)
			<-r.Context().Done()
			return
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(600 * time.Millisecond)
		fmt.Fprint(w, "slow")
	}))
	defer slow.Close()
	rt := newTransport(t, hasty)
	for _, kept := range []bool{false, true} {
		r := httptest.NewRequest("GET", slow.URL+"/", nil)
		if got := read(t, rt, r); got != "slow" {
			t.Errorf("answer = %q, want slow (kept: %t)", got, kept)
		}
	}
	r := httptest.NewRequest("GET", slow.URL+"/silent", nil)
	if got := try(rt, r); got != "timeout" || silent.Load() != 1 {
		t.Errorf("%s after %d tries, want timeout after one", got, silent.Load())
	}
	drip := newServer(t, script{{{"HTTP/1.1 200 OK\r\nX-A: b\r\n", stay}}})
	if got := try(rt, drip.request(t, "GET")); got != "timeout" {
		t.Errorf("half a header: %s, want timeout", got)
	}
}
