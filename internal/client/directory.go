// Package client knows who the client is: it finds registered clients and the
// resources they ask for, and authenticates them. It does not decide what a
// client may be given; package grant does.
//
// Invariant: what the directory answers is at least as new as Position.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/writ-auth/writ/internal/store"
)

// Directory answers who a client and what a resource is, from memory where it
// can. Records are shared and must not be changed. It is safe for concurrent use.
type Directory struct {
	db        *store.DB
	clients   cache[store.Client]
	resources cache[store.Resource]
	head      atomic.Uint64
	changes   atomic.Uint64
	sample    bool
}

// held is how many records of a kind are kept in memory.
const held = 16384

// NewDirectory returns an empty directory. Feed it with Changed. sample says
// that this is `writ dev`, where secrets with DevPrefix count.
func NewDirectory(db *store.DB, sample bool) *Directory { return &Directory{db: db, sample: sample} }

// Client finds a client by id; store.ErrNotFound if there is none.
func (d *Directory) Client(ctx context.Context, id string) (*store.Client, error) {
	return d.clients.get(id, func() (c *store.Client, err error) {
		err = d.db.View(ctx, func(tx *store.Tx) (err error) {
			c, err = tx.Client(id)
			return err
		})
		return c, err
	})
}

// Resource finds a resource by its URI; store.ErrNotFound if there is none.
func (d *Directory) Resource(ctx context.Context, uri string) (*store.Resource, error) {
	return d.resources.get(uri, func() (r *store.Resource, err error) {
		err = d.db.View(ctx, func(tx *store.Tx) (err error) {
			r, err = tx.Resource(uri)
			return err
		})
		return r, err
	})
}

// Position is the feed position up to which changes are known here: what is
// decided from memory is decided as of this position.
func (d *Directory) Position() uint64 { return d.head.Load() }

// Changed forgets everything when the entries tell of a change of clients or
// resources, or when entries is nil; then it moves Position on. Changes are rare.
// A rule on a client counts as one: the entry that says what changed may only
// come with the next page, and a token decided on between the two would carry a
// position that the rule does not hit.
func (d *Directory) Changed(entries []store.Entry) {
	forget := entries == nil
	for _, e := range entries {
		forget = forget || e.Kind == KindConfig || e.Kind == kindClient
	}
	if forget {
		d.clients.reset()
		d.resources.reset()
		d.changes.Add(1)
	}
	if n := len(entries); n > 0 {
		d.head.Store(entries[n-1].Position)
	}
}

// Changes counts how often clients or resources changed since the start.
func (d *Directory) Changes() uint64 { return d.changes.Load() }

// Start sets the position at which this replica begins.
func (d *Directory) Start(position uint64) { d.head.Store(position) }

// KindConfig is the feed entry that says a client, resource or policy changed.
const KindConfig = "config"

// kindClient is the feed entry that ends what a client holds.
const kindClient = "client"

// cache holds records by key. A record read while the cache was reset is not kept.
type cache[T any] struct {
	mu      sync.RWMutex
	records map[string]*T // guarded by mu
	era     uint64        // guarded by mu; counts resets
}

func (c *cache[T]) get(key string, load func() (*T, error)) (*T, error) {
	c.mu.RLock()
	record, ok := c.records[key]
	era := c.era
	c.mu.RUnlock()
	if ok {
		return record, nil
	}
	record, err := load()
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return nil, fmt.Errorf("look up %q: %w", key, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.era == era {
		if c.records == nil || len(c.records) >= held {
			c.records = map[string]*T{}
		}
		c.records[key] = record
	}
	return record, nil
}

func (c *cache[T]) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = nil
	c.era++
}
