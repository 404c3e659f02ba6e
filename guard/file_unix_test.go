//go:build unix

package guard

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesThatOthersCanWrite(t *testing.T) {
	i := newIssuer(t)
	good := kept(t, i, nil)
	if info, err := os.Stat(good); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	if g := load(t, i, filepath.Join(t.TempDir(), "none"), nil); g.State().Ready || g.State().FileError != nil {
		t.Errorf("without a file: state = %+v, want nothing and no error", g.State())
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	refused(t, "a link", load(t, i, link, nil))
	if err := os.Chmod(good, 0o644); err != nil {
		t.Fatal(err)
	}
	if g := load(t, i, good, nil); !g.State().Ready {
		t.Errorf("a file that others can read is refused: %v", g.State().FileError)
	}
	if err := os.Chmod(good, 0o620); err != nil {
		t.Fatal(err)
	}
	refused(t, "a file that others can write", load(t, i, good, nil))
}
