// Package jose signs and checks compact JWS (RFC 7515) and reads and writes
// JWK sets (RFC 7517) over a closed list of algorithms, with the standard
// library's cryptography only. It also owns the strict JSON reader that
// headers, keys and claims go through.
//
// It does not decide which key is trusted, which typ is expected or what a
// payload means, and it caps no sizes: callers do.
//
// Invariant: one key, one algorithm. A signature is checked with the algorithm
// its key states; what a header says can only fail to match it.
package jose

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A Header is the part of a JOSE header that Writ reads. Members that point to
// keys elsewhere (jku, x5u, x5c) are ignored: nothing in a token says which
// key to trust.
type Header struct {
	Alg   string
	Typ   string
	KeyID string          // kid
	JWK   json.RawMessage // jwk: for proofs of possession, never for trust
}

// A Message is a compact JWS taken apart. Nothing in it is trusted until Verify
// returned nil.
type Message struct {
	Header    Header
	Payload   []byte
	Signature []byte
	Signed    string // what the signature covers: header, dot, payload
}

// strict refuses padding and set bits behind the last byte, so that each
// token has one spelling. It skips line breaks; DecodeSegment does not.
var strict = base64.RawURLEncoding.Strict()

// Parse takes a compact JWS apart without checking its signature.
func Parse(compact string) (*Message, error) {
	header, payload, signature, err := Split(compact)
	if err != nil {
		return nil, err
	}
	m := &Message{Signed: compact[:len(header)+1+len(payload)]}
	if m.Header, err = ParseHeader(header); err != nil {
		return nil, err
	}
	if m.Payload, err = DecodeSegment(nil, payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if m.Signature, err = DecodeSegment(nil, signature); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return m, nil
}

// Verify checks the signature with a key whose algorithm is the header's.
func (m *Message) Verify(k *Key) error {
	if m.Header.Alg != k.Alg {
		return fmt.Errorf("alg %.16q is not the key's", m.Header.Alg)
	}
	return k.Verify(m.Signed, m.Signature)
}

// Split cuts a compact JWS into its three segments without decoding them, for
// verifiers that have seen the header before.
func Split(compact string) (header, payload, signature string, err error) {
	header, rest, _ := strings.Cut(compact, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	if header == "" || payload == "" || signature == "" || strings.IndexByte(signature, '.') >= 0 {
		return "", "", "", errors.New("want three segments")
	}
	return header, payload, signature, nil
}

// DecodeSegment appends the bytes of a base64url segment to dst. Padding, white
// space, line breaks and a second spelling of the same bytes are errors.
func DecodeSegment(dst []byte, segment string) ([]byte, error) {
	if strings.IndexByte(segment, '\n') >= 0 || strings.IndexByte(segment, '\r') >= 0 {
		return nil, errors.New("line break in base64url")
	}
	return strict.AppendDecode(dst, []byte(segment))
}

// ParseHeader decodes the first segment of a compact JWS.
func ParseHeader(segment string) (Header, error) {
	data, err := DecodeSegment(nil, segment)
	if err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	var h Header
	if err := Members(string(data), h.set); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	if h.Alg == "" {
		return Header{}, errors.New("header: alg: missing")
	}
	return h, nil
}

func (h *Header) set(name, value string) (err error) {
	switch name {
	case "alg":
		h.Alg, err = String(value)
	case "typ":
		h.Typ, err = String(value)
	case "kid":
		h.KeyID, err = String(value)
	case "jwk":
		h.JWK = json.RawMessage(value)
	case "crit", "b64":
		// RFC 7515 §4.1.11: an extension that must be understood and is not
		// makes the JWS invalid. We understand none; b64 (RFC 7797) is one.
		err = errors.New("extension not understood")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Is reports whether typ is the wanted media type, which may leave out
// "application/" (RFC 7515 §4.1.9) and is compared without regard to case.
func (h Header) Is(typ string) bool {
	const prefix = "application/"
	got := h.Typ
	if len(got) > len(prefix) && strings.EqualFold(got[:len(prefix)], prefix) {
		got = got[len(prefix):]
	}
	// Equal length keeps EqualFold from matching letters beyond ASCII.
	return len(got) == len(typ) && strings.EqualFold(got, typ)
}

// Encode is the header as JSON; equal headers give equal bytes.
func (h Header) Encode() []byte {
	out := AppendString([]byte(`{"alg":`), h.Alg)
	if h.Typ != "" {
		out = AppendString(append(out, `,"typ":`...), h.Typ)
	}
	if h.KeyID != "" {
		out = AppendString(append(out, `,"kid":`...), h.KeyID)
	}
	if len(h.JWK) > 0 {
		out = append(append(out, `,"jwk":`...), h.JWK...)
	}
	return append(out, '}')
}

// Sign returns the compact JWS of header, given as JSON, and payload. The
// header must name alg; Header.Encode makes one.
func Sign(signer crypto.Signer, alg string, header, payload []byte) (string, error) {
	size := strict.EncodedLen(len(header)) + 1 + strict.EncodedLen(len(payload))
	out := make([]byte, 0, size+1+strict.EncodedLen(sizeSignature))
	out = strict.AppendEncode(out, header)
	out = append(out, '.')
	out = strict.AppendEncode(out, payload)
	signature, err := sign(signer, alg, out)
	if err != nil {
		return "", fmt.Errorf("sign with %.16q: %w", alg, err)
	}
	out = append(out, '.')
	return string(strict.AppendEncode(out, signature)), nil
}
