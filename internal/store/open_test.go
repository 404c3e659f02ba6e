package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// each runs a case on the URL of a new database of each sort.
func each(t *testing.T, f func(t *testing.T, url string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); f(t, storetest.SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); f(t, storetest.Postgres(t)) })
}

// raw runs a statement behind the store's back.
func raw(t *testing.T, url, statement string) {
	t.Helper()
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestStoreOfTheOtherKindIsRefused(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		for _, kind := range []string{"dev", "serve", "dev"} {
			d, err := store.Open(t.Context(), store.Config{URL: url, Issuer: issuer, Kind: kind})
			if kind == "dev" {
				if err != nil {
					t.Fatalf("open as dev: %v", err)
				}
				d.Close()
				continue
			}
			if err == nil || !strings.Contains(err.Error(), `"writ dev"`) || !strings.Contains(err.Error(), "WRIT_DATABASE") {
				t.Errorf("open a dev store as serve = %v, want an error that says what it is and what to do", err)
			}
		}
	})
}

func TestReplicasMayOpenANewStoreAtOnce(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		together(8, func(i int) {
			d, err := store.Open(context.Background(), store.Config{URL: url, Issuer: fmt.Sprint("https://", i%2), Kind: "serve"})
			if err != nil {
				t.Errorf("replica %d: %v", i, err)
				return
			}
			defer d.Close()
			if err := d.Ping(context.Background()); err != nil {
				t.Errorf("replica %d: ping: %v", i, err)
			}
		})
	})
}

func TestNewerSchemaIsUsedAsItIs(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		storetest.Open(t, url, issuer).Close()
		raw(t, url, fmt.Sprintf("UPDATE store SET version = %d", store.SchemaVersion()+1))
		raw(t, url, "ALTER TABLE users ADD COLUMN shoe_size BIGINT")
		d := storetest.Open(t, url, issuer)
		update(t, d, func(tx *store.Tx) error { return tx.AddUser(user) })
		view(t, d, func(tx *store.Tx) error { _, err := tx.User("u1"); return err })
	})
}

func TestOpenRefusesWhatItCannotMean(t *testing.T) {
	t.Parallel()
	good := store.Config{URL: storetest.SQLite(t), Issuer: issuer, Kind: "dev"}
	for name, change := range map[string]func(*store.Config){
		"no issuer":      func(c *store.Config) { c.Issuer = "" },
		"no kind":        func(c *store.Config) { c.Kind = "" },
		"unknown kind":   func(c *store.Config) { c.Kind = "prod" },
		"no URL":         func(c *store.Config) { c.URL = "" },
		"no path":        func(c *store.Config) { c.URL = "sqlite:" },
		"memory":         func(c *store.Config) { c.URL = "sqlite::memory:" },
		"other database": func(c *store.Config) { c.URL = "mysql://root:secret@127.0.0.1/db" },
		"bad postgres":   func(c *store.Config) { c.URL = "postgres://u:secret@127.0.0.1:x/db" },
	} {
		cfg := good
		change(&cfg)
		d, err := store.Open(t.Context(), cfg)
		if err == nil {
			d.Close()
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
	cfg := good
	cfg.URL = "postgres://u:secret@127.0.0.1:1/db?connect_timeout=2"
	if _, err := store.Open(t.Context(), cfg); !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("open with the server down = %v, want ErrUnavailable without the password", err)
	}
}

func TestSQLiteFilesAreTheOwnersOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/50% a?b#c.db" // the path is no URL
	d := storetest.Open(t, path, issuer)
	update(t, d, func(tx *store.Tx) error { return tx.AddUser(user) })
	view(t, d, func(tx *store.Tx) error { _, err := tx.User("u1"); return err })
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("files = %v, %v, want the database, -wal and -shm", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(f.Name(), "50% a?b#c.db") {
			t.Errorf("file %s has mode %v, %v, want 0600", f.Name(), info.Mode(), err)
		}
	}
}

// A View that lasts keeps SQLite from starting its log anew; Run makes up for it.
func TestRunCutsTheLogOfSQLite(t *testing.T) {
	t.Parallel()
	at := storetest.SQLite(t)
	d := storetest.Open(t, at, issuer)
	d.LimitLog(1 << 20)
	size := func() int64 {
		info, err := os.Stat(strings.TrimPrefix(at, "sqlite:") + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	view(t, d, func(tx *store.Tx) error {
		_, err := tx.Meta(store.MetaEpoch)
		for i := range 8 {
			update(t, d, func(tx *store.Tx) error {
				return tx.PutFlow(&store.Flow{ID: fmt.Sprint(i), Request: make([]byte, 1<<20)})
			})
		}
		return err
	})
	if size() < 8<<20 {
		t.Fatalf("log of %d bytes, want all that was written", size())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	for start := time.Now(); size() > 1<<20; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("log still has %d bytes", size())
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want Canceled", err)
	}
	view(t, d, func(tx *store.Tx) error { _, err := tx.Flow("7"); return err })
}

func TestClosedStoreSaysSo(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		d := storetest.Open(t, url, issuer)
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Errorf("Close twice: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		nothing := func(*store.Tx) error { return nil }
		for name, err := range map[string]error{"View": d.View(ctx, nothing), "Update": d.Update(ctx, nothing)} {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s after Close = %v, want ErrUnavailable", name, err)
			}
		}
	})
}
