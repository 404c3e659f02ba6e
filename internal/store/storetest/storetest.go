// Package storetest opens stores for tests: real ones, on SQLite and on PostgreSQL.
//
// It owns where they live and their removal; it fakes nothing.
package storetest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writ-auth/writ/internal/store"
)

// Environment variables that say where a PostgreSQL server for tests is, and that a test
// which needs one fails without it instead of being skipped.
const (
	Server   = "WRIT_TEST_POSTGRES"
	Required = "WRIT_TEST_REQUIRE"
)

// Each runs f twice, as subtests "sqlite" and "postgres", each time on a new empty
// database. open gives that database to an issuer; called again it opens it once more, as
// a restart or another replica would. All is closed and removed at the end.
func Each(t *testing.T, f func(t *testing.T, open func(issuer string) *store.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, opener(t, SQLite(t))) })
	t.Run("postgres", func(t *testing.T) { f(t, opener(t, Postgres(t))) })
}

// New opens a new SQLite store for one issuer, for tests that need any store.
func New(t testing.TB, issuer string) *store.DB {
	t.Helper()
	return Open(t, SQLite(t), issuer)
}

// SQLite returns the URL of a new database in a file.
func SQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "writ.db")
}

// Postgres returns the URL of a new database: a schema of its own on the test server.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv(Server)
	if server == "" {
		if os.Getenv(Required) != "" {
			t.Fatalf("%s is not set, but %s is", Server, Required)
		}
		t.Skipf("%s is not set", Server)
	}
	at, err := url.Parse(server)
	if err != nil {
		t.Fatalf("parse %s: %v", Server, err)
	}
	schema := "t" + strings.ToLower(rand.Text())
	run(t, server, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { run(t, server, "DROP SCHEMA "+schema+" CASCADE") })
	q := at.Query()
	q.Set("search_path", schema)
	at.RawQuery = q.Encode()
	return at.String()
}

func run(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to %s: %v", Server, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func opener(t *testing.T, database string) func(string) *store.DB {
	return func(issuer string) *store.DB {
		t.Helper()
		return Open(t, database, issuer)
	}
}

// Open opens a database as a store of kind "dev" and closes it at the end of the test.
func Open(t testing.TB, database, issuer string) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), store.Config{URL: database, Issuer: issuer, Kind: "dev"})
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
