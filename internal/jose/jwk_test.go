package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// with returns the JWK with members replaced; nil takes one away.
func with(t testing.TB, raw string, change map[string]any) string {
	t.Helper()
	members := map[string]any{}
	if err := json.Unmarshal([]byte(raw), &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	out, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestParseKey(t *testing.T) {
	for raw, want := range map[string]string{
		rfc7515RSA: "*rsa.PublicKey", rfc7638RSA: "*rsa.PublicKey 2011-04-29 RS256",
		rfc7515EC: "*ecdsa.PublicKey", rfc8037Ed: "ed25519.PublicKey  EdDSA",
		with(t, rfc8037Ed, map[string]any{"alg": "Ed25519"}):                                                         "ed25519.PublicKey  Ed25519",
		with(t, rfc7515RSA, map[string]any{"alg": "PS256", "use": "sig", "key_ops": []string{"verify"}, "kid": "é"}): "*rsa.PublicKey é PS256",
	} {
		key, err := ParseKey([]byte(raw))
		if err != nil {
			t.Errorf("ParseKey(%s): %v", raw, err)
			continue
		}
		if got := strings.TrimRight(fmt.Sprintf("%T %s %s", key.Public, key.ID, key.Alg), " "); got != want {
			t.Errorf("key = %s, want %s", got, want)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	bits := func(n uint) string {
		return b64(new(big.Int).SetBit(new(big.Int).SetBit(new(big.Int), int(n)-1, 1), 0, 1).Bytes())
	}
	ec, err := DecodeSegment(nil, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
	if err != nil {
		t.Fatal(err)
	}
	ec[0] ^= 1
	for name, raw := range map[string]string{
		"no object":             `"key"`,
		"empty":                 `{}`,
		"trailing bytes":        rfc7515EC + "x",
		"duplicate":             strings.Replace(rfc7515EC, `{`, `{"kty":"EC",`, 1),
		"symmetric":             `{"kty":"oct","k":"AAAA","alg":"HS256"}`,
		"unknown type":          with(t, rfc7515EC, map[string]any{"kty": "AKP"}),
		"unknown curve":         with(t, rfc7515EC, map[string]any{"crv": "P-384"}),
		"curve of another type": with(t, rfc7515EC, map[string]any{"crv": "Ed25519"}),
		"X25519":                with(t, rfc8037Ed, map[string]any{"crv": "X25519"}),
		"alg none":              with(t, rfc7515EC, map[string]any{"alg": "none"}),
		"alg HS256":             with(t, rfc7515RSA, map[string]any{"alg": "HS256"}),
		"alg of another type":   with(t, rfc7515RSA, map[string]any{"alg": "ES256"}),
		"alg RS384":             with(t, rfc7515RSA, map[string]any{"alg": "RS384"}),
		"alg in lower case":     with(t, rfc7515EC, map[string]any{"alg": "es256"}),
		"alg no string":         with(t, rfc7515EC, map[string]any{"alg": 1}),
		"encryption":            with(t, rfc7515EC, map[string]any{"use": "enc"}),
		"operation sign":        with(t, rfc7515EC, map[string]any{"key_ops": []string{"sign"}}),
		"no operation":          with(t, rfc7515EC, map[string]any{"key_ops": []string{}}),
		"operations no list":    with(t, rfc7515EC, map[string]any{"key_ops": "verify"}),
		"private EC":            with(t, rfc7515EC, map[string]any{"d": "AAAA"}),
		"private Ed25519":       with(t, rfc8037Ed, map[string]any{"d": "AAAA"}),
		"private RSA prime":     with(t, rfc7515RSA, map[string]any{"p": "AAAA"}),
		"private RSA qi":        with(t, rfc7515RSA, map[string]any{"qi": "AAAA"}),
		"secret":                with(t, rfc7515EC, map[string]any{"k": "AAAA"}),
		"point off the curve":   with(t, rfc7515EC, map[string]any{"x": b64(ec)}),
		"point at infinity":     with(t, rfc7515EC, map[string]any{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}),
		"short coordinate":      with(t, rfc7515EC, map[string]any{"x": b64(ec[1:])}),
		"long coordinate":       with(t, rfc7515EC, map[string]any{"x": b64(append([]byte{0}, ec...))}),
		"no y":                  with(t, rfc7515EC, map[string]any{"y": nil}),
		"padded":                with(t, rfc7515EC, map[string]any{"x": b64(ec) + "="}),
		"short Ed25519":         with(t, rfc8037Ed, map[string]any{"x": b64(ec[1:])}),
		"RSA of 2047 bits":      with(t, rfc7515RSA, map[string]any{"n": bits(2047)}),
		"RSA of 4097 bits":      with(t, rfc7515RSA, map[string]any{"n": bits(4097)}),
		"even modulus":          with(t, rfc7515RSA, map[string]any{"n": b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}),
		"no modulus":            with(t, rfc7515RSA, map[string]any{"n": nil}),
		"exponent 1":            with(t, rfc7515RSA, map[string]any{"e": "AQ"}),
		"exponent 2":            with(t, rfc7515RSA, map[string]any{"e": "Ag"}),
		"exponent too long":     with(t, rfc7515RSA, map[string]any{"e": "_____w"}),
		"exponent with a zero":  with(t, rfc7515RSA, map[string]any{"e": "AAEAAQ"}),
	} {
		if key, err := ParseKey([]byte(raw)); err == nil {
			t.Errorf("%s: parsed as %+v, want an error", name, key)
		}
	}
	for n, want := range map[uint]bool{2047: false, 2048: true, 4096: true, 4097: false} {
		if _, err := ParseKey([]byte(with(t, rfc7515RSA, map[string]any{"n": bits(n)}))); (err == nil) != want {
			t.Errorf("RSA of %d bits: %v", n, err)
		}
	}
}

func TestKeyEncode(t *testing.T) {
	for _, raw := range []string{rfc7515RSA, rfc7515EC, rfc8037Ed} {
		key := *parseKey(t, raw)
		for _, k := range []Key{key, {Public: key.Public}, {ID: `k"1`, Alg: key.Alg, Public: key.Public}} {
			encoded, err := k.Encode()
			if err != nil {
				t.Fatalf("Encode: %v", err)
			}
			back, err := ParseKey(encoded)
			if err != nil || back.ID != k.ID || back.Alg != k.Alg || !same(back.Public, k.Public) {
				t.Errorf("%s = %+v, %v, want %+v", encoded, back, err, k)
			}
		}
	}
	for _, k := range []Key{{}, {Public: "no key"}, {Alg: RS256, Public: parseKey(t, rfc7515EC).Public}} {
		if got, err := k.Encode(); err == nil {
			t.Errorf("%+v encodes as %s, want an error", k, got)
		}
	}
}

func same(a, b any) bool {
	switch a := a.(type) {
	case *ecdsa.PublicKey:
		return a.Equal(b)
	case *rsa.PublicKey:
		return a.Equal(b)
	case ed25519.PublicKey:
		return a.Equal(b)
	}
	return false
}

// TestParseSetPassesOverWhatItCannotUse: one strange key must not take the
// issuer's other keys down with it.
func TestParseSetPassesOverWhatItCannotUse(t *testing.T) {
	kid := func(raw, kid string, more map[string]any) string {
		return with(t, with(t, raw, map[string]any{"kid": kid}), more)
	}
	set := `{"comment":"x","keys":[` + strings.Join([]string{
		kid(rfc7515EC, "ec", nil),
		`{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AA"}`,
		`{"kty":"oct","k":"AAAA","kid":"secret"}`,
		kid(rfc7515EC, "enc", map[string]any{"use": "enc"}),
		rfc7515EC,
		kid(rfc7515RSA, "ec", nil),
		`7`,
		kid(rfc7515RSA, "odd", map[string]any{"alg": "RS512"}),
		kid(rfc7515RSA, "rsa", nil),
		kid(rfc8037Ed, "ed", nil),
		kid(rfc8037Ed, "ed2", map[string]any{"alg": nil}),
		kid(rfc7515RSA, "odd", map[string]any{"alg": "PS256", "x5c": []string{"AA"}, "x5t": "AA"}),
	}, ",") + `]}`
	keys, skipped, err := ParseSet([]byte(set))
	if err != nil {
		t.Fatalf("ParseSet: %v", err)
	}
	var got []string
	for _, k := range keys {
		got = append(got, k.ID+" "+k.Alg)
	}
	want := "ec ES256, rsa RS256, ed EdDSA, ed2 Ed25519, odd PS256"
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
	if len(skipped) != 7 {
		t.Errorf("skipped = %v, want 7 reasons", skipped)
	}
}

func TestParseSetRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"empty":        ``,
		"list":         `[]`,
		"no keys":      `{}`,
		"keys null":    `{"keys":null}`,
		"keys object":  `{"keys":{}}`,
		"keys twice":   `{"keys":[],"keys":[]}`,
		"too many":     `{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`,
		"too large":    `{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`,
		"not finished": `{"keys":[`,
	} {
		if keys, _, err := ParseSet([]byte(data)); err == nil {
			t.Errorf("%s: %d keys, want an error", name, len(keys))
		}
	}
	keys, skipped, err := ParseSet([]byte(`{"keys":[` + strings.Repeat(`{},`, 99) + `{}]}`))
	if err != nil || len(keys) != 0 || len(skipped) != 100 {
		t.Errorf("a hundred bad keys: %d good, %d skipped, %v, want 0, 100 and no error", len(keys), len(skipped), err)
	}
}

func TestEncodeSet(t *testing.T) {
	ec, rs := *parseKey(t, rfc7515EC), *parseKey(t, rfc7515RSA)
	ec.ID, rs.ID = "a", "b"
	data, err := EncodeSet([]Key{ec, rs})
	if err != nil {
		t.Fatalf("EncodeSet: %v", err)
	}
	keys, skipped, err := ParseSet(data)
	if err != nil || len(keys) != 2 || len(skipped) != 0 {
		t.Fatalf("ParseSet = %v, %v, %v, want two keys", keys, skipped, err)
	}
	if keys[0].ID != "a" || keys[1].ID != "b" || !same(keys[0].Public, ec.Public) || !same(keys[1].Public, rs.Public) {
		t.Errorf("keys = %+v, want those encoded", keys)
	}
	if empty, err := EncodeSet(nil); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("empty set = %s, %v", empty, err)
	}
	nameless, twin := ec, rs
	nameless.ID, twin.ID = "", "a"
	many := make([]Key, 101)
	for i := range many {
		many[i] = Key{ID: fmt.Sprint(i), Alg: ES256, Public: ec.Public}
	}
	for name, keys := range map[string][]Key{
		"no kid": {nameless}, "kid used twice": {ec, twin}, "no alg": {{ID: "x", Public: ec.Public}}, "too many": many,
	} {
		if got, err := EncodeSet(keys); err == nil {
			t.Errorf("%s: %s, want an error", name, got)
		}
	}
}

func FuzzParseSet(f *testing.F) {
	for _, raw := range []string{rfc7515RSA, rfc7515EC, rfc8037Ed, rfc7638RSA} {
		f.Add([]byte(`{"keys":[` + with(f, raw, map[string]any{"kid": "k"}) + `,{}]}`))
	}
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := ParseSet(data)
		if err != nil {
			return
		}
		encoded, err := EncodeSet(keys)
		if err != nil {
			t.Fatalf("a set that parsed does not encode: %v", err)
		}
		again, skipped, err := ParseSet(encoded)
		if err != nil || len(skipped) > 0 || len(again) != len(keys) {
			t.Fatalf("%s: %d keys, %v, %v after a round trip, want %d", encoded, len(again), skipped, err, len(keys))
		}
		for i := range keys {
			if again[i].Thumbprint() != keys[i].Thumbprint() || again[i].Alg != keys[i].Alg || again[i].ID != keys[i].ID {
				t.Fatalf("key %d changed in a round trip", i)
			}
		}
	})
}
