package main_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store/storetest"
)

// A line of the card is a command, or an address, under words that say what it does.
type cardLine struct{ words, command string }

var cardLines = regexp.MustCompile(`(?m)^  # (.*)\n  (.*)$`)

// TestCard runs every line of the card that writ dev prints, in the order in which
// it stands there, as people do who copy them.
func TestCard(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv(storetest.Required) != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	t.Run("installed, in the usual directory", func(t *testing.T) {
		t.Parallel()
		home, path := t.TempDir(), install(t)
		checkCard(t, path, []string{"HOME=" + home, "PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH")}, filepath.Join(home, ".local/state/writ/dev"))
	})
	t.Run("anywhere, in a directory with a space", func(t *testing.T) {
		t.Parallel()
		data := filepath.Join(t.TempDir(), "my data")
		checkCard(t, install(t), environment(t), data, "--data", data)
	})
}

// install puts the command where it lives outside the tree it was built in.
func install(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "writ")
	if err := os.Link(built(t), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkCard(t *testing.T, path string, env []string, data string, flags ...string) {
	d := &dev{data: data}
	d.process = runAs(t, path, env, append(startArgs(t), flags...)...)
	d.read(t)
	var lines []cardLine
	eventually(t, "the card is there", func() error {
		lines = nil
		for _, m := range cardLines.FindAllStringSubmatch(d.out.String(), -1) {
			lines = append(lines, cardLine{m[1], m[2]})
		}
		if !strings.Contains(d.out.String(), "Ctrl-C") {
			return context.DeadlineExceeded
		}
		return nil
	})
	if len(lines) < 5 {
		t.Fatalf("the card has %d lines, want at least five", len(lines))
	}
	var script strings.Builder
	const mark = "=== the next line of the card"
	for _, l := range lines {
		if strings.HasPrefix(l.command, "http") {
			if status, _ := fetch(t, l.command); status != http.StatusOK {
				t.Errorf("%s: %d, want 200", l.command, status)
			}
			continue
		}
		script.WriteString(l.command + " || echo line failed\necho '" + mark + "'\n")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script.String())
	shell.Env, shell.Dir = env, t.TempDir()
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("bash: %v\n%s", err, out)
	}
	parts := strings.Split(string(out), mark)
	status := regexp.MustCompile(`: (\d{3})\b`)
	for i, l := range lines[:len(parts)-1] {
		want := status.FindStringSubmatch(l.words)
		if want != nil && !strings.Contains(parts[i], "HTTP/1.1 "+want[1]) || strings.Contains(parts[i], "line failed") {
			t.Errorf("# %s\n%s\ngave\n%s", l.words, l.command, parts[i])
		}
	}
}
