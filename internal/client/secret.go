package client

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Prefixes by which secret scanners find what must not be in a repository.
const (
	SecretPrefix  = "writ_cs_"  // client secrets
	DevPrefix     = "writ_dev_" // client secrets of `writ dev`; `writ serve` refuses them
	RefreshPrefix = "writ_rt_"  // refresh tokens
)

// NewSecret returns prefix, 32 random bytes and a checksum, in base64url.
func NewSecret(prefix string, random io.Reader) (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}
	return FormSecret(prefix, b), nil
}

// FormSecret writes 32 bytes in the form of a secret.
func FormSecret(prefix string, b []byte) string {
	body := base64.RawURLEncoding.EncodeToString(b)
	return prefix + body + checksum(prefix+body)
}

// WellFormed reports whether s could be a secret with this prefix: a mistyped
// one is refused without a look at the store.
func WellFormed(prefix, s string) bool {
	const sum = 6
	if !strings.HasPrefix(s, prefix) || len(s) != len(prefix)+43+sum {
		return false
	}
	return checksum(s[:len(s)-sum]) == s[len(s)-sum:]
}

func checksum(s string) string {
	c := crc32.ChecksumIEEE([]byte(s))
	return base64.RawURLEncoding.EncodeToString([]byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)})
}

// HashSecret is what the store keeps. A plain hash is right here and wrong for
// passwords: the secret holds 256 random bits, so there is nothing to guess.
func HashSecret(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}
