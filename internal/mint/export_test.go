package mint

import (
	"context"
	"encoding/base64"
	"testing"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// Thief returns what somebody with the signing key can do: sign any claims.
func Thief(m *Mint) func(t *testing.T, header string, c *token.Claims) string {
	s := m.state.Load().signers[m.cfg.Algorithms[0]]
	return func(t *testing.T, header string, c *token.Claims) string {
		t.Helper()
		raw, err := base64.RawURLEncoding.DecodeString(header)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jose.Sign(s.key, s.alg, raw, payload)
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
}

// Note keeps until when keys have living tokens, as Run does every minute.
func Note(m *Mint, ctx context.Context) error { return m.note(ctx) }
