// Package disk reads and writes private files: what a process keeps for its next life.
//
// It owns who can have touched such a file and that it is whole, not what is in it. The
// invariant: what Open returns nobody else can have written, and what Write leaves there is
// either the old or the new.
package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Write puts what fill writes in the place of path, whole or not at all, so that it is
// there after a loss of power too. The file is ours alone, and a link in its place is
// replaced, not followed. Of one path there must be one writer at a time.
func Write(path string, fill func(io.Writer) error) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
		return err
	}
	return syncDirectory(filepath.Dir(path))
}
