package revoke

import (
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/writ-auth/writ/internal/store"
)

// Samples is how many of each an operator is shown.
const Samples = 5

// Reach is what an order hits among what the store knows: tokens are not counted,
// because nothing is written for them.
type Reach struct {
	Sessions  []*store.Session // samples
	Grants    []*store.Grant   // samples
	Clients   []string         // all, sorted
	Resources []string         // all, sorted

	SessionCount int
	GrantCount   int
}

// Measure says what an order would hit, without doing it.
func Measure(tx *store.Tx, o Order) (*Reach, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := measure{tx: tx, o: o, clients: map[string]bool{}, resources: map[string]bool{}}
	for _, step := range []func() error{m.grants, m.sessions, m.named} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	m.out.Clients, m.out.Resources = slices.Sorted(maps.Keys(m.clients)), slices.Sorted(maps.Keys(m.resources))
	return &m.out, nil
}

type measure struct {
	tx                 *store.Tx
	o                  Order
	clients, resources map[string]bool
	out                Reach
}

// grants counts the grants whose tokens the order hits.
func (m *measure) grants() error {
	for g, err := range m.touched() {
		if err != nil {
			return err
		}
		if m.out.GrantCount++; len(m.out.Grants) < Samples {
			m.out.Grants = append(m.out.Grants, g)
		}
		m.clients[g.ClientID] = true
		for _, uri := range g.Resources {
			m.resources[uri] = true
		}
	}
	return nil
}

// touched yields what grantsOf does, and for kinds that leave grants alone those
// that have tokens which are hit.
func (m *measure) touched() iter.Seq2[*store.Grant, error] {
	all := paged(func(after string) ([]*store.Grant, error) { return m.tx.LivingGrants(after, batch) })
	switch m.o.Kind {
	case Everything, IssuedBefore:
		return all
	case Resource:
		return func(yield func(*store.Grant, error) bool) {
			for g, err := range all {
				if err == nil && !slices.Contains(g.Resources, m.o.Value) {
					continue
				}
				if !yield(g, err) {
					return
				}
			}
		}
	}
	return grantsOf(m.tx, m.o)
}

// sessions counts the browsers that are signed out, or have to sign in anew.
func (m *measure) sessions() error {
	if m.o.Kind != Everything {
		found, err := sessionsOf(m.tx, m.o)
		m.out.SessionCount, m.out.Sessions = len(found), found[:min(Samples, len(found))]
		return err
	}
	for after := ""; ; {
		page, err := m.tx.Sessions(m.o.Now, after, batch)
		if err != nil {
			return err
		}
		for _, s := range page {
			if m.out.SessionCount++; len(m.out.Sessions) < Samples {
				m.out.Sessions = append(m.out.Sessions, s)
			}
			after = s.ID
		}
		if len(page) < batch {
			return nil
		}
	}
}

// named counts the clients and resources that the order itself is about, which may
// have tokens without a record: those of clients acting for themselves.
func (m *measure) named() error {
	of := func(c *store.Client) {
		m.clients[c.ID] = true
		for _, uri := range c.Resources {
			m.resources[uri] = true
		}
	}
	var after string
	switch m.o.Kind {
	case Client, Actor, Subject:
		c, err := m.tx.Client(m.o.Value)
		if err == nil {
			of(c)
		}
		if errors.Is(err, store.ErrNotFound) {
			err = nil // a person, or a client that is gone
		}
		return err
	case Resource, Everything, IssuedBefore, SigningKey:
		for {
			page, err := m.tx.Clients(after, batch)
			if err != nil {
				return err
			}
			for _, c := range page {
				if after = c.ID; m.o.Kind != Resource {
					of(c)
				} else if slices.Contains(c.Resources, m.o.Value) {
					m.clients[c.ID], m.resources[m.o.Value] = true, true
				}
			}
			if len(page) < batch {
				return nil
			}
		}
	}
	return nil
}
