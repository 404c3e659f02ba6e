package store

import "time"

const innerColumns = `client_id, kid, public, created, expires`

// InnerKeys lists the keys that live after a time, by client and id.
func (tx *Tx) InnerKeys(now time.Time) ([]InnerKey, error) {
	return values(list(tx, func(r row, k *InnerKey) error {
		return r.Scan(&k.ClientID, &k.ID, &k.Public, stamp{&k.Created}, stamp{&k.Expires})
	}, `SELECT `+innerColumns+` FROM inner_keys WHERE issuer = $1 AND expires > $2 ORDER BY client_id, kid`,
		tx.issuer, micros(now)))
}

// PutInnerKey inserts or replaces a key of a client.
func (tx *Tx) PutInnerKey(k InnerKey) error {
	return tx.put(`INSERT INTO inner_keys (issuer, `+innerColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (issuer, client_id, kid) DO UPDATE SET public = excluded.public,
		created = excluded.created, expires = excluded.expires`,
		tx.issuer, k.ClientID, k.ID, k.Public, micros(k.Created), micros(k.Expires))
}

// DeleteInnerKey removes a key of a client.
func (tx *Tx) DeleteInnerKey(clientID, id string) error {
	return tx.remove(`DELETE FROM inner_keys WHERE issuer = $1 AND client_id = $2 AND kid = $3`, tx.issuer, clientID, id)
}
