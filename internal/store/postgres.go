package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// patience is how long one attempt on PostgreSQL may take. No caller's context reaches a
// statement, so this is what ends one that a dead network will never answer.
const patience = 10 * time.Second

// postgres is a database server.
//
// Updates run SERIALIZABLE. Views run REPEATABLE READ, READ ONLY: one snapshot, which is a
// prefix of the order of commits, at no cost to anybody. SERIALIZABLE would in addition
// rule out that a View sees a later Update but not an earlier one it was reordered with;
// nothing is decided from a View that an Update does not read again, and for that price
// the reads of every page would abort Updates.
type postgres struct {
	cfg    *pgx.ConnConfig
	issuer string
	pool   *pool[*pgConn]
	lock   int64        // advisory lock of this issuer's feed
	lane   sync.RWMutex // held for writing by an Update that lost too often

	patience time.Duration // bounds one attempt

	running atomic.Bool   // Run sends what tell wants sent
	news    chan struct{} // capacity 1: a NOTIFY is owed
}

func openPostgres(ctx context.Context, cfg Config) (backend, error) {
	pc, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		return nil, err // without the password: pgx takes it out
	}
	p := &postgres{cfg: pc, issuer: cfg.Issuer, lock: lockOf("writ feed " + cfg.Issuer),
		patience: patience, news: make(chan struct{}, 1)}
	p.pool = newPool(cfg.Conns, p.connect, (*pgConn).drop)
	if err := p.migrate(ctx, cfg); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// lockOf turns a name into the number of an advisory lock.
func lockOf(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return int64(h.Sum64())
}

// migrate runs at READ COMMITTED, so that what it reads once it has the lock is new.
func (p *postgres) migrate(ctx context.Context, cfg Config) error {
	c, err := p.pool.get(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer p.pool.drop(c)
	c.ctx = ctx
	if _, err := c.exec("BEGIN"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if _, err := c.exec("SELECT pg_advisory_xact_lock($1)", lockOf("writ migrate")); err != nil {
		return fmt.Errorf("%w: lock schema: %w", ErrUnavailable, err)
	}
	if err := migrate(c, postgresDialect, cfg.Kind, cfg.Now()); err != nil {
		return err
	}
	if _, err := c.exec("COMMIT"); err != nil {
		return fmt.Errorf("%w: commit migration: %w", ErrUnavailable, err)
	}
	return nil
}

// pgConn is one connection. It is owned by whoever got it from the pool.
type pgConn struct {
	conn     *pgx.Conn
	ctx      context.Context // of the attempt under way; never the caller's of an Update
	opening  string          // BEGIN of a View, sent along with its first query; "": sent
	timeline string          // which history of the database this is
	prepared bool            // the statements of begin are
}

// session sets up a connection: what a client that died leaves open is rolled back; no
// answer comes before the disk has it, whatever the default of the server is; and small
// tables are read by index too, because a sequential scan counts as having read every row
// and makes transactions conflict that have nothing to do with each other. A table without
// an index then looks so dear that PostgreSQL would compile the query (0.1 s), hence no jit.
const session = `SET idle_in_transaction_session_timeout = '30s';
	SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
	SET enable_seqscan = off;
	SET jit = off`

func (p *postgres) connect(ctx context.Context) (*pgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, p.cfg)
	if err != nil {
		return nil, err
	}
	c := &pgConn{conn: conn}
	if err := conn.PgConn().Exec(ctx, session).Close(); err != nil {
		c.drop()
		return nil, err
	}
	// A server that will not tell is taken to have one history.
	conn.QueryRow(ctx, `SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`).Scan(&c.timeline)
	return c, nil
}

func (c *pgConn) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.conn.Close(ctx)
}

func (c *pgConn) exec(sql string, args ...any) (int64, error) {
	tag, err := c.conn.Exec(c.ctx, sql, args...)
	if err != nil {
		return 0, pgFault(err)
	}
	return tag.RowsAffected(), nil
}

func (c *pgConn) query(scan func(row) error, sql string, args ...any) error {
	var b pgx.Batch
	if c.opening != "" {
		b.Queue(c.opening)
		c.opening = ""
	}
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err := c.conn.SendBatch(c.ctx, &b).Close(); err != nil {
		return pgFault(err)
	}
	return nil
}

// pgFault tells what another attempt may cure from what it will meet again: a full disk
// and statements that are wrong as they stand.
func pgFault(err error) *fault {
	f := &fault{cause: err}
	var e *pgconn.PgError
	if errors.As(err, &e) && len(e.Code) == 5 {
		switch e.Code[:2] {
		case "22", "42":
			f.final = true
		case "23": // a unique violation is a race, lost to a row this snapshot does not show
			f.final = e.Code != "23505"
		case "53":
			f.final = e.Code == "53100"
		}
	}
	return f
}

// view runs fn between BEGIN and ROLLBACK.
func (p *postgres) view(ctx context.Context, tx *Tx, fn func(*Tx) error) error {
	c, err := p.pool.get(ctx)
	if err != nil {
		return lost(ctx, err)
	}
	keep := false
	defer func() { p.back(c, keep) }()
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	c.opening = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
	tx.q = c
	err = tx.call(fn)
	if c.opening != "" { // nothing was asked
		c.opening, keep = "", true
		return err
	}
	_, undo := c.exec("ROLLBACK")
	keep = undo == nil && !isFault(err)
	return err
}

// back returns a connection. One that broke takes the idle ones with it: the server or
// the network went away, and each of them would cost an attempt to find out.
func (p *postgres) back(c *pgConn, keep bool) {
	if keep {
		p.pool.put(c)
		return
	}
	if c.conn.IsClosed() {
		p.pool.clear()
	}
	p.pool.drop(c)
}

// patient is the number of attempts after which an Update asks the others of this process
// to stand back. SERIALIZABLE tells conflicts by pages of indexes, so on a store that is
// nearly empty any two Updates conflict, and one could lose ten times in a row.
const patient = 2

// update runs fn between BEGIN and COMMIT.
func (p *postgres) update(ctx context.Context, attempt int, tx *Tx, fn func(*Tx) error) error {
	c, err := p.pool.get(ctx)
	if err != nil {
		return lost(ctx, err)
	}
	keep := false
	defer func() { p.back(c, keep) }()
	if attempt > patient {
		p.lane.Lock()
		defer p.lane.Unlock()
	} else {
		p.lane.RLock()
		defer p.lane.RUnlock()
	}
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	head, xid, err := c.begin(p.issuer)
	if err != nil {
		return pgFault(err)
	}
	tx.q, tx.head = c, &head
	if err := tx.call(fn); err != nil {
		keep = c.rollback(err)
		return err
	}
	err = c.commit(p.lock, tx)
	switch {
	case err == nil:
		keep = true
		return nil
	case refused(err):
		keep = c.rollback(pgFault(err))
		return pgFault(err)
	}
	return p.settle(c, xid, err)
}

func (p *postgres) clock(ctx context.Context, _ func() time.Time) (t time.Time, err error) {
	c, err := p.pool.get(ctx)
	if err != nil {
		return t, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	err = c.conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&t)
	p.back(c, err == nil)
	return t, err
}

func (p *postgres) close() error {
	if !p.running.Load() {
		select {
		case <-p.news:
			p.notify() // of a command that never ran Run
		default:
		}
	}
	p.pool.close()
	return nil
}
