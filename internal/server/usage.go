package server

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

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
	room, missed := s.refusals.take(c.ClientID, len(report.Refusals), s.cfg.Now())
	for id, n := range missed {
		s.cfg.Logger.Warn("refusals by a guard not logged", "client_id", id, "count", n)
	}
	for _, f := range report.Refusals[:room] { // so that a receipt is found here too
		s.cfg.Logger.Info("guard refused", "id", f.Receipt, "reason", f.Reason, "detail", f.Detail, "kid", f.KeyID,
			"jti", f.ID, "stale_ms", f.Stale, "client_id", c.ClientID, "instance", report.Instance)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, usage.Answer{Show: s.cfg.Authority.Sighted(seen)})
}

// perMinute is how many refusals by one client's guards stand in the log at most: whoever
// has its secret could fill the disk.
const perMinute = 1000

// A quota counts refusals by client, minute by minute.
type quota struct {
	mu    sync.Mutex
	began time.Time      // guarded by mu; this minute
	told  map[string]int // guarded by mu; in it, by client
}

// take counts n refusals and returns how many of them there is room for in the log. The
// first call after a minute also returns how many there was none for, by client.
func (q *quota) take(client string, n int, now time.Time) (room int, missed map[string]int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if age := now.Sub(q.began); age >= time.Minute || age < 0 {
		missed = q.told
		for id, told := range missed {
			missed[id] = told - perMinute
		}
		maps.DeleteFunc(missed, func(_ string, over int) bool { return over <= 0 })
		q.began, q.told = now, make(map[string]int)
	}
	room = min(n, max(0, perMinute-q.told[client]))
	if n > 0 {
		q.told[client] += n
	}
	return room, missed
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
