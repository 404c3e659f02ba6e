// Package feed carries revocation rules from the authorization server to guards, in order.
//
// It owns the wire format (Batch), the server's side (Log: one shared, signed stream with its
// snapshot) and the reader's side (Reader and the Set it fills). It does not own rules: what
// ends and why is decided elsewhere. It does not sign or check signatures either: both are
// functions handed in.
//
// The invariant: a View at position N of an epoch holds every rule of that epoch up to N that
// is not past its end, and within an epoch N never goes back.
package feed

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"time"
)

// Kind names what a rule's value is.
type Kind string

// The kinds of rules. A reader keeps rules of kinds it does not know: it will never ask for
// their values.
const (
	KindToken   Kind = "jti"
	KindGrant   Kind = "grant"
	KindSession Kind = "session"
	KindSubject Kind = "subject"
	KindClient  Kind = "client"
)

// public reports whether rules of this kind are in the public snapshot: their values are
// random, so a rule names nobody to those who do not hold the token.
func (k Kind) public() bool {
	return k == KindToken || k == KindGrant || k == KindSession
}

// Effect says what becomes of the tokens a rule hits.
type Effect string

// The effects. A reader takes an effect it does not know for End.
const (
	End    Effect = "end"     // refused
	StepUp Effect = "step-up" // refused until the person signed in again (RFC 9470)
)

// Value is the keyed hash under which a rule is published, so that a copy names nobody.
type Value [16]byte

// String is the form on the wire: base64url, 22 characters.
func (v Value) String() string {
	return base64.RawURLEncoding.EncodeToString(v[:])
}

// A Hasher computes Values under one key. It is for one goroutine at a time.
type Hasher struct {
	key []byte
	mac hash.Hash
	buf []byte
}

// NewHasher returns a Hasher for the feed key of an epoch.
func NewHasher(key []byte) *Hasher {
	return &Hasher{key: key, mac: hmac.New(sha256.New, key), buf: make([]byte, 0, 256)}
}

// Uses reports whether the key is the Hasher's.
func (h *Hasher) Uses(key []byte) bool { return bytes.Equal(h.key, key) }

// Hash computes the Value of value: HMAC-SHA-256 under the key, cut to 128 bits. Kind and
// issuer are framed by their lengths, so no two triples read alike.
func (h *Hasher) Hash(kind Kind, issuer, value string) Value {
	buf := binary.BigEndian.AppendUint32(h.buf[:0], uint32(len(kind)))
	buf = append(buf, kind...)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(issuer)))
	buf = append(buf, issuer...)
	buf = append(buf, value...)
	h.mac.Reset()
	h.mac.Write(buf)
	h.buf = h.mac.Sum(buf[:0])
	return Value(h.buf[:16])
}

// Hash is Hasher.Hash for a single value.
func Hash(key []byte, kind Kind, issuer, value string) Value {
	return NewHasher(key).Hash(kind, issuer, value)
}

// publicKey derives the key of the public snapshot from the feed key of the epoch: who holds
// the one cannot test values against the other.
func publicKey(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("public"))
	return mac.Sum(nil)
}

// Rule ends, or asks more of, the tokens that carry one value.
type Rule struct {
	Position uint64 // where in the feed it stands
	Kind     Kind
	Value    Value
	Effect   Effect
	Until    time.Time // whole seconds; no token it hits is alive after this
}

// Hits reports whether the rule applies to a token that carries its value and was decided on
// at position rev. Order, not clocks, decides: what was issued after the rule is good again.
// A rule on a single token has no cut-off.
func (r Rule) Hits(rev uint64) bool {
	return r.Kind == KindToken || rev < r.Position
}

// Plain is a Rule before its value is hashed, as the authorization server knows it.
type Plain struct {
	Position uint64
	Kind     Kind
	Value    string
	Effect   Effect
	Until    time.Time
}

// hash is the rule as it is published under key. An end is rounded up to the second; a rule
// without one stays for good.
func (p Plain) hash(key []byte, issuer string) Rule {
	until := p.Until.Add(time.Second - 1).Truncate(time.Second)
	if last := time.Unix(farthest, 0); p.Until.IsZero() || until.After(last) {
		until = last
	}
	return Rule{
		Position: p.Position,
		Kind:     p.Kind,
		Value:    Hash(key, p.Kind, issuer, p.Value),
		Effect:   p.Effect,
		Until:    until.UTC(),
	}
}

// Batch is the payload of one signed message: the rules after Prev up to Position. With
// Snapshot it is the whole state at Position and Prev is zero. With Prev equal to Position it
// is a heartbeat.
type Batch struct {
	Issuer      string
	Epoch       string // changes when positions start anew: restore or fail-over
	Prev        uint64
	Position    uint64
	AsOf        time.Time // microseconds; at this time nothing newer was committed; zero: not known
	Snapshot    bool
	Public      bool   // a public snapshot: random values only, under the public key
	Key         []byte // snapshots only: the key of Hash
	KeysChanged bool   // signing keys changed: fetch the key set
	Rules       []Rule // a snapshot may hold rules after Position; the batch that repeats them changes nothing
}
