package store

import (
	"errors"
	"time"
)

const keyColumns = `id, purpose, algorithm, public, sealed, created, active, retired, expires, latest, ended,
	foreign_since`

// Keys lists all keys, oldest first.
func (tx *Tx) Keys() ([]*Key, error) {
	return list(tx, func(r row, k *Key) error {
		return r.Scan(&k.ID, &k.Use, &k.Algorithm, &k.Public, &k.Sealed, stamp{&k.Created},
			stamp{&k.Active}, stamp{&k.Retired}, stamp{&k.Expires}, stamp{&k.Latest}, stamp{&k.Ended},
			stamp{&k.Foreign})
	}, `SELECT `+keyColumns+` FROM keys WHERE issuer = $1 ORDER BY created, id`, tx.issuer)
}

// PutKey inserts or replaces a key.
func (tx *Tx) PutKey(k *Key) error {
	return tx.put(`INSERT INTO keys (issuer, `+keyColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (issuer, id) DO UPDATE SET purpose = excluded.purpose,
		algorithm = excluded.algorithm, public = excluded.public, sealed = excluded.sealed,
		created = excluded.created, active = excluded.active, retired = excluded.retired,
		expires = excluded.expires, latest = excluded.latest, ended = excluded.ended,
		foreign_since = excluded.foreign_since`,
		tx.issuer, k.ID, k.Use, k.Algorithm, k.Public, k.Sealed, micros(k.Created),
		micros(k.Active), micros(k.Retired), micros(k.Expires), micros(k.Latest), micros(k.Ended),
		micros(k.Foreign))
}

// KeyUsed notes until when a key has living tokens, unless it has later ones already.
func (tx *Tx) KeyUsed(id string, latest time.Time) error {
	return tx.put(`UPDATE keys SET latest = $3 WHERE issuer = $1 AND id = $2 AND latest < $3`,
		tx.issuer, id, micros(latest))
}

// KeyForeign notes that a key is in foreign hands. It reports true the first time only.
func (tx *Tx) KeyForeign(id string, now time.Time) (bool, error) {
	n, err := tx.exec(`UPDATE keys SET foreign_since = $3 WHERE issuer = $1 AND id = $2 AND foreign_since = 0`,
		tx.issuer, id, micros(now))
	return n > 0, err
}

// DeleteKey removes a key.
func (tx *Tx) DeleteKey(id string) error {
	return tx.remove(`DELETE FROM keys WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}

const auditColumns = `at, actor, action, target, detail, address`

// Audit writes a line of the audit trail.
func (tx *Tx) Audit(a Audit) error {
	return tx.put(`INSERT INTO audit (issuer, `+auditColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tx.issuer, micros(a.At), a.Actor, a.Action, a.Target, a.Detail, a.Address)
}

// Audits lists lines of the audit trail from before a time, newest first; the zero time
// means now.
func (tx *Tx) Audits(limit int, before time.Time) ([]Audit, error) {
	end := micros(before)
	if end == 0 {
		end = int64(^uint64(0) >> 1)
	}
	return values(list(tx, func(r row, a *Audit) error {
		return r.Scan(stamp{&a.At}, &a.Actor, &a.Action, &a.Target, &a.Detail, &a.Address)
	}, `SELECT `+auditColumns+` FROM audit WHERE issuer = $1 AND at < $2 ORDER BY at DESC, id DESC LIMIT $3`,
		tx.issuer, end, limit))
}

// Once remembers a hash until it expires. It reports true the first time only.
func (tx *Tx) Once(purpose string, hash []byte, expires time.Time) (bool, error) {
	err := tx.add(`INSERT INTO once (issuer, purpose, hash, expires) VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`, tx.issuer, purpose, hash, micros(expires))
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

const guardColumns = `client_id, instance, epoch, position, key_ids, seen`

// PutGuardState inserts or replaces what an instance of a guard last said.
func (tx *Tx) PutGuardState(s GuardState) error {
	return tx.put(`INSERT INTO guard_states (issuer, `+guardColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (issuer, client_id, instance) DO UPDATE SET epoch = excluded.epoch,
		position = excluded.position, key_ids = excluded.key_ids, seen = excluded.seen`,
		tx.issuer, s.ClientID, s.Instance, s.Epoch, int64(s.Position), text(s.KeyIDs), micros(s.Seen))
}

// KnowsGuard reports whether an instance of a guard has said something.
func (tx *Tx) KnowsGuard(clientID, instance string) (bool, error) {
	n, err := one(tx, func(r row, n *int64) error { return r.Scan(n) },
		`SELECT count(*) FROM guard_states WHERE issuer = $1 AND client_id = $2 AND instance = $3`,
		tx.issuer, clientID, instance)
	return err == nil && *n > 0, err
}

// RemoveGuardState forgets an instance of a guard.
func (tx *Tx) RemoveGuardState(clientID, instance string) error {
	return tx.remove(`DELETE FROM guard_states WHERE issuer = $1 AND client_id = $2 AND instance = $3`,
		tx.issuer, clientID, instance)
}

// TrimGuardStates forgets all instances of a client but those that spoke last.
func (tx *Tx) TrimGuardStates(clientID string, keep int) error {
	return tx.put(`DELETE FROM guard_states WHERE issuer = $1 AND client_id = $2 AND instance NOT IN
		(SELECT instance FROM guard_states WHERE issuer = $1 AND client_id = $2
		ORDER BY seen DESC, instance LIMIT $3)`, tx.issuer, clientID, keep)
}

// GuardStates lists what guards said at since or later, by client and instance.
func (tx *Tx) GuardStates(since time.Time) ([]GuardState, error) {
	return values(list(tx, func(r row, s *GuardState) error {
		return r.Scan(&s.ClientID, &s.Instance, &s.Epoch, &s.Position, array[string]{&s.KeyIDs},
			stamp{&s.Seen})
	}, `SELECT `+guardColumns+` FROM guard_states WHERE issuer = $1 AND seen >= $2
		ORDER BY client_id, instance`, tx.issuer, micros(since)))
}

// Meta finds a setting by name.
func (tx *Tx) Meta(name string) (string, error) {
	v, err := one(tx, func(r row, v *string) error { return r.Scan(v) },
		`SELECT value FROM meta WHERE issuer = $1 AND name = $2`, tx.issuer, name)
	if err != nil {
		return "", err
	}
	return *v, nil
}

// PutMeta inserts or replaces a setting.
func (tx *Tx) PutMeta(name, value string) error {
	return tx.put(`INSERT INTO meta (issuer, name, value) VALUES ($1, $2, $3)
		ON CONFLICT (issuer, name) DO UPDATE SET value = excluded.value`, tx.issuer, name, value)
}

// values turns the result of list into plain values.
func values[T any](list []*T, err error) ([]T, error) {
	if len(list) == 0 {
		return nil, err
	}
	all := make([]T, len(list))
	for i, v := range list {
		all[i] = *v
	}
	return all, nil
}
