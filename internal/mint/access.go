package mint

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

const typAccess = "at+jwt"

// Errors of Verify.
var (
	ErrInvalid = errors.New("mint: not a token of this issuer")
	// ErrForged is a token whose signature is right and whose tag is wrong:
	// a signing key is in foreign hands.
	ErrForged = errors.New("mint: signed with our key but never issued")
)

const blankTag = "AAAAAAAAAAAA"

// Access signs an access token (RFC 9068) with the issuer's key for alg, ""
// being the default. It sets c.ID:
// 9 random bytes and 9 bytes of HMAC(tag key; those bytes, SHA-256 of header
// and payload with the tag's 12 characters set to A), base64url.
func (m *Mint) Access(c *token.Claims, alg string) (string, error) {
	if err := m.Fit(); err != nil {
		return "", err
	}
	r := m.state.Load()
	if alg == "" {
		alg = m.cfg.Algorithms[0]
	}
	s := r.signers[alg]
	if s == nil {
		return "", fmt.Errorf("sign access token: no %s key is ready", alg)
	}
	random, err := randomBytes(m.cfg.Rand, 9)
	if err != nil {
		return "", err
	}
	c.ID = base64.RawURLEncoding.EncodeToString(random) + blankTag
	payload, err := c.Encode()
	if err != nil {
		return "", fmt.Errorf("encode access token: %w", err)
	}
	at := tagIndex(payload, c.ID)
	if at < 0 {
		return "", errors.New("encode access token: no jti in the payload")
	}
	mac := tag(r.tags[0], random, s.segment, payload)
	base64.RawURLEncoding.Encode(payload[at:at+len(blankTag)], mac)
	c.ID = c.ID[:12] + string(payload[at:at+len(blankTag)])
	return jose.Sign(s.key, s.alg, s.header, payload)
}

// tagIndex finds the tag's characters of the member jti.
func tagIndex(payload []byte, id string) int {
	member := []byte(`"jti":"` + id + `"`)
	i := bytes.Index(payload, member)
	if i < 0 {
		return -1
	}
	return i + len(member) - 1 - len(blankTag)
}

// tag covers header and payload, so that a genuine jti is worth nothing on
// other claims.
func tag(key, random []byte, header string, payload []byte) []byte {
	sum := sha256.New()
	sum.Write([]byte(header))
	sum.Write([]byte{'.'})
	sum.Write(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write(random)
	mac.Write(sum.Sum(nil))
	return mac.Sum(nil)[:9]
}

// Verify reads an access token of this issuer. It checks form, type, key,
// signature and tag; not the times, the audience or the rules. The error is
// ErrInvalid or ErrForged.
func (m *Mint) Verify(compact string) (*token.Claims, error) {
	msg, err := jose.Parse(compact)
	if err != nil || !token.TypeOK(msg.Header.Typ) {
		return nil, ErrInvalid
	}
	r := m.state.Load()
	key := r.public[msg.Header.KeyID]
	if key == nil || key.Alg != msg.Header.Alg || key.Verify(msg.Signed, msg.Signature) != nil {
		return nil, ErrInvalid
	}
	c, err := token.Decode(msg.Payload)
	if err != nil || c.Issuer != m.cfg.Issuer {
		return nil, ErrInvalid
	}
	if !r.issued(compact, c, msg.Payload) {
		return nil, ErrForged
	}
	return c, nil
}

// issued checks the tag of a token under every tag key that may have made it.
func (r *ring) issued(compact string, c *token.Claims, payload []byte) bool {
	if len(c.ID) != 24 {
		return false
	}
	random, err := base64.RawURLEncoding.Strict().DecodeString(c.ID[:12])
	if err != nil {
		return false
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(c.ID[12:])
	if err != nil {
		return false
	}
	at := tagIndex(payload, c.ID)
	if at < 0 {
		return false
	}
	header, _, _ := bytes.Cut([]byte(compact), []byte("."))
	blank := bytes.Clone(payload)
	copy(blank[at:], blankTag)
	for _, key := range r.tags {
		if subtle.ConstantTimeCompare(got, tag(key, random, string(header), blank)) == 1 {
			return true
		}
	}
	return false
}

// IDTokenAlgorithm is what ID tokens are signed with: RS256 where it is kept,
// because a client that registered nothing else must expect it (OIDC
// Registration §2).
func (m *Mint) IDTokenAlgorithm() string {
	if slices.Contains(m.cfg.Algorithms, jose.RS256) {
		return jose.RS256
	}
	return m.cfg.Algorithms[0]
}

// IDToken signs the claims of an OpenID Connect ID token.
func (m *Mint) IDToken(claims map[string]any) (string, error) {
	if err := m.Fit(); err != nil {
		return "", err
	}
	s := m.state.Load().signers[m.IDTokenAlgorithm()]
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode ID token: %w", err)
	}
	return jose.Sign(s.key, s.alg, jose.Header{Alg: s.alg, Typ: "JWT", KeyID: s.id}.Encode(), payload)
}

// Feed signs one batch of the feed.
func (m *Mint) Feed(payload []byte) (string, error) {
	s := m.state.Load().feed
	return jose.Sign(s.key, s.alg, jose.Header{Alg: s.alg, Typ: "writ-feed+jwt", KeyID: s.id}.Encode(), payload)
}
