package guard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/token"
)

// ErrEnded is the cause with which the context of a running request is
// cancelled when its token expires, is ended, or asks for a new authentication.
var ErrEnded = errors.New("guard: token ended")

// Require admits requests whose token carries all scopes; none: any valid
// token. The request's context is cancelled with cause ErrEnded when the token
// expires or is ended.
func (g *Guard) Require(scopes ...string) func(http.Handler) http.Handler {
	return g.With(Need{Scopes: scopes})
}

// With is Require for everything a route can demand.
func (g *Guard) With(n Need) func(http.Handler) http.Handler {
	n.Scopes, n.ACR = slices.Clone(n.Scopes), slices.Clone(n.ACR)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			run, refusal := g.admitted(r, &n)
			if refusal != nil {
				refusal.ServeHTTP(w, r)
				return
			}
			defer g.running.remove(run)
			next.ServeHTTP(w, r.WithContext(run))
		})
	}
}

// Admit is With for servers that are not net/http: r says what was called and
// with which credentials. The context it returns is r's with the caller in it,
// for From and relay, and ends with cause ErrEnded when the token expires or is
// ended. release must be called when the request is over. A non-nil error is
// always a *Refusal; it has been logged.
func (g *Guard) Admit(r *http.Request, n Need) (ctx context.Context, release func(), err error) {
	run, refusal := g.admitted(r, &n)
	if refusal != nil {
		return nil, nil, refusal
	}
	return run, func() { g.running.remove(run) }, nil
}

// admitted verifies r and puts it among the requests under way.
func (g *Guard) admitted(r *http.Request, n *Need) (*run, *Refusal) {
	e, refusal := g.verify(r, n)
	if refusal != nil {
		g.log(r.Context(), refusal)
		return nil, refusal
	}
	return g.running.add(r.Context(), e), nil
}

// log tells of a refusal. A request without a token is how many clients begin.
func (e *engine) log(ctx context.Context, r *Refusal) {
	level := slog.LevelInfo
	if r.Reason == ReasonMissing {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("reason", r.Reason), slog.Int("status", r.Status), slog.String("id", r.ID), slog.Duration("stale", r.stale)}
	if r.entry != nil {
		attrs = append(attrs, slog.String("kid", r.entry.shape.key.ID), slog.Any("", r.entry.claims)) // sub client_id jti grant_id, inline
	}
	if r.cause != nil {
		attrs = append(attrs, slog.Any("error", r.cause))
	}
	e.cfg.Logger.LogAttrs(ctx, level, "request refused", attrs...)
}

// From returns the verified caller put there by Require, nil without one. Do
// not modify it.
func From(ctx context.Context) *token.Claims {
	if run, ok := ctx.Value(callerKey{}).(*run); ok {
		return run.entry.claims
	}
	return nil
}

// Presented returns the verified compact token of the request, for relay;
// never log it. Without one it is empty.
func Presented(ctx context.Context) string {
	if run, ok := ctx.Value(callerKey{}).(*run); ok {
		return run.entry.compact
	}
	return ""
}

type callerKey struct{}

// A run is the context of a request under way.
type run struct {
	context.Context
	cancel context.CancelCauseFunc
	entry  *entry
	shard  *shard
}

// Value returns the run itself under guard's own key.
func (r *run) Value(key any) any {
	if _, ok := key.(callerKey); ok {
		return r
	}
	return r.Context.Value(key)
}

const shards = 16

// A registry holds the requests under way, to end those whose token ends.
type registry struct {
	turn   atomic.Uint32
	shards [shards]shard
}

type shard struct {
	mu   sync.Mutex
	runs map[*run]struct{} // guarded by mu
}

func (g *registry) add(ctx context.Context, e *entry) *run {
	r := &run{entry: e, shard: &g.shards[g.turn.Add(1)%shards]}
	r.Context, r.cancel = context.WithCancelCause(ctx)
	r.shard.mu.Lock()
	defer r.shard.mu.Unlock()
	if r.shard.runs == nil {
		r.shard.runs = make(map[*run]struct{})
	}
	r.shard.runs[r] = struct{}{}
	return r
}

func (g *registry) remove(r *run) {
	r.shard.mu.Lock()
	delete(r.shard.runs, r)
	r.shard.mu.Unlock()
	r.cancel(nil)
}

// end cancels the requests whose token is over.
func (g *registry) end(over func(*entry) bool) {
	for i := range g.shards {
		s := &g.shards[i]
		s.mu.Lock()
		for r := range s.runs {
			if over(r.entry) {
				delete(s.runs, r)
				r.cancel(ErrEnded)
			}
		}
		s.mu.Unlock()
	}
}

// supervise ends running requests, at once after news of revocations or keys
// and twice a second for those whose time is up.
func (e *engine) supervise(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for off := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.sweep:
		}
		v := e.feed.View()
		at := v.Clock(e.cfg.Now())
		e.running.end(func(t *entry) bool {
			_, hit := e.hit(t, &v)
			return hit || !at.Before(t.claims.Expiry.Add(e.cfg.Leeway)) || e.withdrawn(t)
		})
		off = e.compareClocks(&v, off)
	}
}

// apart is a difference of clocks that a synchronised host does not have.
const apart = 5 * time.Second

// compareClocks tells, once, that this host's clock and the issuer's differ. off is
// what it found the last time.
func (e *engine) compareClocks(v *feed.View, off bool) bool {
	d := v.Behind()
	switch now := d.Abs() > apart; {
	case now == off:
	case d > apart:
		e.cfg.Logger.Warn("clock is behind the issuer's, tokens are judged by the issuer's", "issuer", e.cfg.Issuer, "difference", d)
	case now:
		e.cfg.Logger.Warn("clock is ahead of the issuer's, or the feed late: tokens and revocations look older than they are", "issuer", e.cfg.Issuer, "difference", -d)
	default:
		e.cfg.Logger.Info("clock agrees with the issuer's again", "issuer", e.cfg.Issuer)
	}
	return d.Abs() > apart
}

// withdrawn reports whether the issuer took back the key of a token. Keys that
// are merely too old to start with do not end what runs.
func (e *engine) withdrawn(t *entry) bool {
	return e.set(t.shape.kind).Ready() && !e.trusts(t, e.cfg.Now())
}
