package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"
)

const bodyLimit = 1 << 20

type requestKey struct{}

// RequestID is the id of the request, also in the answer and in the log.
func RequestID(r *http.Request) string {
	id, _ := r.Context().Value(requestKey{}).(string)
	return id
}

// wrap is around every handler: it names the request, limits the body, sets the
// headers that every answer carries, catches panics and logs one line.
func (s *Server) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.cfg.Now()
		id := newRequestID()
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		// Whoever sends a body or takes an answer drop by drop would hold a connection
		// for ever. Streams lift this for themselves; not every writer has deadlines.
		limit, at := http.NewResponseController(w), time.Now()
		_ = limit.SetReadDeadline(at.Add(s.slow))
		_ = limit.SetWriteDeadline(at.Add(2 * s.slow))
		h := w.Header()
		h.Set("X-Request-ID", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		if strings.HasPrefix(s.cfg.Issuer, "https:") {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		seen := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.cfg.Logger.Error("handler panicked", "request_id", id, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				if seen.status == 0 {
					s.fail(seen, r, errPanic)
				}
			}
			if !s.cfg.Logger.Enabled(r.Context(), slog.LevelDebug) {
				return
			}
			s.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "request",
				slog.String("request_id", id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Int("status", seen.status), slog.Duration("took", s.cfg.Now().Sub(start)))
		}()
		next.ServeHTTP(seen, r)
	})
}

func newRequestID() string {
	var b [9]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// statusWriter remembers the status for the log line.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts as status 200 when none was written.
func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Address is where the request came from. X-Forwarded-For is believed from
// trusted proxies only, and read from the right up to the first other address.
func (s *Server) Address(r *http.Request) string { return Address(r, s.cfg.Proxies) }

// Address is Server.Address for pages.
func Address(r *http.Request, proxies []netip.Prefix) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if !trusted(host, proxies) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		host = hop
		if !trusted(hop, proxies) {
			break
		}
	}
	return host
}

func trusted(host string, proxies []netip.Prefix) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range proxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// age writes how long an answer may be cached.
func age(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Cache-Control", "public, max-age="+itoa(int64(d/time.Second)))
}
