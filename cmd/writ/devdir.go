package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/writ-auth/writ/internal/demo"
	"github.com/writ-auth/writ/internal/mint"
)

func (d *dev) file(name string) string { return filepath.Join(d.data, name) }

// claim takes the directory for this process. The lock goes with the process,
// however it ends.
func (d *dev) claim() (release func(), err error) {
	if err := os.MkdirAll(d.data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := os.OpenFile(d.file("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(d.file("lock"))
		_ = lock.Close()
		return nil, fmt.Errorf("%s is in use by process %s: stop it, or choose another directory with --data", d.data, strings.TrimSpace(string(pid)))
	}
	if err := lock.Truncate(0); err == nil {
		_, err = fmt.Fprintln(lock, os.Getpid())
		if err != nil {
			_ = lock.Close()
			return nil, fmt.Errorf("lock data directory: %w", err)
		}
	}
	// What an earlier run announced is no longer true.
	if err := os.Remove(d.file("dev.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = lock.Close()
		return nil, fmt.Errorf("remove old dev.json: %w", err)
	}
	return func() { _ = lock.Close() }, nil
}

// sealer reads the sealing key, and makes one only beside an empty store:
// nothing is created anew over what could not be opened.
func (d *dev) sealer() (*mint.Sealer, error) {
	path := d.file("seal.key")
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(d.file("writ.db")); err == nil {
			return nil, fmt.Errorf("%s is gone but %s is there: put the key back, or remove the directory to start afresh", path, d.file("writ.db"))
		}
		if err := mint.WriteSealKey(path, rand.Reader); err != nil {
			return nil, err
		}
	}
	return mint.ReadSealKey(path)
}

// listenApp opens the sample app's port: the one asked for, else the one it had
// last time, else a free one.
func (d *dev) listenApp() ([]net.Listener, error) {
	if d.appListen != "" {
		return listen(d.appListen, "--app-listen")
	}
	kept, err := os.ReadFile(d.file("app.port"))
	if err == nil {
		if l, err := listen("127.0.0.1:"+strings.TrimSpace(string(kept)), "--app-listen"); err == nil {
			return l, nil
		}
	}
	l, err := listen("127.0.0.1:0", "--app-listen")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l[0].Addr().String())
	if err := os.WriteFile(d.file("app.port"), []byte(port+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keep the app's port: %w", err)
	}
	return l, nil
}

// writeFile renames dev.json into place, so that whoever sees it sees all of it.
func (d *dev) writeFile() error {
	body, err := json.MarshalIndent(map[string]any{
		"pid": os.Getpid(), "issuer": d.place.Issuer, "gateway": d.place.Gateway, "app": d.place.App,
		"clients": demo.Clients(d.place, d.seal.Derive), "users": demo.Users(d.seal.Derive),
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	fresh := d.file("dev.json.new")
	if err := os.WriteFile(fresh, append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	if err := os.Rename(fresh, d.file("dev.json")); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	return nil
}

// defaultData is writ/dev under the user's state home.
func defaultData() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "writ", "dev"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no home directory: choose one with --data: %w", err)
	}
	return filepath.Join(home, ".local", "state", "writ", "dev"), nil
}
