// Package upstream sends plain requests over kept HTTP/1.1 connections, in the
// goroutine of whoever sends them.
//
// http.Transport keeps two goroutines a connection and hands every request from
// one to the other, so that it can write and read at once. A request without a
// body is sent before its response begins and needs neither. This package owns
// the connections of such requests: who has one, and when it may carry the next.
// It does not own the form of messages, which is that of (*http.Request).Write
// and http.ReadResponse, and everything unusual (a body, an upgrade, https, a
// header that is not plainly good) is left to the http.Transport it is made of.
//
// Invariant: a connection carries another request only after a response that was
// read to its end, that nothing followed and that nobody gave up. What is in
// doubt is closed.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// A Transport is an http.RoundTripper that is safe for concurrent use. Of
// httptrace it calls Got1xxResponse, and no more than (*http.Request).Write does.
type Transport struct {
	std       *http.Transport
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	patience  time.Duration // for the request to be sent and the header to come; 0: no limit
	maxHeader int64         // bytes of a response's header
	pool      pool
	heads     sync.Pool // of *bytes.Buffer
}

// maxHead is how long a request may be to be written before anything is read. It
// is well below what the two kernels hold between them, so that an upstream which
// answers early, without reading, finds nobody stuck in a write.
const maxHead = 16 << 10

// New returns a Transport with the settings of std, which gets what this one does
// not send and is not changed. It is an error when std has settings that this one
// could not keep.
func New(std *http.Transport) (*Transport, error) {
	switch {
	case std.Proxy != nil, std.DisableKeepAlives, std.MaxConnsPerHost != 0, std.MaxIdleConns != 0, std.Protocols != nil:
		return nil, errors.New("upstream: a transport with a proxy, protocols, without kept connections or with a limit for all of them is not taken over")
	case !std.DisableCompression:
		return nil, errors.New("upstream: a transport that asks for compression is not taken over")
	}
	t := &Transport{
		std: std, dial: std.DialContext, patience: std.ResponseHeaderTimeout,
		maxHeader: cmp.Or(std.MaxResponseHeaderBytes, 10<<20), // the default of http.Transport
	}
	if t.dial == nil {
		t.dial = new(net.Dialer).DialContext
	}
	t.pool.init(cmp.Or(std.MaxIdleConnsPerHost, http.DefaultMaxIdleConnsPerHost), std.IdleConnTimeout)
	return t, nil
}

// CloseIdleConnections closes the connections that wait for a request now.
func (t *Transport) CloseIdleConnections() {
	t.pool.clear()
	t.std.CloseIdleConnections()
}

// RoundTrip sends one request and returns when the response's header is there.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !able || !plain(r) {
		return t.std.RoundTrip(r)
	}
	ctx := r.Context()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	head, _ := t.heads.Get().(*bytes.Buffer)
	if head == nil {
		head = new(bytes.Buffer)
	}
	head.Reset()
	if err := r.Write(head); err != nil {
		return nil, err
	}
	if head.Len() > maxHead {
		return t.std.RoundTrip(r)
	}
	defer t.heads.Put(head)
	return t.send(r, head.Bytes())
}

// send tries a kept connection first. A server may close one at any time, also
// while a request is on its way to it, which then goes over a new one, once.
func (t *Transport) send(r *http.Request, head []byte) (*http.Response, error) {
	if c := t.pool.get(r.URL.Host); c != nil {
		res, err := c.exchange(r, head)
		if err == nil || !c.lost(r, err) || c.wrote && !repeatable(r) {
			return res, err
		}
	}
	c, err := t.connect(r.Context(), r.URL)
	if err != nil {
		return nil, err
	}
	return c.exchange(r, head)
}

// connect opens a connection.
func (t *Transport) connect(ctx context.Context, u *url.URL) (*conn, error) {
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
	nc, err := t.dial(ctx, "tcp", addr)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return newConn(t, nc, u.Host), nil
}
