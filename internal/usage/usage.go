// Package usage carries what guards see of tokens to the authorization server: the
// wire format of a report, and the sender that batches.
//
// It owns no judgement: whether a sighting is suspicious the server decides. The
// invariant: a report names tokens by id and digest and never contains one; a whole
// token leaves only when the server asked for this very one.
package usage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// A Sighting is a token that a guard saw for the first time, after it had verified the
// signature.
type Sighting struct {
	KeyID  string `json:"kid"`
	ID     string `json:"jti"`
	Digest string `json:"digest"` // base64url of Digest; "" when the jti is none of the issuer's
}

// A Refusal is one that a guard made, so that its receipt is found at the server too.
type Refusal struct {
	Receipt string `json:"receipt"`          // the id that the caller was told
	Reason  string `json:"reason"`           // which check failed, as package guard spells it
	Detail  string `json:"detail,omitempty"` // what lay behind it: a rule's position, a key
	KeyID   string `json:"kid,omitempty"`    // of a token whose signature was verified
	ID      string `json:"jti,omitempty"`    // of such a token
	Stale   int64  `json:"stale_ms"`         // how old the guard's revocation state was
}

// Report is the body of POST <issuer>/usage.
type Report struct {
	Instance string     `json:"instance"`           // which process of the guard
	Tokens   []Sighting `json:"tokens"`             // at most Most
	Refusals []Refusal  `json:"refusals,omitempty"` // at most MostRefusals: the rest is in the guard's log alone
	Dropped  uint64     `json:"dropped,omitempty"`  // sightings that were lost since the last report
}

// Answer is what the server says: whose whole tokens it wants to see.
type Answer struct {
	Show []string `json:"show,omitempty"` // jtis of the report
}

// Evidence is the body of POST <issuer>/usage/token.
type Evidence struct {
	Token string `json:"token"` // compact
}

// How much a report may have.
const (
	Most         = 1000 // sightings
	MostRefusals = 100
)

const (
	idLength  = 24 // characters of a jti: 12 of random bytes, then those of the tag
	tagLength = 12
	blank     = "AAAAAAAAAAAA" // stands in the place of the tag while it is computed
)

// Digest is what the tag in a jti covers besides its random bytes: SHA-256 of the
// encoded header, a dot, and the payload with the tag's characters set to A. It is nil
// for a token whose jti has another form.
func Digest(header string, payload []byte, id string) []byte {
	at := TagIndex(payload, id)
	if at < 0 {
		return nil
	}
	sum := sha256.New()
	sum.Write([]byte(header))
	sum.Write([]byte{'.'})
	sum.Write(payload[:at])
	sum.Write([]byte(blank))
	sum.Write(payload[at+tagLength:])
	return sum.Sum(nil)
}

// TagIndex finds the tag's characters in the jti member of a payload; -1 without.
func TagIndex(payload []byte, id string) int {
	if len(id) != idLength {
		return -1
	}
	member := []byte(`"jti":"` + id + `"`)
	i := bytes.Index(payload, member)
	if i < 0 {
		return -1
	}
	return i + len(member) - 1 - tagLength
}

// longest is what a text of a report may be, in bytes.
const longest = 256

// Decode reads a report and checks its bounds.
func Decode(body []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("usage: report is not JSON: %w", err)
	}
	switch {
	case r.Instance == "" || len(r.Instance) > longest:
		return r, errors.New("usage: report without an instance")
	case len(r.Tokens) > Most:
		return r, fmt.Errorf("usage: report of %d tokens, want at most %d", len(r.Tokens), Most)
	case len(r.Refusals) > MostRefusals:
		return r, fmt.Errorf("usage: report of %d refusals, want at most %d", len(r.Refusals), MostRefusals)
	}
	for i, f := range r.Refusals {
		if f.Receipt == "" || len(f.Receipt)+len(f.Reason)+len(f.Detail)+len(f.KeyID)+len(f.ID) > 5*longest {
			return r, fmt.Errorf("usage: refusal %d of the report has no receipt, or something too long", i)
		}
	}
	for i, s := range r.Tokens {
		if s.ID == "" || len(s.ID) > longest || len(s.KeyID) > longest || len(s.Digest) > longest {
			return r, fmt.Errorf("usage: token %d of the report has no jti, or something too long", i)
		}
	}
	return r, nil
}

// Bytes is the digest, nil when there is none or it is malformed.
func (s Sighting) Bytes() []byte {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s.Digest)
	if err != nil || len(raw) != sha256.Size {
		return nil
	}
	return raw
}
