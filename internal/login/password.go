package login

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// The one set of Argon2id parameters (RFC 9106) for new hashes: OWASP's minimum,
// 19 MiB and two passes, about 25 ms of one core.
const (
	hashMemory = 19 * 1024 // KiB
	hashTime   = 2
	hashLanes  = 1
	hashSalt   = 16
	hashSize   = 32
)

// dummy is verified when there is no hash to verify, so that a user name that
// nobody has takes as long as a wrong password. No password is known to match it.
var dummy = encodeHash(make([]byte, hashSalt), make([]byte, hashSize))

// HashPassword returns a PHC string to keep in place of a password.
func HashPassword(password string, rand io.Reader) (string, error) {
	salt := make([]byte, hashSalt)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return "", fmt.Errorf("draw salt: %w", err)
	}
	return encodeHash(salt, argon2.IDKey(normal(password), salt, hashTime, hashMemory, hashLanes, hashSize)), nil
}

func encodeHash(salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashLanes, b64(salt), b64(key))
}

// verify reports whether a password matches a PHC string. The string may carry
// other parameters than ours, within bounds: accounts can come from elsewhere.
func verify(phc, password string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false
	}
	var memory, time uint32
	var lanes uint8
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &lanes)
	if err != nil || memory < 8 || memory > 256*1024 || time < 1 || time > 16 || lanes < 1 || lanes > 16 {
		return false
	}
	b64 := base64.RawStdEncoding.Strict()
	salt, err1 := b64.DecodeString(parts[4])
	want, err2 := b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(want) < 16 || len(want) > 64 {
		return false
	}
	got := argon2.IDKey(normal(password), salt, time, memory, lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// normal makes the same password the same bytes on every keyboard
// (NIST SP 800-63B-4 §3.1.1.2).
func normal(password string) []byte {
	return norm.NFKC.Bytes([]byte(password))
}

// Weak says, in a sentence for the person who chose it, why a password is not
// taken.
type Weak string

func (w Weak) Error() string { return string(w) }

const (
	minPassword  = 12 // characters
	maxPassword  = 256
	minDifferent = 5 // different characters
)

// Acceptable returns a Weak when a password should not be used for an account.
// Length counts; what kinds of characters it is made of does not.
func Acceptable(password, username string) error {
	n := utf8.RuneCountInString(password)
	different := make(map[rune]bool)
	for _, r := range password {
		different[r] = true
	}
	lower, name := strings.ToLower(password), strings.ToLower(username)
	switch {
	case !utf8.ValidString(password):
		return Weak("The new password has characters that can’t be used.")
	case n < minPassword:
		return Weak(fmt.Sprintf("The new password needs at least %d characters; it has %d.", minPassword, n))
	case n > maxPassword:
		return Weak(fmt.Sprintf("The new password can have at most %d characters.", maxPassword))
	case len(different) < minDifferent:
		return Weak("The new password repeats too few characters.")
	case utf8.RuneCountInString(name) >= 4 && strings.Contains(lower, name):
		return Weak("The new password contains the user name.")
	}
	return nil
}
