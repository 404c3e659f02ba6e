package jose

import (
	"encoding/hex"
	"math/big"
	"slices"
)

// lowOrder is each y coordinate of a point of Ed25519 whose order divides 8, as
// the 32 octets in which Go reads it: 0, 1, -1, the two of order 8, and 0 and 1
// again with the field's prime added.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// isLowOrder reports whether anybody can sign for an Ed25519 key, since eight
// points are all that a signature without a secret has to choose from.
func isLowOrder(key []byte) bool {
	y := slices.Clone(key)
	y[len(y)-1] &= 0x7f // the sign of x
	return slices.Contains(lowOrder, hex.EncodeToString(y))
}

// fingerprint is the primes below 163 of which 65537 generates not the whole
// multiplicative group.
var fingerprint = []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// isROCA reports whether an RSA modulus has the form of those that smart cards
// and TPMs with Infineon's library made until 2017, whose factors are within
// reach (CVE-2017-15361): modulo each small prime it is a power of 65537. Of
// honest moduli one in two hundred million has that form too.
func isROCA(n *big.Int) bool {
	for _, p := range fingerprint {
		rest := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			found = found || power == rest
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}
