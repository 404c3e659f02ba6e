package mint

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/store"
)

// A Vault makes private keys that never leave it and finds them again, as a token
// behind PKCS#11 does. Replicas share it.
//
// Only keys of use sign live there. Tag and MAC keys are symmetric and go into
// every token that is made or checked, and the feed is signed each second by every
// replica, also while the vault cannot be reached: those stay sealed in the store.
type Vault interface {
	// Makes reports whether keys of alg can be made.
	Makes(alg string) bool
	Make(id, alg string) (crypto.Signer, error)
	// Find returns the key that Make made; that there is none is an error.
	Find(id, alg string) (crypto.Signer, error)
	// Remove removes the key; that there is none is no error.
	Remove(id string) error
}

// useVault is the purpose of what is sealed in place of a private key.
const useVault = "vault key"

// fits checks that the vault can make what will be asked of it.
func (c *Config) fits() error {
	if c.Vault == nil || c.Leave {
		return nil
	}
	for _, alg := range c.Algorithms {
		if !c.Vault.Makes(alg) {
			return fmt.Errorf("mint: %s keys cannot be made in the vault: leave the algorithm or the vault out", alg)
		}
	}
	return nil
}

// entrusts reports whether new keys of a use are made in the vault.
func (c *Config) entrusts(use string) bool { return use == useSign && c.Vault != nil && !c.Leave }

// entrust makes the key of k in the vault and vouches for it. A key that cannot do
// what it is for, say because the device lacks the algorithm, is not published.
func (m *Mint) entrust(k *store.Key) error {
	key, err := m.cfg.Vault.Make(k.ID, k.Algorithm)
	if err != nil {
		return fmt.Errorf("make %s key in the vault: %w", k.Algorithm, err)
	}
	public := jose.Key{ID: k.ID, Alg: k.Algorithm, Public: key.Public()}
	err = try(key, &public)
	if err == nil {
		k.Public, err = public.Encode()
	}
	if err == nil {
		k.Sealed, err = m.cfg.Seal.Seal(useVault, m.cfg.Issuer, k.ID, digest(k))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make %s key in the vault: %w", k.Algorithm, err), m.cfg.Vault.Remove(k.ID))
	}
	return nil
}

// try makes one signature and checks it.
func try(key crypto.Signer, public *jose.Key) error {
	compact, err := jose.Sign(key, public.Alg, jose.Header{Alg: public.Alg, KeyID: public.ID}.Encode(), []byte("{}"))
	if err != nil {
		return err
	}
	msg, err := jose.Parse(compact)
	if err != nil {
		return err
	}
	return msg.Verify(public)
}

// digest is what is sealed for a key in the vault.
func digest(k *store.Key) []byte {
	sum := sha256.Sum256([]byte(k.Algorithm + "\x00" + string(k.Public)))
	return sum[:]
}

// vouched reports whether a stored key is one that we made in a vault. Its public
// half stands unsealed in the store, and once it is retired nothing asks the vault
// for it: whoever can write there must neither have a key of theirs published nor
// name one for us to remove.
func (m *Mint) vouched(k *store.Key) bool {
	if k.Use != useSign {
		return false
	}
	sealed, err := m.cfg.Seal.Open(useVault, m.cfg.Issuer, k.ID, k.Sealed)
	return err == nil && subtle.ConstantTimeCompare(sealed, digest(k)) == 1
}

// admit puts a vouched key where it belongs in r. A retired one signs nothing: its
// public half is enough, and the private one may be gone.
func (m *Mint) admit(r *ring, k *store.Key) error {
	if !k.Retired.IsZero() {
		return m.add(r, k, nil)
	}
	if m.cfg.Vault == nil {
		return errors.New("it is in a vault, and none is configured: configure serve.keys.pkcs11, with leave to move away from it")
	}
	key, err := m.cfg.Vault.Find(k.ID, k.Algorithm)
	if err != nil {
		old := m.state.Load()
		if old == nil || old.vault[k.ID] == nil {
			return err
		}
		// A vault out of reach must not keep us from hearing what became of other keys.
		m.cfg.Logger.Warn("key not found in the vault: the one in memory stays", "kid", k.ID, "error", err)
		key = old.vault[k.ID]
	}
	r.vault[k.ID] = key
	err = m.add(r, k, key)
	if errors.Is(err, ErrSeal) {
		err = errors.New("the vault has another key of this id than was published")
	}
	return err
}

// forget removes a key from the vault, if it is there, as well as can be: it signs
// nothing any more, so nothing waits for the vault to be reached.
func (m *Mint) forget(k *store.Key) {
	if m.cfg.Vault == nil || !m.vouched(k) {
		return
	}
	if err := m.cfg.Vault.Remove(k.ID); err != nil {
		m.cfg.Logger.Warn("key stays in the vault: remove it by hand", "kid", k.ID, "error", err)
	}
}
