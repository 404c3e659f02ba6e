package jose

import (
	"bytes"
	"crypto"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
	gojson "github.com/go-jose/go-jose/v4/json"
)

// keyWeRefuse is where go-jose reads a JWK and we do not.
var keyWeRefuse = slices.Concat(spelling, notation, []reason{
	{"private or secret", "private member", has("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv")},
	{"member null", "want a string", noString("kty", "crv", "alg", "kid", "use", "x", "y", "n", "e")},
	{"type or curve not ours", "not supported", func(d *dispute) bool {
		kind := d.str("kty") + " " + d.str("crv")
		return d.str("kty") != "RSA" && kind != "EC P-256" && kind != "OKP Ed25519"
	}},
	{"not for signatures", "use: ", func(d *dispute) bool { return d.str("use") != "" && d.str("use") != "sig" }},
	{"not for verifying", "key_ops: ", func(d *dispute) bool {
		var ops []string
		return d.members["key_ops"] != nil && (json.Unmarshal(d.members["key_ops"], &ops) != nil || !slices.Contains(ops, "verify"))
	}},
	{"key_ops with null", "want a string", func(d *dispute) bool {
		var ops []*string
		return json.Unmarshal(d.members["key_ops"], &ops) == nil && slices.Contains(ops, nil)
	}},
	{"alg of another key", "does not fit", func(d *dispute) bool {
		fit := map[string][]string{"EC": {"ES256"}, "OKP": {"Ed25519", "EdDSA"}, "RSA": {"RS256", "PS256"}}
		return d.str("alg") != "" && !slices.Contains(fit[d.str("kty")], d.str("alg"))
	}},
	{"RSA size", "RSA key of", rsaIs(func(n, _ *big.Int) bool { return n.BitLen() < 2048 || n.BitLen() > 4096 })},
	{"RSA even", "must be odd", rsaIs(func(n, e *big.Int) bool { return n.Bit(0)&e.Bit(0) == 0 })},
	{"RSA exponent beyond 31 bits", "e: too large", rsaIs(func(_, e *big.Int) bool { return e.BitLen() > 31 })},
	{"RSA of ROCA", "can be factored", rsaIs(func(n, _ *big.Int) bool { return isROCA(n) })},
	{"RSA number from zero", "begins with zero", func(d *dispute) bool {
		zero := func(s string) bool { n, err := DecodeSegment(nil, s); return err == nil && (len(n) == 0 || n[0] == 0) }
		return d.str("kty") == "RSA" && (zero(d.str("n")) || zero(d.str("e")))
	}},
})

// keyTheyRefuse is where we read a JWK and go-jose does not. Its words differ by
// the member, so the key is tried again without those that we pass over.
var keyTheyRefuse = []reason{
	{"certificates", "", without("x5c", "x5u", "x5t", "x5t#S256")},
	{"members of other types", "", without("x", "y", "n", "e", "pub")},
	{"certificates and members of other types", "", without("x", "y", "n", "e", "pub", "x5c", "x5u", "x5t", "x5t#S256")},
}

func rsaIs(holds func(n, e *big.Int) bool) func(*dispute) bool {
	return func(d *dispute) bool {
		n, errN := DecodeSegment(nil, d.str("n"))
		e, errE := DecodeSegment(nil, d.str("e"))
		return d.str("kty") == "RSA" && errN == nil && errE == nil && holds(new(big.Int).SetBytes(n), new(big.Int).SetBytes(e))
	}
}

// numbers is the members that hold the key, by its type.
var numbers = map[string][]string{"EC": {"x", "y"}, "OKP": {"x"}, "RSA": {"n", "e"}}

// without: the key is read once the members that have no meaning for its type
// are gone from among those named.
func without(names ...string) func(*dispute) bool {
	return func(d *dispute) bool {
		own := numbers[d.str("kty")]
		rest := maps.Clone(d.members)
		maps.DeleteFunc(rest, func(name string, _ json.RawMessage) bool {
			return slices.Contains(names, name) && !slices.Contains(own, name)
		})
		text, err := json.Marshal(rest)
		var key gojose.JSONWebKey
		return err == nil && len(rest) < len(d.members) && json.Unmarshal(text, &key) == nil && key.Valid()
	}
}

