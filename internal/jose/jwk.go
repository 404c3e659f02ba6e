package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// jwk is the members of a JWK (RFC 7517 §4, RFC 7518 §6) that matter to us.
type jwk struct {
	kty, crv, alg, kid, use string
	x, y, n, e              string // still base64url
	limited                 bool   // to the operations in ops
	ops                     []string
}

// ParseKey reads one public JWK. A private or secret member, a key that is not
// for signatures, or one that no algorithm of the list fits is an error. The
// key's ID and Alg are empty when the JWK does not state them.
func ParseKey(raw []byte) (Key, error) {
	var j jwk
	if err := Members(string(raw), j.set); err != nil {
		return Key{}, err
	}
	if j.use != "" && j.use != "sig" {
		return Key{}, errors.New("use: not for signatures")
	}
	if j.limited && !slices.Contains(j.ops, "verify") {
		return Key{}, errors.New("key_ops: not for verifying")
	}
	public, err := j.public()
	if err != nil {
		return Key{}, err
	}
	alg := j.alg
	if alg == "" {
		alg = usual(public)
	}
	if err := fits(alg, public); err != nil {
		return Key{}, err
	}
	return Key{ID: j.kid, Alg: j.alg, Public: public}, nil
}

func (j *jwk) set(name, value string) (err error) {
	switch name {
	case "kty":
		j.kty, err = String(value)
	case "crv":
		j.crv, err = String(value)
	case "alg":
		j.alg, err = String(value)
	case "kid":
		j.kid, err = String(value)
	case "use":
		j.use, err = String(value)
	case "x":
		j.x, err = String(value)
	case "y":
		j.y, err = String(value)
	case "n":
		j.n, err = String(value)
	case "e":
		j.e, err = String(value)
	case "key_ops":
		j.limited = true
		j.ops, err = Strings(value)
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
		err = errors.New("private member in a public key")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// public builds the key; curve and length checks are in here.
func (j *jwk) public() (crypto.PublicKey, error) {
	switch {
	case j.kty == "EC" && j.crv == "P-256":
		// RFC 7518 §6.2.1.2: the full size of a coordinate.
		point, err := coordinate([]byte{4}, j.x, 33)
		if err != nil {
			return nil, fmt.Errorf("x: %w", err)
		}
		if point, err = coordinate(point, j.y, 65); err != nil {
			return nil, fmt.Errorf("y: %w", err)
		}
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	case j.kty == "OKP" && j.crv == "Ed25519":
		point, err := coordinate(nil, j.x, ed25519.PublicKeySize)
		if err != nil {
			return nil, fmt.Errorf("x: %w", err)
		}
		if isLowOrder(point) {
			return nil, errors.New("x: a point of low order")
		}
		return ed25519.PublicKey(point), nil
	case j.kty == "RSA":
		return j.rsa()
	}
	return nil, fmt.Errorf("kty %.16q crv %.16q: not supported", j.kty, j.crv)
}

func (j *jwk) rsa() (crypto.PublicKey, error) {
	n, err := DecodeSegment(nil, j.n)
	if err != nil {
		return nil, fmt.Errorf("n: %w", err)
	}
	e, err := DecodeSegment(nil, j.e)
	if err != nil {
		return nil, fmt.Errorf("e: %w", err)
	}
	// RFC 7518 §2: Base64urlUInt has no leading zero. The thumbprint of a key
	// with a second spelling would not be the one others compute.
	if len(n) == 0 || len(e) == 0 || n[0] == 0 || e[0] == 0 {
		return nil, errors.New("RSA modulus or exponent is empty or begins with zero")
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 {
		return nil, errors.New("e: too large")
	}
	modulus := new(big.Int).SetBytes(n)
	if isROCA(modulus) {
		return nil, errors.New("n: of a generator whose keys can be factored")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// coordinate appends to dst, which must then have the wanted length.
func coordinate(dst []byte, segment string, want int) ([]byte, error) {
	dst, err := DecodeSegment(dst, segment)
	if err != nil {
		return nil, err
	}
	if len(dst) != want {
		return nil, errors.New("wrong length")
	}
	return dst, nil
}

// usual is the algorithm of a key that states none.
func usual(public crypto.PublicKey) string {
	switch public.(type) {
	case *ecdsa.PublicKey:
		return ES256
	case ed25519.PublicKey:
		return Ed25519
	}
	return RS256
}

// Encode is the key as a public JWK; equal keys give equal bytes. ID and Alg
// may be empty and are then left out.
func (k Key) Encode() ([]byte, error) {
	alg := k.Alg
	if alg == "" {
		alg = usual(k.Public)
	}
	if err := fits(alg, k.Public); err != nil {
		return nil, err
	}
	out, err := k.members()
	if err != nil {
		return nil, err
	}
	out = out[:len(out)-1]
	if k.ID != "" {
		out = AppendString(append(out, `,"kid":`...), k.ID)
	}
	if k.Alg != "" {
		out = AppendString(append(out, `,"use":"sig","alg":`...), k.Alg)
	}
	return append(out, '}'), nil
}

// Thumbprint is the SHA-256 thumbprint (RFC 7638) in base64url, empty for a
// key of no supported type.
func (k *Key) Thumbprint() string {
	members, err := k.members()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(members)
	return strict.EncodeToString(sum[:])
}

// members is the required members in the order of RFC 7638 §3.3: sorted by
// name, without white space.
func (k Key) members() ([]byte, error) {
	b64 := strict.EncodeToString
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil || len(point) != 65 {
			return nil, errors.New("not a point of P-256")
		}
		return []byte(`{"crv":"P-256","kty":"EC","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`), nil
	case ed25519.PublicKey:
		return []byte(`{"crv":"Ed25519","kty":"OKP","x":"` + b64(pub) + `"}`), nil
	case *rsa.PublicKey:
		e := big.NewInt(int64(pub.E)).Bytes()
		return []byte(`{"e":"` + b64(e) + `","kty":"RSA","n":"` + b64(pub.N.Bytes()) + `"}`), nil
	}
	return nil, errors.New("key type not supported")
}
