package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/writ-auth/writ/internal/jose"
)

// fourteen is a usual payload of fourteen claims.
const fourteen = `{"iss":"https://as.example","sub":"u_7f3c9a1e4b","aud":"https://api.example/orders",` +
	`"client_id":"https://app.example/client.json","exp":1795430300,"iat":1795430000,` +
	`"jti":"4m7Qd0JpV2s1x8yZ_rT-aLkE","scope":"orders:read orders:write profile","grant_id":"g_5d1f8b2c7e",` +
	`"sid":"s_9e2b6a4f1c","rev":184467,"auth_time":1795429000,"acr":"urn:example:mfa","roles":["analyst"]}`

func BenchmarkDecode(b *testing.B) {
	payload := []byte(fourteen)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	c, err := Decode([]byte(fourteen))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify compares the bare ES256 check with what a verifier does that
// knows the header: split, check, decode, strict claims. The difference is
// what strictness costs.
func BenchmarkVerify(b *testing.B) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	header := jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: "k1"}
	compact, err := jose.Sign(signer, jose.ES256, header.Encode(), []byte(fourteen))
	if err != nil {
		b.Fatal(err)
	}
	m, err := jose.Parse(compact)
	if err != nil {
		b.Fatal(err)
	}
	key := &jose.Key{ID: "k1", Alg: jose.ES256, Public: signer.Public()}
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := key.Verify(m.Signed, m.Signature); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verify(key, compact); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("without-signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verify(nil, compact); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func verify(key *jose.Key, compact string) (*Claims, error) {
	header, payload, signature, err := jose.Split(compact)
	if err != nil {
		return nil, err
	}
	var buf [1024]byte
	data, err := jose.DecodeSegment(buf[:0], signature)
	if err != nil {
		return nil, err
	}
	if key != nil {
		if err := key.Verify(compact[:len(header)+1+len(payload)], data); err != nil {
			return nil, err
		}
	}
	if data, err = jose.DecodeSegment(buf[:0], payload); err != nil {
		return nil, err
	}
	return Decode(data)
}
