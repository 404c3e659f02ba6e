package upstream

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// A body is that of a response. While it is open the connection is its own; the
// first to end it, Read at the end or Close before it, says what becomes of that.
type body struct {
	src  io.ReadCloser
	c    *conn
	ctx  context.Context
	stop func() bool // ends the watch over ctx; nil: there is none
	last bool        // one of the two asked to close the connection (RFC 9112 §9.6)

	state atomic.Int32
}

// States of a body.
const (
	open   = iota
	whole  // read to its end
	closed // before that
	failed
)

// Read returns the cause of the request's context, should that end the response.
func (b *body) Read(p []byte) (int, error) {
	switch b.state.Load() {
	case whole:
		return 0, io.EOF
	case closed:
		return 0, http.ErrBodyReadAfterClose
	case failed:
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.src.Read(p)
	switch {
	case err == io.EOF:
		b.finish(whole)
	case err != nil:
		b.finish(failed)
		err = b.blame(err)
	}
	return n, err
}

// Close gives up what was not read, and with it the connection: who knows how
// long the rest is, and when it comes.
func (b *body) Close() error {
	b.finish(closed)
	return nil
}

// finish passes the connection on, or closes it. Only the first call counts.
func (b *body) finish(state int32) {
	if !b.state.CompareAndSwap(open, state) {
		return
	}
	c := b.c
	held := b.stop == nil || b.stop() // else c is being closed, now or soon
	if held && state == whole && !b.last && c.raw != nil && c.in.Buffered() == 0 {
		c.t.pool.put(c)
		return
	}
	c.nc.Close()
}

// blame returns the reason for an error.
func (b *body) blame(err error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return err
}
