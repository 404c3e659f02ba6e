package store

const grantColumns = `id, user_id, client_id, session_id, scope, resources, acr, amr, key_id, auth_time,
	created, used, expires, ended, end_reason`

func scanGrant(r row, g *Grant) error {
	return r.Scan(&g.ID, &g.UserID, &g.ClientID, &g.SessionID, array[string]{&g.Scope},
		array[string]{&g.Resources}, &g.ACR, array[string]{&g.AMR}, &g.KeyID, stamp{&g.AuthTime},
		stamp{&g.Created}, stamp{&g.Used}, stamp{&g.Expires}, stamp{&g.Ended}, &g.EndReason)
}

// Grant finds a grant, living or ended.
func (tx *Tx) Grant(id string) (*Grant, error) {
	var sweep uint64 // that ended it; 0: none
	g, err := one(tx, func(r row, g *Grant) error {
		return r.Scan(&g.ID, &g.UserID, &g.ClientID, &g.SessionID, array[string]{&g.Scope},
			array[string]{&g.Resources}, &g.ACR, array[string]{&g.AMR}, &g.KeyID, stamp{&g.AuthTime},
			stamp{&g.Created}, stamp{&g.Used}, stamp{&g.Expires}, stamp{&g.Ended}, &g.EndReason, &sweep)
	}, `SELECT `+grantColumns+`, COALESCE(`+sweptBy+`, 0)
		FROM grants g WHERE issuer = $1 AND id = $2`, tx.issuer, id)
	if err != nil || sweep == 0 || !g.Ended.IsZero() {
		return g, err
	}
	return g, tx.swept(g, sweep)
}

// PutGrant inserts or replaces a grant. Most often nothing changes that an index holds:
// a refresh tells when the grant was last used. SQLite writes every index of a column that
// is named in SET, changed or not, so that case has a statement of its own. Its WHERE hides
// all columns but the key from the planner: PostgreSQL, while it knows little of a new
// table, may find the grants of a user as good a start as the one of this id.
func (tx *Tx) PutGrant(g *Grant) error {
	n, err := tx.exec(`UPDATE grants SET scope = $7, resources = $8, acr = $9, amr = $10, key_id = $11,
		auth_time = $12, created = $13, used = $14, end_reason = $15
		WHERE issuer = $1 AND id = $2 AND user_id || '' = $3 AND client_id || '' = $4
		AND session_id || '' = $5 AND expires + 0 = $6 AND ended + 0 = $16`,
		tx.issuer, g.ID, g.UserID, g.ClientID, g.SessionID, micros(g.Expires), text(g.Scope),
		text(g.Resources), g.ACR, text(g.AMR), g.KeyID, micros(g.AuthTime), micros(g.Created),
		micros(g.Used), g.EndReason, micros(g.Ended))
	if err != nil || n > 0 {
		return err
	}
	rev, err := tx.Head()
	if err != nil {
		return err
	}
	return tx.put(`INSERT INTO grants (issuer, `+grantColumns+`, rev)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		ON CONFLICT (issuer, id) DO UPDATE SET user_id = excluded.user_id,
		client_id = excluded.client_id, session_id = excluded.session_id, scope = excluded.scope,
		resources = excluded.resources, acr = excluded.acr, amr = excluded.amr,
		key_id = excluded.key_id, auth_time = excluded.auth_time, created = excluded.created,
		used = excluded.used, expires = excluded.expires, ended = excluded.ended,
		end_reason = excluded.end_reason`,
		tx.issuer, g.ID, g.UserID, g.ClientID, g.SessionID, text(g.Scope), text(g.Resources), g.ACR,
		text(g.AMR), g.KeyID, micros(g.AuthTime), micros(g.Created), micros(g.Used),
		micros(g.Expires), micros(g.Ended), g.EndReason, int64(rev))
}

// GrantsOf lists the living grants of a person, newest first.
func (tx *Tx) GrantsOf(userID string) ([]*Grant, error) {
	return list(tx, scanGrant, `SELECT `+grantColumns+` FROM grants g
		WHERE issuer = $1 AND user_id = $2 AND ended = 0 AND `+unswept+` ORDER BY created DESC, id`, tx.issuer, userID)
}

// GrantsOfSession lists the living grants that end with a browser session, newest first.
func (tx *Tx) GrantsOfSession(sid string) ([]*Grant, error) {
	return list(tx, scanGrant, `SELECT `+grantColumns+` FROM grants g
		WHERE issuer = $1 AND session_id = $2 AND ended = 0 AND `+unswept+` ORDER BY created DESC, id`, tx.issuer, sid)
}

// GrantsOfClient lists the living grants of a client whose id is greater than after, by id.
func (tx *Tx) GrantsOfClient(clientID, after string, limit int) ([]*Grant, error) {
	return list(tx, scanGrant, `SELECT `+grantColumns+` FROM grants g
		WHERE issuer = $1 AND client_id = $2 AND id > $3 AND ended = 0 AND `+unswept+` ORDER BY id LIMIT $4`,
		tx.issuer, clientID, after, limit)
}

