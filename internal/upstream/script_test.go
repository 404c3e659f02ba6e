package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain keeps http.Transport from telling of every connection that it drops.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// A turn is what a scripted upstream does when it has a request: it says
// something and goes on, or ends the connection.
type turn struct {
	say  string
	then int
}

const (
	stay  = iota
	leave // close
	half  // close the sending side only
	reset
)

// A script says what an upstream does on each connection, in order of their
// coming. Later connections follow the last.
type script [][]turn

// said is a script for one response after which the upstream closes, and one for
// all that come over other connections.
func said(response string) script {
	return script{{{response, leave}}, {{ok("other"), stay}}}
}

// ok is a response.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// A server follows a script.
type server struct {
	net.Listener
	script script
	host   string // in URLs

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
	heads [][]string // guarded by mu; what came over each
	open  int        // guarded by mu; connections that the other side has not closed
}

func newServer(t testing.TB, s script) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serverAt(t, l, l.Addr().String(), s)
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// local is a server on a socket that is none of the few thousand ports.
func local(t testing.TB, s script) (*server, dialer) {
	at := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	return serverAt(t, l, "upstream.example", s), func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", at)
	}
}

func serverAt(t testing.TB, l net.Listener, host string, s script) *server {
	made := &server{Listener: l, script: s, host: host}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n := made.add(conn)
			running.Go(func() { made.serve(conn, n) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		made.mu.Lock()
		for _, conn := range made.conns {
			conn.Close()
		}
		made.mu.Unlock()
		running.Wait()
	})
	return made
}

func (s *server) add(conn net.Conn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns, s.heads, s.open = append(s.conns, conn), append(s.heads, nil), s.open+1
	return len(s.conns) - 1
}

func (s *server) serve(conn net.Conn, n int) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	var turns []turn
	if len(s.script) > 0 {
		turns = s.script[min(n, len(s.script)-1)]
	}
	var got []byte
	for {
		end := bytes.Index(got, []byte("\r\n\r\n"))
		for end < 0 {
			piece := make([]byte, 4096)
			more, err := conn.Read(piece)
			if err != nil {
				return
			}
			got = append(got, piece[:more]...)
			end = bytes.Index(got, []byte("\r\n\r\n"))
		}
		s.mu.Lock()
		s.heads[n] = append(s.heads[n], string(got[:end+4]))
		s.mu.Unlock()
		got = got[end+4:]
		if len(turns) == 0 {
			continue // says nothing
		}
		if !act(conn, turns[0]) {
			return
		}
		turns = turns[1:]
	}
}

// act reports whether the connection is still there.
func act(conn net.Conn, t turn) bool {
	if _, err := io.WriteString(conn, t.say); err != nil {
		return false
	}
	switch t.then {
	case half:
		return conn.(interface{ CloseWrite() error }).CloseWrite() == nil
	case reset:
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	return t.then == stay
}

// seen returns the requests that came, and over how many connections.
func (s *server) seen() (heads []string, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.heads {
		heads = append(heads, list...)
	}
	return heads, len(s.conns)
}

// left is how many connections the client has not closed.
func (s *server) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// request is one for the server that looks the same on every port.
func (s *server) request(t testing.TB, method string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+s.host+"/orders?id=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "upstream.example"
	r.Header.Set("Authorization", "Bearer x")
	return r
}

// settings are those of the gateway, in short.
func settings() *http.Transport {
	return &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 4, MaxResponseHeaderBytes: 64 << 10,
		ResponseHeaderTimeout: 5 * time.Second, IdleConnTimeout: time.Minute,
	}
}

// newTransport is ours with its settings, changed.
func newTransport(t testing.TB, change func(*http.Transport)) *Transport {
	t.Helper()
	std := settings()
	if change != nil {
		change(std)
	}
	made, err := New(std)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.CloseIdleConnections)
	return made
}

// try sends r and returns all that came of it in one text.
func try(rt http.RoundTripper, r *http.Request) string {
	var b strings.Builder
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			fmt.Fprintf(&b, "%d %v\n", code, h)
			return nil
		},
	})
	res, err := rt.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return b.String() + class(err)
	}
	defer res.Body.Close()
	fmt.Fprintf(&b, "%s %s %v length %d %v close %v\n", res.Proto, res.Status, res.Header, res.ContentLength, res.TransferEncoding, res.Close)
	body, err := io.ReadAll(res.Body)
	fmt.Fprintf(&b, "%q %s %v", body, class(err), res.Trailer)
	return b.String()
}

// class is what callers tell errors apart by.
func class(err error) string {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case err == nil:
		return "no error"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case timeout != nil && timeout.Timeout():
		return "timeout"
	}
	return "error"
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: still not so", what)
		}
	}
}
