//go:build unix

package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	put(t, path, "mine")
	refused := func(what, path string, forbidden os.FileMode) {
		t.Helper()
		if f, err := Open(path, forbidden); err == nil {
			f.Close()
			t.Errorf("%s: opened with %04o forbidden, want an error", what, forbidden)
		}
	}
	for _, c := range []struct {
		mode     os.FileMode
		writable bool
	}{
		{0o620, true}, {0o602, true}, {0o666, true}, {0o660, true}, {0o640, false}, {0o604, false}, {0o644, false},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		refused(c.mode.String(), path, 0o077)
		if c.writable {
			refused(c.mode.String(), path, 0o022)
			continue
		}
		f, err := Open(path, 0o022)
		if err != nil {
			t.Errorf("%s: %v with 0022 forbidden, want it opened", c.mode, err)
			continue
		}
		f.Close()
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a link", link, 0o022)
	refused("a pipe that nobody writes to", pipe, 0o022)
	if os.Geteuid() == 0 { // who else could give a file away
		if err := os.Chown(path, 1, -1); err != nil {
			t.Fatal(err)
		}
		refused("another user's", path, 0o022)
	}
}

// A link in the place of the file, or of the one that is written first, is replaced and
// not written through.
func TestWritesThroughNoLink(t *testing.T) {
	victim, path := filepath.Join(t.TempDir(), "victim"), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(victim, []byte("another's"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".new"} {
		if err := os.Symlink(victim, name); err != nil {
			t.Fatal(err)
		}
	}
	put(t, path, "mine")
	holds(t, path, "mine")
	if text, err := os.ReadFile(victim); err != nil || string(text) != "another's" {
		t.Errorf("the file behind the link = %q, %v", text, err)
	}
}
