//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Open opens a file that only we can have written: a regular one, ours, and of a mode
// without the forbidden bits: 0022, so that nobody else may write it, or 0077, so that
// nobody else may read it either. A link is not followed and a pipe not waited for.
func Open(path string, forbidden os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("a symbolic link")
	}
	if err != nil {
		return nil, err
	}
	if err := private(f, forbidden); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func private(f *os.File, forbidden os.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("no regular file")
	}
	if info.Mode().Perm()&forbidden != 0 {
		return fmt.Errorf("mode %04o: open to others, want 0600", info.Mode().Perm())
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
		return errors.New("another user's")
	}
	return nil
}

// syncDirectory makes a renamed file stay where it is after a loss of power.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}
