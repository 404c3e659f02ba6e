package jose

import (
	"crypto"
	"encoding/json"
	"math/rand/v2"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
)

// theirs names our algorithms as go-jose does.
func theirs() map[string]gojose.SignatureAlgorithm {
	return map[string]gojose.SignatureAlgorithm{
		ES256: gojose.ES256, EdDSA: gojose.EdDSA, RS256: gojose.RS256, PS256: gojose.PS256,
	}
}

func accepts(compact string, alg gojose.SignatureAlgorithm, key any) bool {
	m, err := gojose.ParseSignedCompact(compact, []gojose.SignatureAlgorithm{alg})
	if err != nil {
		return false
	}
	_, err = m.Verify(key)
	return err == nil
}

// TestAgainstGoJose: each side accepts what the other signs, and of tokens
// changed at random we accept none, nor any that go-jose refuses.
func TestAgainstGoJose(t *testing.T) {
	keys := signers(t)
	for alg, their := range theirs() {
		signer := keys[alg]
		ours, key := signed(t, signer, alg, claims)
		if !accepts(ours, their, signer.Public()) {
			t.Errorf("%s: go-jose refuses what we signed", alg)
		}
		options := (&gojose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", "k1")
		foreign, err := gojose.NewSigner(gojose.SigningKey{Algorithm: their, Key: signer}, options)
		if err != nil {
			t.Fatal(err)
		}
		message, err := foreign.Sign([]byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := message.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if !verifies(compact, key) {
			t.Errorf("%s: we refuse what go-jose signed", alg)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 500 {
			if forged := mutate(random, compact); forged != compact && verifies(forged, key) {
				t.Errorf("%s: accepted a changed token; go-jose accepts it: %v", alg, accepts(forged, their, signer.Public()))
			}
		}
	}
}

// mutate changes a token as a careless channel or an attacker would.
func mutate(random *rand.Rand, s string) string {
	b := []byte(s)
	for range 1 + random.IntN(3) {
		i, j := random.IntN(len(b)), random.IntN(len(b))
		switch random.IntN(5) {
		case 0:
			b[i] ^= 1 << random.IntN(7)
		case 1:
			b = append(b[:i], b[i+1:]...)
		case 2:
			b = append(b[:i], append([]byte{"=.A \n-"[random.IntN(6)]}, b[i:]...)...)
		case 3:
			b[i], b[j] = b[j], b[i]
		case 4:
			b = append(b, b[i])
		}
	}
	return string(b)
}

// TestKeysAgainstGoJose: both sides read each other's keys and compute the
// same thumbprints.
func TestKeysAgainstGoJose(t *testing.T) {
	for alg, their := range theirs() {
		public := signers(t)[alg].Public()
		foreign := gojose.JSONWebKey{Key: public, KeyID: "k1", Algorithm: string(their), Use: "sig"}
		data, err := json.Marshal(foreign)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKey(data)
		if err != nil || key.ID != "k1" || key.Alg != alg || !same(key.Public, public) {
			t.Errorf("%s: ParseKey(%s) = %+v, %v", alg, data, key, err)
		}
		encoded, err := key.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var back gojose.JSONWebKey
		if err := json.Unmarshal(encoded, &back); err != nil || !back.Valid() || !same(key.Public, back.Key) {
			t.Errorf("%s: go-jose reads %s as %+v, %v", alg, encoded, back, err)
		}
		sum, err := foreign.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := key.Thumbprint(), strict.EncodeToString(sum); got != want {
			t.Errorf("%s: thumbprint = %s, want %s", alg, got, want)
		}
	}
}

// FuzzVerify: tokens of any form, which fuzzing makes from the RFCs' own, get
// the same verdict from us and go-jose. FuzzAgainstGoJose goes deeper.
func FuzzVerify(f *testing.F) {
	for _, token := range []string{rfc7515ES256, rfc7515RS256, rfc7515HS256, rfc7515None, rfc8037Ed25519} {
		f.Add(token)
		f.Add(token + "\n")
		f.Add(token[1:])
	}
	keys := []*Key{parseKey(f, rfc7515EC), parseKey(f, rfc7515RSA), parseKey(f, rfc8037Ed)}
	f.Fuzz(func(t *testing.T, compact string) {
		for _, key := range keys {
			disputeToken(t, compact, key)
		}
	})
}
