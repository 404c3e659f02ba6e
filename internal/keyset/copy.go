package keyset

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// Copy is the set that is held, as a JWK set, and when it was fetched; nil without one.
func (s *Set) Copy() (document []byte, fetched time.Time, err error) {
	h := s.held.Load()
	if h == nil {
		return nil, time.Time{}, nil
	}
	if s.cfg.Terms {
		document, err = encodeTerms(h.keys)
		return document, h.fetched, err
	}
	keys := make([]jose.Key, 0, len(h.keys))
	for _, known := range s.State().Keys { // in order, so that equal sets read alike
		if k := h.keys[known.ID].key; k != nil {
			keys = append(keys, *k)
		}
	}
	document, err = jose.EncodeSet(keys)
	return document, h.fetched, err
}

// A Draft is a set read from a copy and not yet trusted by anybody.
type Draft struct {
	keys    []jose.Key
	terms   map[string]*Terms // nil in sets without
	fetched time.Time
}

// Draft reads what Copy returned in an earlier life. Keys too old to be trusted, or none at
// all, are an error, and so is anything that Copy does not write.
func (s *Set) Draft(document []byte, fetched time.Time) (*Draft, error) {
	now := s.cfg.Now()
	if fetched.After(now) {
		fetched = now // our clock was put right
	}
	if age := now.Sub(fetched); age > s.cfg.MaxAge {
		return nil, fmt.Errorf("keyset: keys of %s are %s old", s.cfg.Issuer, age.Round(time.Second))
	}
	keys, skipped, err := jose.ParseSet(document)
	if err = errors.Join(append(skipped, err)...); err != nil {
		return nil, err
	}
	d := &Draft{fetched: fetched}
	if s.cfg.Terms {
		d.terms = parseTerms(document)
		keys = slices.DeleteFunc(keys, func(k jose.Key) bool { return d.terms[k.ID] == nil })
	}
	if len(keys) == 0 && !s.cfg.Terms { // there may be no gateway, but there is always an issuer
		return nil, errors.New("keyset: no keys in the copy")
	}
	if s.cfg.Algorithms != nil {
		keys = slices.DeleteFunc(keys, func(k jose.Key) bool { return !slices.Contains(s.cfg.Algorithms, k.Alg) })
	}
	d.keys = keys
	return d, nil
}

// Key is the key of the draft with the id, nil without one.
func (d *Draft) Key(kid string) *jose.Key {
	for i := range d.keys {
		if d.keys[i].ID == kid {
			return &d.keys[i]
		}
	}
	return nil
}

// Restore holds the keys of d as if they had been fetched when they were. It comes before Run,
// which fetches at once and takes the word of the issuer instead.
func (s *Set) Restore(d *Draft) {
	keys := make(map[string]known, len(d.keys))
	for i := range d.keys {
		keys[d.keys[i].ID] = known{key: &d.keys[i], since: d.fetched, terms: d.terms[d.keys[i].ID]}
	}
	s.held.CompareAndSwap(nil, &held{keys: keys, fetched: d.fetched})
}
