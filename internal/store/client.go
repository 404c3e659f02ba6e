package store

import "time"

const clientColumns = `id, name, secret_hash, auth_method, application, grant_types, redirect_uris,
	scope, resources, guards, first_party, admin, bound_tokens, disabled, created, trust_domain`

const insertClient = `INSERT INTO clients (issuer, ` + clientColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`

func scanClient(r row, c *Client) error {
	return r.Scan(&c.ID, &c.Name, &c.SecretHash, &c.AuthMethod, &c.Application,
		array[string]{&c.GrantTypes}, array[string]{&c.RedirectURIs}, array[string]{&c.Scope},
		array[string]{&c.Resources}, array[string]{&c.Guards},
		&c.FirstParty, &c.Admin, &c.BoundTokens, &c.Disabled, stamp{&c.Created}, &c.TrustDomain)
}

func (tx *Tx) clientArgs(c *Client) []any {
	return []any{tx.issuer, c.ID, c.Name, c.SecretHash, c.AuthMethod, c.Application,
		text(c.GrantTypes), text(c.RedirectURIs), text(c.Scope), text(c.Resources), text(c.Guards),
		c.FirstParty, c.Admin, c.BoundTokens, c.Disabled, micros(c.Created), c.TrustDomain}
}

// Client finds a client by its id.
func (tx *Tx) Client(id string) (*Client, error) {
	return one(tx, scanClient, `SELECT `+clientColumns+` FROM clients WHERE issuer = $1 AND id = $2`,
		tx.issuer, id)
}

// PutClient inserts or replaces a client.
func (tx *Tx) PutClient(c *Client) error {
	return tx.put(insertClient+` ON CONFLICT (issuer, id) DO UPDATE SET name = excluded.name,
		secret_hash = excluded.secret_hash, auth_method = excluded.auth_method,
		application = excluded.application, grant_types = excluded.grant_types,
		redirect_uris = excluded.redirect_uris, scope = excluded.scope, resources = excluded.resources,
		guards = excluded.guards, first_party = excluded.first_party, admin = excluded.admin,
		bound_tokens = excluded.bound_tokens, disabled = excluded.disabled, created = excluded.created,
		trust_domain = excluded.trust_domain`,
		tx.clientArgs(c)...)
}

// AddClient inserts a client; ErrConflict when its id is taken.
func (tx *Tx) AddClient(c *Client) error {
	return tx.add(insertClient+` ON CONFLICT DO NOTHING`, tx.clientArgs(c)...)
}

// DeleteClient removes a client with its guard states and inner keys. The sweep that ends
// its tokens, grants and codes is the caller's to append; they are removed as all that has
// ended, however many there are.
func (tx *Tx) DeleteClient(id string) error {
	for _, sql := range []string{
		`DELETE FROM guard_states WHERE issuer = $1 AND client_id = $2`,
		`DELETE FROM inner_keys WHERE issuer = $1 AND client_id = $2`,
	} {
		if err := tx.put(sql, tx.issuer, id); err != nil {
			return err
		}
	}
	return tx.remove(`DELETE FROM clients WHERE issuer = $1 AND id = $2`, tx.issuer, id)
}

// Clients lists clients whose id is greater than after, by id.
func (tx *Tx) Clients(after string, limit int) ([]*Client, error) {
	return list(tx, scanClient, `SELECT `+clientColumns+` FROM clients WHERE issuer = $1 AND id > $2
		ORDER BY id LIMIT $3`, tx.issuer, after, limit)
}

const resourceColumns = `uri, name, scopes, token_life, algorithm, created`

const insertResource = `INSERT INTO resources (issuer, ` + resourceColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7)`

func scanResource(r row, s *Resource) error {
	return r.Scan(&s.URI, &s.Name, array[ScopeText]{&s.Scopes}, span{&s.TokenLife}, &s.Algorithm,
		stamp{&s.Created})
}

func (tx *Tx) resourceArgs(r *Resource) []any {
	return []any{tx.issuer, r.URI, r.Name, text(r.Scopes), int64(r.TokenLife / time.Microsecond),
		r.Algorithm, micros(r.Created)}
}

// Resource finds a resource by its URI, compared as a string.
func (tx *Tx) Resource(uri string) (*Resource, error) {
	return one(tx, scanResource, `SELECT `+resourceColumns+` FROM resources WHERE issuer = $1 AND uri = $2`,
		tx.issuer, uri)
}

// PutResource inserts or replaces a resource.
func (tx *Tx) PutResource(r *Resource) error {
	return tx.put(insertResource+` ON CONFLICT (issuer, uri) DO UPDATE SET name = excluded.name,
		scopes = excluded.scopes, token_life = excluded.token_life, algorithm = excluded.algorithm,
		created = excluded.created`, tx.resourceArgs(r)...)
}

// AddResource inserts a resource; ErrConflict when its URI is taken.
func (tx *Tx) AddResource(r *Resource) error {
	return tx.add(insertResource+` ON CONFLICT DO NOTHING`, tx.resourceArgs(r)...)
}

// DeleteResource removes a resource.
func (tx *Tx) DeleteResource(uri string) error {
	return tx.remove(`DELETE FROM resources WHERE issuer = $1 AND uri = $2`, tx.issuer, uri)
}

// Resources lists all resources, by URI.
func (tx *Tx) Resources() ([]*Resource, error) {
	return list(tx, scanResource, `SELECT `+resourceColumns+` FROM resources WHERE issuer = $1 ORDER BY uri`,
		tx.issuer)
}
