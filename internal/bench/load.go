package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Load is requests over some connections, each busy with one after another.
type Load struct {
	Target      string        // origin
	Connections int           // how many at a time
	Time        time.Duration // 0: until Next has no more
	Next        func() []byte // the next request, nil for none; all connections call it at once
	Want        int           // the status that counts; any other is an error
}

// Loaded is how a Load went.
type Loaded struct {
	Requests int
	Took     time.Duration
	waits    []float64 // of each request, in ms
}

// Rate is requests a second.
func (l Loaded) Rate() float64 { return float64(l.Requests) / l.Took.Seconds() }

// Wait is the percentile p of how long a request took, in ms.
func (l Loaded) Wait(p int) float64 { return percentile(l.waits, p) }

// Run sends the requests. It reads answers itself, to leave the cores to the server.
func (l Load) Run() (Loaded, error) {
	u, err := url.Parse(l.Target)
	if err != nil {
		return Loaded{}, err
	}
	waits, failed := make([][]float64, l.Connections), make([]error, l.Connections)
	var running sync.WaitGroup
	start := time.Now()
	for i := range l.Connections {
		running.Go(func() { waits[i], failed[i] = l.pump(u.Host, start) })
	}
	running.Wait()
	out := Loaded{Took: time.Since(start)}
	for _, w := range waits {
		out.Requests += len(w)
		out.waits = append(out.waits, w...)
	}
	if err := errors.Join(failed...); err != nil {
		return Loaded{}, err
	}
	if out.Requests == 0 {
		return Loaded{}, errors.New("there was no request to send")
	}
	return out, nil
}

func (l Load) pump(host string, start time.Time) ([]float64, error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	limit := l.Time + 10*time.Second
	if l.Time == 0 {
		limit = 2 * time.Minute
	}
	if err := conn.SetDeadline(start.Add(limit)); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 8<<10)
	waits := make([]float64, 0, 1024)
	for now := time.Now(); ; { // one request at least, however short the time
		request := l.Next()
		if request == nil {
			return waits, nil
		}
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		status, err := answer(in)
		if err != nil {
			return nil, err
		}
		if status != l.Want {
			return nil, fmt.Errorf("%s answered %d, want %d", l.Target, status, l.Want)
		}
		sent := now
		now = time.Now()
		waits = append(waits, ms(now.Sub(sent)))
		if l.Time > 0 && now.Sub(start) >= l.Time {
			return waits, nil
		}
	}
}

// rate is requests a second of one request over and over.
func rate(target string, connections int, d time.Duration, request string) (float64, error) {
	out := []byte(request)
	l, err := Load{Target: target, Connections: connections, Time: d, Next: func() []byte { return out }, Want: http.StatusOK}.Run()
	if err != nil {
		return 0, err
	}
	return l.Rate(), nil
}

// answer reads one response with a Content-Length and returns its status.
func answer(in *bufio.Reader) (int, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, errors.New("no status line")
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(string(line), ":")
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("response without Content-Length")
	}
	_, err = in.Discard(length)
	return status, err
}

// Upstream answers every request with "ok" until ctx ends, at little cost: what is
// measured stands in front of it. It returns its origin.
func Upstream(ctx context.Context) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			go func() {
				defer stop()
				defer func() { _ = conn.Close() }()
				_ = reply(conn) // its end is the other side's business
			}()
		}
	}()
	return "http://" + l.Addr().String(), nil
}

// reply answers requests that have no body and wait for the answer before.
func reply(conn io.ReadWriter) error {
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	buf, n := make([]byte, 32<<10), 0
	for {
		more, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		if n += more; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			if n == len(buf) {
				return errors.New("request too long")
			}
			continue
		}
		if _, err := conn.Write(response); err != nil {
			return err
		}
		n = 0
	}
}

// serve answers on a free loopback port until ctx ends.
func serve(ctx context.Context, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return "http://" + l.Addr().String(), nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, 1<<20))
}
