package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
)

// Decode reads a claims set whose signature was checked already. Duplicate
// members, wrong types, null, text that is not UTF-8, control characters in
// names, a cnf member it does not know and a missing RFC 9068 §2.2 claim are
// errors. It does not look at the clock; Check does.
func Decode(payload []byte) (*Claims, error) {
	c := &Claims{payload: string(payload)}
	return c.decode(c.set, (*Claims).complete)
}

// decode reads the payload member by member and then looks at the whole.
func (c *Claims) decode(set func(name, value string) error, complete func(*Claims) error) (*Claims, error) {
	if err := jose.Members(c.payload, set); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if err := complete(c); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	for a := c.Actor; a != nil; a = a.Actor {
		if a.Issuer == "" {
			a.Issuer = c.Issuer
		}
	}
	return c, nil
}

// complete checks RFC 9068 §2.2: iss, exp, aud, sub, client_id, iat and jti
// are required. None of them can be present and empty.
func (c *Claims) complete() error {
	for _, claim := range [...]struct {
		name string
		ok   bool
	}{
		{"iss", c.Issuer != ""}, {"exp", !c.Expiry.IsZero()}, {"aud", len(c.Audience) > 0}, {"sub", c.Subject != ""},
		{"client_id", c.ClientID != ""}, {"iat", !c.IssuedAt.IsZero()}, {"jti", c.ID != ""},
	} {
		if !claim.ok {
			return fmt.Errorf("%s: %w", claim.name, errMissing)
		}
	}
	return nil
}

// set reads one member. Private claims stay in the payload until Extra asks.
func (c *Claims) set(name, value string) (err error) {
	switch name {
	case "iss":
		c.Issuer, err = identity(value)
	case "sub":
		c.Subject, err = identity(value)
	case "client_id":
		c.ClientID, err = identity(value)
	case "jti":
		c.ID, err = identity(value)
	case "aud":
		c.Audience, err = audience(value)
	case "scope":
		c.Scope, err = scopes(value)
	case "exp":
		c.Expiry, err = date(value)
	case "iat":
		c.IssuedAt, err = date(value)
	case "nbf":
		c.NotBefore, err = date(value)
	case "grant_id":
		c.GrantID, err = identity(value)
	case "sid":
		c.SessionID, err = identity(value)
	case "via":
		c.Via, err = via(value)
	case "rev":
		c.Rev, err = position(value)
	case "auth_time":
		c.AuthTime, err = date(value)
	case "acr":
		c.ACR, err = identity(value)
	case "act":
		c.Actor, err = actor(value, 1)
	case "cnf":
		c.Confirmation, err = confirmation(value)
	case "authorization_details":
		c.Details, err = details(value)
	case "nonce", "events", "txn", "req_wl", "rctx":
		// RFC 8725 §3.12: kinds of JWT have rules that exclude each other. These
		// mark ID tokens, logout tokens, security events and transaction tokens.
		err = errors.New("not a claim of access tokens")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// identity reads a string that others will compare, log and put in headers:
// never empty, never with control characters.
func identity(value string) (string, error) {
	s, err := jose.String(value)
	if err != nil {
		return "", err
	}
	if s == "" {
		return "", errEmpty
	}
	for i := range len(s) {
		// 0xc2 begins U+0080 to U+00BF, of which the first half are controls.
		if c := s[i]; c < ' ' || c == 0x7f || c == 0xc2 && s[i+1] < 0xa0 {
			return "", errors.New("control character")
		}
	}
	return s, nil
}

// audience reads aud: one string, or a list of at least one (RFC 7519 §4.1.3).
func audience(value string) ([]string, error) {
	if value[0] == '"' {
		one, err := identity(value)
		return []string{one}, err
	}
	all, err := identities(value)
	if err == nil && len(all) == 0 {
		err = errEmpty
	}
	return all, err
}

func identities(value string) ([]string, error) {
	var all []string
	err := jose.Elements(value, func(value string) error {
		one, err := identity(value)
		all = append(all, one)
		return err
	})
	return all, err
}

func via(value string) ([]string, error) {
	all, err := identities(value)
	if err == nil && len(all) > maxVia {
		err = fmt.Errorf("more than %d entries", maxVia)
	}
	return all, err
}

// scopes reads scope: one string, not a list (RFC 8693 §4.2).
func scopes(value string) (scope.Set, error) {
	s, err := jose.String(value)
	if err != nil {
		return nil, err
	}
	return scope.Parse(s)
}

// date reads a NumericDate between the epoch and the year 9999.
func date(value string) (time.Time, error) {
	const last = 253402300799
	n, err := jose.Int(value)
	if err != nil {
		return time.Time{}, err
	}
	if n <= 0 || n > last {
		return time.Time{}, errors.New("no sensible date")
	}
	return time.Unix(n, 0).UTC(), nil
}

func position(value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, errors.New("want a whole number")
	}
	return n, nil
}

func actor(value string, level int) (*Actor, error) {
	if level > maxActors {
		return nil, fmt.Errorf("more than %d actors", maxActors)
	}
	var a Actor
	err := jose.Members(value, func(name, value string) (err error) {
		switch name {
		case "iss":
			a.Issuer, err = identity(value)
		case "sub":
			a.Subject, err = identity(value)
		case "act":
			a.Actor, err = actor(value, level+1)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err == nil && a.Subject == "" {
		err = fmt.Errorf("sub: %w", errMissing)
	}
	return &a, err
}

// confirmation refuses members it does not know: they may ask for a proof
// that nobody would then check.
func confirmation(value string) (*Confirmation, error) {
	var c Confirmation
	err := jose.Members(value, func(name, value string) (err error) {
		switch name {
		case "jkt":
			c.KeyThumbprint, err = thumbprint(value)
		case "x5t#S256":
			c.CertThumbprint, err = thumbprint(value)
		default:
			return errors.New("unknown member")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err == nil && c == (Confirmation{}) {
		err = errEmpty
	}
	return &c, err
}

// thumbprint reads a SHA-256 hash in base64url.
func thumbprint(value string) (string, error) {
	s, err := jose.String(value)
	if err != nil {
		return "", err
	}
	var buf [32]byte
	sum, err := jose.DecodeSegment(buf[:0], s)
	if err != nil || len(sum) != len(buf) {
		return "", errors.New("want a SHA-256 thumbprint")
	}
	return s, nil
}

func details(value string) ([]Detail, error) {
	var all []Detail
	err := jose.Elements(value, func(value string) error {
		typ, err := detailType(value)
		all = append(all, Detail{Type: typ, Raw: json.RawMessage(value)})
		return err
	})
	return all, err
}

// detailType reads the type of one authorization detail; RFC 9396 §2 requires it.
func detailType(value string) (string, error) {
	typ := ""
	err := jose.Members(value, func(name, value string) (err error) {
		if name == "type" {
			typ, err = identity(value)
		}
		return err
	})
	if err == nil && typ == "" {
		err = errMissing
	}
	if err != nil {
		return "", fmt.Errorf("type: %w", err)
	}
	return typ, nil
}
