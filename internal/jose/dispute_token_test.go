package jose

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
)

// tokenWeRefuse is where go-jose accepts a token and we do not.
var tokenWeRefuse = slices.Concat(spelling, notation, []reason{
	{"empty payload", "want three segments", func(d *dispute) bool { return len(d.segments) == 3 && d.segments[1] == "" }},
	{"crit", "crit: extension not understood", has("crit")}, // go-jose understands b64, and an empty list
	{"b64", "b64: extension not understood", has("b64")},
	{"typ or kid no string", "want a string", noString("typ", "kid")},
	{"salt longer or shorter than the hash", ErrSignature.Error(), oddSalt},
})

// tokenTheyRefuse is where we accept a token and go-jose does not. It reads
// members of the header that we pass over, since nothing depends on them.
var tokenTheyRefuse = []reason{
	{"jwk not to its liking", "jwk", strange},
	{"jwk not to its liking", "JWK", strange},
	{"x5c no list of certificates", "x5c", has("x5c")},
	{"nonce no string", "nonce", noString("nonce")},
	{"number beyond float64", "unmarshal value", func(d *dispute) bool {
		var all any
		err := json.Unmarshal(d.text, &all)
		return err != nil && strings.Contains(err.Error(), "cannot unmarshal number")
	}},
	{"Ed25519 by its own name", "cryptographic primitive", func(d *dispute) bool {
		signature, err := base64.RawURLEncoding.DecodeString(d.segments[2])
		public, ok := d.key.Public.(ed25519.PublicKey)
		return err == nil && ok && d.str("alg") == "Ed25519" &&
			ed25519.Verify(public, []byte(d.segments[0]+"."+d.segments[1]), signature)
	}},
}

// strange: go-jose cannot read the header's jwk as a public key of its own.
func strange(d *dispute) bool {
	var key gojose.JSONWebKey
	return d.members["jwk"] != nil && (json.Unmarshal(d.members["jwk"], &key) != nil || !key.Valid() || !key.IsPublic())
}

// oddSalt: a PS256 signature verifies with another length of salt than 32.
// go-jose takes any length, RFC 7518 §3.5 the hash's.
func oddSalt(d *dispute) bool {
	public, ok := d.key.Public.(*rsa.PublicKey)
	if !ok || d.key.Alg != PS256 || len(d.segments) != 3 {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(d.segments[2])
	digest := sha256.Sum256([]byte(d.segments[0] + "." + d.segments[1]))
	with := func(salt int) bool {
		return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: salt}) == nil
	}
	return err == nil && with(rsa.PSSSaltLengthAuto) && !with(sha256.Size)
}

// disputeToken has a token checked by both sides with one key, and fails the
// test unless they agree or a reason explains why not. It returns the reason.
func disputeToken(t testing.TB, token string, key *Key) string {
	t.Helper()
	d := &dispute{input: token, key: key, segments: strings.Split(token, ".")}
	// RawURLEncoding skips line breaks, as go-jose does.
	if header, err := base64.RawURLEncoding.DecodeString(d.segments[0]); err == nil {
		d.read(header)
	}
	m, err := Parse(token)
	if d.ours = err; err == nil {
		d.ours = m.Verify(key)
	}
	alg := theirs()[key.Alg]
	if alg == "" {
		alg = gojose.SignatureAlgorithm(key.Alg)
	}
	their, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{alg})
	var payload []byte
	if d.theirs = err; err == nil {
		payload, d.theirs = their.Verify(key.Public)
	}
	if d.ours == nil && d.theirs == nil {
		h := their.Signatures[0].Protected
		typ, _ := h.ExtraHeaders[gojose.HeaderType].(string) // "" when it is left out
		if string(payload) != string(m.Payload) || h.Algorithm != m.Header.Alg || h.KeyID != m.Header.KeyID || typ != m.Header.Typ {
			t.Fatalf("go-jose reads %q as %q with %+v, want %q with %+v", token, payload, h, m.Payload, m.Header)
		}
	}
	return d.settle(t, tokenWeRefuse, tokenTheyRefuse)
}

// A holder has a private key and the key that its tokens are checked with.
type holder struct {
	signer crypto.Signer
	key    *Key
}

// holders has a key for each algorithm, the same at every run, so that what
// fuzzing finds can be run again. The private keys are Wycheproof's.
func holders(tb testing.TB) []holder {
	tb.Helper()
	data, err := os.ReadFile("testdata/wycheproof/json_web_signature_test.json")
	if err != nil {
		tb.Fatal(err)
	}
	var file struct{ TestGroups []group }
	if err := json.Unmarshal(data, &file); err != nil {
		tb.Fatal(err)
	}
	signer := func(comment string) crypto.Signer {
		i := slices.IndexFunc(file.TestGroups, func(g group) bool { return g.Comment == comment })
		var private gojose.JSONWebKey
		if err := json.Unmarshal(file.TestGroups[i].Private, &private); err != nil {
			tb.Fatal(err)
		}
		return private.Key.(crypto.Signer)
	}
	ec, rs, ed := signer("es256"), signer("rs256"), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var all []holder
	for _, h := range []struct {
		alg    string
		signer crypto.Signer
	}{{ES256, ec}, {EdDSA, ed}, {Ed25519, ed}, {PS256, rs}, {RS256, rs}} {
		all = append(all, holder{h.signer, &Key{ID: "k1", Alg: h.alg, Public: h.signer.Public()}})
	}
	return all
}
