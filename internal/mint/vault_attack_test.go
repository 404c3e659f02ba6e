package mint_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// change rewrites the stored keys that sign tokens, as whoever can write to the
// database can.
func change(t *testing.T, db *store.DB, edit func(k *store.Key)) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		keys, err := tx.Keys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.Use != "sign" {
				continue
			}
			edit(k)
			if err := tx.PutKey(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingOfThePrivateKeyIsStored: what the store keeps of a key in a vault is
// no key, and only tokens are signed there.
func TestNothingOfThePrivateKeyIsStored(t *testing.T) {
	db, v, c := storetest.New(t, issuer), newVault(), &clock{time.Now()}
	cfg := config(t, db, c)
	cfg.Vault = v
	m, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(v.ids()); got != 1 {
		t.Errorf("the vault has %d keys, want the one for tokens", got)
	}
	change(t, db, func(k *store.Key) {
		if len(k.Sealed) > 64 { // a digest of 32 bytes, its nonce and its tag; a P-256 key in PKCS#8 has 138
			t.Errorf("%d bytes are sealed, want no more than a digest", len(k.Sealed))
		}
	})
	if _, err := m.Feed([]byte("{}")); err != nil {
		t.Errorf("Feed: %v, want it signed by a sealed key", err)
	}
}

// TestForeignVaultKey tries what somebody can who writes to the database and has
// neither the sealing key nor the vault: no key of theirs is published, waiting,
// signing or retired, with its private half at hand or not.
func TestForeignVaultKey(t *testing.T) {
	thief, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	public := func(k *store.Key, alg string) {
		k.Public, err = (jose.Key{ID: k.ID, Alg: alg, Public: thief.Public()}).Encode()
		if err != nil {
			t.Fatal(err)
		}
	}
	retire := func(k *store.Key) { k.Retired, k.Expires = now, now.Add(24*time.Hour) }
	var first store.Key
	for name, edit := range map[string]func(k *store.Key){
		"signing":            func(k *store.Key) { public(k, k.Algorithm) },
		"retired":            func(k *store.Key) { public(k, k.Algorithm); retire(k) },
		"waiting":            func(k *store.Key) { public(k, k.Algorithm); k.Active = time.Time{} },
		"nothing sealed":     func(k *store.Key) { public(k, k.Algorithm); retire(k); k.Sealed = nil },
		"another id":         func(k *store.Key) { retire(k); k.ID = "AAAAAAAAAAAA"; public(k, k.Algorithm) },
		"id and public half": func(k *store.Key) { retire(k); k.ID = "AAAAAAAAAAAA" },
		"for the feed":       func(k *store.Key) { k.Use = "feed" },
		"for tags":           func(k *store.Key) { k.Use = "tag" },
		"another algorithm":  func(k *store.Key) { k.Algorithm = jose.RS256; retire(k) },
		"blob of another":    func(k *store.Key) { retire(k); k.Sealed = first.Sealed },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
				c := &clock{now}
				other := config(t, open("https://other.example"), c)
				other.Issuer, other.Vault = "https://other.example", newVault()
				if _, err := mint.Open(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				change(t, other.DB, func(k *store.Key) { first = *k })
				cfg := config(t, open(issuer), c)
				cfg.Vault = newVault()
				if _, err := mint.Open(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				change(t, cfg.DB, edit)
				if _, err := mint.Open(t.Context(), cfg); !errors.Is(err, mint.ErrSeal) {
					t.Errorf("Open = %v, want %v", err, mint.ErrSeal)
				}
			})
		})
	}
}

// TestSwappedInTheVault: whoever can write to the vault alone has no key published
// either.
func TestSwappedInTheVault(t *testing.T) {
	db, v, c := storetest.New(t, issuer), newVault(), &clock{time.Now()}
	cfg := config(t, db, c)
	cfg.Vault = v
	if _, err := mint.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Make(v.ids()[0], jose.ES256); err != nil {
		t.Fatal(err)
	}
	if _, err := mint.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("Open = %v, want it to say that the vault has another key", err)
	}
}

// TestRemovalIsNotSteered: a row that names somebody else's key in the vault, as one
// that is due to be dropped, does not have it removed.
func TestRemovalIsNotSteered(t *testing.T) {
	db, v, c := storetest.New(t, issuer), newVault(), &clock{time.Now()}
	cfg := config(t, db, c)
	cfg.Vault = v
	m, err := mint.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Make("theirs", jose.ES256); err != nil {
		t.Fatal(err)
	}
	var row store.Key
	change(t, db, func(k *store.Key) { row = *k })
	row.ID, row.Retired, row.Expires = "theirs", c.now.Add(-2*time.Hour), c.now.Add(-time.Hour)
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.PutKey(&row) }); err != nil {
		t.Fatal(err)
	}
	if err := m.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(v.ids(), "theirs") {
		t.Error("a key that no row of ours vouches for was removed")
	}
}

// useless is a key that signs nonsense, as a device does that lacks the mechanism.
type useless struct{ crypto.Signer }

func (useless) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return []byte("none"), nil }

// TestUselessKeyIsNotPublished: the first signature of a key is made and checked
// before anybody hears of it.
func TestUselessKeyIsNotPublished(t *testing.T) {
	for _, alg := range []string{jose.ES256, jose.PS256} {
		v := newVault()
		v.wrap = func(key crypto.Signer) crypto.Signer { return useless{key} }
		cfg := config(t, storetest.New(t, issuer), &clock{time.Now()})
		cfg.Algorithms, cfg.Vault = []string{alg}, v
		if _, err := mint.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), alg+" key in the vault") {
			t.Errorf("Open = %v, want it to name the %s key", err, alg)
		}
		if left := v.ids(); len(left) > 0 {
			t.Errorf("the vault has %v, want nothing left in it", left)
		}
	}
}
