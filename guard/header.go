package guard

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// A header is what matters of a JOSE header. jwk, jku, x5u and x5c do not: no
// token says which key to trust.
type header struct {
	alg, kid string
	kind     kind // as typ says
}

// A kind is which of the two tokens that a guard takes something is. What is one
// never passes as the other: header, keys, typ and claims all differ (RFC 8725 §3.12).
type kind uint8

const (
	foreign     kind = iota // neither
	access                  // RFC 9068, in Authorization
	transaction             // draft-ietf-oauth-transaction-tokens, in Txn-Token
)

func kindOf(typ string) kind {
	switch {
	case token.TypeOK(typ):
		return access
	case token.TransactionTypeOK(typ):
		return transaction
	}
	return foreign
}

func readHeader(segment string) (header, error) {
	h, err := jose.ParseHeader(segment)
	if err != nil {
		return header{}, err
	}
	return header{alg: h.Alg, kid: h.KeyID, kind: kindOf(h.Typ)}, nil
}

// headers remembers decoded headers by their bytes: all tokens of one key
// begin alike. Only headers of verified tokens get in.
type headers struct {
	known atomic.Pointer[map[string]header]
	mu    sync.Mutex // held to replace known
}

const maxHeaders = 64

func (h *headers) get(segment string) (header, bool) {
	known := h.known.Load()
	if known == nil {
		return header{}, false
	}
	found, ok := (*known)[segment]
	return found, ok
}

// put replaces the map by one that has the header too; a full one starts anew.
func (h *headers) put(segment string, decoded header) {
	if _, ok := h.get(segment); ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[string]header{strings.Clone(segment): decoded}
	if known := h.known.Load(); known != nil && len(*known) < maxHeaders {
		for k, v := range *known {
			next[k] = v
		}
	}
	h.known.Store(&next)
}
