package relay

import (
	"context"
	"sync"
	"time"
)

const (
	maxLeases      = 16384            // tokens held at most
	maxMargin      = 10 * time.Second // before its expiry a token is not handed out any more; a tenth of its life if that is less
	requestTimeout = 5 * time.Second  // for metadata and token request together
	renewPause     = time.Second      // between attempts to renew a token that still serves
)

// A key names what a token is for. The caller is the presented token, whole,
// which costs less than a hash of it; "" is this client itself.
type key struct{ caller, resource, scope string }

// A lease is a token and how long it may be used. The zero times mean never.
type lease struct {
	token  string
	header string    // "Bearer " and the token
	expiry time.Time // as the issuer said
	until  time.Time // handed out before this
	renew  time.Time // from here on a new one is got meanwhile
}

// leases holds tokens and sees to it that one request gets each of them.
type leases struct {
	now     func() time.Time
	mu      sync.Mutex
	byKey   map[key]lease   // guarded by mu
	flights map[key]*flight // guarded by mu; requests under way
}

// A flight is one token request and those who wait for it.
type flight struct {
	cancel  context.CancelFunc
	waiters int           // guarded by leases.mu
	done    chan struct{} // closed once lease and err are set
	lease   lease
	err     error
}

func (l *leases) init(now func() time.Time) {
	l.now = now
	l.byKey = make(map[key]lease)
	l.flights = make(map[key]*flight)
}

// held returns the token of k when it may still be used.
func (l *leases) held(k key) (lease, bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	got, ok := l.byKey[k]
	return got, ok && now.Before(got.until)
}

// get returns the token of k, by fetch when none is held. Whoever misses while
// a fetch is under way waits for that one. The fetch belongs to no single
// caller: it is cancelled when the last of them has gone.
func (l *leases) get(ctx context.Context, k key, fetch func(context.Context) (lease, error)) (lease, error) {
	now := l.now()
	l.mu.Lock()
	got, ok := l.byKey[k]
	f := l.flights[k]
	if ok && now.Before(got.until) {
		if f == nil && !got.renew.IsZero() && !now.Before(got.renew) {
			l.start(k, fetch).waiters++ // nobody waits, and so nobody leaves
		}
		l.mu.Unlock()
		return got, nil
	}
	if f == nil {
		f = l.start(k, fetch)
	}
	f.waiters++
	l.mu.Unlock()

	select {
	case <-f.done:
		return f.lease, f.err
	case <-ctx.Done():
		l.leave(k, f)
		return lease{}, context.Cause(ctx)
	}
}

// start begins a fetch; l.mu is held.
func (l *leases) start(k key, fetch func(context.Context) (lease, error)) *flight {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	f := &flight{cancel: cancel, done: make(chan struct{})}
	l.flights[k] = f
	go func() {
		defer cancel()
		f.lease, f.err = fetch(ctx)
		l.land(k, f)
		close(f.done)
	}()
	return f
}

// land keeps what a fetch brought.
func (l *leases) land(k key, f *flight) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flights[k] != f {
		return // everyone left, and perhaps another fetch began
	}
	delete(l.flights, k)
	if f.err != nil {
		if old, ok := l.byKey[k]; ok {
			old.renew = now.Add(renewPause)
			l.byKey[k] = old
		}
		return
	}
	if now.Before(f.lease.until) {
		l.makeRoom(now)
		l.byKey[k] = f.lease
	}
}

// leave gives up waiting for f.
func (l *leases) leave(k key, f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && l.flights[k] == f {
		delete(l.flights, k)
		f.cancel()
	}
}

// makeRoom looks at a few tokens, in the map's random order: those whose time
// is over go, and when the map is full the one that would go first does. l.mu
// is held.
func (l *leases) makeRoom(now time.Time) {
	var first key
	var end time.Time
	seen := 0
	for k, got := range l.byKey {
		if !now.Before(got.until) {
			delete(l.byKey, k)
		} else if end.IsZero() || got.until.Before(end) {
			first, end = k, got.until
		}
		if seen++; seen == 8 {
			break
		}
	}
	if len(l.byKey) >= maxLeases {
		delete(l.byKey, first)
	}
}

// drop forgets a token that a service refused, unless it was replaced already.
func (l *leases) drop(k key, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey[k].token == token {
		delete(l.byKey, k)
	}
}
