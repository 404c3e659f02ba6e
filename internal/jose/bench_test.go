package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"
)

// claims is an RFC 9068 payload with fourteen members.
const claims = `{"iss":"https://as.example","sub":"u_7f3c9a1e4b","aud":"https://api.example/orders",` +
	`"client_id":"https://app.example/client.json","iat":1795430000,"exp":1795430300,` +
	`"jti":"4m7Qd0JpV2s1x8yZ_rT-aLkE","scope":"orders:read orders:write profile","grant_id":"g_5d1f8b2c7e",` +
	`"sid":"s_9e2b6a4f1c","rev":184467,"auth_time":1795429000,"acr":"urn:example:mfa","roles":["analyst"]}`

// signers has one fresh key for each algorithm.
func signers(tb testing.TB) map[string]crypto.Signer {
	tb.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]crypto.Signer{ES256: ec, Ed25519: ed, EdDSA: ed, RS256: rs, PS256: rs}
}

// signed makes a token and the key to check it with.
func signed(tb testing.TB, signer crypto.Signer, alg, payload string) (string, *Key) {
	tb.Helper()
	header := Header{Alg: alg, Typ: "at+jwt", KeyID: "k1"}
	compact, err := Sign(signer, alg, header.Encode(), []byte(payload))
	if err != nil {
		tb.Fatalf("Sign with %s: %v", alg, err)
	}
	return compact, &Key{ID: "k1", Alg: alg, Public: signer.Public()}
}

// BenchmarkVerify compares the bare signature check with the same check plus
// splitting, decoding and walking the claims, the header being known.
func BenchmarkVerify(b *testing.B) {
	keys := signers(b)
	for _, alg := range []string{ES256, Ed25519, RS256} {
		compact, key := signed(b, keys[alg], alg, claims)
		m, err := Parse(compact)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(alg+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bare(key.Public, m) {
					b.Fatal("signature does not verify")
				}
			}
		})
		b.Run(alg+"/full", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := full(key, compact); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func bare(public crypto.PublicKey, m *Message) bool {
	signed := []byte(m.Signed)
	digest := sha256.Sum256(signed)
	switch pub := public.(type) {
	case *ecdsa.PublicKey:
		var buf [sizeDER]byte
		return ecdsa.VerifyASN1(pub, digest[:], appendDER(buf[:0], m.Signature))
	case ed25519.PublicKey:
		return ed25519.Verify(pub, signed, m.Signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], m.Signature) == nil
	}
	return false
}

func full(key *Key, compact string) error {
	_, payload, signature, err := Split(compact)
	if err != nil {
		return err
	}
	var sigBuf [256]byte
	sig, err := DecodeSegment(sigBuf[:0], signature)
	if err != nil {
		return err
	}
	if err := key.Verify(compact[:len(compact)-len(signature)-1], sig); err != nil {
		return err
	}
	var buf [1024]byte
	data, err := DecodeSegment(buf[:0], payload)
	if err != nil {
		return err
	}
	return Members(string(data), func(string, string) error { return nil })
}

func BenchmarkMembers(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(claims)))
	for b.Loop() {
		if err := Members(claims, func(string, string) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseHeader(b *testing.B) {
	compact, _ := signed(b, signers(b)[ES256], ES256, claims)
	segment, _, _, err := Split(compact)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHeader(segment); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for alg, signer := range signers(b) {
		b.Run(alg, func(b *testing.B) {
			header := Header{Alg: alg, Typ: "at+jwt", KeyID: "k1"}.Encode()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign(signer, alg, header, []byte(claims)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
