package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	purgeLimit = 500                   // rows a table and round
	purgeRest  = 20 * time.Millisecond // between rounds, so that others get a turn
	purgeEvery = time.Minute
)

// purges remove what has expired, $2 being the time before which it has and $3 the most
// rows. age is added to the expiry.
var purges = []struct {
	age time.Duration
	sql string
}{
	{0, `DELETE FROM flows WHERE issuer = $1 AND id IN (SELECT id FROM flows
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	// A code that is used twice ends the grant it opened, also soon after it expired.
	{time.Hour, `DELETE FROM codes WHERE issuer = $1 AND hash IN (SELECT hash FROM codes
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	{0, `DELETE FROM refreshes WHERE issuer = $1 AND (grant_id, hash) IN (SELECT grant_id, hash FROM refreshes
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	{24 * time.Hour, `DELETE FROM refreshes WHERE issuer = $1 AND (grant_id, hash) IN (SELECT r.grant_id, r.hash FROM grants g
		JOIN refreshes r ON r.issuer = g.issuer AND r.grant_id = g.id
		WHERE g.issuer = $1 AND g.ended > 0 AND g.ended < $2 LIMIT $3)`},
	// A grant stays as long as a refresh token of it does.
	{24 * time.Hour, `DELETE FROM grants WHERE issuer = $1 AND id IN (SELECT id FROM grants g
		WHERE issuer = $1 AND ended > 0 AND ended < $2 AND NOT EXISTS
			(SELECT 1 FROM refreshes r WHERE r.issuer = g.issuer AND r.grant_id = g.id)
		ORDER BY ended LIMIT $3)`},
	{0, `DELETE FROM grants WHERE issuer = $1 AND id IN (SELECT id FROM grants g
		WHERE issuer = $1 AND expires > 0 AND expires < $2 AND NOT EXISTS
			(SELECT 1 FROM refreshes r WHERE r.issuer = g.issuer AND r.grant_id = g.id)
		ORDER BY expires LIMIT $3)`},
	{0, `DELETE FROM sessions WHERE issuer = $1 AND id IN (SELECT id FROM sessions
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	// The newest entry of the feed stays whatever its age, so that the head never goes back.
	{0, `DELETE FROM feed WHERE issuer = $1 AND position IN (SELECT position FROM feed
		WHERE issuer = $1 AND until > 0 AND until < $2 AND sweep <> 1
		AND position < (SELECT max(position) FROM feed WHERE issuer = $1)
		ORDER BY until LIMIT $3)`},
	{time.Hour, `DELETE FROM feed WHERE issuer = $1 AND position IN (SELECT position FROM feed
		WHERE issuer = $1 AND until = 0 AND at < $2 AND kind IN ('config', 'key')
		AND position < (SELECT max(position) FROM feed WHERE issuer = $1)
		ORDER BY position LIMIT $3)`},
	{0, `DELETE FROM once WHERE issuer = $1 AND (purpose, hash) IN (SELECT purpose, hash FROM once
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	{24 * time.Hour, `DELETE FROM attempts WHERE issuer = $1 AND name IN (SELECT name FROM attempts
		WHERE issuer = $1 AND at < $2 ORDER BY at LIMIT $3)`},
	{time.Hour, `DELETE FROM guard_states WHERE issuer = $1 AND (client_id, instance) IN
		(SELECT client_id, instance FROM guard_states WHERE issuer = $1 AND seen < $2 ORDER BY seen LIMIT $3)`},
	{0, `DELETE FROM invites WHERE issuer = $1 AND hash IN (SELECT hash FROM invites
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	{0, `DELETE FROM inner_keys WHERE issuer = $1 AND (client_id, kid) IN
		(SELECT client_id, kid FROM inner_keys WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
	{0, `DELETE FROM keys WHERE issuer = $1 AND id IN (SELECT id FROM keys
		WHERE issuer = $1 AND expires > 0 AND expires < $2 ORDER BY expires LIMIT $3)`},
}

// Purge removes what had expired by now, at most limit rows a rule, each rule in an Update
// of its own. It returns the number of rows removed; 0 means that all is gone. What has no
// expiry is kept. The audit trail is kept too.
func (d *DB) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	total := 0
	for _, p := range purges {
		var n int64
		err := d.Update(ctx, func(tx *Tx) (err error) {
			n, err = tx.exec(p.sql, tx.issuer, micros(now.Add(-p.age)), limit)
			return err
		})
		if err != nil {
			return total, err
		}
		total += int(n)
	}
	return total, nil
}

// tidy settles and purges until ctx ends. Replicas do so at moments of their own.
func (d *DB) tidy(ctx context.Context) {
	for sleep(ctx, purgeEvery/2+rand.N(purgeEvery)) == nil {
		if err := d.Settle(ctx, d.cfg.Now(), purgeLimit); err != nil && !errors.Is(err, ctx.Err()) {
			d.cfg.Logger.Warn("write what was ended", "error", err)
		}
		for {
			n, err := d.Purge(ctx, d.cfg.Now(), purgeLimit)
			if err != nil && !errors.Is(err, ctx.Err()) {
				d.cfg.Logger.Warn("remove expired records", "error", err)
			}
			if err != nil || n == 0 || sleep(ctx, purgeRest) != nil {
				break
			}
		}
	}
}
