//go:build pkcs11

package pkcs11_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/pkcs11"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const issuer = "https://as.example"

// keys is how a mint over a token is opened.
func keys(t *testing.T, db *store.DB, v *pkcs11.Token, now func() time.Time) mint.Config {
	t.Helper()
	seal, err := mint.NewSealer([]byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return mint.Config{
		Issuer: issuer, DB: db, Seal: seal, Vault: v, Now: now, KeyLife: 8 * time.Hour,
		Algorithms: []string{jose.ES256, jose.RS256},
	}
}

// issue makes one token of each algorithm and checks it with what is published.
// It returns the keys that signed.
func issue(t *testing.T, m *mint.Mint, now time.Time) (kids []string) {
	t.Helper()
	set, err := m.Set()
	if err != nil {
		t.Fatal(err)
	}
	published, _, err := jose.ParseSet(set)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Truncate(time.Second)
	for _, alg := range m.Algorithms() {
		compact, err := m.Access(&token.Claims{
			Issuer: issuer, Subject: "u_1", ClientID: "app", Audience: []string{"https://api.example"},
			Scope: scope.Set{"a"}, IssuedAt: now, Expiry: now.Add(time.Minute),
		}, alg)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := jose.Parse(compact)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(published, func(k jose.Key) bool { return k.ID == msg.Header.KeyID })
		if at < 0 {
			t.Fatalf("key %s is not published", msg.Header.KeyID)
		}
		if err := msg.Verify(&published[at]); err != nil {
			t.Fatalf("%s: %v, want a good signature", alg, err)
		}
		kids = append(kids, msg.Header.KeyID)
	}
	return kids
}

// TestIssuerWithToken: two replicas over one store and one token sign with the same
// keys through rotations; a key that is dropped leaves the token; after a restart
// the same keys sign.
func TestIssuerWithToken(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds, most of them to make RSA keys")
	}
	storetest.Each(t, func(t *testing.T, openDB func(string) *store.DB) {
		cfg := pkcs11.SoftHSM(t)
		db, at := openDB(issuer), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		now := func() time.Time { return at }
		one, err := mint.Open(t.Context(), keys(t, db, open(t, cfg), now))
		if err != nil {
			t.Fatal(err)
		}
		two, err := mint.Open(t.Context(), keys(t, db, open(t, cfg), now))
		if err != nil {
			t.Fatal(err)
		}
		first := issue(t, one, at)
		for end := at.Add(40 * time.Hour); at.Before(end); at = at.Add(time.Hour) {
			if err := errors.Join(one.Rotate(t.Context()), two.Rotate(t.Context()), one.Reload(t.Context()), two.Reload(t.Context())); err != nil {
				t.Fatal(err)
			}
			if a, b := issue(t, one, at), issue(t, two, at); !slices.Equal(a, b) {
				t.Fatalf("at %v the replicas sign with %v and %v, want the same", at, a, b)
			}
		}
		var published []string
		for _, k := range one.Keys() {
			if k.Use == "sign" {
				published = append(published, "writ "+k.ID)
			}
		}
		slices.Sort(published)
		held := strings.Split(objects(t, cfg), ", ")
		slices.Sort(held)
		if !slices.Equal(held, published) {
			t.Errorf("the token has %v, want what is published: %v", held, published)
		}
		last := issue(t, one, at)
		for _, kid := range first {
			if slices.Contains(held, "writ "+kid) || slices.Contains(last, kid) {
				t.Errorf("key %s was not rotated away", kid)
			}
		}
		again, err := mint.Open(t.Context(), keys(t, db, open(t, cfg), now))
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Reload(t.Context()); err != nil { // Open may have rotated
			t.Fatal(err)
		}
		if a, b := issue(t, again, at), issue(t, one, at); !slices.Equal(a, b) {
			t.Errorf("after a restart %v sign, want %v", a, b)
		}
	})
}

// TestForeignKeyBesideToken: whoever can write to the database alone has no key of
// theirs published, in place of one that is in the token.
func TestForeignKeyBesideToken(t *testing.T) {
	v := open(t, pkcs11.SoftHSM(t))
	db := storetest.New(t, issuer)
	cfg := keys(t, db, v, time.Now)
	if _, err := mint.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	thief, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		all, err := tx.Keys()
		if err != nil {
			return err
		}
		for _, k := range all {
			if k.Algorithm != jose.ES256 {
				continue
			}
			if k.Public, err = (jose.Key{ID: k.ID, Alg: jose.ES256, Public: thief.Public()}).Encode(); err != nil {
				return err
			}
			if err := tx.PutKey(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mint.Open(t.Context(), cfg); !errors.Is(err, mint.ErrSeal) {
		t.Errorf("Open = %v, want %v", err, mint.ErrSeal)
	}
}

// TestEmptiedToken: a server whose keys are gone from the token does not start, and
// says which.
func TestEmptiedToken(t *testing.T) {
	v := open(t, pkcs11.SoftHSM(t))
	cfg := keys(t, storetest.New(t, issuer), v, time.Now)
	m, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	lost := issue(t, m, time.Now())[0]
	if err := v.Remove(lost); err != nil {
		t.Fatal(err)
	}
	if _, err := mint.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "open key "+lost+": the PKCS#11 token has no key") {
		t.Errorf("Open = %v, want it to name key %s", err, lost)
	}
}
