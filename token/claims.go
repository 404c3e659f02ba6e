// Package token is the claims of access tokens (RFC 9068), and of the transaction
// tokens that go in their place inside a trust domain
// (draft-ietf-oauth-transaction-tokens): it decodes them strictly, encodes them and
// checks what RFC 9068 §4 asks of claims alone.
//
// It checks no signature, knows no keys and no revocations; package guard
// decides whether a token is good.
//
// Invariant: Decode accepts whatever Encode wrote, and claims that Decode
// returned hold every claim RFC 9068 §2.2 requires and no control character
// where a name stands. No claims set is good both for Decode and for
// DecodeTransaction.
package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
)

const (
	maxActors = 4 // levels of act
	maxVia    = 8 // entries of via
)

// Claims is what an access token or a transaction token says. Claims handed out by a guard are shared
// between requests: read them, do not change them.
type Claims struct {
	Issuer   string // iss
	Subject  string // sub
	ClientID string // client_id
	ID       string // jti; txn in a transaction token

	Audience  []string  // aud; one entry in tokens Writ issues; the trust domain in a transaction token
	Scope     scope.Set // scope
	Expiry    time.Time // exp
	IssuedAt  time.Time // iat
	NotBefore time.Time // nbf; zero without one

	GrantID   string   // grant_id: what ending the grant kills
	SessionID string   // sid: what ending the browser session kills
	Via       []string // via: ids of the tokens and grants this one depends on; nil in the first of a chain
	Rev       uint64   // rev: position of the revocation feed when the issuer decided

	AuthTime time.Time // auth_time: when the person proved who they are
	ACR      string    // acr: how

	Actor        *Actor        // act: who acts for the subject, outermost first (RFC 8693 §4.1)
	Confirmation *Confirmation // cnf: the key the token is bound to; nil means bearer
	Details      []Detail      // authorization_details (RFC 9396)

	// Of transaction tokens alone.
	Workload  string // req_wl: client id of the gateway that minted it; never empty there, always elsewhere
	RequestIP string // rctx.req_ip: where the call came from at the edge

	payload string   // what Decode read; holds the private claims
	extra   []member // what SetExtra set, sorted by name; replaced, never changed
}

// An Actor is one level of act. After Decode, Issuer is never empty: an actor
// that names none is one of the token's own issuer.
type Actor struct {
	Issuer, Subject string
	Actor           *Actor // who acted before
}

// A Confirmation names the key that the token's holder must prove to have.
type Confirmation struct {
	KeyThumbprint  string // jkt (RFC 9449 §6.1)
	CertThumbprint string // x5t#S256 (RFC 8705 §3.1)
}

// A Detail is one element of authorization_details: its type and the whole
// JSON object, type included.
type Detail struct {
	Type string
	Raw  json.RawMessage
}

// A member is a private claim as JSON.
type member struct{ name, value string }

func byName(a, b member) int { return strings.Compare(a.name, b.name) }

// Has reports whether the token carries the scope. It is false on nil claims.
func (c *Claims) Has(scope string) bool { return c != nil && c.Scope.Has(scope) }

// LogValue names the token in a log without giving it away.
func (c *Claims) LogValue() slog.Value {
	if c == nil {
		return slog.AnyValue(nil)
	}
	return slog.GroupValue(
		slog.String("sub", c.Subject),
		slog.String("client_id", c.ClientID),
		slog.String("jti", c.ID),
		slog.String("grant_id", c.GrantID),
	)
}

// TypeOK reports whether a header's typ marks an access token: "at+jwt" or
// "application/at+jwt" (RFC 9068 §4), without regard to case.
func TypeOK(typ string) bool { return jose.Header{Typ: typ}.Is("at+jwt") }

// TransactionTypeOK reports whether a header's typ marks a transaction token:
// "txntoken+jwt" or "application/txntoken+jwt", without regard to case.
func TransactionTypeOK(typ string) bool { return jose.Header{Typ: typ}.Is("txntoken+jwt") }

// Extra decodes a private claim into v, as json.Unmarshal does; it reports
// whether the claim is there. Claims that have a field are not private.
func (c *Claims) Extra(name string, v any) (bool, error) {
	if registered(name) {
		return false, nil
	}
	if i, ok := slices.BinarySearchFunc(c.extra, member{name: name}, byName); ok {
		return true, unmarshal(name, c.extra[i].value, v)
	}
	all, err := c.private()
	if err != nil {
		return false, err
	}
	for _, m := range all {
		if m.name == name {
			return true, unmarshal(name, m.value, v)
		}
	}
	return false, nil
}

func unmarshal(name, value string, v any) error {
	if err := json.Unmarshal([]byte(value), v); err != nil {
		return fmt.Errorf("token: %.64q: %w", name, err)
	}
	return nil
}

// SetExtra sets a private claim for Encode. Names of claims that have a field
// are refused, and so are nonce and events, which none of our tokens has.
func (c *Claims) SetExtra(name string, v any) error {
	if name == "" || registered(name) {
		return fmt.Errorf("token: %.64q is not the name of a private claim", name)
	}
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("token: encode %.64q: %w", name, err)
	}
	// json.Marshal lets raw messages pass that Decode would refuse.
	whole := append(append([]byte(`{"v":`), value...), '}')
	if err := jose.Members(whole, func(string, []byte) error { return nil }); err != nil {
		return fmt.Errorf("token: encode %.64q: %w", name, err)
	}
	c.extra = overlay(c.extra, []member{{name, string(value)}})
	return nil
}

// private lists the private claims of the payload, sorted by name.
func (c *Claims) private() ([]member, error) {
	if c.payload == "" {
		return nil, nil
	}
	var all []member
	err := jose.Members(c.payload, func(name, value string) error {
		if !registered(name) {
			all = append(all, member{name, value})
		}
		return nil
	})
	slices.SortFunc(all, byName)
	return all, err
}

// overlay returns under with members of over added or put in their place.
func overlay(under, over []member) []member {
	all := slices.Clone(under)
	for _, m := range over {
		i, found := slices.BinarySearchFunc(all, m, byName)
		if found {
			all[i] = m
		} else {
			all = slices.Insert(all, i, m)
		}
	}
	return all
}

// registered lists the claims that set reads or refuses.
func registered(name string) bool {
	switch name {
	case "iss", "sub", "client_id", "jti", "aud", "scope", "exp", "iat", "nbf",
		"grant_id", "sid", "via", "rev", "auth_time", "acr",
		"act", "cnf", "authorization_details", "nonce", "events", "txn", "req_wl", "rctx":
		return true
	}
	return false
}

// InsecureParse decodes a compact token WITHOUT checking signature, times or
// anything else: for display only. What is not marked as a transaction token is
// read as an access token.
func InsecureParse(compact string) (*Claims, error) {
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if TransactionTypeOK(m.Header.Typ) {
		return DecodeTransaction(m.Payload)
	}
	return Decode(m.Payload)
}

var (
	errEmpty   = errors.New("empty")
	errMissing = errors.New("missing")
)
