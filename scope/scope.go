// Package scope is the OAuth scope string (RFC 6749 §3.3) as a set of names.
//
// It parses, prints, contains and narrows. It does not know which scopes
// exist, who may ask for them or what they mean.
//
// Invariant: a Set made by this package is sorted and holds no name twice, so
// equal sets print equally.
package scope

import (
	"fmt"
	"slices"
	"strings"
)

// A Set is a set of scope names. Nil is the empty set. Sets are read-only:
// every operation returns a new one. A Set written out by hand need not be
// sorted for Has, Contains, Intersect and Union to be right.
type Set []string

// Parse reads a scope string: names separated by single spaces. The empty
// string is the empty set, because a parameter without a value counts as left
// out (RFC 6749 §3.1). A name given twice counts once.
func Parse(s string) (Set, error) {
	if s == "" {
		return nil, nil
	}
	set := make(Set, 0, strings.Count(s, " ")+1)
	for name := range strings.SplitSeq(s, " ") {
		if err := check(name); err != nil {
			return nil, err
		}
		set = append(set, name)
	}
	slices.Sort(set)
	return slices.Compact(set), nil
}

// check applies RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
func check(name string) error {
	if name == "" {
		return fmt.Errorf("scope: names must be separated by exactly one space")
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("scope: character %#02x is not allowed", c)
		}
	}
	return nil
}

// String returns the names separated by single spaces.
func (s Set) String() string { return strings.Join(s, " ") }

// Has reports whether the set holds name. Names are compared byte by byte;
// no name is a prefix or a pattern for others.
func (s Set) Has(name string) bool { return slices.Contains(s, name) }

// Contains reports whether s holds every name of other.
func (s Set) Contains(other Set) bool {
	for _, name := range other {
		if !s.Has(name) {
			return false
		}
	}
	return true
}

// Intersect returns the names that both sets hold.
func (s Set) Intersect(other Set) Set {
	var both Set
	for _, name := range s {
		if other.Has(name) {
			both = append(both, name)
		}
	}
	return sorted(both)
}

// Union returns the names that at least one of the sets holds.
func (s Set) Union(other Set) Set {
	return sorted(slices.Concat(s, other))
}

// sorted puts a set that nobody else holds in order, in place.
func sorted(s Set) Set {
	if len(s) == 0 {
		return nil
	}
	slices.Sort(s)
	return slices.Compact(s)
}
