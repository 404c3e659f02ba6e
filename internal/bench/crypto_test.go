package bench

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

func signer(t *testing.T, alg string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case jose.RS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t *testing.T, key crypto.Signer, h jose.Header, payload string) string {
	t.Helper()
	compact, err := jose.Sign(key, h.Alg, h.Encode(), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// TestBareCheck: the baseline does check: what it says yes to is signed.
func TestBareCheck(t *testing.T) {
	for _, alg := range []string{jose.ES256, jose.Ed25519, jose.RS256} {
		t.Run(alg, func(t *testing.T) {
			key, other := signer(t, alg), signer(t, alg)
			compact := signed(t, key, jose.Header{Alg: alg, Typ: "at+jwt", KeyID: "k"}, `{"sub":"a"}`)
			for _, tt := range []struct {
				name string
				key  crypto.PublicKey
				good bool
			}{{"own key", key.Public(), true}, {"another key", other.Public(), false}} {
				check, err := bareCheck(tt.key, compact)
				if err != nil {
					t.Fatal(err)
				}
				if err := check(); (err == nil) != tt.good {
					t.Errorf("%s: %v, want it good: %v", tt.name, err, tt.good)
				}
			}
		})
	}
	if _, err := bareCheck("no key", signed(t, signer(t, jose.ES256), jose.Header{Alg: jose.ES256}, "{}")); err == nil {
		t.Error("a key of no known type: no error, want one")
	}
}

// TestInspector: sharing one check among many readers lets nothing else through.
func TestInspector(t *testing.T) {
	key := signer(t, jose.Ed25519)
	in := &inspector{keys: map[string]*jose.Key{"k": {ID: "k", Alg: jose.Ed25519, Public: key.Public()}}}
	h := jose.Header{Alg: jose.Ed25519, Typ: "writ-feed+jwt", KeyID: "k"}
	good := signed(t, key, h, `{"a":1}`)
	access := h
	access.Typ = "at+jwt"
	stranger := h
	stranger.KeyID = "other"
	for _, tt := range []struct {
		name, compact string
		good          bool
	}{
		{"good", good, true},
		{"the same once more", good, true},
		{"another payload under its signature", strings.Replace(good, ".", ".e", 1), false},
		{"another's signature", signed(t, signer(t, jose.Ed25519), h, `{"a":1}`), false},
		{"an access token", signed(t, key, access, `{"a":1}`), false},
		{"a key nobody knows", signed(t, key, stranger, `{"a":1}`), false},
		{"no token", "a.b", false},
		{"good after all that", good, true},
	} {
		payload, err := in.verify(t.Context(), tt.compact)
		if (err == nil) != tt.good || tt.good && !bytes.Equal(payload, []byte(`{"a":1}`)) {
			t.Errorf("%s: %s, %v, want it good: %v", tt.name, payload, err, tt.good)
		}
	}
}

// TestForger: forged tokens differ from a good one in their key alone, and never repeat.
func TestForger(t *testing.T) {
	good := signed(t, signer(t, jose.ES256), jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: "k"}, `{"iss":"a"}`)
	forge := forger(good)
	seen := map[string]bool{"k": true}
	for range 10 {
		_, rest, _ := strings.Cut(string(forge()), "Bearer ")
		m, err := jose.Parse(strings.TrimSuffix(rest, "\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if seen[m.Header.KeyID] || m.Header.Typ != "at+jwt" || string(m.Payload) != `{"iss":"a"}` {
			t.Errorf("forged header %+v, payload %s, want the good one's but for a new key", m.Header, m.Payload)
		}
		seen[m.Header.KeyID] = true
	}
}

// TestAudience: a batch counts when the last reader holds it, and not before.
func TestAudience(t *testing.T) {
	a := &audience{size: 3, holding: map[uint64]int{}, all: make(chan time.Time, 4)}
	for n, want := range []int{0, 0, 0, 1, 1, 2} {
		a.holds([]uint64{7, 7, 8, 7, 8, 8}[n])
		if got := len(a.all); got != want {
			t.Errorf("after %d steps %d batches are held by all, want %d", n+1, got, want)
		}
	}
	if len(a.holding) != 0 {
		t.Errorf("left over: %v, want nothing", a.holding)
	}
}

// TestManyRules: a reader that was measured really holds every rule.
func TestManyRules(t *testing.T) {
	const many = 20_000
	i := &Issuer{URL: "http://127.0.0.1:1"}
	l, verify, err := million(i, many)
	if err != nil {
		t.Fatal(err)
	}
	origin, err := serve(t.Context(), l.Events())
	if err != nil {
		t.Fatal(err)
	}
	took, view, err := loadFeed(t.Context(), i, origin, verify)
	if err != nil || view.Set.Len() != many || view.Position != many || took <= 0 {
		t.Fatalf("reader holds %d rules at %d after %v ms, %v, want %d", view.Set.Len(), view.Position, took, err, many)
	}
	if took, size, err := transfer(t.Context(), origin, verify); err != nil || size < 64*many || took <= 0 {
		t.Errorf("transfer = %v ms, %d bytes, %v, want all of it", took, size, err)
	}
	none := &token.Claims{Issuer: i.URL, ID: "a", GrantID: "b", Subject: "c", ClientID: "d"}
	if check, look, err := lookups(time.Millisecond, &view, none); err != nil || check <= 0 || look <= 0 {
		t.Errorf("lookups = %v, %v, %v, want two figures", check, look, err)
	}
	named := &token.Claims{Issuer: i.URL, ID: "a", GrantID: "g_0000000000000000000077"}
	if _, _, err := lookups(time.Millisecond, &view, named); err == nil {
		t.Error("a token that a rule names: no error, want one")
	}
	empty := feed.View{Set: new(feed.Set), Key: view.Key}
	if _, _, err := lookups(time.Millisecond, &empty, named); err != nil {
		t.Errorf("without rules: %v, want none to hit", err)
	}
}
