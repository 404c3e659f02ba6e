package main_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFileTooLarge: a limit on the size of files stands for a disk that is full
// where nobody may make one.
func TestFileTooLarge(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	limit := func(bytes uint64) {
		t.Helper()
		err := unix.Prlimit(a.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: math.MaxUint64}, nil)
		if err != nil {
			t.Fatalf("set RLIMIT_FSIZE: %v", err)
		}
	}
	log := strings.TrimPrefix(a.database, "sqlite:") + "-wal"
	checkDiskFull(t, a, disk{
		full: func() {
			info, err := os.Stat(log)
			if err != nil {
				t.Fatal(err)
			}
			limit(uint64(info.Size()) + 64<<10) // a few commits more
		},
		empty: func() {
			select {
			case <-a.done: // the limit went with the process
			default:
				limit(math.MaxUint64)
			}
		},
	})
}

// TestDiskFull is the same with a real file system that has no room left.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	checkDiskFull(t, serve(t, "sqlite:"+filepath.Join(dir, "writ.db")), disk{
		full: func() {
			var at unix.Statfs_t
			if err := unix.Statfs(dir, &at); err != nil {
				t.Fatal(err)
			}
			room := int(at.Bavail)*int(at.Bsize) - 64<<10 // a few commits more
			if err := os.WriteFile(ballast, make([]byte, max(0, room)), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		empty: func() {
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		},
	})
}
