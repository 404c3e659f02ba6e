package mint

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/usage"
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
	c.ID = base64.RawURLEncoding.EncodeToString(undashed(random)) + blankTag
	payload, err := c.Encode()
	if err != nil {
		return "", fmt.Errorf("encode access token: %w", err)
	}
	at := usage.TagIndex(payload, c.ID)
	if at < 0 {
		return "", errors.New("encode access token: no jti in the payload")
	}
	mac := tag(r.tags[0], random, usage.Digest(s.segment, payload, c.ID))
	base64.RawURLEncoding.Encode(payload[at:at+len(blankTag)], mac)
	c.ID = c.ID[:12] + string(payload[at:at+len(blankTag)])
	s.latest.raise(c.Expiry)
	return jose.Sign(s.key, s.alg, s.header, payload)
}

// Named returns the kid and the jti of a token that Verify called forged.
func Named(compact string) (kid, id string) {
	m, err := jose.Parse(compact)
	if err != nil {
		return "", ""
	}
	c, err := token.Decode(m.Payload)
	if err != nil {
		return m.Header.KeyID, ""
	}
	return m.Header.KeyID, c.ID
}

// tag covers header and payload, so that a genuine jti is worth nothing on
// other claims.
func tag(key, random, digest []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(random)
	mac.Write(digest)
	return mac.Sum(nil)[:9]
}

// Verify reads an access token of this issuer. It checks form, type, key,
// signature and tag, the last two once for each set of keys; not the times, the
// audience or the rules. The error is ErrInvalid or ErrForged.
func (m *Mint) Verify(compact string) (*token.Claims, error) {
	msg, err := jose.Parse(compact)
	if err != nil || !token.TypeOK(msg.Header.Typ) {
		return nil, ErrInvalid
	}
	r := m.state.Load()
	sum := sha256.Sum256([]byte(compact))
	known := r.proven.has(sum)
	key := r.public[msg.Header.KeyID]
	if key == nil || key.Alg != msg.Header.Alg || !known && key.Verify(msg.Signed, msg.Signature) != nil {
		return nil, ErrInvalid
	}
	c, err := token.Decode(msg.Payload)
	if err != nil || c.Issuer != m.cfg.Issuer {
		return nil, ErrInvalid
	}
	if known {
		return c, nil
	}
	header, _, _ := strings.Cut(compact, ".")
	if !m.Issued(c.ID, usage.Digest(header, msg.Payload, c.ID)) {
		return nil, ErrForged
	}
	r.proven.add(sum)
	return c, nil
}

// Issued reports whether this issuer made a token with this jti and digest, without
// seeing it. It tries every tag key that may have made it, and reads them again before
// it says no: another replica may just have replaced the one that tags.
func (m *Mint) Issued(id string, digest []byte) bool {
	if m.state.Load().issued(id, digest) {
		return true
	}
	if !m.again.allow(m.cfg.Now()) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := m.Reload(ctx); err != nil {
		m.cfg.Logger.Error("reload keys", "error", err)
		return false
	}
	return m.state.Load().issued(id, digest)
}

// issued checks a tag under every tag key that may have made it.
func (r *ring) issued(id string, digest []byte) bool {
	if len(id) != 24 || len(digest) != sha256.Size {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil {
		return false
	}
	for _, key := range r.tags {
		if subtle.ConstantTimeCompare(raw[9:], tag(key, raw[:9], digest)) == 1 {
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
