//go:build pkcs11

package pkcs11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/ThalesGroup/crypto11"

	"github.com/writ-auth/writ/internal/jose"
)

// Config says where the token is. It prints without its PIN.
type Config struct {
	Module string           // required: path of the library that speaks PKCS#11
	Label  string           // required: of the token
	PIN    string           // required: of the token's user
	Now    func() time.Time // nil: time.Now
}

// Format hides the PIN, whatever the verb.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "pkcs11.Config{%s of %s, PIN [redacted]}", c.Label, c.Module)
}

const bitsRSA = 2048

// Token is an open token, logged in to. It is safe for concurrent use.
type Token struct{ line line }

// Open loads the module and logs in.
func Open(cfg Config) (*Token, error) {
	if cfg.Module == "" || cfg.Label == "" || cfg.PIN == "" {
		return nil, errors.New("pkcs11: Module, Label and PIN are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Token{line: line{cfg: cfg}}
	if _, err := t.line.open(nil); err != nil {
		return nil, err
	}
	return t, nil
}

// Close logs out and unloads the module. The keys sign no more.
func (t *Token) Close() error { return t.line.close() }

// Makes reports whether keys of alg can be made: the library that we call a
// module through knows no Edwards curves.
func (t *Token) Makes(alg string) bool {
	return alg == jose.ES256 || alg == jose.RS256 || alg == jose.PS256
}

// Make makes a key that stays in the token until it is removed.
func (t *Token) Make(id, alg string) (crypto.Signer, error) {
	public, err := crypto11.NewAttributeSetWithIDAndLabel([]byte(id), label(id))
	if err != nil {
		return nil, err
	}
	private := public.Copy()
	// Modules have defaults of their own, so what matters is said. A key that signs
	// does nothing else.
	for _, a := range []struct {
		of    crypto11.AttributeSet
		name  crypto11.AttributeType
		value bool
	}{
		{private, crypto11.CkaPrivate, true},
		{private, crypto11.CkaSensitive, true},
		{private, crypto11.CkaExtractable, false},
		{private, crypto11.CkaSign, true},
		{private, crypto11.CkaDecrypt, false},
		{private, crypto11.CkaUnwrap, false},
		{public, crypto11.CkaEncrypt, false},
		{public, crypto11.CkaWrap, false},
	} {
		if err := a.of.Set(a.name, a.value); err != nil {
			return nil, err
		}
	}
	// Once only: what seems to have failed may have made a key.
	ctx, err := t.line.open(nil)
	if err != nil {
		return nil, err
	}
	var made crypto11.Signer
	switch alg {
	case jose.ES256:
		made, err = ctx.GenerateECDSAKeyPairWithAttributes(public, private, elliptic.P256())
	case jose.RS256, jose.PS256:
		made, err = ctx.GenerateRSAKeyPairWithAttributes(public, private, bitsRSA)
	default:
		err = fmt.Errorf("a PKCS#11 token makes no %s keys here", alg)
	}
	if err != nil {
		return nil, err
	}
	return &key{line: &t.line, id: id, public: made.Public()}, nil
}

// Find returns a key that Make made, here or on another replica.
func (t *Token) Find(id, alg string) (crypto.Signer, error) {
	k := &key{line: &t.line, id: id}
	err := t.line.use(func(ctx *crypto11.Context) error {
		pair, err := one(ctx, id)
		if err == nil {
			k.public = pair.Public()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	ok := false
	switch k.public.(type) {
	case *ecdsa.PublicKey:
		ok = alg == jose.ES256
	case *rsa.PublicKey:
		ok = alg == jose.RS256 || alg == jose.PS256
	}
	if !ok {
		return nil, fmt.Errorf("the PKCS#11 token has a key with this id that is not for %s", alg)
	}
	return k, nil
}

// Remove removes a key that Make made. It may be gone already.
func (t *Token) Remove(id string) error {
	return t.line.use(func(ctx *crypto11.Context) error {
		found, err := pairs(ctx, id)
		if err != nil {
			return err
		}
		for _, pair := range found {
			if err := pair.Delete(); err != nil {
				left, again := pairs(ctx, id)
				if again == nil && len(left) == 0 {
					return nil // another replica was faster
				}
				return fmt.Errorf("remove key from the PKCS#11 token: %w", err)
			}
		}
		return nil
	})
}

// pairs finds keys by id and label, so that no key of another program that
// shares the token is taken for ours.
func pairs(ctx *crypto11.Context, id string) ([]crypto11.Signer, error) {
	found, err := ctx.FindKeyPairs([]byte(id), label(id))
	if err != nil {
		return nil, fmt.Errorf("look for key in the PKCS#11 token: %w", err)
	}
	return found, nil
}

// errAbsent may also mean that nobody is logged in: then private keys do not show.
var errAbsent = errors.New("the PKCS#11 token has no key with this id")

// one finds the one key of that id.
func one(ctx *crypto11.Context, id string) (crypto11.Signer, error) {
	found, err := pairs(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, errAbsent
	case len(found) > 1:
		return nil, fmt.Errorf("the PKCS#11 token has %d keys with this id, want one", len(found))
	}
	return found[0], nil
}

// label is how whoever looks into the token sees a key.
func label(id string) []byte { return []byte("writ " + id) }
