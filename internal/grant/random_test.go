package grant

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"
	"testing"
)

// TestRandom: what must not be guessed holds as much chance as it should, written
// in letters that a URL carries as they are, and never comes twice (RFC 6749
// §10.10).
func TestRandom(t *testing.T) {
	for _, tt := range []struct {
		name    string
		bytes   int
		letters int
	}{
		{"flow id", 16, 22},
		{"code", 32, 43},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const many = 10_000
			a, seen, used := &Authority{cfg: Config{Rand: rand.Reader}}, map[string]bool{}, map[rune]bool{}
			for range many {
				got, err := a.random("", tt.bytes)
				if err != nil {
					t.Fatal(err)
				}
				raw, err := base64.RawURLEncoding.Strict().DecodeString(got)
				if err != nil || len(raw) != tt.bytes || len(got) != tt.letters {
					t.Fatalf("%q is %d bytes in %d letters (%v), want %d in %d of base64url", got, len(raw), len(got), err, tt.bytes, tt.letters)
				}
				seen[got] = true
				for _, letter := range got[:tt.letters-1] { // the last is not filled
					used[letter] = true
				}
			}
			if len(seen) != many {
				t.Errorf("%d of %d are distinct", len(seen), many)
			}
			if len(used) != 64 {
				t.Errorf("%d letters occur, want all 64", len(used))
			}
		})
	}
}

// TestRandomRunsDry: without chance there is no value, not a weak one.
func TestRandomRunsDry(t *testing.T) {
	for name, source := range map[string]io.Reader{
		"nothing":  strings.NewReader(""),
		"too few":  strings.NewReader("fifteen letters"),
		"an error": io.MultiReader(strings.NewReader("four"), broken{}),
	} {
		a := &Authority{cfg: Config{Rand: source}}
		if got, err := a.random("", 16); err == nil || got != "" {
			t.Errorf("%s: random = %q, %v, want an error alone", name, got, err)
		}
	}
	a := &Authority{cfg: Config{Rand: bytes.NewReader(make([]byte, 16))}}
	if got, err := a.random("g_", 16); err != nil || got != "g_AAAAAAAAAAAAAAAAAAAAAA" {
		t.Errorf("just enough: random = %q, %v", got, err)
	}
}

// broken is a source of chance that fails.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestVerifierLength: RFC 7636 §4.1 wants 43 to 128 characters, also of a verifier
// that is the one of the challenge.
func TestVerifierLength(t *testing.T) {
	for length, want := range map[int]bool{0: false, 1: false, 42: false, 43: true, 128: true, 129: false, 4096: false} {
		verifier := strings.Repeat("v", length)
		sum := sha256.Sum256([]byte(verifier))
		challenge := base64.RawURLEncoding.EncodeToString(sum[:])
		if got := verifierOK(challenge, verifier); got != want {
			t.Errorf("a verifier of %d characters: %v, want %v", length, got, want)
		}
		if verifierOK(challenge, verifier+"v") || length > 0 && verifierOK(challenge, verifier[1:]) {
			t.Errorf("another verifier than the one of %d characters was taken", length)
		}
	}
}
