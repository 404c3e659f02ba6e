package store

import (
	"context"
	"time"
)

// A sweep ends very much at once: an entry of the feed, one row, by which all grants and
// codes of a client, or with a key, or all there are with all sessions, count as ended that
// were opened before it. Every reader sees them so from its commit on; the rows themselves
// are written later, in small pieces. An Update that wrote a million of them would never
// end beside others that refresh.
//
// Before means: rev, the head of the feed that the Update knew when it made the row, is
// lower than the entry's position. So a grant opened by an Update that did not see the
// sweep is ended by it, whichever of the two commits first.
const (
	sweepOpen    = 1 // rows are still to be written
	sweepSettled = 2
)

// sweeps reports whether entries of this kind may be sweeps; kinds are spelled as package
// feed does.
func sweeps(kind string) bool { return kind == "everything" || kind == "client" || kind == "jkt" }

// sweepOn finds an entry that swept the row g if it bears this value. The indexes of the
// position are hidden from the planner: they would lead past all newer entries, while
// those on one value are few. For the same reason there is one such query for each kind.
func sweepOn(kind, value string) string {
	return `(SELECT f.position FROM feed f WHERE f.issuer = g.issuer AND f.kind = '` + kind + `' AND f.value = ` + value + `
		AND f.sweep > 0 AND f.position + 0 > g.rev LIMIT 1)`
}

var (
	// sweptBy is the position of an entry that swept a row g of grants or codes; NULL: none.
	sweptBy = `COALESCE(` + sweepOn("everything", "'*'") + `, ` + sweepOn("client", "g.client_id") + `, ` + sweepOn("jkt", "g.key_id") + `)`

	unswept        = sweptBy + ` IS NULL`
	sessionUnswept = sweepOn("everything", "'*'") + ` IS NULL`
)

// swept fills in when and why a grant was swept.
func (tx *Tx) swept(g *Grant, position uint64) error {
	return tx.query(func(r row) error { return r.Scan(stamp{&g.Ended}, &g.EndReason) },
		`SELECT at, reason FROM feed WHERE issuer = $1 AND position = $2`, tx.issuer, int64(position))
}

// Settle writes what sweeps ended whose entries are about to go, at most limit rows an
// Update, until all is written or ctx ends. By then a day has passed: no Update that did not
// see a sweep is still under way.
func (d *DB) Settle(ctx context.Context, now time.Time, limit int) error {
	var open []Entry
	err := d.View(ctx, func(tx *Tx) (err error) {
		open, err = values(list(tx, scanEntry, `SELECT position, `+entryColumns+` FROM feed
			WHERE issuer = $1 AND sweep = 1 AND until < $2 ORDER BY position`, tx.issuer, micros(now)))
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range open {
		if err := d.settle(ctx, e, limit); err != nil {
			return err
		}
	}
	return nil
}

// settle writes what one sweep ended, and then that it did. Codes are few by then, if any.
func (d *DB) settle(ctx context.Context, e Entry, limit int) error {
	parts := []part{{
		`grants`, `UPDATE grants SET ended = $6, end_reason = $7`, []any{micros(e.At), e.Reason}, ` AND ended = 0` + of[e.Kind],
	}}
	if e.Kind == "everything" {
		parts = append(parts, part{`sessions`, `DELETE FROM sessions`, nil, of[e.Kind]})
	}
	for _, p := range parts {
		if err := d.settlePart(ctx, e, p, limit); err != nil {
			return err
		}
	}
	return d.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(`DELETE FROM codes WHERE issuer = $1 AND hash <> $2 AND rev < $3`+of[e.Kind],
			tx.issuer, []byte{}, int64(e.Position), e.Value)
		if err != nil {
			return err
		}
		return tx.put(`UPDATE feed SET sweep = 2 WHERE issuer = $1 AND position = $2`, tx.issuer, int64(e.Position))
	})
}

// A part of what a sweep ended: rows of one table, and what becomes of them.
type part struct {
	table, write string
	args         []any // of write, from $6
	which        string
}

// of says in SQL which rows the value of an entry of a kind names.
var of = map[string]string{
	"client": ` AND client_id = $4`, "jkt": ` AND key_id = $4 AND key_id <> ''`, "everything": ` AND $4 = '*'`,
}

// settlePart goes through the rows by id, so that none is looked at twice; none is added
// any more.
func (d *DB) settlePart(ctx context.Context, e Entry, p part, limit int) error {
	where := ` WHERE issuer = $1 AND id > $2 AND rev < $3` + p.which
	args := []any{d.cfg.Issuer, "", int64(e.Position), e.Value}
	for {
		var last string // id of this piece; "": there is no more
		err := d.View(ctx, func(tx *Tx) error {
			return tx.query(func(r row) error { return r.Scan(&last) }, `SELECT COALESCE(max(id), '') FROM
				(SELECT id FROM `+p.table+where+` ORDER BY id LIMIT $5) AS piece`, append(args, limit)...)
		})
		if err != nil || last == "" {
			return err
		}
		err = d.Update(ctx, func(tx *Tx) error {
			_, err := tx.exec(p.write+where+` AND id <= $5`, append(append(args, last), p.args...)...)
			return err
		})
		if err != nil {
			return err
		}
		args[1] = last
		if err := sleep(ctx, purgeRest); err != nil {
			return err
		}
	}
}
