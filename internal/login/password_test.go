package login

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/crypto/argon2"
)

// From the tests of the reference implementation, phc-winner-argon2.
const referenceHash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestReferenceHash(t *testing.T) {
	if !verify(referenceHash, "password") {
		t.Error("the reference implementation's hash of its password is refused")
	}
	if verify(referenceHash, "differentpassword") {
		t.Error("another password is taken")
	}
}

func TestHashPassword(t *testing.T) {
	one, err := HashPassword("correct horse battery", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two, err := HashPassword("correct horse battery", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("two hashes of one password are equal: no salt")
	}
	for _, tt := range []struct {
		password string
		want     bool
	}{
		{"correct horse battery", true},
		{"correct horse batterY", false},
		{"correct horse battery ", false},
		{"", false},
	} {
		if got := verify(one, tt.password); got != tt.want {
			t.Errorf("verify(%q) = %v, want %v", tt.password, got, tt.want)
		}
	}
	if _, err := HashPassword("x", iotest.ErrReader(errors.New("no randomness"))); err == nil {
		t.Error("a hash was made without randomness")
	}
}

// TestParameters holds the constants to OWASP's minimum for Argon2id.
func TestParameters(t *testing.T) {
	if hashMemory < 19*1024 || hashTime < 2 || hashLanes < 1 || hashSalt < 16 || hashSize < 32 {
		t.Errorf("m=%d t=%d p=%d salt=%d key=%d, want at least 19 MiB, 2, 1, 16, 32", hashMemory, hashTime, hashLanes, hashSalt, hashSize)
	}
	hash, err := HashPassword("x", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cost := func(phc string) string { return strings.Join(strings.Split(phc, "$")[:4], "$") }
	if got, want := cost(dummy), cost(hash); got != want {
		t.Errorf("a user name nobody has costs %s, a wrong password %s", got, want)
	}
}

func TestUnicodePassword(t *testing.T) {
	hash, err := HashPassword("Zoe\u0308s Fahrra\u0308der", rand.Reader) // letters, then their dots
	if err != nil {
		t.Fatal(err)
	}
	if !verify(hash, "Zo\u00ebs Fahrr\u00e4der") { // the same, composed
		t.Error("the same password from another keyboard is refused")
	}
}

// TestBadHash feeds verify what must never match, nor make it work for long.
func TestBadHash(t *testing.T) {
	parts := strings.Split(referenceHash, "$")
	with := func(i int, s string) string {
		p := append([]string(nil), parts...)
		p[i] = s
		return strings.Join(p, "$")
	}
	for name, phc := range map[string]string{
		"empty":             "",
		"plain text":        "password",
		"other function":    with(1, "argon2i"),
		"old version":       with(2, "v=16"),
		"no memory":         with(3, "m=0,t=2,p=1"),
		"all memory":        with(3, "m=4194304,t=2,p=1"),
		"no pass":           with(3, "m=65536,t=0,p=1"),
		"endless passes":    with(3, "m=65536,t=4294967295,p=1"),
		"no lane":           with(3, "m=65536,t=2,p=0"),
		"many lanes":        with(3, "m=65536,t=2,p=255"),
		"lanes overflow":    with(3, "m=65536,t=2,p=257"),
		"short salt":        with(4, "c29t"),
		"salt not base64":   with(4, "!!!!!!!!!!!!"),
		"empty key":         with(5, ""),
		"short key":         with(5, "CTFh"),
		"one part more":     referenceHash + "$",
		"key with a rest":   with(5, parts[5]+"="),
		"leading character": "x" + referenceHash,
	} {
		if verify(phc, "password") {
			t.Errorf("%s: %q is taken", name, phc)
		}
	}
}

func TestAcceptable(t *testing.T) {
	for _, tt := range []struct {
		password string
		weak     bool
	}{
		{"correct horse battery", false},
		{"twelve chars", false},
		{"elevenchars", true},
		{"äöüßéèêëàáâã", false}, // characters count, not bytes
		{"äöüßéè", true},
		{"abababababab", true},
		{"my name is Alice Adams", false},
		{"xxALICE.Axx99", true},
		{strings.Repeat("abcdef", 43), true},
		{"bad \xff bytes in here", true},
	} {
		err := Acceptable(tt.password, "alice.a")
		var weak Weak
		if got := errors.As(err, &weak); got != tt.weak {
			t.Errorf("Acceptable(%q) = %v, want weak %v", tt.password, err, tt.weak)
		}
	}
	if err := Acceptable("a bicycle for three", "a"); err != nil {
		t.Errorf("a short user name forbids a letter: %v", err)
	}
}

func BenchmarkHash(b *testing.B) {
	salt := make([]byte, hashSalt)
	for b.Loop() {
		argon2.IDKey([]byte("password"), salt, hashTime, hashMemory, hashLanes, hashSize)
	}
}
