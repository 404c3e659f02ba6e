package mint_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"sync"

	"github.com/writ-auth/writ/internal/jose"
)

// memory is a vault that replicas of one process share.
type memory struct {
	mu     sync.Mutex
	keys   map[string]crypto.Signer // guarded by mu
	broken bool                     // guarded by mu; it cannot be reached
	wrap   func(crypto.Signer) crypto.Signer
}

func newVault() *memory { return &memory{keys: map[string]crypto.Signer{}} }

func (v *memory) Makes(alg string) bool { return alg != jose.Ed25519 }

func (v *memory) Make(id, alg string) (key crypto.Signer, err error) {
	if alg == jose.ES256 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return nil, err
	}
	if v.wrap != nil {
		key = v.wrap(key)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken {
		return nil, errUnreachable
	}
	v.keys[id] = key
	return key, nil
}

var (
	errUnreachable = errors.New("the vault cannot be reached")
	errAbsent      = errors.New("the vault has no such key")
)

func (v *memory) Find(id, alg string) (crypto.Signer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken {
		return nil, errUnreachable
	}
	if v.keys[id] == nil {
		return nil, errAbsent
	}
	return v.keys[id], nil
}

func (v *memory) Remove(id string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken {
		return errUnreachable
	}
	delete(v.keys, id)
	return nil
}

// ids lists the keys there.
func (v *memory) ids() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var ids []string
	for id := range v.keys {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (v *memory) reach(yes bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.broken = !yes
}
