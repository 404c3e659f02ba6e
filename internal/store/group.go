package store

import "context"

// groupSize is the most Updates that wait for one COMMIT of SQLite.
const groupSize = 64

// A group is the Updates that one COMMIT makes durable together. A commit costs a flush of
// the disk, so whoever has the writer, its leader, lets in those who queued up during the
// commit before: one at a time, each on its own goroutine and behind its own SAVEPOINT.
// Nobody gets an answer, not even "no", before the COMMIT that decides what it was based on.
type group struct {
	conn   *sqliteConn
	shared bool          // owned by the leader: others were let in
	done   chan struct{} // closed at the end of the group
	err    *fault        // written by whose turn it is, read after done; nil: durable
}

// member is one Update waiting to be let in.
type member struct {
	enter chan *group   // gets the group when it is the member's turn
	left  chan struct{} // closed when its turn is over
}

// update runs fn as leader of a group, or as member of a group that another leads. An
// Update that is run again leads a group of its own, so that it cannot fail for another's
// sake twice.
func (s *sqlite) update(ctx context.Context, attempt int, tx *Tx, fn func(*Tx) error) error {
	queue, alone := s.queue, attempt > 1
	if alone {
		queue = nil
	}
	m := &member{enter: make(chan *group), left: make(chan struct{})}
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
		return s.lead(alone, tx, fn)
	case queue <- m:
		g := <-m.enter
		err := g.join(m, tx, fn)
		<-g.done
		if g.err != nil && !isFault(err) {
			return &fault{cause: g.err.cause} // another spoiled it: run again
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lead opens the transaction, runs fn, then lets others in, then commits.
func (s *sqlite) lead(alone bool, tx *Tx, fn func(*Tx) error) error {
	c, err := s.begin()
	if err != nil {
		return err
	}
	g := &group{conn: c, done: make(chan struct{})}
	open := true
	defer func() {
		if open { // fn panicked, or the group is spoiled
			s.drop()
		}
		close(g.done)
	}()
	if err := call(c, tx, fn); err != nil {
		if !isFault(err) {
			_, undo := c.exec("ROLLBACK")
			open = undo != nil
		}
		return err
	}
	if !alone {
		s.admit(g)
	}
	if g.err == nil {
		if _, err := c.exec("COMMIT"); err != nil {
			g.err = asFault(err)
		}
	}
	switch {
	case g.err == nil:
		open = false
		return nil
	case g.shared:
		return &fault{cause: g.err.cause} // perhaps for another's sake: run again
	}
	return g.err
}

// admit gives a turn to those who wait, while there are any.
func (s *sqlite) admit(g *group) {
	for range groupSize - 1 {
		select {
		case m := <-s.queue:
			g.shared = true
			m.enter <- g
			<-m.left
			if g.err != nil {
				return
			}
		default:
			return
		}
	}
}

// join runs fn behind a SAVEPOINT of the group's transaction. When fn fails only its own
// writes are undone; when a statement fails SQLite may have undone everybody's, and the
// group is spoiled.
func (g *group) join(m *member, tx *Tx, fn func(*Tx) error) error {
	defer close(m.left)
	if _, err := g.conn.exec("SAVEPOINT member"); err != nil {
		g.err = asFault(err)
		return g.err
	}
	ok := false
	defer func() {
		if !ok && g.err == nil { // fn returned an error or panicked
			if _, err := g.conn.exec("ROLLBACK TO member"); err != nil {
				g.err = asFault(err)
			}
		}
		if g.err == nil {
			if _, err := g.conn.exec("RELEASE member"); err != nil {
				g.err = asFault(err)
			}
		}
	}()
	err := call(g.conn, tx, fn)
	if isFault(err) {
		g.err = asFault(err)
	}
	ok = err == nil
	return err
}

// call runs fn and writes what it appended to the feed. All writers of the file stand in
// one line, so positions are taken in the order of the commits.
func call(c *sqliteConn, tx *Tx, fn func(*Tx) error) error {
	tx.q = c
	if err := tx.call(fn); err != nil {
		return err
	}
	for _, e := range tx.entries {
		if _, err := c.exec(insertEntry, tx.entryArgs(e)...); err != nil {
			return asFault(err)
		}
	}
	return nil
}

// begin returns the writer's connection inside a transaction that holds SQLite's lock.
func (s *sqlite) begin() (*sqliteConn, error) {
	if s.closed {
		return nil, &fault{cause: errClosed, final: true}
	}
	if s.conn == nil {
		c, err := s.connect()
		if err != nil {
			return nil, err
		}
		s.conn = c
	}
	if _, err := s.conn.exec("BEGIN IMMEDIATE"); err != nil {
		s.drop()
		return nil, asFault(err)
	}
	return s.conn, nil
}

// drop closes the writer's connection.
func (s *sqlite) drop() {
	s.conn.drop()
	s.conn = nil
}
