package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// ReaderConfig says which feed a Reader follows, and how.
type ReaderConfig struct {
	Issuer     string                                // required; what batches must name
	URL        string                                // the events; needed with Credential
	PublicURL  string                                // the public snapshot; needed without
	Client     *http.Client                          // nil: an own one, without proxy; redirects and a global timeout are switched off in a copy
	Credential func(context.Context) (string, error) // bearer token, asked for at every connection; nil: poll PublicURL
	Refused    func(credential string)               // told of one that the issuer answered with 401; nil: nobody is
	// Verify checks signature and typ of a compact token and returns its payload. Required.
	Verify func(ctx context.Context, compact string) ([]byte, error)
	// Applied is called after a batch with rules or word of new keys is in the View, and after
	// a snapshot that brought anything, with KeysChanged set: the word may have been missed. It
	// must not block.
	Applied func(Batch)
	Keep    bool             // hold the messages themselves as well, for Kept
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: slog.Default
}

const (
	pollEvery  = 2 * time.Second
	patience   = 3 * time.Second // a connection silent for longer is cut
	leastPause = 50 * time.Millisecond
	mostPause  = 800 * time.Millisecond // so that a guard is back within a second of the issuer
)

var (
	errRefused = errors.New("feed: batch refused")
	errGap     = errors.New("feed: batches are missing")
	errSilent  = errors.New("feed: connection silent")
	errUnknown = errors.New("feed: credential refused")
)

// Reader follows a feed and keeps the rules it brings.
type Reader struct {
	cfg   ReaderConfig
	view  atomic.Pointer[View]
	gap   bool      // owned by Run; the next connection asks for a snapshot
	moved bool      // owned by Run; this connection brought something
	down  bool      // owned by Run; the last connection failed
	swept time.Time // owned by Run
	kept  kept
}

// View is the state of a Reader. Its Set goes on growing; the other fields stand still.
type View struct {
	Set      *Set // never nil
	Key      []byte
	Epoch    string
	Position uint64
	AsOf     time.Time // by the issuer's clock; staleness is the age of this, not of the last byte
	Heard    time.Time // by the reader's, when the issuer last vouched: no state is fresher than that
	Said     time.Time // by the issuer's, what it vouched for then; zero while all is from a copy
	Ready    bool      // a snapshot was read
}

// NewReader checks cfg. Run does the rest.
func NewReader(cfg ReaderConfig) (*Reader, error) {
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("feed: reader without issuer")
	case cfg.Verify == nil:
		return nil, errors.New("feed: reader without Verify")
	case cfg.Credential != nil && cfg.URL == "":
		return nil, errors.New("feed: credential without a URL")
	case cfg.Credential == nil && cfg.PublicURL == "":
		return nil, errors.New("feed: neither credential nor public URL")
	}
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true}}
	if cfg.Client != nil {
		client = *cfg.Client
	}
	client.Timeout = 0 // a stream has no end; silence is measured instead
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.Client = &client
	if cfg.Applied == nil {
		cfg.Applied = func(Batch) {}
	}
	if cfg.Refused == nil {
		cfg.Refused = func(string) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Reader{cfg: cfg}
	r.view.Store(&View{Set: new(Set)})
	return r, nil
}

// View is what the reader holds now. It never goes back behind its position except by a signed
// new epoch.
func (r *Reader) View() View { return *r.view.Load() }

