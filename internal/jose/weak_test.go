package jose

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestLowOrderKeysAreRefused forges a signature for each such key, without any
// secret, that crypto/ed25519 verifies; ParseKey must not hand the key out.
func TestLowOrderKeysAreRefused(t *testing.T) {
	var points [][]byte
	for _, y := range lowOrder {
		for _, sign := range []byte{0, 0x80} {
			point, err := hex.DecodeString(y)
			if err != nil {
				t.Fatal(err)
			}
			point[31] |= sign
			points = append(points, point)
		}
	}
	for _, point := range points {
		forged := false
		for n := range 100 { // each text gives each of eight points one chance in eight
			text := fmt.Appendf(nil, `{"sub":"u_%d"}`, n)
			for _, r := range points {
				forged = forged || ed25519.Verify(point, text, append(r, make([]byte, 32)...))
			}
		}
		if !forged {
			t.Errorf("%x: no signature could be forged, so the list is wrong", point)
		}
		raw := with(t, rfc8037Ed, map[string]any{"x": strict.EncodeToString(point)})
		if key, err := ParseKey([]byte(raw)); err == nil {
			t.Errorf("%x parsed as %+v, want an error", point, key)
		}
	}
	if len(points) != 14 {
		t.Errorf("tried %d keys, want 14", len(points))
	}
}

// TestROCAKeysAreRefused makes moduli of the form by the Chinese remainder
// theorem, and takes the form away again at one prime.
func TestROCAKeysAreRefused(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	product := big.NewInt(2)
	for _, p := range fingerprint {
		product.Mul(product, big.NewInt(p))
	}
	modulus := func() *big.Int {
		n := new(big.Int).SetBit(new(big.Int), 2047, 1)
		for bit := range 2046 {
			n.SetBit(n, bit, uint(random.IntN(2)))
		}
		return n
	}
	parses := func(n *big.Int) bool {
		_, err := ParseKey([]byte(with(t, rfc7515RSA, map[string]any{"n": strict.EncodeToString(n.Bytes())})))
		return err == nil
	}
	for range 100 {
		honest := modulus()
		if honest.SetBit(honest, 0, 1); !parses(honest) {
			t.Errorf("%x does not parse", honest)
		}
		power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(random.Int64()), product)
		weak := modulus()
		weak.Sub(weak, new(big.Int).Mod(weak, product)).Add(weak, power)
		if parses(weak) {
			t.Errorf("%x parses, want an error", weak)
		}
		// Of the powers of 65537 none is 2 modulo 11.
		step := new(big.Int).Div(product, big.NewInt(11))
		for new(big.Int).Mod(weak, big.NewInt(11)).Int64() != 2 {
			weak.Add(weak, step)
		}
		if !parses(weak) {
			t.Errorf("%x does not parse, though it is no power modulo 11", weak)
		}
	}
}
