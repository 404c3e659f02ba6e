//go:build unix

package guard

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFilesThatOthersCanWrite(t *testing.T) {
	i := newIssuer(t)
	good := kept(t, i, nil)
	info, err := os.Stat(good)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Dir(good) + "/*"); len(left) != 1 {
		t.Errorf("the directory holds %q, want the file alone", left)
	}
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666, 0o660} {
		if err := os.Chmod(good, mode); err != nil {
			t.Fatal(err)
		}
		refused(t, mode.String(), load(t, i, good, nil))
	}
	if err := os.Chmod(good, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	refused(t, "a link", load(t, i, link, nil))
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "a pipe that nobody writes to", load(t, i, pipe, nil))
	if os.Geteuid() == 0 { // who else could give a file away
		if err := os.Chown(good, 1, -1); err != nil {
			t.Fatal(err)
		}
		refused(t, "another user's", load(t, i, good, nil))
	}
	if g := load(t, i, filepath.Join(t.TempDir(), "none"), nil); g.State().Ready || g.State().FileError != nil {
		t.Errorf("without a file: state = %+v, want nothing and no error", g.State())
	}
}

// A link in the place of the file, or of the one that is written first, is
// replaced and not written through.
func TestWritesThroughNoLink(t *testing.T) {
	i := newIssuer(t)
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "guard.state")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".new"} {
		if err := os.Symlink(victim, name); err != nil {
			t.Fatal(err)
		}
	}
	g, end := life(t, i, path, nil)
	eventually(t, "the guard is ready", func() bool { return g.State().Ready })
	end()
	if text, err := os.ReadFile(victim); err != nil || string(text) != "mine" {
		t.Errorf("the file behind the link = %q, %v", text, err)
	}
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the state file is %v, %v, want a regular one", info, err)
	}
	if !load(t, i, path, nil).State().Ready {
		t.Error("what was written is not read")
	}
}
