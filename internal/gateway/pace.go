package gateway

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// stall is how long a client may keep the gateway waiting for the next piece of
// a body, or take nothing of a response. A stream may be silent for longer: that
// is the upstream's doing.
const stall = time.Minute

// A pace bounds how long one request waits for its client. Without it whoever
// announces a body and sends nothing, or asks for much and reads nothing, would
// hold a connection here and one to the upstream for ever.
type pace struct {
	http.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration
}

// begin bounds the wait for the body, also where nobody reads it: the server
// reads what is left of it before it sends an answer. HTTP/2 does neither.
func (p *pace) begin(r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		_ = p.rc.SetReadDeadline(time.Now().Add(p.limit)) // not supported: there is no connection
	}
}

// end bounds what the server does after the handler: it reads what begin bounds
// and sends what is still in buffers.
func (p *pace) end() { p.within(2 * p.limit) }

// within bounds the sending from now on; 0 does not.
func (p *pace) within(d time.Duration) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = p.rc.SetWriteDeadline(deadline)
}

// Write waits for the client no longer than the limit. The limit does not stay:
// HTTP/2 would end a stream that is only silent.
func (p *pace) Write(b []byte) (int, error) {
	p.within(p.limit)
	defer p.within(0)
	return p.ResponseWriter.Write(b)
}

// FlushError is Write for what was written before.
func (p *pace) FlushError() error {
	p.within(p.limit)
	defer p.within(0)
	return p.rc.Flush()
}

// Unwrap is for http.ResponseController.
func (p *pace) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// body returns r's body, each read of which waits no longer than the limit.
func (p *pace) body(r *http.Request) io.ReadCloser {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return r.Body
	}
	return &pacedBody{r.Body, p}
}

type pacedBody struct {
	io.ReadCloser
	pace *pace
}

// Read lifts the limit at the end: from there on the server watches the
// connection, and would take the limit for the client's leaving.
func (b *pacedBody) Read(buf []byte) (int, error) {
	_ = b.pace.rc.SetReadDeadline(time.Now().Add(b.pace.limit))
	n, err := b.ReadCloser.Read(buf)
	if errors.Is(err, io.EOF) {
		_ = b.pace.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
