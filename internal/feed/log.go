package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// LogConfig says whose feed a Log serves, and how.
type LogConfig struct {
	Issuer    string                               // required
	Epoch     string                               // required; letters, digits, - and _
	Key       []byte                               // required; the key of Hash in this epoch, 32 random bytes
	Sign      func(payload []byte) (string, error) // required; makes the compact JWT
	Now       func() time.Time                     // nil: time.Now
	Heartbeat time.Duration                        // 0: 1 s
	Ring      int                                  // batches kept for readers that resume; 0: 4096
	Public    bool                                 // serve the public snapshot
	Logger    *slog.Logger                         // nil: slog.Default
}

const (
	freshFor   = 500 * time.Millisecond // how old knowledge of the head may be for a heartbeat
	ringBytes  = 64 << 20               // the ring holds no more than this, however few batches
	sweepEvery = time.Minute
)

// Log is the server's side: it encodes and signs every batch once and hands the same bytes to
// all subscribers. It keeps the latest batches for readers that resume, and all live rules for
// those that cannot. Until the first Fresh it only loads and its handlers answer 503, for a
// half-loaded state must not pass for a whole one.
type Log struct {
	cfg     LogConfig
	rules   Set // written under mu
	exposed Set // what the public snapshot shows, under the public key; written under mu
	whole   snapshot
	public  snapshot
	readers atomic.Int64
	spoke   chan struct{} // capacity 1: a batch was made that says what a heartbeat does
	stopped chan struct{} // closed when Run ends

	mu    sync.Mutex
	head  uint64        // guarded by mu; all up to here is in rules
	base  uint64        // guarded by mu; who holds all up to here can be served from ring
	ring  []frame       // guarded by mu; oldest first
	bytes int           // guarded by mu; size of ring
	asOf  time.Time     // guarded by mu; of the last Fresh; zero before
	beat  frame         // guarded by mu; the last heartbeat
	beats int           // guarded by mu; how many there were
	wake  chan struct{} // guarded by mu; closed and replaced when ring or beat changed
}

// frame is a batch as it goes over the wire.
type frame struct {
	position uint64
	event    []byte
}

// NewLog checks cfg and returns an empty log at position 0.
func NewLog(cfg LogConfig) (*Log, error) {
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("feed: log without issuer")
	case cfg.Epoch == "" || strings.Trim(cfg.Epoch, epochLetters) != "":
		return nil, fmt.Errorf("feed: epoch %q is not made of letters, digits, - and _", cfg.Epoch)
	case len(cfg.Key) < 16:
		return nil, fmt.Errorf("feed: key of %d bytes, want 16 or more", len(cfg.Key))
	case cfg.Sign == nil:
		return nil, errors.New("feed: log without Sign")
	case cfg.Heartbeat < 0 || cfg.Ring < 0:
		return nil, errors.New("feed: negative heartbeat or ring")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = time.Second
	}
	if cfg.Ring == 0 {
		cfg.Ring = 4096
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Log{
		cfg:     cfg,
		public:  snapshot{public: true},
		wake:    make(chan struct{}),
		spoke:   make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}, nil
}

const epochLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// Append adds the rules after the log's position up to head, which may move without any: not
// every position carries one. Rules at or before the position are there already and passed
// over, so a caller may read a page twice.
func (l *Log) Append(rules []Plain, head uint64, keysChanged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if head <= l.head {
		return
	}
	b := Batch{
		Issuer: l.cfg.Issuer, Epoch: l.cfg.Epoch,
		Prev: l.head, Position: head, AsOf: l.asOf, KeysChanged: keysChanged,
	}
	for _, p := range rules {
		if p.Position <= l.head {
			continue
		}
		r := p.Rule(l.cfg.Key, l.cfg.Issuer)
		l.rules.Add(r)
		b.Rules = append(b.Rules, r)
		if l.cfg.Public && p.Kind.public() {
			l.exposed.Add(p.Rule(publicKey(l.cfg.Key), l.cfg.Issuer))
		}
	}
	l.head = head
	if l.asOf.IsZero() {
		l.base = head
		return
	}
	event, err := l.encode(b)
	if err != nil {
		// The rules stand. Readers cannot follow over the gap and take a snapshot.
		l.cfg.Logger.Error("feed batch lost", "position", head, "error", err)
		l.ring, l.bytes, l.base = nil, 0, head
	} else {
		l.push(frame{position: head, event: event})
		l.postpone()
	}
	l.awake()
}

// push puts f into the ring and drops the oldest for it. Called under mu.
func (l *Log) push(f frame) {
	l.ring = append(l.ring, f)
	l.bytes += len(f.event)
	for len(l.ring) > l.cfg.Ring || l.bytes > ringBytes {
		l.base = l.ring[0].position
		l.bytes -= len(l.ring[0].event)
		l.ring[0] = frame{} // lets go of the bytes
		l.ring = l.ring[1:]
	}
}