// disputeKey has a JWK read by both sides, as disputeToken does with a token.
func disputeKey(t testing.TB, raw []byte) string {
	t.Helper()
	d := &dispute{input: string(raw)}
	d.read(raw)
	for _, name := range numbers[d.str("kty")] {
		d.segments = append(d.segments, d.str(name))
	}
	key, err := ParseKey(raw)
	d.ours = err
	var their gojose.JSONWebKey
	d.theirs = their.UnmarshalJSON(raw)
	if d.ours == nil && d.theirs == nil {
		sum, err := their.Thumbprint(crypto.SHA256)
		if err != nil || !same(key.Public, their.Key) || key.ID != their.KeyID || key.Alg != their.Algorithm || key.Thumbprint() != strict.EncodeToString(sum) {
			t.Fatalf("%q: we read %+v, go-jose %+v", raw, key, their)
		}
	}
	if d.ours == nil {
		encoded, err := key.Encode()
		var back gojose.JSONWebKey
		if err != nil || back.UnmarshalJSON(encoded) != nil || !same(key.Public, back.Key) || back.KeyID != key.ID || back.Algorithm != key.Alg {
			t.Fatalf("%q: read as %+v, written as %q, %v, which go-jose reads as %+v", raw, key, encoded, err, back)
		}
	}
	return d.settle(t, keyWeRefuse, keyTheyRefuse)
}

// setWeRefuse is where go-jose reads a JWK set and we refuse all of it.
var setWeRefuse = slices.Concat(notation, []reason{
	{"no set", "want an object", func(d *dispute) bool { return string(bytes.TrimSpace(d.text)) == "null" }},
	{"no keys", "keys: want an array", func(d *dispute) bool { return d.members["keys"] == nil || string(d.members["keys"]) == "null" }},
	{"many keys", "more than 100 keys", func(d *dispute) bool { return len(d.elements()) > 100 }},
})

// setTheyRefuse is where we read a JWK set and go-jose refuses all of it, for
// one key that it cannot read. RFC 7517 §5 wants such keys passed over.
var setTheyRefuse = []reason{
	{"one bad key", "", func(d *dispute) bool {
		return slices.ContainsFunc(d.elements(), func(raw json.RawMessage) bool {
			return new(gojose.JSONWebKey).UnmarshalJSON(raw) != nil
		})
	}},
}

// elements is the keys of a set, as encoding/json reads it.
func (d *dispute) elements() (all []json.RawMessage) {
	_ = json.Unmarshal(d.members["keys"], &all) // what is no list has no elements
	return all
}

// disputeSet has a JWK set read by both sides, and each of its keys alone. Of
// the keys that both read as one the set must hold the first of each kid.
func disputeSet(t testing.TB, data []byte) string {
	t.Helper()
	d := &dispute{input: string(data)}
	d.read(data)
	keys, skipped, err := ParseSet(data)
	d.ours = err
	var their gojose.JSONWebKeySet
	d.theirs = gojson.Unmarshal(data, &their)
	if d.ours != nil {
		return d.settle(t, setWeRefuse, setTheyRefuse)
	}
	var want []string
	for _, raw := range d.elements() {
		disputeKey(t, raw)
		key, err := ParseKey(raw)
		if err != nil || key.ID == "" || slices.Contains(want, key.ID) {
			continue
		}
		if i := len(want); i >= len(keys) || keys[i].ID != key.ID || !same(keys[i].Public, key.Public) || key.Alg != "" && keys[i].Alg != key.Alg {
			t.Fatalf("%q: key %d of the set is not %+v; keys %+v", data, i, key, keys)
		}
		want = append(want, key.ID)
	}
	if len(want) != len(keys) || len(keys)+len(skipped) != len(d.elements()) {
		t.Fatalf("%q: %d keys and %d skipped of %d, want keys %q", data, len(keys), len(skipped), len(d.elements()), want)
	}
	for _, key := range keys {
		found := slices.ContainsFunc(their.Key(key.ID), func(k gojose.JSONWebKey) bool { return same(key.Public, k.Key) })
		if d.theirs == nil && !found {
			t.Fatalf("%q: go-jose reads no key %q that is ours: %+v", data, key.ID, their)
		}
	}
	return d.settle(t, setWeRefuse, setTheyRefuse)
}
