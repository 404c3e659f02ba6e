package store

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// The order of the feed. Append only collects; the backend writes the entries as the last
// thing before the commit, and takes their positions from a counter that never goes back.
// In SQLite the single writer makes that the order of commits. In PostgreSQL a lock, held
// from before the first position is taken until the commit is done, does: a reader that
// sees position n sees every lower one that was ever committed. Positions of transactions
// that were rolled back are left out.

const entryColumns = `kind, value, effect, reason, at, cut, until`

const insertEntry = `INSERT INTO feed (issuer, ` + entryColumns + `, sweep) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

func (tx *Tx) entryArgs(e Entry) []any {
	sweep := 0
	if e.Sweep {
		sweep = sweepOpen
	}
	return []any{tx.issuer, e.Kind, e.Value, e.Effect, e.Reason, micros(e.At), micros(e.Before), micros(e.Until), sweep}
}

func scanEntry(r row, e *Entry) error {
	return r.Scan(&e.Position, &e.Kind, &e.Value, &e.Effect, &e.Reason, stamp{&e.At}, stamp{&e.Before}, stamp{&e.Until})
}

// Append adds an entry to the feed when the transaction commits, after all else in it.
func (tx *Tx) Append(e Entry) error {
	err := tx.ready()
	switch {
	case err != nil:
		return err
	case tx.readonly:
		tx.err = errReadOnly
	case !storable([]any{e.Kind, e.Value, e.Effect, e.Reason}):
		tx.err = errText
	case e.Sweep && (!sweeps(e.Kind) || e.At.IsZero() || e.Until.IsZero()):
		tx.err = fmt.Errorf("store: a sweep by %q, from %v until %v: want a kind to sweep by, and both times", e.Kind, e.At, e.Until)
	default:
		tx.entries = append(tx.entries, e)
	}
	return tx.err
}

const selectHead = `SELECT position FROM feed WHERE issuer = $1 ORDER BY position DESC LIMIT 1`

// Head returns the newest position of the feed, 0 when it is empty. It never goes back:
// removal of old entries spares the newest.
//
// In an Update it may be older than the snapshot on PostgreSQL, never newer. It is read
// there just before the transaction begins, so that SERIALIZABLE does not tie every
// transaction that issues a token to every one that appends. Older is right: the Update
// decided without seeing the newer rules, stands before them in the serial order, and a
// token that carries the older position is hit by them. It still is at least the position
// of every rule whose Update had returned when this one began.
func (tx *Tx) Head() (uint64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	if tx.head != nil {
		return *tx.head, nil
	}
	var head uint64
	err := tx.query(func(r row) error { return r.Scan(&head) }, selectHead, tx.issuer)
	return head, err
}

// Feed lists the entries after a position, in order. Prev of the first is the newest
// position kept that is not greater than after: nothing is missing between them.
func (tx *Tx) Feed(after uint64, limit int) ([]Entry, error) {
	var all []Entry
	var prev uint64
	err := tx.query(func(r row) error {
		var e Entry
		err := r.Scan(&e.Prev, &e.Position, &e.Kind, &e.Value, &e.Effect, &e.Reason, stamp{&e.At}, stamp{&e.Before}, stamp{&e.Until})
		if len(all) > 0 {
			e.Prev = prev
		}
		prev = e.Position
		all = append(all, e)
		return err
	}, `SELECT COALESCE((SELECT max(position) FROM feed WHERE issuer = $1 AND position <= $2), 0),
		position, `+entryColumns+`
		FROM feed WHERE issuer = $1 AND position > $2 ORDER BY position LIMIT $3`,
		tx.issuer, int64(after), limit)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Rules lists the entries on exactly this value, newest first, without Prev.
func (tx *Tx) Rules(kind, value string) ([]Entry, error) {
	return values(list(tx, scanEntry, `SELECT position, `+entryColumns+` FROM feed
		WHERE issuer = $1 AND kind = $2 AND value = $3 ORDER BY position DESC`, tx.issuer, kind, value))
}

// A Named value is what rules can be about.
type Named struct{ Kind, Value string }

// RulesOn lists the rules on any of these values that can still hit a token, in order,
// without Prev.
func (tx *Tx) RulesOn(now time.Time, names []Named) ([]Entry, error) {
	const most = 16 // values in one statement, so that there are few texts to prepare
	var all []Entry
	for batch := range slices.Chunk(names, most) {
		sql := `SELECT position, ` + entryColumns + ` FROM feed WHERE issuer = $1 AND until > $2 AND (`
		args := []any{tx.issuer, micros(now)}
		for i, n := range batch {
			if i > 0 {
				sql += ` OR `
			}
			sql += `kind = $` + strconv.Itoa(len(args)+1) + ` AND value = $` + strconv.Itoa(len(args)+2)
			args = append(args, n.Kind, n.Value)
		}
		found, err := values(list(tx, scanEntry, sql+`) ORDER BY position`, args...))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// LiveRules lists the rules after a position that can still hit a token, in order, without Prev.
func (tx *Tx) LiveRules(now time.Time, after uint64, limit int) ([]Entry, error) {
	return values(list(tx, scanEntry, `SELECT position, `+entryColumns+` FROM feed
		WHERE issuer = $1 AND position > $2 AND until > $3 AND kind NOT IN ('config', 'key')
		ORDER BY position LIMIT $4`, tx.issuer, int64(after), micros(now), limit))
}
