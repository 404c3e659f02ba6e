package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/usage"
)

// usage takes a guard's report of the tokens it saw, and asks for the whole of those
// that this issuer may not have made.
func (s *Server) usage(w http.ResponseWriter, r *http.Request) {
	c, err := s.follower(r, grant.ScopeUsageWrite)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	body, err := io.ReadAll(r.Body) // its size is bounded around every handler
	if err != nil {
		s.fail(w, r, err)
		return
	}
	report, err := usage.Decode(body)
	if err != nil {
		s.fail(w, r, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not a report of usage", Cause: err})
		return
	}
	seen := make([]grant.Sighting, 0, len(report.Tokens))
	for _, t := range report.Tokens {
		seen = append(seen, grant.Sighting{ID: t.ID, Digest: t.Bytes()})
	}
	for _, f := range report.Refusals { // so that a receipt is found here too
		s.cfg.Logger.Info("guard refused", "id", f.Receipt, "reason", f.Reason, "detail", f.Detail, "kid", f.KeyID,
			"jti", f.ID, "stale_ms", f.Stale, "client_id", c.ClientID, "instance", report.Instance)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, usage.Answer{Show: s.cfg.Authority.Sighted(seen)})
}

// evidence takes a whole token that the answer to a report asked for.
func (s *Server) evidence(w http.ResponseWriter, r *http.Request) {
	c, err := s.follower(r, grant.ScopeUsageWrite)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	var shown usage.Evidence
	err = json.NewDecoder(r.Body).Decode(&shown)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		s.fail(w, r, err)
		return
	case err != nil || shown.Token == "":
		s.fail(w, r, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not {token}"})
		return
	}
	if err := s.cfg.Authority.Shown(r.Context(), shown.Token, c.ClientID); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
