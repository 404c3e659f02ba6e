package main_test

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

	"github.com/writ-auth/writ/internal/store/storetest"
)

// eachDatabase runs f on a new SQLite file and on a new PostgreSQL database.
func eachDatabase(t *testing.T, f func(t *testing.T, database string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, newSQLite(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		database, _ := newPostgres(t)
		f(t, database)
	})
}

func newSQLite(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "writ.db")
}

// newPostgres makes a database of the test's own, so that it can be taken away
// from the server. admin is another database of the same PostgreSQL.
func newPostgres(t *testing.T) (database string, admin func(sql string)) {
	t.Helper()
	server := os.Getenv(storetest.Server)
	if server == "" {
		if os.Getenv(storetest.Required) != "" {
			t.Fatalf("%s is not set, but %s is", storetest.Server, storetest.Required)
		}
		t.Skipf("%s is not set", storetest.Server)
	}
	at, err := url.Parse(server)
	if err != nil {
		t.Fatalf("parse %s: %v", storetest.Server, err)
	}
	admin = func(sql string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			t.Fatalf("connect to PostgreSQL: %v", err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	name := "writ_" + strings.ToLower(rand.Text())
	admin("CREATE DATABASE " + name)
	t.Cleanup(func() { admin("DROP DATABASE " + name + " WITH (FORCE)") })
	at.Path = "/" + name
	return at.String(), admin
}

// databaseName is the name in a URL that newPostgres returned.
func databaseName(t *testing.T, database string) string {
	t.Helper()
	at, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(at.Path, "/")
}