// postpone puts the next heartbeat off to a whole interval from now: the batch that was just
// made says as much, and readers have enough to do with it. Called under mu.
func (l *Log) postpone() {
	if l.cfg.Now().Sub(l.asOf) > freshFor {
		return
	}
	select {
	case l.spoke <- struct{}{}:
	default:
	}
}

// awake lets every subscriber look again. Called under mu.
func (l *Log) awake() {
	close(l.wake)
	l.wake = make(chan struct{})
}

// Fresh tells the log that at asOf the head was read from the primary and that all up to it
// was appended. Heartbeats need one no older than 500 ms. A head the log has not reached says
// that the caller is behind, and does not count.
func (l *Log) Fresh(head uint64, asOf time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if head > l.head || !asOf.After(l.asOf) {
		return
	}
	l.asOf = asOf
}

// Applied is the position up to which rules were appended.
func (l *Log) Applied() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// AsOf is when the log was last known to be complete; zero before the first Fresh.
func (l *Log) AsOf() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asOf
}

// Subscribers is the number of readers connected to Events.
func (l *Log) Subscribers() int { return int(l.readers.Load()) }

// Run sends heartbeats and forgets rules past their end, until ctx ends; then subscribers are
// let go as well. It is called once and returns ctx's error.
func (l *Log) Run(ctx context.Context) error {
	defer close(l.stopped)
	beat, tidy := time.NewTicker(l.cfg.Heartbeat), time.NewTicker(time.Second)
	defer beat.Stop()
	defer tidy.Stop()
	swept := l.cfg.Now()
	l.pulse(swept) // who waits for this server's return waits no longer
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.spoke:
			beat.Reset(l.cfg.Heartbeat)
			continue
		case <-beat.C:
			l.pulse(l.cfg.Now())
			continue
		case <-tidy.C:
		}
		now := l.cfg.Now()
		l.whole.expire(now)
		l.public.expire(now)
		if now.Sub(swept) >= sweepEvery {
			swept = now
			l.sweep(now)
		}
	}
}

// pulse makes a heartbeat if the log is known to be up to date.
func (l *Log) pulse(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.asOf) > freshFor {
		return
	}
	event, err := l.encode(Batch{
		Issuer: l.cfg.Issuer, Epoch: l.cfg.Epoch, Prev: l.head, Position: l.head, AsOf: l.asOf,
	})
	if err != nil {
		l.cfg.Logger.Error("feed heartbeat lost", "error", err)
		return
	}
	l.beat = frame{position: l.head, event: event}
	l.beats++
	l.awake()
}

func (l *Log) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules.Sweep(now)
	l.exposed.Sweep(now)
}

// encode signs b and frames it as one event.
func (l *Log) encode(b Batch) ([]byte, error) {
	payload, err := b.Encode()
	if err != nil {
		return nil, err
	}
	token, err := l.cfg.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("sign batch: %w", err)
	}
	return event("batch", cursor{b.Epoch, b.Position}, token), nil
}

func event(name string, id cursor, token string) []byte {
	return fmt.Appendf(make([]byte, 0, len(token)+128),
		"id: %s\nevent: %s\ndata: %s\n\n", id, name, token)
}

// loaded reports whether the caller vouched for the state once.
func (l *Log) loaded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.asOf.IsZero()
}

// reaches reports whether the ring holds all batches after position.
func (l *Log) reaches(position uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return position >= l.base
}

// lacking is what a subscriber that holds all up to position, and saw that many heartbeats,
// must be sent.
type lacking struct {
	events   [][]byte
	position uint64 // where it stands then
	beats    int
	snapshot bool            // the ring begins after position: only a snapshot helps
	wake     <-chan struct{} // closed when there is more
}

func (l *Log) after(position uint64, beats int) lacking {
	l.mu.Lock()
	defer l.mu.Unlock()
	if position < l.base {
		return lacking{snapshot: true}
	}
	i, _ := slices.BinarySearchFunc(l.ring, position+1, func(f frame, p uint64) int {
		if f.position < p {
			return -1
		}
		return 1
	})
	more := lacking{position: position, beats: l.beats, wake: l.wake}
	for _, f := range l.ring[i:] {
		more.events = append(more.events, f.event)
		more.position = f.position
	}
	// A heartbeat speaks for one position. Batches carry an as-of too, so nothing is lost when
	// one overtakes it.
	if l.beats != beats && l.beat.position == more.position {
		more.events = append(more.events, l.beat.event)
	}
	return more
}
