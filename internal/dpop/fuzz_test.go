package dpop

import (
	"encoding/json"
	"testing"

	"github.com/writ-auth/writ/internal/jose"
)

// FuzzVerify: what we accept says one thing and is the key's own.
func FuzzVerify(f *testing.F) {
	good := newForge(f)
	f.Add(string(object(good.header)), string(object(good.payload)))
	f.Add(`{"alg":"none"}`, `{}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		proof, err := jose.Sign(good.signer, jose.ES256, []byte(header), []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(proof, expect())
		if err != nil {
			return
		}
		claims := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(payload), &claims); err != nil {
			t.Fatalf("%q: accepted, encoding/json refuses: %v", payload, err)
		}
		if key := (jose.Key{Public: good.signer.Public()}); got.Thumbprint != key.Thumbprint() {
			t.Fatalf("%q: thumbprint of another key", header)
		}
		if got.Expires.Before(clock()) {
			t.Fatalf("%q: accepted after it expired", payload)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	proof, err := New(ecKey(b), jose.ES256, "GET", api, token, clock(), "j1")
	if err != nil {
		b.Fatal(err)
	}
	e := expect()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(proof, e); err != nil {
			b.Fatal(err)
		}
	}
}
