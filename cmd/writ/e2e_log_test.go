package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLogLevel: SIGHUP moves the log level to what the file says now. A file that is
// wrong changes nothing, and a flag stands above the file.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	a := prepare(t, "http", newSQLite(t))
	file := filepath.Join(t.TempDir(), "serve.yaml")
	level := func(level string) {
		t.Helper()
		text := fmt.Sprintf("log:\n  level: %s\nserve:\n  listen: %s\n", level, strings.TrimPrefix(a.issuer, "http://"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asked := func(path string) { a.send(t, ask{method: http.MethodGet, path: path}) }
	said := func(path string) bool { return strings.Contains(a.out.String(), "path="+path+" ") }
	logged := func(path string) { // what the server writes takes a moment to get here
		t.Helper()
		asked(path)
		eventually(t, path+" is in the log", func() error {
			if !said(path) {
				return errors.New("not yet")
			}
			return nil
		})
	}
	// hangup waits until the server says what became of the signal.
	hangup := func(want string) {
		t.Helper()
		before := strings.Count(a.out.String(), want)
		if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server says: "+want, func() error {
			if strings.Count(a.out.String(), want) == before {
				return errors.New("nothing yet")
			}
			return nil
		})
	}
	const read, kept = "configuration read again", "the old one stays"

	level("info")
	a.flags = []string{"--config", file}
	a.start(t)
	asked("/at-info")
	level("debug")
	asked("/before-the-signal")
	hangup(read)
	logged("/at-debug")
	level("loud")
	hangup(kept)
	logged("/still-at-debug")
	level("info")
	hangup(read)
	asked("/at-info-again")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/at-info", "/before-the-signal", "/at-info-again"} {
		if said(path) {
			t.Errorf("%s is in the log", path)
		}
	}

	level("info")
	a.flags = append(a.flags, "--log-level", "debug")
	a.start(t)
	level("warn")
	hangup(read)
	logged("/by-the-flag")
}
