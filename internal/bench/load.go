package bench

import (
	"bufio"
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
	"sync/atomic"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// load keeps connections busy with one request after another and returns
// requests a second. It reads answers itself, to leave the cores to the server.
func load(target string, connections int, d time.Duration, request func() string, want int) (float64, error) {
	u, err := url.Parse(target)
	if err != nil {
		return 0, err
	}
	var done atomic.Int64
	var running sync.WaitGroup
	fail := make(chan error, connections)
	start := time.Now()
	end := start.Add(d)
	for range connections {
		running.Go(func() {
			if err := pump(u.Host, end, request(), want, &done); err != nil {
				fail <- err
			}
		})
	}
	running.Wait()
	select {
	case err := <-fail:
		return 0, err
	default:
	}
	return float64(done.Load()) / time.Since(start).Seconds(), nil
}

func pump(host string, end time.Time, request string, want int, done *atomic.Int64) error {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(end.Add(5 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, 8<<10)
	out := []byte(request)
	for time.Now().Before(end) {
		if _, err := conn.Write(out); err != nil {
			return err
		}
		status, err := answer(in)
		if err != nil {
			return err
		}
		if status != want {
			return fmt.Errorf("answered %d, want %d", status, want)
		}
		done.Add(1)
	}
	return nil
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
