// Package dpop makes and checks proofs of possession (RFC 9449).
//
// It checks that a proof is good for one request. Whether the token is bound
// to the proof's key, and whether the proof was seen before, the caller asks:
// compare Proof.Thumbprint with the token's cnf.jkt and ask a Replay, or a
// store that replicas share. Nonces are not required.
//
// Invariant: every rule of RFC 9449 §4.3 is checked before Verify returns a
// Proof; the wire code for any refusal is invalid_dpop_proof.
package dpop

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

const (
	mediaType = "dpop+jwt" // typ

	maxProof = 8 << 10          // bytes of a proof; RSA keys of 4096 bits need 3 KiB
	maxID    = 128              // bytes of jti
	past     = 60 * time.Second // age of a proof, unless Expect says otherwise
	future   = 15 * time.Second // how far the client's clock may be ahead
)

// An Error says why a proof was refused, for logs.
type Error struct {
	Reason string // malformed typ alg jwk signature htm htu iat jti ath
	Err    error  // details; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return "dpop: " + e.Reason
	}
	return "dpop: " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the details.
func (e *Error) Unwrap() error { return e.Err }

// Expect is the request that a proof came with.
type Expect struct {
	Method      string        // exactly as in the request line
	URL         string        // as the client sees it; query and fragment do not count
	AccessToken string        // the token presented with the proof; empty at the token endpoint
	Now         time.Time     // the server's clock
	Window      time.Duration // how old a proof may be; 0 means 60 s
}

// A Proof is what a verified proof proves.
type Proof struct {
	Thumbprint string    // of the key (RFC 7638 with SHA-256), as in cnf.jkt
	ID         string    // jti
	IssuedAt   time.Time // iat
	Expires    time.Time // Verify accepts the proof until then; remember it as long
}

// Verify checks a proof against the request it came with. Its errors are of
// type *Error. The signature comes last, because it costs the most.
func Verify(proof string, e Expect) (Proof, error) {
	if len(proof) > maxProof {
		return Proof{}, refuse("malformed", errors.New("too long"))
	}
	m, err := jose.Parse(proof)
	if err != nil {
		return Proof{}, refuse("malformed", err)
	}
	if !m.Header.Is(mediaType) {
		return Proof{}, refuse("typ", nil)
	}
	key, err := jose.ParseKey(m.Header.JWK)
	if err != nil {
		return Proof{}, refuse("jwk", err)
	}
	if key.Alg == "" {
		key.Alg = m.Header.Alg // Verify knows whether it fits the key
	}
	var c claims
	if err := jose.Members(string(m.Payload), c.set); err != nil {
		return Proof{}, refuse("malformed", err)
	}
	expires, reason := c.judge(e)
	if reason != "" {
		return Proof{}, refuse(reason, nil)
	}
	err = m.Verify(&key)
	if errors.Is(err, jose.ErrSignature) {
		return Proof{}, refuse("signature", nil)
	}
	if err != nil {
		return Proof{}, refuse("alg", err)
	}
	return Proof{Thumbprint: key.Thumbprint(), ID: c.jti, IssuedAt: time.Unix(c.iat, 0).UTC(), Expires: expires}, nil
}

func refuse(reason string, err error) error { return &Error{Reason: reason, Err: err} }

// claims is the payload of a proof (RFC 9449 §4.2).
type claims struct {
	jti, htm, htu, ath string
	iat                int64
}

func (c *claims) set(name, value string) (err error) {
	switch name {
	case "jti":
		c.jti, err = jose.String(value)
	case "htm":
		c.htm, err = jose.String(value)
	case "htu":
		c.htu, err = jose.String(value)
	case "ath":
		c.ath, err = jose.String(value)
	case "iat":
		c.iat, err = jose.Int(value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// judge compares the claims with the request. It returns the reason to refuse,
// or the time until which the proof is good.
func (c *claims) judge(e Expect) (expires time.Time, reason string) {
	if c.htm == "" || c.htm != e.Method {
		return expires, "htm"
	}
	got, err := target(c.htu)
	if err != nil {
		return expires, "htu"
	}
	if want, err := target(e.URL); err != nil || got != want {
		return expires, "htu"
	}
	window := e.Window
	if window == 0 {
		window = past
	}
	issued := time.Unix(c.iat, 0)
	expires = issued.Add(window).UTC()
	if c.iat <= 0 || e.Now.After(expires) || issued.After(e.Now.Add(future)) {
		return expires, "iat"
	}
	if !printable(c.jti) || len(c.jti) > maxID {
		return expires, "jti"
	}
	// RFC 9449 §4.3: with an access token, ath must be the hash of it.
	if e.AccessToken != "" && subtle.ConstantTimeCompare([]byte(c.ath), []byte(hash(e.AccessToken))) == 0 {
		return expires, "ath"
	}
	return expires, ""
}

// hash is ath (RFC 9449 §4.2): base64url of SHA-256 of the token.
func hash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// New makes a proof for one request. The jti must be random: a server takes
// each only once. Without an access token the proof has no ath.
func New(signer crypto.Signer, alg, method, url, accessToken string, now time.Time, jti string) (string, error) {
	htu, err := target(url)
	if err != nil {
		return "", fmt.Errorf("make dpop proof: url: %w", err)
	}
	if method == "" || !printable(jti) || len(jti) > maxID {
		return "", errors.New("make dpop proof: want a method and a jti of up to 128 printable characters")
	}
	jwk, err := jose.Key{Public: signer.Public()}.Encode()
	if err != nil {
		return "", fmt.Errorf("make dpop proof: %w", err)
	}
	payload := jose.AppendString([]byte(`{"jti":`), jti)
	payload = jose.AppendString(append(payload, `,"htm":`...), method)
	payload = jose.AppendString(append(payload, `,"htu":`...), htu)
	payload = strconv.AppendInt(append(payload, `,"iat":`...), now.Unix(), 10)
	if accessToken != "" {
		payload = jose.AppendString(append(payload, `,"ath":`...), hash(accessToken))
	}
	header := jose.Header{Alg: alg, Typ: mediaType, JWK: jwk}
	proof, err := jose.Sign(signer, alg, header.Encode(), append(payload, '}'))
	if err != nil {
		return "", fmt.Errorf("make dpop proof: %w", err)
	}
	return proof, nil
}
