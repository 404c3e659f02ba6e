package server

import (
	"encoding/json"
	"net/http"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
)

// registerKey takes the public key by which a gateway mints transaction tokens. The
// gateway says who it is as at the feed, by a token for this alone: one that follows
// the feed all day must not be worth a key.
func (s *Server) registerKey(w http.ResponseWriter, r *http.Request) {
	c, err := s.follower(r, grant.ScopeKeysWrite)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	var body struct {
		Key json.RawMessage `json:"jwk"`
	}
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&body)
	if err != nil || len(body.Key) == 0 {
		s.fail(w, r, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not {jwk}", Cause: err})
		return
	}
	made, err := s.cfg.Authority.RegisterKey(r.Context(), c, body.Key, s.Address(r))
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, made)
}

// innerKeys is the set of the keys that mint transaction tokens, for guards only: it
// says what is behind the gateways.
func (s *Server) innerKeys(w http.ResponseWriter, r *http.Request) {
	if _, err := s.follower(r, grant.ScopeFeedRead); err != nil {
		s.failBearer(w, r, err)
		return
	}
	body, err := s.cfg.Authority.InnerSet(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "private, max-age=300")
	_, _ = w.Write(body) // fails when the guard has gone
}
