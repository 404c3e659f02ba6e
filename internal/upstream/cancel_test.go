package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// contextFor is a context that ends soon, for some of the values.
func contextFor(r *http.Request, n int) (context.Context, context.CancelFunc) {
	if n > 1 {
		return context.WithCancel(r.Context())
	}
	return context.WithTimeout(r.Context(), time.Duration(n)*200*time.Microsecond)
}

var errGone = errors.New("the client has gone")

// A stuck connection takes nothing that is written.
type stuck struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (s *stuck) Write([]byte) (int, error) {
	<-s.closed
	return 0, net.ErrClosed
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// TestCancelled gives requests up at every step: the error is the cause, the
// connection is closed and nothing is sent twice.
func TestCancelled(t *testing.T) {
	silent := script{{}}
	dialling := make(chan struct{})
	for _, c := range []struct {
		name   string
		script script
		dial   func(ctx context.Context, network, addr string) (net.Conn, error)
		begun  func(*server) bool
	}{
		{"dialling", silent, func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			return nil, errors.New("dial: cancelled")
		}, func(*server) bool { <-dialling; return true }},
		{"writing", silent, func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &stuck{Conn: conn, closed: make(chan struct{})}, err
		}, func(s *server) bool { return s.left() == 1 }},
		{"waiting", silent, nil, func(s *server) bool { heads, _ := s.seen(); return len(heads) == 1 }},
		{"in the header", script{{{"HTTP/1.1 200 OK\r\nX-A", stay}}}, nil, func(s *server) bool { heads, _ := s.seen(); return len(heads) == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newServer(t, c.script)
			rt := newTransport(t, func(std *http.Transport) { std.DialContext = c.dial })
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := rt.RoundTrip(server.request(t, "GET").WithContext(ctx))
				done <- err
			}()
			eventually(t, "it has begun", func() bool { return c.begun(server) })
			cancel(errGone)
			if err := <-done; !errors.Is(err, errGone) {
				t.Errorf("error = %v, want %v", err, errGone)
			}
			eventually(t, "the connection is closed", func() bool { return server.left() == 0 })
			if heads, _ := server.seen(); len(heads) > 1 {
				t.Errorf("sent %d times, want once", len(heads))
			}
		})
	}
}

// TestCancelledOnAKeptConnection: no other one is opened for who has gone.
func TestCancelledOnAKeptConnection(t *testing.T) {
	server := newServer(t, script{{{ok("hello"), stay}}})
	var dialled atomic.Int32
	rt := newTransport(t, func(std *http.Transport) {
		std.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			dialled.Add(1)
			return net.Dial(network, addr)
		}
	})
	read(t, rt, server.request(t, "GET"))
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := rt.RoundTrip(server.request(t, "GET").WithContext(ctx))
		done <- err
	}()
	eventually(t, "it is sent", func() bool { heads, _ := server.seen(); return len(heads) == 2 })
	cancel(errGone)
	if err := <-done; !errors.Is(err, errGone) || dialled.Load() != 1 {
		t.Errorf("error = %v after %d dials, want %v after one", err, dialled.Load(), errGone)
	}
}

func TestCancelledBefore(t *testing.T) {
	server := newServer(t, said(ok("hello")))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGone)
	if _, err := newTransport(t, nil).RoundTrip(server.request(t, "GET").WithContext(ctx)); !errors.Is(err, errGone) {
		t.Errorf("error = %v, want %v", err, errGone)
	}
	if _, conns := server.seen(); conns != 0 {
		t.Errorf("%d connections, want none", conns)
	}
}

// TestCancelledInTheBody, by a reader that waits for more.
func TestCancelledInTheBody(t *testing.T) {
	server := newServer(t, script{{{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", stay}}})
	ctx, cancel := context.WithCancelCause(t.Context())
	res, err := newTransport(t, nil).RoundTrip(server.request(t, "GET").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { cancel(errGone) })
	if n, err := res.Body.Read(make([]byte, 9)); n != 0 || !errors.Is(err, errGone) {
		t.Errorf("read %d, %v, want the cause", n, err)
	}
	if n, err := res.Body.Read(make([]byte, 9)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read %d, %v after the error, want another one", n, err)
	}
	eventually(t, "the connection is closed", func() bool { return server.left() == 0 })
}

// TestCancelledAfter: who has the whole answer no longer has the connection.
func TestCancelledAfter(t *testing.T) {
	server := newServer(t, script{{{ok("first"), stay}, {ok("second"), stay}, {ok(""), stay}, {ok("fourth"), stay}}})
	rt := newTransport(t, nil)
	for _, want := range []string{"first", "second", "", "fourth"} {
		ctx, cancel := context.WithCancel(t.Context())
		if got := read(t, rt, server.request(t, "GET").WithContext(ctx)); got != want {
			t.Errorf("answer = %q, want %q", got, want)
		}
		cancel()
	}
	if _, conns := server.seen(); conns != 1 {
		t.Errorf("%d connections, want 1", conns)
	}
}
