package client

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

// InnerKey reads a public key by which a client wants to mint transaction tokens.
// Its id is its thumbprint (RFC 7638), whatever the JWK says: nobody can call a key
// by the name of another's.
func InnerKey(raw []byte) (id string, jwk []byte, err error) {
	key, err := jose.ParseKey(raw)
	if err != nil {
		return "", nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "jwk is no public key: " + err.Error(), Cause: err}
	}
	switch key.Alg {
	case jose.ES256, jose.Ed25519:
	default:
		return "", nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "jwk must be a key for ES256 or Ed25519 and say so in alg"}
	}
	key.ID = key.Thumbprint()
	if jwk, err = key.Encode(); err != nil {
		return "", nil, fmt.Errorf("encode key: %w", err)
	}
	return key.ID, jwk, nil
}

// InnerSet is a JWK set of keys, with what each may mint: for which trust domain, as
// which workload, at most which scope, until when. Keys of clients that of does not
// return stay out.
func InnerSet(keys []store.InnerKey, of func(id string) *store.Client) []byte {
	out := []byte(`{"keys":[`)
	for _, k := range keys {
		c := of(k.ClientID)
		if c == nil {
			continue
		}
		if out[len(out)-1] == '}' {
			out = append(out, ',')
		}
		out = append(out, k.Public[:len(k.Public)-1]...)
		for _, m := range [][2]string{
			{"client_id", k.ClientID}, {"trust_domain", c.TrustDomain}, {"scope", strings.Join(c.Scope, " ")},
		} {
			out = jose.AppendString(append(out, `,"`+m[0]+`":`...), m[1])
		}
		out = append(strconv.AppendInt(append(out, `,"exp":`...), k.Expires.Unix(), 10), '}')
	}
	return append(out, `]}`...)
}
