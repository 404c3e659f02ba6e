package jose

import (
	"errors"
	"fmt"
	"slices"
)

const (
	maxSet  = 1 << 20 // bytes of a JWK set
	maxKeys = 100     // keys of a JWK set
)

// ParseSet reads a JWK set (RFC 7517 §5). A key that we cannot use, has no kid
// or repeats one is passed over, with the reason in skipped; others in the set
// stay good. A key without alg gets the usual one of its type. Err is set when
// the whole is no JWK set or is too large.
func ParseSet(data []byte) (keys []Key, skipped []error, err error) {
	if len(data) > maxSet {
		return nil, nil, errors.New("key set: too large")
	}
	list := ""
	err = Members(string(data), func(name, value string) error {
		if name == "keys" {
			list = value
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("key set: %w", err)
	}
	n := 0
	err = Elements(list, func(value string) error {
		if n++; n > maxKeys {
			return fmt.Errorf("more than %d keys", maxKeys)
		}
		key, err := member(value, keys)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", n, err))
			return nil
		}
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("key set: keys: %w", err)
	}
	return keys, skipped, nil
}

// member reads a key that has to fit in with those before it.
func member(raw string, before []Key) (Key, error) {
	key, err := ParseKey([]byte(raw))
	if err != nil {
		return Key{}, err
	}
	if key.ID == "" {
		return Key{}, errors.New("kid: missing")
	}
	if taken(key.ID, before) {
		return Key{}, fmt.Errorf("kid %.64q: used twice", key.ID)
	}
	if key.Alg == "" {
		key.Alg = usual(key.Public)
	}
	return key, nil
}

func taken(id string, keys []Key) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return k.ID == id })
}

// EncodeSet is the JWK set of keys, in their order. Each must have an ID of its
// own and an Alg, so that ParseSet returns what EncodeSet was given.
func EncodeSet(keys []Key) ([]byte, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("key set: more than %d keys", maxKeys)
	}
	out := []byte(`{"keys":[`)
	for i, k := range keys {
		if k.ID == "" || k.Alg == "" || taken(k.ID, keys[:i]) {
			return nil, fmt.Errorf("key set: key %d: want an alg and a kid of its own", i+1)
		}
		encoded, err := k.Encode()
		if err != nil {
			return nil, fmt.Errorf("key set: key %d: %w", i+1, err)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, encoded...)
	}
	return append(out, `]}`...), nil
}
