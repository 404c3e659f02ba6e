package server

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/oauth"
)

// protect guards the admin API. A signature alone is never enough there: the
// guard wants a proof of possession, and the authority checks tag, grant, session
// and the marks of client and person in the store.
func (s *Server) protect(resource string) func(scopes ...string) func(http.Handler) http.Handler {
	return func(scopes ...string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := s.cfg.Authority.Operator(r.Context(), guard.Presented(r.Context()), resource); err != nil {
					s.failBound(w, r, err)
					return
				}
				next.ServeHTTP(w, r)
			})
			return s.here(s.admin.With(guard.Need{Scopes: scopes, ProofBound: true})(inner))
		}
	}
}

// here lets next see the request under the issuer's own name, whatever name the
// caller or a proxy gave. RFC 9449 §4.3: htu must be the address of this very
// resource; by the caller's Host a proof made for another server would hold here.
func (s *Server) here(next http.Handler) http.Handler {
	scheme, host, _ := strings.Cut(s.cfg.Issuer, "://")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(r.Context()) // a copy
		r.Host, r.Header = host, r.Header.Clone()
		r.Header.Del("X-Forwarded-Host")
		r.Header.Del("X-Forwarded-Proto")
		if scheme == "https" && r.TLS == nil {
			r.TLS = &tls.ConnectionState{} // a proxy ended it
		}
		next.ServeHTTP(w, r)
	})
}

// failBearer is fail for the issuer's own resources that take bearer tokens.
func (s *Server) failBearer(w http.ResponseWriter, r *http.Request, err error) {
	s.challenge(w, r, err, oauth.Bearer, "")
	s.fail(w, r, err)
}

// failBound is fail for the admin API, which takes bound tokens only.
func (s *Server) failBound(w http.ResponseWriter, r *http.Request, err error) {
	s.challenge(w, r, err, oauth.DPoP, strings.Join(s.cfg.Keys.ProofAlgorithms(), " "))
	s.fail(w, r, err)
}

// challenge adds what RFC 6750 §3 asks of a 401 and of insufficient_scope. A
// request without any credential is told no error.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request, err error, scheme, algs string) {
	var known *oauth.Error
	if !errors.As(err, &known) || known.Code != oauth.InvalidToken && known.Code != oauth.InsufficientScope {
		return
	}
	code := known.Code
	if r.Header.Get("Authorization") == "" {
		code = ""
	}
	w.Header().Add("WWW-Authenticate", oauth.Challenge(scheme,
		oauth.ChallengeRealm, s.cfg.Issuer, oauth.ParamError, code, oauth.ChallengeAlgs, algs))
}

// bearer is the one credential of scheme Bearer, "" without one.
func bearer(r *http.Request) string {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return ""
	}
	scheme, credential, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, oauth.Bearer) {
		return ""
	}
	return strings.TrimLeft(credential, " ")
}
