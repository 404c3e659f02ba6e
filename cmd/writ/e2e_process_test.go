package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// binary is the command under test, built once. It lies beside the test's own
// binary, in the directory that go test removes.
var binary = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(self), "bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "writ")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-tags", tags(), "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// tags are those that this test was built with, and the command is, too.
func tags() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-tags" {
				return s.Value
			}
		}
	}
	return ""
}

// built returns the path of the command.
func built(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a running writ. It ends with its test.
type process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
	seen bool          // the test itself looked at how it ended
}

// run starts writ. What it wrote is shown when the test fails.
func run(t *testing.T, args ...string) *process {
	t.Helper()
	return runAs(t, built(t), environment(t), args...)
}

// runAs is run for a program of another name, and for another user.
func runAs(t *testing.T, path string, env []string, args ...string) *process {
	t.Helper()
	// Without a deadline of its own it would outlive a test that go test cuts short.
	ctx := context.Background()
	if end, ok := t.Deadline(); ok {
		limit, cancel := context.WithDeadline(ctx, end.Add(-2*time.Second))
		t.Cleanup(cancel)
		ctx = limit
	}
	p := &process{cmd: exec.CommandContext(ctx, path, args...), done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		if err := p.stop(); err != nil && !p.seen && !p.killed() {
			t.Errorf("writ %s: %v", args[0], err)
		}
		if found := secrets.FindString(p.out.String()); found != "" {
			t.Errorf("writ %s wrote a secret: %.12s…", args[0], found)
		}
		if t.Failed() {
			t.Logf("writ %s wrote:\n%s", args[0], p.out.String())
		}
	})
	return p
}

// secrets are what no server may ever write: tokens, client secrets, passwords.
var secrets = regexp.MustCompile(`eyJ[\w-]{10,}\.[\w-]{10,}|writ_(rt|cs|dev)_[\w-]{10,}|` + password)

// environment is all that the process knows of the user who runs the tests.
func environment(t *testing.T) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
}

// stop asks the process to end and waits until it has.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		p.kill()
		return errors.New("did not end after SIGTERM")
	}
}

// kill ends the process without a chance to tidy up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// killed reports whether the test itself killed the process.
func (p *process) killed() bool {
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// fails waits for a process that should end by itself, with an error, and returns
// what it wrote.
func (p *process) fails(t *testing.T) string {
	t.Helper()
	p.seen = true
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("still runs after %v", patience)
	}
	if p.err == nil {
		t.Error("it ended with success, want an error")
	}
	return p.out.String()
}

// answers waits until url says 200.
func (p *process) answers(t *testing.T, client *http.Client, url string) {
	t.Helper()
	eventually(t, url+" answers 200", func() error {
		select {
		case <-p.done:
			t.Fatalf("ended before %s answered: %v", url, p.err)
		default:
		}
		res, err := client.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", res.Status, body)
		}
		return nil
	})
}

// eventually polls until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	within(t, patience, what, check)
}

// within is eventually with a limit of its own, which is a promise of the product.
func within(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		asked := time.Now()
		err := check()
		if err == nil {
			return
		}
		if asked.After(deadline) {
			t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// freePort returns a port that nobody listens on. It is below the range that
// outgoing connections take theirs from, so that it is still free a moment later.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(21000 + rand.N(11000))
		if vacant("127.0.0.1", port) && vacant("::1", port) {
			return port
		}
	}
	t.Fatal("no free port in 100 attempts")
	return ""
}

func vacant(host, port string) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return false
	}
	if err == nil {
		l.Close()
	}
	return true
}
