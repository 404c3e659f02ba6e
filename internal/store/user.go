package store

import "errors"

const userColumns = `id, username, name, email, password_hash, admin, disabled, created`

const insertUser = `INSERT INTO users (issuer, ` + userColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`

func scanUser(r row, u *User) error {
	return r.Scan(&u.ID, &u.Username, &u.Name, &u.Email, &u.PasswordHash, &u.Admin, &u.Disabled,
		stamp{&u.Created})
}

func (tx *Tx) userArgs(u *User) []any {
	return []any{tx.issuer, u.ID, u.Username, u.Name, u.Email, u.PasswordHash, u.Admin, u.Disabled,
		micros(u.Created)}
}

// User finds a person by id.
func (tx *Tx) User(id string) (*User, error) {
	return one(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}

// UserByName finds a person by user name, compared as stored.
func (tx *Tx) UserByName(name string) (*User, error) {
	return one(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE issuer = $1 AND username = $2`,
		tx.issuer, name)
}

// PutUser inserts or replaces a person; ErrConflict when another has the user name.
func (tx *Tx) PutUser(u *User) error {
	n, err := tx.exec(`UPDATE users SET username = $3, name = $4, email = $5, password_hash = $6,
		admin = $7, disabled = $8, created = $9
		WHERE issuer = $1 AND id = $2 AND NOT EXISTS
			(SELECT 1 FROM users o WHERE o.issuer = $1 AND o.username = $3 AND o.id <> $2)`,
		tx.userArgs(u)...)
	if err != nil || n > 0 {
		return err
	}
	return tx.AddUser(u)
}

// AddUser inserts a person; ErrConflict when the id or the user name is taken.
func (tx *Tx) AddUser(u *User) error {
	return tx.add(insertUser, tx.userArgs(u)...)
}

// DeleteUser removes a person with sessions, grants, codes and refresh tokens. The rule
// that ends living access tokens is the caller's to append.
func (tx *Tx) DeleteUser(id string) error {
	for _, sql := range []string{
		`DELETE FROM refreshes WHERE issuer = $1 AND grant_id IN
			(SELECT id FROM grants WHERE issuer = $1 AND user_id = $2)`,
		`DELETE FROM grants WHERE issuer = $1 AND user_id = $2`,
		`DELETE FROM codes WHERE issuer = $1 AND user_id = $2`,
		`DELETE FROM sessions WHERE issuer = $1 AND user_id = $2`,
	} {
		if err := tx.put(sql, tx.issuer, id); err != nil {
			return err
		}
	}
	return tx.remove(`DELETE FROM users WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}

// Users lists people whose id is greater than after, by id.
func (tx *Tx) Users(after string, limit int) ([]*User, error) {
	return list(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE issuer = $1 AND id > $2
		ORDER BY id LIMIT $3`, tx.issuer, after, limit)
}

// UsersByEmail lists the people with an e-mail address, compared as stored, by id.
func (tx *Tx) UsersByEmail(email string) ([]*User, error) {
	return list(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE issuer = $1 AND email = $2 AND email <> ''
		ORDER BY id`, tx.issuer, email)
}

const attemptColumns = `name, level, at`

// Attempt finds the state of a rate limit; one that was never put is zero but for its key.
func (tx *Tx) Attempt(key string) (Attempt, error) {
	a, err := one(tx, func(r row, a *Attempt) error {
		return r.Scan(&a.Key, &a.Level, stamp{&a.At})
	}, `SELECT `+attemptColumns+` FROM attempts WHERE issuer = $1 AND name = $2`, tx.issuer, key)
	if errors.Is(err, ErrNotFound) {
		return Attempt{Key: key}, nil
	}
	if err != nil {
		return Attempt{}, err
	}
	return *a, nil
}

// PutAttempt inserts or replaces the state of a rate limit.
func (tx *Tx) PutAttempt(a Attempt) error {
	return tx.put(`INSERT INTO attempts (issuer, `+attemptColumns+`) VALUES ($1, $2, $3, $4)
		ON CONFLICT (issuer, name) DO UPDATE SET level = excluded.level, at = excluded.at`,
		tx.issuer, a.Key, a.Level, micros(a.At))
}

// Invite finds an invitation by the hash of its link's secret.
func (tx *Tx) Invite(hash []byte) (*Invite, error) {
	return one(tx, func(r row, i *Invite) error {
		return r.Scan(&i.Hash, &i.Role, stamp{&i.Created}, stamp{&i.Expires}, stamp{&i.Used})
	}, `SELECT hash, role, created, expires, used FROM invites WHERE issuer = $1 AND hash = $2`,
		tx.issuer, hash)
}

// PutInvite inserts or replaces an invitation.
func (tx *Tx) PutInvite(i *Invite) error {
	return tx.put(`INSERT INTO invites (issuer, hash, role, created, expires, used)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (issuer, hash) DO UPDATE SET role = excluded.role, created = excluded.created,
		expires = excluded.expires, used = excluded.used`,
		tx.issuer, i.Hash, i.Role, micros(i.Created), micros(i.Expires), micros(i.Used))
}
