package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// The closed list of algorithms. EdDSA is the old name of Ed25519 (RFC 9864);
// it is checked with keys that state it and not offered.
const (
	ES256   = "ES256"
	Ed25519 = "Ed25519"
	PS256   = "PS256"
	RS256   = "RS256"
	EdDSA   = "EdDSA"
)

const (
	sizeES256     = 64 // r and s, 32 bytes each (RFC 7518 §3.4)
	sizeSignature = 64 // of most keys; a capacity, not a bound
	minRSA        = 2048
	maxRSA        = 4096 // a longer key costs whoever checks, not whoever signs
)

// ErrSignature means that the signature is not this key's over this text.
var ErrSignature = errors.New("signature does not verify")

// Algorithms returns the algorithms to offer, preferred first.
func Algorithms() []string { return []string{ES256, Ed25519, PS256, RS256} }

// A Key is one public key with the one algorithm it is used with.
type Key struct {
	ID     string // kid; may be empty outside a set
	Alg    string
	Public crypto.PublicKey // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey
}

// Verify checks sig over signed with the key's own algorithm.
func (k *Key) Verify(signed string, sig []byte) error {
	if err := fits(k.Alg, k.Public); err != nil {
		return err
	}
	var space [1024]byte // of most tokens
	text := append(space[:0], signed...)
	if pub, ok := k.Public.(ed25519.PublicKey); ok {
		return verdict(ed25519.Verify(pub, text, sig))
	}
	digest := sha256.Sum256(text)
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		if len(sig) != sizeES256 {
			return ErrSignature
		}
		var buf [sizeDER]byte
		return verdict(ecdsa.VerifyASN1(pub, digest[:], appendDER(buf[:0], sig)))
	case *rsa.PublicKey:
		if k.Alg == PS256 {
			return verdict(rsa.VerifyPSS(pub, crypto.SHA256, digest[:], sig, saltAsHash()) == nil)
		}
		return verdict(rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil)
	}
	return ErrSignature
}

func verdict(ok bool) error {
	if !ok {
		return ErrSignature
	}
	return nil
}

// saltAsHash is RFC 7518 §3.5: the salt is as long as the hash.
func saltAsHash() *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
}

// fits checks that alg is on the list and is what this key can do.
func fits(alg string, key crypto.PublicKey) error {
	ok := false
	switch pub := key.(type) {
	case *ecdsa.PublicKey:
		ok = alg == ES256 && pub.Curve == elliptic.P256()
	case ed25519.PublicKey:
		ok = (alg == Ed25519 || alg == EdDSA) && len(pub) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		if ok = alg == RS256 || alg == PS256; ok {
			return checkRSA(pub)
		}
	}
	if !ok {
		return fmt.Errorf("alg %.16q does not fit the key", alg)
	}
	return nil
}

func checkRSA(pub *rsa.PublicKey) error {
	if bits := pub.N.BitLen(); bits < minRSA || bits > maxRSA {
		return fmt.Errorf("RSA key of %d bits: want %d to %d", bits, minRSA, maxRSA)
	}
	if pub.N.Bit(0) == 0 || pub.E < 3 || pub.E%2 == 0 {
		return errors.New("RSA modulus and exponent must be odd")
	}
	return nil
}

// sign returns the raw signature over signed.
func sign(signer crypto.Signer, alg string, signed []byte) ([]byte, error) {
	if err := fits(alg, signer.Public()); err != nil {
		return nil, err
	}
	if alg == Ed25519 || alg == EdDSA {
		return signer.Sign(rand.Reader, signed, crypto.Hash(0))
	}
	digest := sha256.Sum256(signed)
	switch alg {
	case PS256:
		return signer.Sign(rand.Reader, digest[:], saltAsHash())
	case RS256:
		return signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	random := rand.Reader
	if _, ok := signer.(*ecdsa.PrivateKey); ok {
		// Without a source crypto/ecdsa signs by RFC 6979, which RFC 8725
		// prefers: no bad random number can give the key away.
		random = nil
	}
	der, err := signer.Sign(random, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return fromDER(der)
}

// sizeDER holds a sequence of two integers of up to 33 bytes.
const sizeDER = 2 + 2*(2+33)

// appendDER turns r||s into the ASN.1 form that crypto/ecdsa takes.
func appendDER(dst, sig []byte) []byte {
	dst = append(dst, 0x30, 0)
	for _, half := range [2][]byte{sig[:sizeES256/2], sig[sizeES256/2:]} {
		for len(half) > 1 && half[0] == 0 {
			half = half[1:]
		}
		if half[0] >= 0x80 { // an integer with its top bit set would be negative
			dst = append(dst, 0x02, byte(len(half)+1), 0)
		} else {
			dst = append(dst, 0x02, byte(len(half)))
		}
		dst = append(dst, half...)
	}
	dst[1] = byte(len(dst) - 2)
	return dst
}

// fromDER turns a signer's ASN.1 form into r||s.
func fromDER(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 ||
		sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, errors.New("signer returned no ECDSA signature")
	}
	raw := make([]byte, sizeES256)
	sig.R.FillBytes(raw[:sizeES256/2])
	sig.S.FillBytes(raw[sizeES256/2:])
	return raw, nil
}
