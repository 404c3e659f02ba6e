package dpop

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// TestEveryAlgorithm: what New makes, Verify takes.
func TestEveryAlgorithm(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for alg, signer := range map[string]crypto.Signer{
		jose.ES256: ecKey(t), jose.Ed25519: ed, jose.EdDSA: ed, jose.RS256: rs, jose.PS256: rs,
	} {
		proof, err := New(signer, alg, "GET", api+"?page=2", token, clock(), "j1")
		if err != nil {
			t.Errorf("%s: New: %v", alg, err)
			continue
		}
		got, err := Verify(proof, expect())
		key := jose.Key{Public: signer.Public()}
		want := Proof{key.Thumbprint(), "j1", clock().Truncate(time.Second).UTC(), clock().Truncate(time.Second).Add(time.Minute).UTC()}
		if err != nil || got != want {
			t.Errorf("%s: proof = %+v, %v, want %+v", alg, got, err, want)
		}
	}
	// A key that states one algorithm is not used with another.
	f := newForge(t)
	f.signer, f.sign, f.header["alg"] = rs, jose.RS256, `"RS256"`
	for stated, want := range map[string]string{"PS256": "alg", "RS256": ""} {
		f.header["jwk"] = strings.Replace(jwk(t, rs), "{", `{"alg":"`+stated+`",`, 1)
		if got := reason(t, f.proof(t), expect()); got != want {
			t.Errorf("RS256 proof by a key for %s: refused for %q, want %q", stated, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec := ecKey(t)
	for name, c := range map[string]struct {
		signer                crypto.Signer
		alg, method, url, jti string
	}{
		"no method":       {ec, "ES256", "", api, "j"},
		"no URL":          {ec, "ES256", "GET", "", "j"},
		"relative URL":    {ec, "ES256", "GET", "/orders", "j"},
		"no jti":          {ec, "ES256", "GET", api, ""},
		"long jti":        {ec, "ES256", "GET", api, strings.Repeat("j", 129)},
		"jti with spaces": {ec, "ES256", "GET", api, "a b"},
		"alg none":        {ec, "none", "GET", api, "j"},
		"other alg":       {ec, "RS256", "GET", api, "j"},
		"short key":       {short, "RS256", "GET", api, "j"},
	} {
		if proof, err := New(c.signer, c.alg, c.method, c.url, token, clock(), c.jti); err == nil {
			t.Errorf("%s: %s, want an error", name, proof)
		}
	}
}
