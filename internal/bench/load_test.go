package bench

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// TestAnswer: an answer that could not be read is never counted as one.
func TestAnswer(t *testing.T) {
	const next = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name, text string
		status     int // 0: an error
	}{
		{"with a body", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok", 200},
		{"name in lower case", "HTTP/1.1 401 Unauthorized\r\ncontent-length:3\r\n\r\nno\n", 401},
		{"without a body", "HTTP/1.1 303 See Other\r\nContent-Length: 0\r\n\r\n", 303},
		{"without a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0},
		{"a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", 0},
		{"a status that is no number", "HTTP/1.1 OK! fine\r\nContent-Length: 0\r\n\r\n", 0},
		{"a short status line", "HTTP\r\n\r\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bufio.NewReader(strings.NewReader(tt.text + next))
			got, err := answer(in)
			if tt.status == 0 {
				if err == nil {
					t.Errorf("answer = %d, want an error", got)
				}
				return
			}
			if err != nil || got != tt.status {
				t.Fatalf("answer = %d, %v, want %d", got, err, tt.status)
			}
			if got, err := answer(in); err != nil || got != 204 {
				t.Errorf("the next answer = %d, %v, want 204: the first was not read to its end", got, err)
			}
		})
	}
	for _, cut := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"} {
		if got, err := answer(bufio.NewReader(strings.NewReader(cut))); err == nil {
			t.Errorf("answer of %q = %d, want an error", cut, got)
		}
	}
}

// TestLoad: what is counted was answered, with the status that was wanted.
func TestLoad(t *testing.T) {
	origin, err := Upstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests := Requests([]string{"a", "b", "c", "d", "e", "f", "g"})
	got, err := Load{Target: origin, Connections: 3, Next: Once(requests), Want: 200}.Run()
	if err != nil || got.Requests != len(requests) || got.Wait(0) <= 0 || got.Wait(100) > ms(got.Took) || got.Rate() <= 0 {
		t.Errorf("load = %d requests, waits %v to %v of %v, %v, want %d", got.Requests, got.Wait(0), got.Wait(100), got.Took, err, len(requests))
	}
	got, err = Load{Target: origin, Connections: 2, Time: time.Nanosecond, Next: Around(requests), Want: 200}.Run()
	if err != nil || got.Requests != 2 {
		t.Errorf("no time at all: %d requests, %v, want one a connection", got.Requests, err)
	}
	if _, err := (Load{Target: origin, Connections: 2, Next: Once(requests), Want: 401}).Run(); err == nil || !strings.Contains(err.Error(), "answered 200, want 401") {
		t.Errorf("another status: %v, want an error that names both", err)
	}
	if _, err := (Load{Target: origin, Connections: 2, Next: Once(nil), Want: 200}).Run(); err == nil {
		t.Error("nothing to send: no error, want one")
	}
	if _, err := (Load{Target: "http://127.0.0.1:1", Connections: 1, Next: Around(requests), Want: 200}).Run(); err == nil {
		t.Error("nobody listens: no error, want one")
	}
}

// TestOnce: no request goes out twice, however many connections ask.
func TestOnce(t *testing.T) {
	all := make([][]byte, 1000)
	for n := range all {
		all[n] = []byte{byte(n), byte(n >> 8)}
	}
	next, around := Once(all), Around(all)
	var mu sync.Mutex
	seen := map[string]int{}
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for request := next(); request != nil; request = next() {
				mu.Lock()
				seen[string(request)]++
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	if len(seen) != len(all) {
		t.Errorf("%d different requests, want %d", len(seen), len(all))
	}
	for request, n := range seen {
		if n != 1 {
			t.Errorf("%q was handed out %d times, want once", request, n)
		}
	}
	clear(seen)
	for range 2 * len(all) {
		seen[string(around())]++
	}
	for request, n := range seen {
		if n != 2 {
			t.Errorf("twice around, %q was handed out %d times", request, n)
		}
	}
}

// pipe is a connection of which the test holds both ends in memory.
type pipe struct {
	io.Reader
	io.Writer
}

// TestReply: one answer a request, also when a request comes in pieces.
func TestReply(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	var out strings.Builder
	if err := reply(pipe{iotest.OneByteReader(strings.NewReader(request + request)), &out}); !errors.Is(err, io.EOF) {
		t.Errorf("reply = %v, want the end of what was sent", err)
	}
	in := bufio.NewReader(strings.NewReader(out.String()))
	for n := range 2 {
		if status, err := answer(in); err != nil || status != http.StatusOK {
			t.Errorf("answer %d = %d, %v, want 200", n+1, status, err)
		}
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("after two answers came %q, want nothing", rest)
	}
	endless := strings.NewReader(strings.Repeat("x", 1<<20))
	if err := reply(pipe{endless, io.Discard}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("an endless header: %v, want an error of its own", err)
	}
}
