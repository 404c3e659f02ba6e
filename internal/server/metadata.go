package server

import (
	"net/http"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

// metadata is both documents, RFC 8414 and OpenID Connect Discovery, with the
// same content: what is on here and nothing else.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	i := s.cfg.Issuer
	secrets := []string{oauth.AuthBasic, oauth.AuthPost}
	age(w, s.cfg.Keys.SetMaxAge())
	writeJSON(w, http.StatusOK, oauth.Metadata{
		Issuer: i, AuthorizationEndpoint: i + "/authorize", TokenEndpoint: i + "/token", JWKSURI: i + "/jwks",
		RevocationEndpoint: i + "/revoke", IntrospectionEndpoint: i + "/introspect", UserinfoEndpoint: i + "/userinfo",
		GlobalRevocationEndpoint: i + globalPath,
		Scopes:                   []string{oauth.ScopeOpenID, oauth.ScopeProfile, oauth.ScopeEmail, oauth.ScopeOffline},
		ResponseTypes:            []string{oauth.ResponseCode},
		ResponseModes:            []string{oauth.ModeQuery},
		GrantTypes:               s.cfg.Authority.GrantTypes(),
		AuthMethods:              append([]string{oauth.AuthNone}, secrets...),
		RevocationAuthMethods:    append([]string{oauth.AuthNone}, secrets...),
		IntrospectionAuthMethods: append(secrets[:2:2], oauth.Bearer), // RFC 8414 §2: or a type of access tokens
		CodeChallengeMethods:     []string{oauth.MethodS256},
		SubjectTypes:             []string{"public"},
		IDTokenAlgorithms:        []string{s.cfg.Keys.IDTokenAlgorithm()},
		DPoPAlgorithms:           s.cfg.Keys.ProofAlgorithms(),
		Claims:                   []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash", "name", "preferred_username", "email"},
		IssuerParameter:          true,
	})
}

// jwks is the public key set of access and ID tokens.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) { s.keys(w, r, s.cfg.Keys.Set) }

// feedKeys is the key set of the feed, whose keys sign nothing else.
func (s *Server) feedKeys(w http.ResponseWriter, r *http.Request) { s.keys(w, r, s.cfg.Keys.FeedSet) }

func (s *Server) keys(w http.ResponseWriter, r *http.Request, set func() ([]byte, error)) {
	body, err := set()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	age(w, s.cfg.Keys.SetMaxAge())
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(body)
}

// describeFeed is the RFC 9728 document of the feed; jwks_uri names the keys that
// sign it.
func (s *Server) describeFeed(uri string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		age(w, s.cfg.Keys.SetMaxAge())
		writeJSON(w, http.StatusOK, oauth.ResourceMetadata{
			Resource: uri, AuthorizationServers: []string{s.cfg.Issuer}, JWKSURI: uri + "/jwks",
			Scopes: []string{grant.ScopeFeedRead, grant.ScopeUsageWrite, grant.ScopeKeysWrite}, BearerMethods: []string{"header"},
		})
	}
}

// person is the userinfo endpoint (OIDC Core §5.3), behind its guard.
func (s *Server) person(w http.ResponseWriter, r *http.Request) {
	claims := guard.From(r.Context())
	if err := s.cfg.Authority.Live(r.Context(), claims); err != nil {
		s.failBearer(w, r, err)
		return
	}
	answer, err := s.cfg.Authority.Userinfo(r.Context(), claims)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, answer)
}

// live answers as long as the process does.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// ready answers 200 when the store answers and a signing key is ready.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error { _, err := tx.Head(); return err }); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "the store does not answer"})
		return
	}
	if !s.cfg.Keys.Ready() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "no signing key is ready, or the clock is wrong"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
