package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
)

// instancesPerGuard is how many instances one guard's client may have: connections to
// one replica, and reports that the store remembers. One that restarts in a circle
// without a word must not fill it.
const instancesPerGuard = 64

// streams counts open connections by client.
type streams struct {
	mu   sync.Mutex
	open map[string]int // guarded by mu
}

func (s *streams) enter(clientID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[clientID] >= instancesPerGuard {
		return false
	}
	s.open[clientID]++
	return true
}

func (s *streams) leave(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[clientID]--; s.open[clientID] <= 0 {
		delete(s.open, clientID)
	}
}

// follower checks the token of a guard.
func (s *Server) follower(r *http.Request, needed string) (*token.Claims, error) {
	_, _, feedResource := grant.Own(s.cfg.Issuer)
	c, err := s.cfg.Authority.Inspect(r.Context(), bearer(r), feedResource.URI)
	if err != nil {
		return nil, err
	}
	if !c.Has(needed) {
		return nil, &oauth.Error{Code: oauth.InsufficientScope, Description: "the token lacks " + needed}
	}
	return c, nil
}

// events streams the revocation feed to a registered guard.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	c, err := s.follower(r, grant.ScopeFeedRead)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	if !s.streams.enter(c.ClientID) {
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusTooManyRequests, oauth.SlowDown, "this guard has as many connections open as it may", "")
		return
	}
	defer s.streams.leave(c.ClientID)
	ctx, leave := s.follow(r.Context(), c)
	defer leave()
	s.cfg.Log.Events().ServeHTTP(w, r.WithContext(ctx))
}

// follow returns a context that ends soon after the guard's token, or its client,
// does: a stream has no other moment at which it would be asked again.
func (s *Server) follow(ctx context.Context, c *token.Claims) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	var look func()
	look = func() {
		var ended *oauth.Error
		if err := s.cfg.Authority.Live(ctx, c); errors.As(err, &ended) {
			cancel()
		}
		if ctx.Err() == nil {
			time.AfterFunc(s.again, look)
		}
	}
	time.AfterFunc(s.again, look)
	return ctx, cancel
}

// snapshot serves the public snapshot where it is switched on.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	if !s.cfg.PublicFeed {
		writeError(w, http.StatusNotFound, oauth.InvalidRequest, "there is no public feed here: register the guard as a client", "")
		return
	}
	s.cfg.Log.Snapshot().ServeHTTP(w, r)
}

// noteGuard remembers a report. The other instances are looked at only when a new one
// appears: in SERIALIZABLE, reports that read each other's rows get in each other's way.
func noteGuard(tx *store.Tx, s store.GuardState) error {
	known, err := tx.KnowsGuard(s.ClientID, s.Instance)
	if err != nil {
		return err
	}
	if err := tx.PutGuardState(s); err != nil || known {
		return err
	}
	return tx.TrimGuardStates(s.ClientID, instancesPerGuard)
}

// state takes a guard's report of what it holds.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	c, err := s.follower(r, grant.ScopeFeedRead)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	var report struct {
		Instance string   `json:"instance"`
		Epoch    string   `json:"epoch"`
		Position uint64   `json:"position"`
		KeyIDs   []string `json:"kids"`
		Gone     bool     `json:"gone"` // it ends, and nobody need wait for it
	}
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&report)
	if err != nil || report.Instance == "" || len(report.Instance) > 64 || len(report.KeyIDs) > 100 {
		s.fail(w, r, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not a report: {instance, epoch, position, kids}"})
		return
	}
	now := s.cfg.Now()
	err = s.cfg.DB.Update(r.Context(), func(tx *store.Tx) error {
		if report.Gone {
			if err := tx.RemoveGuardState(c.ClientID, report.Instance); !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return nil
		}
		return noteGuard(tx, store.GuardState{
			ClientID: c.ClientID, Instance: report.Instance, Epoch: report.Epoch,
			Position: report.Position, KeyIDs: report.KeyIDs, Seen: now,
		})
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
