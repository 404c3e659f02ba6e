package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// Client is a registered client as operators see and set it. Names are those of
// RFC 7591 where it has one.
type Client struct {
	ID           string    `json:"client_id"`
	Name         string    `json:"client_name"`
	AuthMethod   string    `json:"token_endpoint_auth_method"` // none or client_secret_basic
	Application  string    `json:"application_type"`           // web or native
	GrantTypes   []string  `json:"grant_types"`
	RedirectURIs []string  `json:"redirect_uris"`
	Scope        string    `json:"scope"`     // the most it may ever be given
	Resources    []string  `json:"resources"` // it may ask tokens for
	Guards       []string  `json:"guards"`    // resources whose tokens it checks
	FirstParty   bool      `json:"first_party"`
	Admin        bool      `json:"admin"`
	BoundTokens  bool      `json:"dpop_bound_access_tokens"`
	TrustDomain  string    `json:"trust_domain"` // it may mint transaction tokens for
	Disabled     bool      `json:"disabled"`
	Created      time.Time `json:"created,omitzero"`
}

// Registration is a client and, in the one answer that creates it, its secret.
type Registration struct {
	Client
	Secret login.Secret `json:"client_secret,omitempty"`
}

func viewClient(c *store.Client) Client {
	return Client{
		ID: c.ID, Name: c.Name, AuthMethod: c.AuthMethod, Application: c.Application,
		GrantTypes: list(c.GrantTypes), RedirectURIs: list(c.RedirectURIs), Scope: scope.Set(c.Scope).String(),
		Resources: list(c.Resources), Guards: list(c.Guards), FirstParty: c.FirstParty, Admin: c.Admin,
		BoundTokens: c.BoundTokens, TrustDomain: c.TrustDomain, Disabled: c.Disabled, Created: c.Created,
	}
}

// list is never null in JSON.
func list(s []string) []string { return append([]string{}, s...) }

func (c Client) record(secretHash []byte) *store.Client {
	return &store.Client{
		ID: c.ID, Name: c.Name, SecretHash: secretHash, AuthMethod: c.AuthMethod, Application: c.Application,
		GrantTypes: c.GrantTypes, RedirectURIs: c.RedirectURIs, Scope: strings.Fields(c.Scope),
		Resources: c.Resources, Guards: c.Guards, FirstParty: c.FirstParty, Admin: c.Admin,
		BoundTokens: c.BoundTokens, TrustDomain: c.TrustDomain, Disabled: c.Disabled, Created: c.Created,
	}
}

// AddClient registers a client. The id, the name and the grant types may be left
// out. A confidential client gets a secret, which nobody is ever shown again.
func (a *Admin) AddClient(ctx context.Context, by By, in Client) (*Registration, error) {
	if !in.Created.IsZero() {
		return nil, wrong("created", "is set by the server")
	}
	if in.ID == "" {
		id, err := a.random("c_", 16)
		if err != nil {
			return nil, err
		}
		in.ID = id
	}
	secret, err := client.NewSecret(client.SecretPrefix, a.cfg.Rand)
	if err != nil {
		return nil, err
	}
	in = in.complete()
	if in.AuthMethod == oauth.AuthNone {
		secret = ""
	}
	act := a.act(by, "client.add", in.ID)
	var added *store.Client
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		c, err := a.checkClient(tx, in)
		if err != nil {
			return err
		}
		c.Created = act.now
		added = c.record(hashOf(secret))
		if err := tx.AddClient(added); err != nil {
			return err
		}
		return act.note(tx, nil)
	})
	if errors.Is(err, store.ErrConflict) {
		return nil, &Taken{Field: "client_id", Value: in.ID}
	}
	if err != nil {
		return nil, err
	}
	return &Registration{Client: viewClient(added), Secret: login.Secret(secret)}, nil
}

func hashOf(secret string) []byte {
	if secret == "" {
		return nil
	}
	return client.HashSecret(secret)
}

// Taken says that the name of something new is in use already. It is a
// store.ErrConflict.
type Taken struct{ Field, Value string }

// Error names what is taken.
func (t *Taken) Error() string { return t.Field + " " + t.Value + " is taken" }

// Unwrap is store.ErrConflict.
func (t *Taken) Unwrap() error { return store.ErrConflict }

// Client finds a client.
func (a *Admin) Client(ctx context.Context, id string) (*Client, error) {
	var found Client
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		c, err := tx.Client(id)
		if err == nil {
			found = viewClient(c)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// Clients lists clients by id.
func (a *Admin) Clients(ctx context.Context, after string, limit int) (Page[Client], error) {
	limit, err := pageSize(limit)
	if err != nil {
		return Page[Client]{}, err
	}
	var found []*store.Client
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Clients(after, limit+1)
		return err
	})
	return page(found, limit, viewClient, func(c *store.Client) string { return c.ID }), err
}

