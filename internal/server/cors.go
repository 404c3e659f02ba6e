package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

// origins knows from where browsers may call: the origins of the redirect URIs
// of registered public clients. Never with credentials, so cookies play no part.
type origins struct {
	server *Server
	mu     sync.Mutex
	known  map[string]bool // guarded by mu
	at     uint64          // guarded by mu; Changes of the directory when the list was read
	read   bool            // guarded by mu
}

// allow answers preflights and adds the headers of the Fetch standard.
func (o *origins) allow(methods []string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin != "" && o.has(r, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce")
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP")
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next(w, r)
	}
}

func (o *origins) has(r *http.Request, origin string) bool {
	changes := o.server.cfg.Clients.Changes()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.read || o.at != changes {
		known, err := o.load(r)
		if err != nil {
			o.server.cfg.Logger.Error("read the origins of public clients", "request_id", RequestID(r), "error", err)
			return o.known[origin]
		}
		o.known, o.at, o.read = known, changes, true
	}
	return o.known[origin]
}

func (o *origins) load(r *http.Request) (map[string]bool, error) {
	known := map[string]bool{}
	const page = 500
	for after := ""; ; {
		var clients []*store.Client
		err := o.server.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			clients, err = tx.Clients(after, page)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, c := range clients {
			if c.Disabled || c.AuthMethod != oauth.AuthNone || !slices.Contains(c.GrantTypes, oauth.GrantCode) {
				continue
			}
			for _, uri := range c.RedirectURIs {
				if u, err := url.Parse(uri); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
					known[u.Scheme+"://"+u.Host] = true
				}
			}
		}
		if len(clients) < page {
			return known, nil
		}
		after = clients[len(clients)-1].ID
	}
}
