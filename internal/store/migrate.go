package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// storeTable has one row about the database as a whole, whoever its issuers are.
const storeTable = `CREATE TABLE IF NOT EXISTS store (
	version BIGINT NOT NULL, kind {text} NOT NULL, created BIGINT NOT NULL
)`

// migrate brings the schema up to date, inside one transaction that excludes others who
// migrate. A schema newer than this binary is left alone: it only ever expanded, so this
// binary runs on it.
func migrate(q querier, d dialect, kind string, now time.Time) error {
	if _, err := q.exec(d.render(storeTable)); err != nil {
		return fmt.Errorf("create table store: %w", err)
	}
	var version, rows int
	var mark string
	err := q.query(func(r row) error {
		rows++
		return r.Scan(&version, &mark)
	}, `SELECT version, kind FROM store`)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if rows == 0 {
		mark = kind
		_, err := q.exec(`INSERT INTO store (version, kind, created) VALUES ($1, $2, $3)`, 0, kind, micros(now))
		if err != nil {
			return fmt.Errorf("mark new store: %w", err)
		}
	}
	if mark != kind {
		return fmt.Errorf(`this database belongs to "writ %s", its keys and secrets are not fit for "writ %s": `+
			`give "writ %s" a database of its own (WRIT_DATABASE)`, mark, kind, kind)
	}
	for ; version < len(migrations); version++ {
		script := d.render(migrations[version])
		if strings.Contains(script, "{head}") {
			if script, err = withHead(q, script); err != nil {
				return err
			}
		}
		if err := apply(q, script); err != nil {
			return fmt.Errorf("migrate schema to version %d: %w", version+1, err)
		}
		if _, err := q.exec(`UPDATE store SET version = $1`, version+1); err != nil {
			return fmt.Errorf("write schema version %d: %w", version+1, err)
		}
	}
	return nil
}

// withHead puts the newest position of all feeds into a migration: what is there now was
// opened before whatever comes.
func withHead(q querier, script string) (string, error) {
	var head uint64
	err := q.query(func(r row) error { return r.Scan(&head) }, `SELECT COALESCE(max(position), 0) FROM feed`)
	if err != nil {
		return "", fmt.Errorf("read head of the feed: %w", err)
	}
	return strings.ReplaceAll(script, "{head}", strconv.FormatUint(head, 10)), nil
}

// apply runs the statements of a migration one by one.
func apply(q querier, script string) error {
	for _, sql := range strings.Split(script, ";\n") {
		if sql = strings.TrimSpace(sql); sql == "" {
			continue
		}
		if _, err := q.exec(sql); err != nil {
			return err
		}
	}
	return nil
}

// MetaEpoch names the setting that holds the epoch of the feed: a random word that changes
// when positions may have been lost, after a restore or a fail-over.
const MetaEpoch = "feed.epoch"

// claim gives an issuer that is new to the store its epoch.
func (d *DB) claim(ctx context.Context) error {
	epoch := rand.Text()
	return d.Update(ctx, func(tx *Tx) error {
		return tx.put(`INSERT INTO meta (issuer, name, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
			tx.issuer, MetaEpoch, epoch)
	})
}
