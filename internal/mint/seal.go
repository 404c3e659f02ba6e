package mint

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrSeal means that a sealed secret does not open: the sealing key is another
// one, or the blob was changed or moved.
var ErrSeal = errors.New("mint: the sealing key does not open what is stored")

// A Sealer seals private keys at rest and derives secrets that must come out
// the same after every restart. It prints as [redacted].
type Sealer struct{ key []byte }

const sealPrefix = "writ-seal-"

// NewSealer takes 32 random bytes.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("sealing key has %d bytes, want 32", len(key))
	}
	return &Sealer{key: append([]byte(nil), key...)}, nil
}

// WriteSealKey makes a sealing key in a new file that only its owner can read.
// It never writes over an existing file.
func WriteSealKey(path string, random io.Reader) error {
	key := make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return fmt.Errorf("make sealing key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make sealing key: %w", err)
	}
	_, err = f.WriteString(sealPrefix + base64.RawURLEncoding.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write sealing key %s: %w", path, err)
	}
	return nil
}

// ReadSealKey reads a file that WriteSealKey made.
func ReadSealKey(path string) (*Sealer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sealing key: %w", err)
	}
	body, ok := strings.CutPrefix(strings.TrimSpace(string(text)), sealPrefix)
	if !ok {
		return nil, fmt.Errorf("%s is not a sealing key: it does not begin with %q", path, sealPrefix)
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("%s is not a sealing key: %w", path, err)
	}
	return NewSealer(key)
}

// String hides the key.
func (s *Sealer) String() string { return "[redacted]" }

// GoString hides the key.
func (s *Sealer) GoString() string { return "[redacted]" }

// Seal encrypts plain so that it opens only for the same purpose, issuer and id.
func (s *Sealer) Seal(purpose, issuer, id string, plain []byte) ([]byte, error) {
	aead, err := s.aead(purpose)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, sealedFor(issuer, id)), nil
}

// Open decrypts what Seal made. Any mismatch is ErrSeal.
func (s *Sealer) Open(purpose, issuer, id string, sealed []byte) ([]byte, error) {
	aead, err := s.aead(purpose)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, sealedFor(issuer, id))
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}

// Derive returns 32 bytes that depend on the sealing key and the label alone.
func (s *Sealer) Derive(label string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("writ derive v1\x00" + label))
	return mac.Sum(nil)
}

func (s *Sealer) aead(purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.key, nil, "writ seal v1 "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("open cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func sealedFor(issuer, id string) []byte { return []byte(issuer + "\x00" + id) }

// randomBytes reads n bytes of r, which is crypto/rand unless a test says otherwise.
func randomBytes(r io.Reader, n int) ([]byte, error) {
	if r == nil {
		r = rand.Reader
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}
