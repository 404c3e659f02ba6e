package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"syscall"
	"time"
)

// A conn is a connection to an upstream. It belongs to one request at a time, or
// to the pool.
type conn struct {
	t     *Transport
	nc    net.Conn
	raw   syscall.RawConn // nil: nobody can look what came, so it is used once
	in    *bufio.Reader   // from this conn; of the size http.Transport has, which bounds trailers
	host  string
	since time.Time // when it fell idle; zero before its first response; guarded by the pool

	// Of the request under way.
	limit int64 // bytes of header that may still be read; unlimited: they are read
	timed bool  // a deadline is set
	wrote bool  // something of the request
	heard bool  // something of the response
}

func newConn(t *Transport, nc net.Conn, host string) *conn {
	c := &conn{t: t, nc: nc, host: host}
	c.in = bufio.NewReaderSize(c, 4<<10)
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // fails where there is nothing to look at
	}
	return c
}

const unlimited = math.MaxInt64

var (
	errHeader   = errors.New("its header is too long")
	errMany     = errors.New("upstream: too many responses before the final one")
	errSwitched = errors.New("upstream: the protocol was switched unasked")
)

// Read is for in.
func (c *conn) Read(p []byte) (int, error) {
	if c.limit <= 0 {
		return 0, errHeader
	}
	if c.timed && c.limit == unlimited {
		c.timed = false // a body may be silent for long
		if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	n, err := c.nc.Read(p)
	if c.limit != unlimited {
		c.limit -= int64(n)
	}
	c.heard = c.heard || n > 0
	return n, err
}

// exchange sends a request, whose bytes are head, and reads the header of its
// response. On error the connection is closed.
func (c *conn) exchange(r *http.Request, head []byte) (*http.Response, error) {
	ctx := r.Context()
	b := &body{c: c, ctx: ctx}
	if ctx.Done() != nil {
		b.stop = context.AfterFunc(ctx, func() { c.nc.Close() }) // no read or write outlives it
	}
	res, err := c.ask(r, head)
	if err != nil {
		b.finish(failed)
		return nil, b.blame(err)
	}
	c.limit = unlimited
	b.last = res.Close || r.Close
	if res.Body == http.NoBody {
		b.finish(whole)
		return res, nil
	}
	b.src, res.Body = res.Body, b
	return res, nil
}

// informational is how many responses may come before the final one. Each may
// be as long as a header, and is sent on.
const informational = 64

// ask writes a request and reads responses up to the final one.
func (c *conn) ask(r *http.Request, head []byte) (*http.Response, error) {
	c.limit, c.wrote, c.heard = c.t.maxHeader, false, false
	if c.timed = c.t.patience > 0; c.timed {
		if err := c.nc.SetDeadline(time.Now().Add(c.t.patience)); err != nil {
			return nil, err
		}
	}
	n, err := c.nc.Write(head)
	if c.wrote = n > 0; err != nil {
		return nil, err
	}
	for range informational {
		res, err := http.ReadResponse(c.in, r)
		switch {
		case err != nil:
			return nil, fmt.Errorf("upstream: read the response: %w", err)
		case res.StatusCode >= 200 || res.StatusCode < 100:
			return res, nil
		case res.StatusCode == http.StatusSwitchingProtocols:
			// RFC 9110 §7.8: a server must not switch to a protocol that was not asked for.
			return nil, errSwitched
		}
		trace := httptrace.ContextClientTrace(r.Context())
		if trace == nil || trace.Got1xxResponse == nil {
			continue
		}
		if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
			return nil, err
		}
		c.limit = c.t.maxHeader
	}
	return nil, errMany
}

// lost reports whether an exchange that ended with err found a kept connection
// that the upstream had given up: nothing came back, and neither time nor the
// request itself had ended.
func (c *conn) lost(r *http.Request, err error) bool {
	timeout, _ := errors.AsType[net.Error](err)
	return !c.heard && r.Context().Err() == nil && (timeout == nil || !timeout.Timeout())
}