// Run follows the feed until ctx ends, and returns its error. It is called once.
func (r *Reader) Run(ctx context.Context) error {
	ceiling := leastPause
	for {
		began := time.Now()
		r.moved = false
		err := r.attempt(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := pollEvery
		if err != nil {
			r.failed(err)
			// A connection that worked earns a fresh start, unless it soon brought something
			// unacceptable: that may happen again at once.
			bad := errors.Is(err, errRefused) || errors.Is(err, errGap)
			if r.moved && (!bad || time.Since(began) > mostPause) {
				ceiling = leastPause
			}
			ceiling = min(2*ceiling, mostPause)
			pause = leastPause + rand.N(ceiling-leastPause)
		} else {
			ceiling = leastPause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// attempt follows the stream until it breaks, or polls once.
func (r *Reader) attempt(ctx context.Context) error {
	if r.cfg.Credential == nil {
		return r.poll(ctx)
	}
	return r.follow(ctx)
}

// failed logs the first failure in a row, and whatever was refused.
func (r *Reader) failed(err error) {
	level := slog.LevelWarn
	if r.down && !errors.Is(err, errRefused) {
		level = slog.LevelDebug
	}
	r.cfg.Logger.Log(context.Background(), level, "feed lost", "position", r.View().Position, "error", err)
	r.down = true
	r.cfg.Client.CloseIdleConnections() // the broken one may be among them
}

// take verifies, decodes and applies one message.
func (r *Reader) take(ctx context.Context, compact string) error {
	b, err := r.open(compact, func(compact string) ([]byte, error) { return r.cfg.Verify(ctx, compact) })
	if err != nil {
		return err
	}
	err = r.apply(b, compact)
	if err == nil && r.down {
		r.down = false
		r.cfg.Logger.Info("feed followed", "position", r.View().Position)
	}
	return err
}

// open verifies and decodes one message.
func (r *Reader) open(compact string, verify func(string) ([]byte, error)) (Batch, error) {
	payload, err := verify(compact)
	if err != nil {
		return Batch{}, fmt.Errorf("%w: %w", errRefused, err)
	}
	b, err := Decode(payload)
	if err != nil {
		return Batch{}, fmt.Errorf("%w: %w", errRefused, err)
	}
	if b.Issuer != r.cfg.Issuer {
		return Batch{}, fmt.Errorf("%w: issuer %q, want %q", errRefused, b.Issuer, r.cfg.Issuer)
	}
	return b, nil
}

// apply puts what a message says into the view.
func (r *Reader) apply(b Batch, compact string) error {
	v := *r.view.Load()
	switch {
	case b.Snapshot:
		return r.restore(v, b, compact)
	case r.cfg.Credential == nil:
		// Its rules are hashed for others; its position would hide later ones.
		return fmt.Errorf("%w: batch of the whole feed", errRefused)
	}
	return r.extend(v, b, compact)
}

// extend applies a batch that begins at or before the position and ends at or after it:
// replicas cut their batches at different places.
func (r *Reader) extend(v View, b Batch, compact string) error {
	if !v.Ready || b.Epoch != v.Epoch || b.Prev > v.Position {
		r.gap = true
		return fmt.Errorf("%w: %s after %s", errGap, cursor{b.Epoch, b.Prev}, cursor{v.Epoch, v.Position})
	}
	if b.Position < v.Position {
		return nil // replayed, or from a replica that is behind: it proves nothing new
	}
	for _, rule := range b.Rules {
		v.Set.Add(rule)
	}
	news := b.Position > v.Position && (len(b.Rules) > 0 || b.KeysChanged)
	if r.cfg.Keep {
		r.kept.note(b, compact)
	}
	r.store(v, b, news)
	return nil
}

// restore applies a snapshot. Within an epoch it only adds, and only counts if it does not lie
// behind; so an old one cannot bring back what a newer batch ended.
func (r *Reader) restore(v View, b Batch, compact string) error {
	same := v.Ready && b.Epoch == v.Epoch
	switch {
	case b.Public != (r.cfg.Credential == nil):
		// The public one lacks rules that this reader relies on.
		return fmt.Errorf("%w: snapshot is of the other kind", errRefused)
	case same && !bytes.Equal(b.Key, v.Key):
		return fmt.Errorf("%w: another key in the same epoch", errRefused)
	case same && b.Position < v.Position:
		return nil // replayed, or from a replica that is behind
	case v.Ready && !same && !b.AsOf.After(v.AsOf):
		return fmt.Errorf("%w: snapshot of epoch %s is older than what is held", errRefused, b.Epoch)
	}
	news := !same || b.Position > v.Position
	if !same {
		v = View{Set: new(Set), Key: b.Key, Epoch: b.Epoch, Ready: true}
		v.Set.reserve(len(b.Rules))
	}
	for _, rule := range b.Rules {
		v.Set.Add(rule)
	}
	r.gap = false
	if r.cfg.Keep {
		r.kept.note(b, compact)
	}
	b.KeysChanged = true
	r.store(v, b, news)
	return nil
}

// store publishes the view at b's position; news goes to Applied.
func (r *Reader) store(v View, b Batch, news bool) {
	v.Position = b.Position
	if b.AsOf.After(v.AsOf) {
		v.AsOf = b.AsOf
	}
	now := r.cfg.Now()
	if !b.AsOf.IsZero() && !b.AsOf.Equal(v.Said) { // the same word again proves nothing new
		v.Heard, v.Said = now, b.AsOf
	}
	if now.Sub(r.swept) >= sweepEvery {
		r.swept = now
		// By the slower clock: no snapshot brings back what ours forgot while it ran ahead.
		v.Set.Sweep(earlier(now, v.AsOf))
	}
	r.view.Store(&v)
	r.moved = true
	if news {
		r.cfg.Applied(b)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Age is how old the state is: since the issuer vouched for it by its own clock, or since the
// reader heard so, whichever is longer. Neither a clock that is wrong nor one that is put
// right makes old state look fresh.
func (v *View) Age(now time.Time) time.Duration {
	return max(now.Sub(v.AsOf), now.Sub(v.Heard))
}

// Clock is the time that the issuer's tokens are judged by: now by the reader's clock or,
// where that is behind, what the issuer last said and the time since.
func (v *View) Clock(now time.Time) time.Time {
	if said := v.Said.Add(now.Sub(v.Heard)); said.After(now) {
		return said
	}
	return now
}

// Behind is by how much the reader's clock was behind the issuer's when it last spoke. It is
// below zero where that one was behind, or its word on the way for long.
func (v *View) Behind() time.Duration {
	if v.Said.IsZero() {
		return 0
	}
	return v.Said.Sub(v.Heard)
}
