package store

import (
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// SetPatience shortens the longest attempt on PostgreSQL.
func (d *DB) SetPatience(t time.Duration) { d.back.(*postgres).patience = t }

// LimitPages makes SQLite find its disk full at n pages, or at the present size when that
// is more; 0 lifts the limit.
func (d *DB) LimitPages(path string, n int) error {
	s := d.back.(*sqlite)
	s.writer <- struct{}{}
	defer func() { <-s.writer }()
	if s.conn != nil {
		s.drop()
	}
	dsn := sqliteDSN(strings.TrimPrefix(path, "sqlite:"))
	if n > 0 {
		dsn += fmt.Sprintf("&_pragma=max_page_count(%d)", n)
	}
	db, err := sql.Open("sqlite", dsn)
	if err == nil {
		db.SetMaxIdleConns(0)
		s.db = db
	}
	return err
}

// LimitLog makes Run cut SQLite's log above so many bytes.
func (d *DB) LimitLog(bytes int64) { d.back.(*sqlite).limit = bytes }

// SchemaVersion is the version this binary migrates to.
func SchemaVersion() int { return len(migrations) }
