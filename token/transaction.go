package token

import (
	"errors"
	"fmt"

	"github.com/writ-auth/writ/internal/jose"
)

// DecodeTransaction is Decode for the claims of a transaction token, with the same
// strictness. The draft requires iat, aud, exp, txn, sub, scope and req_wl; Writ
// asks for iss and client_id besides, because revocations name tokens by them, for
// an aud that is one string, and for a scope that is not empty: a transaction has a
// purpose. What ties an access token to its holder is refused: a transaction token
// is no credential, and proves nothing about who sends it.
func DecodeTransaction(payload []byte) (*Claims, error) {
	c := &Claims{payload: string(payload)}
	return c.decode(c.setTransaction, (*Claims).completeTransaction)
}

func (c *Claims) completeTransaction() error {
	for _, claim := range [...]struct {
		name string
		ok   bool
	}{
		{"iss", c.Issuer != ""}, {"aud", len(c.Audience) > 0}, {"iat", !c.IssuedAt.IsZero()}, {"exp", !c.Expiry.IsZero()},
		{"txn", c.ID != ""}, {"sub", c.Subject != ""}, {"client_id", c.ClientID != ""}, {"scope", len(c.Scope) > 0},
		{"req_wl", c.Workload != ""},
	} {
		if !claim.ok {
			return fmt.Errorf("%s: %w", claim.name, errMissing)
		}
	}
	return nil
}

// setTransaction reads one member: what transaction tokens have for themselves or
// must not have, and the rest as in access tokens.
func (c *Claims) setTransaction(name, value string) (err error) {
	switch name {
	case "txn":
		c.ID, err = identity(value)
	case "req_wl":
		c.Workload, err = identity(value)
	case "rctx":
		c.RequestIP, err = requestContext(value)
	case "aud":
		var one string
		one, err = identity(value)
		c.Audience = []string{one}
	case "jti", "cnf", "authorization_details":
		err = errors.New("not a claim of transaction tokens")
	default:
		return c.set(name, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// requestContext reads rctx, of which only req_ip matters here; what else stands in
// it is for others.
func requestContext(value string) (ip string, err error) {
	err = jose.Members(value, func(name, value string) (err error) {
		if name == "req_ip" {
			ip, err = identity(value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	return ip, err
}

// EncodeTransaction is Encode for a transaction token: ID is written as txn.
func (c *Claims) EncodeTransaction() ([]byte, error) {
	if c.Confirmation != nil || len(c.Details) > 0 || len(c.Audience) > 1 {
		return nil, errors.New("encode claims: a transaction token has one audience, no cnf and no authorization_details")
	}
	e := begin(c)
	e.text("txn", c.ID)
	e.text("req_wl", c.Workload)
	if c.RequestIP != "" {
		e.name("rctx")
		e.open()
		e.text("req_ip", c.RequestIP)
		e.close()
	}
	return e.rest(c, DecodeTransaction)
}
