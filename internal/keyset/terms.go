package keyset

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// Terms is what a key of an inner key set may sign. A set says it of each key in
// members beside those of RFC 7517.
type Terms struct {
	ClientID    string // client_id: as which workload
	TrustDomain string // trust_domain: for which audience
	Scope       string // scope: the most
	Expiry      time.Time
}

// equal leaves out the end, which moves on as long as the key is in use.
func (t *Terms) equal(u *Terms) bool {
	return t == u || t != nil && u != nil && t.ClientID == u.ClientID && t.TrustDomain == u.TrustDomain && t.Scope == u.Scope
}

// Terms returns what a key that Lookup or Key returned may sign; false when the set
// holds the key no longer.
func (s *Set) Terms(key *jose.Key) (Terms, bool) {
	h := s.held.Load()
	if h == nil {
		return Terms{}, false
	}
	k := h.keys[key.ID]
	if k.key != key || k.terms == nil {
		return Terms{}, false
	}
	return *k.terms, true
}

// encodeTerms is a set with terms as parseTerms reads it.
func encodeTerms(keys map[string]known) ([]byte, error) {
	out := []byte(`{"keys":[`)
	for n, id := range slices.Sorted(maps.Keys(keys)) {
		k := keys[id]
		jwk, err := k.key.Encode()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out = append(out, ',')
		}
		out = append(out, jwk[:len(jwk)-1]...)
		for _, m := range [][2]string{{"client_id", k.terms.ClientID}, {"trust_domain", k.terms.TrustDomain}, {"scope", k.terms.Scope}} {
			out = jose.AppendString(append(out, `,"`+m[0]+`":`...), m[1])
		}
		out = append(strconv.AppendInt(append(out, `,"exp":`...), k.terms.Expiry.Unix(), 10), '}')
	}
	return append(out, `]}`...), nil
}

// parseTerms reads the terms of a set that jose.ParseSet took. A key without all of
// them has none, and neither has one whose id is there twice.
func parseTerms(set []byte) map[string]*Terms {
	all, seen := make(map[string]*Terms), make(map[string]bool)
	_ = jose.Members(string(set), func(name, list string) error {
		if name != "keys" {
			return nil
		}
		return jose.Elements(list, func(key string) error {
			id, t, err := readTerms(key)
			if err == nil && !seen[id] {
				all[id] = &t
			} else {
				delete(all, id)
			}
			seen[id] = true
			return nil
		})
	})
	return all
}

func readTerms(key string) (id string, t Terms, err error) {
	scoped := false
	err = jose.Members(key, func(name, value string) (err error) {
		switch name {
		case "kid":
			id, err = jose.String(value)
		case "client_id":
			t.ClientID, err = jose.String(value)
		case "trust_domain":
			t.TrustDomain, err = jose.String(value)
		case "scope":
			scoped = true
			t.Scope, err = jose.String(value)
		case "exp":
			var end int64
			end, err = jose.Int(value)
			t.Expiry = time.Unix(end, 0)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err == nil && (id == "" || t.ClientID == "" || t.TrustDomain == "" || !scoped || t.Expiry.Unix() <= 0) {
		err = errors.New("not all terms are stated")
	}
	return id, t, err
}
