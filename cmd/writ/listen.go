package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// listen opens addr. A listener on 127.0.0.1 also opens the same port on [::1]
// where it exists, because localhost may resolve there first. A taken port is an
// error that names port, holder where it can be found, and flag.
func listen(addr, flag string) ([]net.Listener, error) {
	first, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(addr, flag, err)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host != "127.0.0.1" {
		return []net.Listener{first}, nil
	}
	_, port, _ := net.SplitHostPort(first.Addr().String())
	second, err := net.Listen("tcp", net.JoinHostPort("::1", port))
	switch {
	case err == nil:
		return []net.Listener{first, second}, nil
	case errors.Is(err, syscall.EADDRINUSE):
		_ = first.Close()
		return nil, listenError(net.JoinHostPort("::1", port), flag, err)
	}
	return []net.Listener{first}, nil // no IPv6 here
}

func listenError(addr, flag string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	_, port, _ := net.SplitHostPort(addr)
	who := ""
	if name := holder(port); name != "" {
		who = " by " + name
	}
	return fmt.Errorf("port %s is taken%s: choose another with %s", port, who, flag)
}

// holder finds which process listens on a port, "" where it cannot be told
// (another operating system, another user's process).
func holder(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			const listening = "0A"
			if len(f) > 9 && f[3] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// face is one HTTP server and where it listens.
type face struct {
	name      string
	listeners []net.Listener
	server    *http.Server
	silent    silent
	certs     *certificates // nil: plain http
}

func newFace(name string, listeners []net.Listener, handler http.Handler, log *slog.Logger) *face {
	f := &face{name: name, listeners: listeners, server: &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	f.server.ConnState = f.silent.note
	return f
}

// silent is the connections over which nothing has come yet. Clients open them
// ahead of use, and http.Server.Shutdown would wait five seconds for each.
type silent struct {
	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
}

func (s *silent) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.conns, c)
		return
	}
	if s.conns == nil {
		s.conns = map[net.Conn]bool{}
	}
	s.conns[c] = true
}

func (s *silent) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// After the first Ctrl-C requests under way may take drain, and a connection that
// is silent has grace to send one.
const (
	drain = 10 * time.Second
	grace = 200 * time.Millisecond
)

// serve runs all faces and loops until ctx ends or one of them fails; then it
// lets requests under way finish.
func serve(ctx context.Context, faces []*face, loops ...func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	for _, f := range faces {
		for _, l := range f.listeners {
			running.Go(func() {
				if err := f.accept(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
					stop(fmt.Errorf("%s: %w", f.name, err))
				}
			})
		}
	}
	for _, loop := range loops {
		running.Go(func() {
			if err := loop(ctx); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, f := range faces {
		running.Go(func() {
			cut := time.AfterFunc(grace, f.silent.close)
			defer cut.Stop()
			if f.server.Shutdown(limit) != nil {
				_ = f.server.Close() // streams do not end by themselves
			}
		})
	}
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (f *face) accept(l net.Listener) error {
	if f.certs == nil {
		return f.server.Serve(l)
	}
	f.server.TLSConfig = f.certs.config()
	return f.server.ServeTLS(l, "", "")
}

// untilSignal returns a context that the first SIGINT or SIGTERM ends; the second
// quits at once.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-signals:
		}
		fmt.Fprintln(os.Stderr, "stopping: finishing requests under way (Ctrl-C again to quit at once)")
		cancel()
		select {
		case <-done:
		case <-signals:
			os.Exit(130)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// onHangup calls reload at every SIGHUP until ctx ends.
func onHangup(ctx context.Context, reload func()) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-signals:
			reload()
		}
	}
}
