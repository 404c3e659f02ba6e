package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
)

// route is one line of the list. cross says that pages of registered public
// clients may call it from their own origin.
type route struct {
	methods string
	path    string
	handler http.HandlerFunc
	cross   bool
}

func (s *Server) list() []route {
	return []route{
		{"GET", "/.well-known/oauth-authorization-server", s.metadata, true},
		{"GET", "/.well-known/openid-configuration", s.metadata, true},
		{"GET", "/jwks", s.jwks, true},
		{"GET POST", "/authorize", s.authorize, false},
		{"POST", "/token", s.token, true},
		{"POST", "/revoke", s.revoke, true},
		{"POST", "/introspect", s.introspect, false},
		{"GET POST", "/userinfo", s.here(s.userinfo.With(guard.Need{Scopes: []string{oauth.ScopeOpenID}})(http.HandlerFunc(s.person))).ServeHTTP, true},
		{"GET", "/feed/events", s.events, false},
		{"GET", "/feed/snapshot", s.snapshot, false},
		{"GET", "/feed/jwks", s.feedKeys, false},
		{"POST", "/feed/state", s.state, false},
		{"POST", "/usage", s.usage, false},
		{"POST", "/usage/token", s.evidence, false},
		{"POST", "/inner/keys", s.registerKey, false},
		{"GET", "/inner/jwks", s.innerKeys, false},
		{"GET", "/livez", s.live, false},
		{"GET", "/readyz", s.ready, false},
		{"GET", "/", s.home, false},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.list() {
		methods := strings.Fields(r.methods)
		handler := only(methods, r.handler)
		if r.cross {
			handler = s.origins.allow(methods, handler)
		}
		pattern := r.path
		if pattern == "/" {
			pattern = "/{$}"
		}
		mux.HandleFunc(pattern, handler)
	}
	for _, path := range s.cfg.PagePaths {
		mux.Handle(path, s.cfg.Pages)
	}
	_, operators, feedResource := grant.Own(s.cfg.Issuer)
	mux.Handle("GET "+s.userinfo.MetadataPath(), s.userinfo.Metadata())
	mux.Handle("GET "+s.admin.MetadataPath(), s.admin.Metadata())
	mux.HandleFunc("GET /.well-known/oauth-protected-resource/feed", s.describeFeed(feedResource.URI))
	protect := s.protect(operators.URI)
	mux.HandleFunc(globalPath, only([]string{http.MethodPost}, s.global(protect).ServeHTTP))
	adminRoutes(mux, s.cfg.Admin, s.Address, protect)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.page(w, r, http.StatusNotFound, "There is nothing at this address.")
	})
	return mux
}

// only answers other methods with 405 (RFC 9110 §15.5.6). HEAD goes with GET.
func only(methods []string, h http.HandlerFunc) http.HandlerFunc {
	allowed := slices.Clone(methods)
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allowed, r.Method) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeError(w, http.StatusMethodNotAllowed, oauth.InvalidRequest, "this endpoint answers "+strings.Join(methods, " and ")+" only", "")
			return
		}
		h(w, r)
	}
}
