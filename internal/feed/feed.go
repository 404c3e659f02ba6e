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
	KindToken        Kind = "jti"
	KindGrant        Kind = "grant"
	KindSession      Kind = "session"
	KindSubject      Kind = "subject"
	KindClient       Kind = "client"
	KindPair         Kind = "subject+client" // a subject's tokens at one client; the value is made by Pair
	KindActor        Kind = "actor"          // who acts for another (RFC 8693 §4.1)
	KindProofKey     Kind = "jkt"            // a DPoP key, by its thumbprint (RFC 9449 §6.1)
	KindCert         Kind = "x5t#S256"       // a client certificate, by its thumbprint (RFC 8705 §3.1)
	KindSigningKey   Kind = "kid"            // a key of the issuer's
	KindResource     Kind = "resource"       // an audience
	KindEverything   Kind = "everything"     // all tokens of the issuer; the value is Any
	KindIssuedBefore Kind = "issued-before"  // those whose iat is earlier than Rule.Before; the value is Any
)

// Any is the value of a rule that is about no single value.
const Any = "*"

// Pair is the value of a rule on a subject at one client. Neither name has a control
// character in it, so no two pairs read alike.
func Pair(subject, client string) string { return subject + "\n" + client }

// public reports whether rules of this kind are in the public snapshot: their values are
// random or nobody's, so a rule names nobody to those who do not hold the token.
func (k Kind) public() bool {
	switch k {
	case KindToken, KindGrant, KindSession, KindSigningKey, KindEverything, KindIssuedBefore:
		return true
	}
	return false
}

// broad reports whether rules of this kind are about every token.
func (k Kind) broad() bool { return k == KindEverything || k == KindIssuedBefore }

// lasting reports whether a rule of this kind has no cut-off: it hits what is issued later
// as well, because whoever stole a signing key would choose his rev, and whoever holds a
// stolen client's key goes on asking.
func (k Kind) lasting() bool {
	switch k {
	case KindToken, KindProofKey, KindCert, KindSigningKey:
		return true
	}
	return false
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
	Before   time.Time // whole seconds; of a step-up: auth_time must not be earlier; of issued-before: iat
	Until    time.Time // whole seconds; no token it hits is alive after this
}

// Token is what of a token the hit of a rule depends on besides its values.
type Token struct {
	Rev      uint64
	IssuedAt int64 // seconds of the epoch
	AuthTime int64 // seconds of the epoch; far in the past when no one authenticated
	Self     bool  // a client acts for itself: there is nobody to authenticate again
}

// TokenOf puts together what of a token a rule looks at. self says that its subject is its
// client.
func TokenOf(rev uint64, issuedAt, authTime time.Time, self bool) Token {
	return Token{Rev: rev, IssuedAt: issuedAt.Unix(), AuthTime: authTime.Unix(), Self: self && authTime.IsZero()}
}

// Hits reports whether the rule applies to a token that carries its value. Order, not
// clocks, decides what is ended: what was decided on after the rule is good again, unless
// its kind has no cut-off. A step-up holds until somebody has authenticated since
// (RFC 9470 §3), however new the token is: a refreshed one keeps its auth_time.
func (r Rule) Hits(t Token) bool {
	switch {
	case r.Effect == StepUp:
		return !t.Self && t.AuthTime < r.Before.Unix()
	case r.Kind == KindIssuedBefore:
		return t.IssuedAt < r.Before.Unix()
	}
	return r.Kind.lasting() || t.Rev < r.Position
}

// timed reports whether the rule is about a time.
func (r Rule) timed() bool { return r.Effect == StepUp || r.Kind == KindIssuedBefore }

// Plain is a Rule before its value is hashed, as the authorization server knows it.
type Plain struct {
	Position uint64
	Kind     Kind
	Value    string
	Effect   Effect
	Before   time.Time // see Rule
	Until    time.Time
}

// Hits is Rule.Hits.
func (p Plain) Hits(t Token) bool {
	r := Rule{Position: p.Position, Kind: p.Kind, Effect: p.Effect}
	if r.timed() {
		r.Before = ceil(p.Before)
	}
	return r.Hits(t)
}

// Rule is the rule as it is published under key. Its times are rounded up to the second,
// as those in tokens are rounded down; a rule without an end stays for good.
func (p Plain) Rule(key []byte, issuer string) Rule {
	until := ceil(p.Until)
	if last := time.Unix(farthest, 0); p.Until.IsZero() || until.After(last) {
		until = last
	}
	r := Rule{
		Position: p.Position,
		Kind:     p.Kind,
		Value:    Hash(key, p.Kind, issuer, p.Value),
		Effect:   p.Effect,
		Until:    until.UTC(),
	}
	if r.timed() {
		r.Before = ceil(p.Before).UTC()
	}
	return r
}

func ceil(t time.Time) time.Time { return t.Add(time.Second - 1).Truncate(time.Second) }

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
