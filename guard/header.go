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
	access   bool // typ is that of an access token
}

func readHeader(segment string) (header, error) {
	h, err := jose.ParseHeader(segment)
	if err != nil {
		return header{}, err
	}
	return header{alg: h.Alg, kid: h.KeyID, access: token.TypeOK(h.Typ)}, nil
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