// GrantsOfKey lists the living grants whose refresh tokens are bound to a key, by id.
func (tx *Tx) GrantsOfKey(thumbprint, after string, limit int) ([]*Grant, error) {
	return list(tx, scanGrant, `SELECT `+grantColumns+` FROM grants g
		WHERE issuer = $1 AND key_id = $2 AND key_id <> '' AND id > $3 AND ended = 0 AND `+unswept+` ORDER BY id LIMIT $4`,
		tx.issuer, thumbprint, after, limit)
}

// LivingGrants lists all living grants whose id is greater than after, by id.
func (tx *Tx) LivingGrants(after string, limit int) ([]*Grant, error) {
	return list(tx, scanGrant, `SELECT `+grantColumns+` FROM grants g
		WHERE issuer = $1 AND id > $2 AND ended = 0 AND `+unswept+` ORDER BY id LIMIT $3`, tx.issuer, after, limit)
}

const codeColumns = `hash, client_id, user_id, session_id, redirect_uri, challenge, scope, resources, nonce,
	acr, amr, key_id, auth_time, expires, used, grant_id`

// Code finds an authorization code by its hash, redeemed or not, that no sweep took.
func (tx *Tx) Code(hash []byte) (*Code, error) {
	return one(tx, func(r row, c *Code) error {
		return r.Scan(&c.Hash, &c.ClientID, &c.UserID, &c.SessionID, &c.RedirectURI, &c.Challenge,
			array[string]{&c.Scope}, array[string]{&c.Resources}, &c.Nonce, &c.ACR,
			array[string]{&c.AMR}, &c.KeyID, stamp{&c.AuthTime}, stamp{&c.Expires}, stamp{&c.Used},
			&c.GrantID)
	}, `SELECT `+codeColumns+` FROM codes g WHERE issuer = $1 AND hash = $2 AND `+unswept, tx.issuer, hash)
}

// PutCode inserts or replaces an authorization code.
func (tx *Tx) PutCode(c *Code) error {
	rev, err := tx.Head()
	if err != nil {
		return err
	}
	return tx.put(`INSERT INTO codes (issuer, `+codeColumns+`, rev)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
		ON CONFLICT (issuer, hash) DO UPDATE SET client_id = excluded.client_id,
		user_id = excluded.user_id, session_id = excluded.session_id,
		redirect_uri = excluded.redirect_uri, challenge = excluded.challenge, scope = excluded.scope,
		resources = excluded.resources, nonce = excluded.nonce, acr = excluded.acr,
		amr = excluded.amr, key_id = excluded.key_id, auth_time = excluded.auth_time,
		expires = excluded.expires, used = excluded.used, grant_id = excluded.grant_id`,
		tx.issuer, c.Hash, c.ClientID, c.UserID, c.SessionID, c.RedirectURI, c.Challenge,
		text(c.Scope), text(c.Resources), c.Nonce, c.ACR, text(c.AMR), c.KeyID,
		micros(c.AuthTime), micros(c.Expires), micros(c.Used), c.GrantID, int64(rev))
}

// DeleteCodesAt removes the authorization codes of a person for a client.
func (tx *Tx) DeleteCodesAt(userID, clientID string) error {
	return tx.put(`DELETE FROM codes WHERE issuer = $1 AND user_id = $2 AND client_id = $3`, tx.issuer, userID, clientID)
}

const refreshColumns = `hash, grant_id, client_id, created, expires, spent, successor_hash, successor`

// Refresh finds a refresh token by its hash, spent or not.
func (tx *Tx) Refresh(hash []byte) (*Refresh, error) {
	return one(tx, func(r row, f *Refresh) error {
		return r.Scan(&f.Hash, &f.GrantID, &f.ClientID, stamp{&f.Created}, stamp{&f.Expires},
			stamp{&f.Spent}, &f.SuccessorHash, &f.Successor)
	}, `SELECT `+refreshColumns+` FROM refreshes WHERE issuer = $1 AND hash = $2`, tx.issuer, hash)
}

// PutRefresh inserts or replaces a refresh token. One that is spent is there already, and
// nothing changes that an index holds (see PutGrant).
func (tx *Tx) PutRefresh(r *Refresh) error {
	if !r.Spent.IsZero() {
		n, err := tx.exec(`UPDATE refreshes SET client_id = $5, created = $6, spent = $7,
			successor_hash = $8, successor = $9
			WHERE issuer = $1 AND grant_id = $2 AND hash = $3 AND expires + 0 = $4`,
			tx.issuer, r.GrantID, r.Hash, micros(r.Expires), r.ClientID, micros(r.Created),
			micros(r.Spent), r.SuccessorHash, r.Successor)
		if err != nil || n > 0 {
			return err
		}
	}
	return tx.put(`INSERT INTO refreshes (issuer, `+refreshColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (issuer, hash) DO UPDATE SET grant_id = excluded.grant_id,
		client_id = excluded.client_id, created = excluded.created, expires = excluded.expires,
		spent = excluded.spent, successor_hash = excluded.successor_hash,
		successor = excluded.successor`,
		tx.issuer, r.Hash, r.GrantID, r.ClientID, micros(r.Created), micros(r.Expires),
		micros(r.Spent), r.SuccessorHash, r.Successor)
}
