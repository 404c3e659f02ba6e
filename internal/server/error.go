package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

var errPanic = errors.New("handler panicked")

// status chooses the HTTP status of an OAuth error. RFC 6749 §5.2: 400 unless
// the client's authentication was refused.
func status(code string) int {
	switch code {
	case oauth.InvalidClient, oauth.InvalidToken:
		return http.StatusUnauthorized
	case oauth.InsufficientScope:
		return http.StatusForbidden
	case oauth.TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	case oauth.ServerError:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// fail turns an error into an answer of an endpoint that programs call. What is
// not an answer the protocol defines is server_error with the request's id; the
// detail goes to the log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *oauth.Error
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		writeError(w, http.StatusRequestEntityTooLarge, oauth.InvalidRequest, "the request is too large", "")
	case errors.As(err, &known):
		s.cfg.Logger.Info("refused", "request_id", RequestID(r), "path", r.URL.Path, "reason", known.Error())
		if known.Code == oauth.InvalidClient { // RFC 9110 §15.5.2: a 401 names a way to authenticate
			w.Header().Set("WWW-Authenticate", oauth.Challenge("Basic", oauth.ChallengeRealm, s.cfg.Issuer))
		}
		if known.Code == oauth.TemporarilyUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		writeError(w, status(known.Code), known.Code, known.Description, "")
	case errors.Is(err, store.ErrUnavailable):
		s.cfg.Logger.Error("store is unavailable", "request_id", RequestID(r), "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable, "try again in a moment", RequestID(r))
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		// The caller has gone, or was too slow. Without an answer 200 would be sent.
		writeError(w, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable, "the request was given up", RequestID(r))
	default:
		s.cfg.Logger.Error("request went wrong", "request_id", RequestID(r), "path", r.URL.Path, "error", err)
		writeError(w, http.StatusInternalServerError, oauth.ServerError, "something went wrong here; the request id finds it in the log", RequestID(r))
	}
}

// failPage turns an error into a page, for what browsers reach.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, err error) {
	var shown *grant.PageError
	var throttled *login.Throttled
	switch {
	case errors.As(err, &shown):
		s.page(w, r, http.StatusBadRequest, shown.Message)
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", itoa(int64(throttled.After/time.Second)+1))
		s.page(w, r, http.StatusTooManyRequests, "Too many sign-ins are begun from your network. Try again in a moment.")
	case errors.Is(err, store.ErrUnavailable):
		s.cfg.Logger.Error("store is unavailable", "request_id", RequestID(r), "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "1")
		s.page(w, r, http.StatusServiceUnavailable, "Sign-in is not available for the moment. Try again shortly.")
	default:
		s.cfg.Logger.Error("request went wrong", "request_id", RequestID(r), "path", r.URL.Path, "error", err)
		s.page(w, r, http.StatusInternalServerError, "Something went wrong here.")
	}
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, message string) {
	s.cfg.Page(w, r, status, message, RequestID(r))
}

// writeError writes the JSON of RFC 6749 §5.2.
func writeError(w http.ResponseWriter, status int, code, description, requestID string) {
	body := map[string]string{oauth.ParamError: code}
	if description != "" {
		body[oauth.ParamErrorDescription] = oauth.Text(description)
	}
	if requestID != "" {
		body["request_id"] = requestID
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // our own types always encode
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller may have gone
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
