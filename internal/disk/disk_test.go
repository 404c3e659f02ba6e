package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	err := Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// holds fails unless the directory holds this one file.
func holds(t *testing.T, path, text string) {
	t.Helper()
	f, err := Open(path, 0o077)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != text {
		t.Errorf("the file holds %q, %v, want %q", got, err, text)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) != 1 {
		t.Errorf("the directory holds %q, want the file alone", left)
	}
}

func TestWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "one")
	holds(t, path, "one")
	if err := os.WriteFile(path+".new", []byte("left by a process that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	put(t, path, "two")
	holds(t, path, "two")
	want := errors.New("half way")
	err := Write(path, func(w io.Writer) error {
		_, _ = io.WriteString(w, "thr")
		return want
	})
	if !errors.Is(err, want) {
		t.Errorf("Write = %v, want %v", err, want)
	}
	holds(t, path, "two")
}

func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none"), 0o077); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open = %v, want %v", err, os.ErrNotExist)
	}
	if f, err := Open(dir, 0o022); err == nil {
		f.Close()
		t.Error("a directory is opened")
	}
	if err := Write(filepath.Join(dir, "none", "file"), func(io.Writer) error { return nil }); err == nil {
		t.Error("a file is written where there is no directory")
	}
	if err := os.MkdirAll(filepath.Join(dir, "taken", "by"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "taken"), func(io.Writer) error { return nil }); err == nil {
		t.Error("a file is written over a directory")
	}
}
