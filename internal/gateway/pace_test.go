package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dial opens a connection for a client that does not behave.
func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func hasty(cfg *Config) { cfg.stall = 100 * time.Millisecond }

// A body that is announced and never comes must not hold a connection, least of
// all for a caller who was refused: the server waits for it before it answers.
func TestBodyThatNeverComes(t *testing.T) {
	w := newWorld(t, hasty)
	for _, c := range []struct {
		what, path string
		status     int
	}{
		{"refused", "/orders", 401},
		{"no route", "/nowhere", 404},
		{"sent on", "/public", 0}, // the client has as good as gone
	} {
		conn := w.dial()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gw\r\nContent-Length: 100000\r\n\r\nx", c.path)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if c.status == 0 {
			if err != io.ErrUnexpectedEOF {
				t.Errorf("%s: %v, %v, want the end", c.what, res, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v, want an answer", c.what, err)
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		wantProblem(t, c.what, res, string(body), c.status)
		if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: read %d bytes, %v after the answer, want the end", c.what, n, err)
		}
	}
}

// A client that asks for much and reads nothing must not hold the upstream.
func TestResponseThatNobodyReads(t *testing.T) {
	w := newWorld(t, hasty)
	gone := make(chan struct{})
	w.service.mux.HandleFunc("/public/flood", func(rw http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for piece := make([]byte, 1<<20); r.Context().Err() == nil; {
			if _, err := rw.Write(piece); err != nil {
				return
			}
		}
	})
	fmt.Fprint(w.dial(), "GET /public/flood HTTP/1.1\r\nHost: gw\r\n\r\n")
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the upstream is still being read for a client that reads nothing")
	}
}

// What takes long without the client's doing is left alone: a body in small
// pieces, an upstream that thinks, a stream that is silent, on both protocols.
func TestPatience(t *testing.T) {
	w := newWorld(t, hasty)
	slow := 3 * w.gateway.cfg.stall
	w.service.mux.HandleFunc("/public/think", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		time.Sleep(slow)
		fmt.Fprintf(rw, "%d ", len(body))
		if err := http.NewResponseController(rw).Flush(); err != nil {
			t.Error(err)
		}
		time.Sleep(slow)
		fmt.Fprint(rw, "end")
	})
	two := w.twice()
	for _, at := range []struct {
		client *http.Client
		url    string
	}{{http.DefaultClient, w.url}, {two.Client(), two.URL}} {
		for _, length := range []int64{4, -1} {
			r, err := http.NewRequest("POST", at.url+"/public/think", &drip{rest: "body", pause: w.gateway.cfg.stall / 3})
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = length
			res, err := at.client.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", at.url, err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || !bytes.Equal(body, []byte("4 end")) {
				t.Errorf("%s: %q, %v, want 4 end", res.Proto, body, err)
			}
		}
	}
}

// A drip gives one byte at a time.
type drip struct {
	rest  string
	pause time.Duration
}

func (d *drip) Read(p []byte) (int, error) {
	if d.rest == "" {
		return 0, io.EOF
	}
	time.Sleep(d.pause)
	n := copy(p[:1], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// A client that closes its sending half still reads: it must not take an empty
// 200 for the upstream's answer.
func TestClientHalfGone(t *testing.T) {
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/public/wait", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	conn := w.dial().(*net.TCPConn)
	fmt.Fprint(conn, "GET /public/wait HTTP/1.1\r\nHost: gw\r\n\r\n")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		t.Errorf("answer = %s, want none", res.Status)
	}
}
