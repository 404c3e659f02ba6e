package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	headStatement  = "writ_head"
	beginStatement = "writ_begin"
	xidStatement   = "writ_xid"
)

// begin opens a SERIALIZABLE transaction, in one round trip with two things it may need:
// the feed's head, read outside and before it (see Tx.Head), and the transaction's id,
// by which its fate can be looked up if the answer to COMMIT is lost.
func (c *pgConn) begin(issuer string) (head uint64, xid string, err error) {
	pg := c.conn.PgConn()
	if !c.prepared {
		for name, sql := range map[string]string{
			headStatement:  selectHead,
			beginStatement: "BEGIN ISOLATION LEVEL SERIALIZABLE",
			xidStatement:   "SELECT pg_current_xact_id()::text",
		} {
			if _, err := pg.Prepare(c.ctx, name, sql, nil); err != nil {
				return 0, "", err
			}
		}
		c.prepared = true
	}
	p := pg.StartPipeline(c.ctx)
	p.SendQueryPrepared(headStatement, [][]byte{[]byte(issuer)}, nil, nil)
	p.SendPipelineSync() // ends the transaction of its own that the head was read in
	p.SendQueryPrepared(beginStatement, nil, nil, nil)
	p.SendQueryPrepared(xidStatement, nil, nil, nil)
	if err := p.Sync(); err != nil {
		p.Close()
		return 0, "", err
	}
	var found []string // one text for each row: the head if there is one, then the id
	for range 5 {      // three statements, two syncs
		res, err := p.GetResults()
		if err != nil {
			p.Close()
			return 0, "", err
		}
		if r, ok := res.(*pgconn.ResultReader); ok {
			for r.NextRow() {
				found = append(found, string(r.Values()[0]))
			}
			if _, err := r.Close(); err != nil {
				p.Close()
				return 0, "", err
			}
		}
	}
	if err := p.Close(); err != nil {
		return 0, "", err
	}
	if n := len(found); n == 2 {
		head, err = strconv.ParseUint(found[0], 10, 64)
	} else if n != 1 {
		err = fmt.Errorf("begin: %d rows", n)
	}
	if err != nil {
		return 0, "", err
	}
	return head, found[len(found)-1], nil
}

// commit writes the entries of the feed and commits, in one batch: the lock is held for
// one flush of the disk, never while the transaction thinks.
func (c *pgConn) commit(lock int64, tx *Tx) error {
	var b pgx.Batch
	if len(tx.entries) > 0 {
		b.Queue("SELECT pg_advisory_xact_lock($1)", lock)
		for _, e := range tx.entries {
			b.Queue(insertEntry, tx.entryArgs(e)...)
		}
	}
	b.Queue("COMMIT")
	res := c.conn.SendBatch(c.ctx, &b)
	var tag pgconn.CommandTag
	for range b.Len() {
		var err error
		if tag, err = res.Exec(); err != nil {
			res.Close()
			return err
		}
	}
	if err := res.Close(); err != nil {
		return err
	}
	if tag.String() != "COMMIT" { // the server rolled back and said so politely
		return errRolledBack
	}
	return nil
}

var errRolledBack = errors.New("commit answered by a rollback")

// rollback reports whether the connection may be kept. A lost race leaves PostgreSQL in a
// well defined state, so it does not cost a connection; any other fault does.
func (c *pgConn) rollback(cause error) bool {
	if isFault(cause) {
		var e *pgconn.PgError
		if !errors.As(cause, &e) || e.Code != "40001" && e.Code != "40P01" {
			return false
		}
	}
	_, err := c.exec("ROLLBACK")
	return err == nil && c.conn.PgConn().TxStatus() == 'I'
}

// refused reports whether an error of commit proves that nothing was committed: the server
// says so, or never heard of it. A FATAL error proves nothing, it ends the session, not
// the transaction.
func refused(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.SeverityUnlocalized == "ERROR"
	}
	return errors.Is(err, errRolledBack) || pgconn.SafeToRetry(err)
}

// settle finds out what became of a transaction when the answer to its COMMIT was lost. It
// returns nil when it is committed, a fault that lets it run again when it surely is not,
// and a final fault when nobody can tell.
func (p *postgres) settle(old *pgConn, xid string, cause error) error {
	pid := old.conn.PgConn().PID()
	old.drop() // ends the wait of the session on the server, if it still waits for us
	p.pool.clear()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	wait := firstWait
	for ctx.Err() == nil {
		fate, err := p.fate(ctx, old.timeline, xid, pid)
		switch {
		case err != nil: // not reachable yet
		case fate == "committed":
			return nil
		case fate == "aborted":
			return &fault{cause: cause}
		case fate != "in progress":
			return &fault{cause: fmt.Errorf("outcome of the commit unknown: %w", cause), final: true}
		}
		time.Sleep(wait)
		wait = min(2*wait, longest)
	}
	return &fault{cause: fmt.Errorf("outcome of the commit unknown: %w", cause), final: true}
}

// fate asks a new connection. A transaction still in progress belongs to a session that
// has not noticed the loss of its client: it is told to end, which decides the matter.
func (p *postgres) fate(ctx context.Context, timeline, xid string, pid uint32) (string, error) {
	c, err := p.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.drop()
	if c.timeline != timeline {
		return "of another history", nil // after a fail-over the id may be another's
	}
	var fate *string
	err = c.conn.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8)`, xid).Scan(&fate)
	if err != nil || fate == nil {
		return "", err
	}
	if *fate == "in progress" {
		_, err = c.conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE pid = $1 AND backend_xid::text::bigint = $2::text::bigint % 4294967296`, int64(pid), xid)
	}
	return *fate, err
}
