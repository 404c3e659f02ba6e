package store

import "time"

const sessionColumns = `id, secret_hash, user_id, acr, amr, auth_time, created, seen, expires, address, user_agent`

func scanSession(r row, s *Session) error {
	return r.Scan(&s.ID, &s.SecretHash, &s.UserID, &s.ACR, array[string]{&s.AMR}, stamp{&s.AuthTime},
		stamp{&s.Created}, stamp{&s.Seen}, stamp{&s.Expires}, &s.Address, &s.UserAgent)
}

// Session finds a browser session by id.
func (tx *Tx) Session(id string) (*Session, error) {
	return one(tx, scanSession, `SELECT `+sessionColumns+` FROM sessions g
		WHERE issuer = $1 AND id = $2 AND `+sessionUnswept, tx.issuer, id)
}

// SessionBySecret finds a browser session by the hash of its cookie's value.
func (tx *Tx) SessionBySecret(hash []byte) (*Session, error) {
	return one(tx, scanSession, `SELECT `+sessionColumns+` FROM sessions g
		WHERE issuer = $1 AND secret_hash = $2 AND `+sessionUnswept, tx.issuer, hash)
}

// PutSession inserts or replaces a browser session.
func (tx *Tx) PutSession(s *Session) error {
	rev, err := tx.Head()
	if err != nil {
		return err
	}
	return tx.put(`INSERT INTO sessions (issuer, `+sessionColumns+`, rev)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (issuer, id) DO UPDATE SET secret_hash = excluded.secret_hash,
		user_id = excluded.user_id, acr = excluded.acr, amr = excluded.amr,
		auth_time = excluded.auth_time, created = excluded.created, seen = excluded.seen,
		expires = excluded.expires, address = excluded.address, user_agent = excluded.user_agent`,
		tx.issuer, s.ID, s.SecretHash, s.UserID, s.ACR, text(s.AMR), micros(s.AuthTime),
		micros(s.Created), micros(s.Seen), micros(s.Expires), s.Address, s.UserAgent, int64(rev))
}

// DeleteSession removes a browser session; its grants stay.
func (tx *Tx) DeleteSession(id string) error {
	return tx.remove(`DELETE FROM sessions WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}

// SessionsOf lists the browser sessions of a person, newest first.
func (tx *Tx) SessionsOf(userID string) ([]*Session, error) {
	return list(tx, scanSession, `SELECT `+sessionColumns+` FROM sessions g
		WHERE issuer = $1 AND user_id = $2 AND `+sessionUnswept+` ORDER BY created DESC, id`, tx.issuer, userID)
}

// Sessions lists all browser sessions that are good at now and whose id is greater than
// after, by id.
func (tx *Tx) Sessions(now time.Time, after string, limit int) ([]*Session, error) {
	return list(tx, scanSession, `SELECT `+sessionColumns+` FROM sessions g
		WHERE issuer = $1 AND id > $2 AND expires > $3 AND `+sessionUnswept+` ORDER BY id LIMIT $4`, tx.issuer, after, micros(now), limit)
}

const flowColumns = `id, browser_hash, request, consent, consent_session, created, expires`

// Flow finds an authorization request under way.
func (tx *Tx) Flow(id string) (*Flow, error) {
	return one(tx, func(r row, f *Flow) error {
		return r.Scan(&f.ID, &f.BrowserHash, &f.Request, &f.Consent, &f.ConsentSession,
			stamp{&f.Created}, stamp{&f.Expires})
	}, `SELECT `+flowColumns+` FROM flows WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}

// PutFlow inserts or replaces an authorization request under way.
func (tx *Tx) PutFlow(f *Flow) error {
	return tx.put(`INSERT INTO flows (issuer, `+flowColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (issuer, id) DO UPDATE SET browser_hash = excluded.browser_hash,
		request = excluded.request, consent = excluded.consent,
		consent_session = excluded.consent_session, created = excluded.created,
		expires = excluded.expires`,
		tx.issuer, f.ID, f.BrowserHash, f.Request, f.Consent, f.ConsentSession,
		micros(f.Created), micros(f.Expires))
}

// DeleteFlow removes an authorization request.
func (tx *Tx) DeleteFlow(id string) error {
	return tx.remove(`DELETE FROM flows WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}
