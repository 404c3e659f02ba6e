package feed

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	pieceSize  = 256 << 10        // written under one deadline
	pieceLimit = 10 * time.Second // a reader that takes longer for a piece is let go
)

// cursor is the id of an event, and the Last-Event-ID of a reader that resumes.
type cursor struct {
	epoch    string
	position uint64
}

func (c cursor) String() string { return c.epoch + "." + strconv.FormatUint(c.position, 10) }

// parseCursor reports false for anything String does not write.
func parseCursor(s string) (cursor, bool) {
	epoch, digits, _ := strings.Cut(s, ".")
	position, err := strconv.ParseUint(digits, 10, 64)
	c := cursor{epoch, position}
	return c, err == nil && c.String() == s
}

// Events serves the feed as Server-Sent Events: a snapshot unless Last-Event-ID names a
// position the ring still reaches, then every batch. Whoever mounts it has authenticated the
// caller and bounds the number of connections.
func (l *Log) Events() http.Handler { return http.HandlerFunc(l.events) }

func (l *Log) events(w http.ResponseWriter, r *http.Request) {
	if !l.loaded() {
		unloaded(w)
		return
	}
	out := stream{w, http.NewResponseController(w)}
	// The server's own limits are for answers that end.
	if err := out.rc.SetReadDeadline(time.Time{}); err != nil {
		l.cfg.Logger.Error("feed cannot stream", "error", err)
		http.Error(w, "streaming not supported", http.StatusInternalServerError)
		return
	}
	l.readers.Add(1)
	defer l.readers.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	if err := out.send(); err != nil {
		return
	}
	at, resumes := parseCursor(r.Header.Get("Last-Event-ID"))
	if resumes = resumes && at.epoch == l.cfg.Epoch; !resumes {
		at.position = 0
	}
	l.follow(r, out, at.position, !resumes)
}

// follow writes what the subscriber lacks until it leaves, stalls or the log stops. A position
// ahead of this replica's is left alone until the replica has caught up.
func (l *Log) follow(r *http.Request, out stream, position uint64, fresh bool) {
	beats := 0
	for {
		more := l.after(position, beats)
		if fresh || more.snapshot {
			shot, err := l.whole.get(l)
			if err != nil {
				l.cfg.Logger.Error("feed snapshot lost", "error", err)
				return
			}
			if err := out.send(shot.data); err != nil {
				return
			}
			position, fresh = shot.position, false
			continue
		}
		if err := out.send(more.events...); err != nil {
			return
		}
		position, beats = more.position, more.beats
		select {
		case <-more.wake:
		case <-r.Context().Done():
			return
		case <-l.stopped:
			return
		}
	}
}

// Snapshot serves the public snapshot, one signed token, to whoever asks: rules whose values
// are random, for guards without a credential.
func (l *Log) Snapshot() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.cfg.Public {
			http.NotFound(w, r)
			return
		}
		if !l.loaded() {
			unloaded(w)
			return
		}
		shot, err := l.public.get(l)
		if err != nil {
			l.cfg.Logger.Error("public feed snapshot lost", "error", err)
			unloaded(w)
			return
		}
		w.Header().Set("Content-Type", "application/jwt")
		w.Header().Set("Content-Length", strconv.Itoa(len(shot.data)))
		w.Header().Set("Cache-Control", "public, max-age=1")
		out := stream{w, http.NewResponseController(w)}
		_ = out.send(shot.data) // the reader went away
	})
}

// unloaded answers while there is no state that could be trusted.
func unloaded(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "feed not loaded", http.StatusServiceUnavailable)
}

// stream writes to a reader that may be slow, but not dead.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// send writes the events and flushes once.
func (s stream) send(events ...[]byte) error {
	for _, e := range events {
		for len(e) > 0 {
			n := min(len(e), pieceSize)
			if err := s.rc.SetWriteDeadline(time.Now().Add(pieceLimit)); err != nil {
				return err
			}
			if _, err := s.w.Write(e[:n]); err != nil {
				return err
			}
			e = e[n:]
		}
	}
	if err := s.rc.SetWriteDeadline(time.Now().Add(pieceLimit)); err != nil {
		return err
	}
	return s.rc.Flush()
}
