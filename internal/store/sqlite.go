package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	lite "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

const readers = 8 // SQLite connections that Views share

// sqlite is a database in one file: many readers and one writer, whose commits are shared
// by the Updates that wait (see group.go).
type sqlite struct {
	db    *sql.DB
	path  string
	reads *pool[*sqliteConn]
	limit int64 // size of the log above which run cuts it

	writer chan struct{} // capacity 1; who has put a value in owns conn
	conn   *sqliteConn   // owned by the writer; nil: none open
	closed bool          // owned by the writer
	queue  chan *member  // Updates that wait to be let into the writer's group
}

func openSQLite(cfg Config, path string) (backend, error) {
	if strings.Contains(path, ":memory:") || path == "" {
		return nil, errors.New("sqlite: a file is required")
	}
	// Made here, because SQLite would make it readable for all. Its companions (-wal,
	// -shm) take over the mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	f.Close()
	db, err := sql.Open("sqlite", sqliteDSN(path))
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(0) // sqlite keeps its own connections, with their statements
	s := &sqlite{db: db, path: path, limit: logLimit, writer: make(chan struct{}, 1), queue: make(chan *member)}
	s.reads = newPool(readers, s.openReader, (*sqliteConn).drop)
	if err := s.migrate(cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// sqliteDSN makes every commit wait for the disk. The time-out is for other processes that
// use the same file; inside this one writers queue. The rest spares the disk: savepoints
// stay in memory, as do 64 MB of pages, and those that many commits change are copied from
// the log to the file once for all.
func sqliteDSN(path string) string {
	path = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	return "file:" + path + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)" +
		"&_pragma=temp_store(memory)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(4000)"
}

func (s *sqlite) migrate(cfg Config) error {
	c, err := s.begin()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := migrate(c, sqliteDialect, cfg.Kind, cfg.Now()); err != nil {
		return err
	}
	if _, err := c.exec("COMMIT"); err != nil {
		return fmt.Errorf("%w: commit migration: %w", ErrUnavailable, err)
	}
	return nil
}

// view runs fn between BEGIN and ROLLBACK; in WAL mode the first read fixes the snapshot.
func (s *sqlite) view(ctx context.Context, tx *Tx, fn func(*Tx) error) error {
	c, err := s.reads.get(ctx)
	if err != nil {
		return lost(ctx, err)
	}
	keep := false
	defer func() {
		if keep {
			s.reads.put(c)
		} else {
			s.reads.drop(c)
		}
	}()
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	tx.q = c
	err = tx.call(fn)
	_, undo := c.exec("ROLLBACK")
	keep = undo == nil && !isFault(err)
	return err
}

// lost is what get returned: the end of ctx, or a fault.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	return asFault(err)
}

func isFault(err error) bool {
	var f *fault
	return errors.As(err, &f)
}

func (s *sqlite) openReader(context.Context) (*sqliteConn, error) {
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{"PRAGMA query_only = true", "PRAGMA cache_size = -4096"} {
		if _, err := c.exec(sql); err != nil {
			c.drop()
			return nil, err
		}
	}
	return c, nil
}

// logLimit is far above where SQLite starts the log anew by itself.
const logLimit = 64 << 20

// run keeps the log short. SQLite starts it anew only at a moment when no View reads it,
// and under a steady load of Views that moment may not come. There is nobody to listen to:
// what another process writes to the file, a command on the host, is found by polling.
func (s *sqlite) run(ctx context.Context, _ func()) error {
	for sleep(ctx, time.Second) == nil {
		if log, err := os.Stat(s.path + "-wal"); err != nil || log.Size() <= s.limit {
			continue
		}
		select {
		case s.writer <- struct{}{}:
			s.cut()
			<-s.writer
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// cut waits, as the writer, for the Views under way, those that begin meanwhile being led
// past the log. When they take too long it gives way, until the next second.
func (s *sqlite) cut() {
	if s.conn == nil {
		return
	}
	if err := s.conn.query(func(row) error { return nil }, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		s.drop()
	}
}

func (s *sqlite) clock(_ context.Context, now func() time.Time) (time.Time, error) { return now(), nil }

func (s *sqlite) tell() {}

func (s *sqlite) close() error {
	s.reads.close()
	s.writer <- struct{}{} // waits for the Update under way
	defer func() { <-s.writer }()
	s.closed = true
	if s.conn != nil {
		s.drop()
	}
	return s.db.Close()
}

// sqliteConn is one connection with its prepared statements. No context reaches it: a
// statement that SQLite interrupts rolls back the whole transaction, and those after it
// would each commit alone.
type sqliteConn struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by the text with $1
}

func (s *sqlite) connect() (*sqliteConn, error) {
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return nil, sqliteFault(err)
	}
	return &sqliteConn{conn: conn, stmts: make(map[string]*sql.Stmt)}, nil
}

// drop closes the connection for good, which rolls back what it was in.
func (c *sqliteConn) drop() {
	for _, s := range c.stmts {
		s.Close()
	}
	c.conn.Raw(func(any) error { return driver.ErrBadConn })
	c.conn.Close()
}

// prepare keeps each statement: the texts are constants, so there are not many.
func (c *sqliteConn) prepare(sql string) (*sql.Stmt, error) {
	if s := c.stmts[sql]; s != nil {
		return s, nil
	}
	// SQLite takes $1 for a name and numbers names as they appear; ?1 is what we mean.
	s, err := c.conn.PrepareContext(context.Background(), strings.ReplaceAll(sql, "$", "?"))
	if err != nil {
		return nil, err
	}
	c.stmts[sql] = s
	return s, nil
}

func (c *sqliteConn) exec(sql string, args ...any) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, sqliteFault(err)
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, sqliteFault(err)
	}
	return res.RowsAffected()
}

func (c *sqliteConn) query(scan func(row) error, sql string, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return sqliteFault(err)
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return sqliteFault(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return sqliteFault(err)
	}
	return nil
}

// sqliteFault tells trouble that passes (another process holds the lock, the disk had a
// moment) from trouble that the next attempt would meet again.
func sqliteFault(err error) *fault {
	f := &fault{cause: err}
	var e *lite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case codes.SQLITE_FULL, codes.SQLITE_READONLY, codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB,
			codes.SQLITE_CONSTRAINT, codes.SQLITE_MISMATCH, codes.SQLITE_TOOBIG:
			f.final = true
		}
	}
	return f
}
