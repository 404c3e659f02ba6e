package server

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// inward is a RoundTripper that calls a handler of the same process. The whole
// answer is held in memory, so it is not for streams.
type inward struct{ handler http.Handler }

// RoundTrip answers r with the handler.
func (t inward) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &held{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(w.body.Len()), Body: io.NopCloser(&w.body),
	}, nil
}

// held is the answer while it is written.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// FlushError and SetWriteDeadline are what handlers of streams ask for; there is
// nobody to wait for here.
func (w *held) FlushError() error                { return nil }
func (w *held) SetWriteDeadline(time.Time) error { return nil }

func (w *held) Header() http.Header         { return w.header }
func (w *held) WriteHeader(status int)      { w.status = status }
func (w *held) Write(p []byte) (int, error) { return w.body.Write(p) }