// SetClient changes a client. change may run more than once. A change that takes
// something away ends what the client holds: it was given more than it may have now.
func (a *Admin) SetClient(ctx context.Context, by By, id string, change func(*Client) error) (*Client, error) {
	act := a.act(by, "client.set", id)
	var set Client
	err := a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		old, err := tx.Client(id)
		if err != nil {
			return err
		}
		was, in := viewClient(old), viewClient(old)
		if err := change(&in); err != nil {
			return err
		}
		if set, err = a.settle(tx, was, in); err != nil {
			return err
		}
		if err := fixed(was, set); err != nil {
			return err
		}
		if err := tx.PutClient(set.record(old.SecretHash)); err != nil {
			return err
		}
		if set.narrower(was) {
			if err := act.end(tx, "client", id, "client changed"); err != nil {
				return err
			}
		}
		if err := act.inner(tx, was, set); err != nil {
			return err
		}
		return act.note(tx, changed(was, set))
	})
	if err != nil {
		return nil, err
	}
	return &set, nil
}

// settle completes and checks a changed client. Switching one off is always
// possible, even one whose record would not be taken today.
func (a *Admin) settle(tx *store.Tx, was, in Client) (Client, error) {
	rest := in
	rest.Disabled = was.Disabled
	if in.Disabled && same(rest, was) {
		return in, nil
	}
	return a.checkClient(tx, in.complete())
}

// fixed refuses changes of what a client is known by.
func fixed(was, is Client) error {
	switch {
	case is.ID != was.ID:
		return wrong("client_id", "cannot be changed")
	case !is.Created.Equal(was.Created):
		return wrong("created", "cannot be changed")
	case is.AuthMethod != was.AuthMethod:
		return wrong("token_endpoint_auth_method", "cannot be changed: register another client")
	}
	return nil
}

// narrower reports whether c lost something that was has.
func (c Client) narrower(was Client) bool {
	lost := func(is, was []string) bool {
		return slices.ContainsFunc(was, func(s string) bool { return !slices.Contains(is, s) })
	}
	return c.Disabled && !was.Disabled || was.Admin && !c.Admin || c.BoundTokens && !was.BoundTokens ||
		was.TrustDomain != "" && c.TrustDomain != was.TrustDomain ||
		lost(c.GrantTypes, was.GrantTypes) || was.Scope == "" && c.Scope != "" || lost(strings.Fields(c.Scope), strings.Fields(was.Scope)) ||
		lost(c.Resources, was.Resources) || lost(c.Guards, was.Guards) || lost(c.RedirectURIs, was.RedirectURIs)
}

// inner tells guards to look again at the keys that mint transaction tokens: what
// they may mint is what their client is registered for.
func (c act) inner(tx *store.Tx, was, is Client) error {
	if was.TrustDomain == "" && is.TrustDomain == "" {
		return nil
	}
	return tx.Append(store.Entry{Kind: "key", Value: is.ID, Reason: c.action, At: c.now})
}

// RenewSecret gives a confidential client a new secret. The old one is worth
// nothing from then on; tokens it got, and keys for transaction tokens that were
// registered by them, stay good until they expire or are ended.
func (a *Admin) RenewSecret(ctx context.Context, by By, id string) (*Registration, error) {
	secret, err := client.NewSecret(client.SecretPrefix, a.cfg.Rand)
	if err != nil {
		return nil, err
	}
	act := a.act(by, "client.secret", id)
	var set Client
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		c, err := tx.Client(id)
		if err != nil {
			return err
		}
		if c.AuthMethod == oauth.AuthNone {
			return wrong("", "a public client has no secret")
		}
		c.SecretHash, set = hashOf(secret), viewClient(c)
		if err := tx.PutClient(c); err != nil {
			return err
		}
		return act.note(tx, nil)
	})
	if err != nil {
		return nil, err
	}
	return &Registration{Client: set, Secret: login.Secret(secret)}, nil
}

// RemoveClient removes a client and ends everything it holds.
func (a *Admin) RemoveClient(ctx context.Context, by By, id string) error {
	if id == CLI {
		return wrong("", "%s is built in and would come back: disable it instead", CLI)
	}
	act := a.act(by, "client.remove", id)
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Client(id); err != nil {
			return err
		}
		// Nothing it was given outlives this, though it takes a while to be removed.
		if err := act.end(tx, "client", id, "client removed"); err != nil {
			return err
		}
		if err := tx.DeleteClient(id); err != nil {
			return err
		}
		return act.note(tx, nil)
	})
}
