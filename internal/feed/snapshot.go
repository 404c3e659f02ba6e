package feed

import (
	"fmt"
	"sync"
	"time"
)

// snapshot makes one kind of snapshot, the whole or the public one, and shares it among all
// who ask while it is new.
type snapshot struct {
	public bool

	mu   sync.Mutex // held while one is made, so that those who wait share it
	held shot       // guarded by mu
}

// shot is a snapshot made.
type shot struct {
	data     []byte // event of the whole, token of the public; nil: none held
	position uint64
	made     time.Time
	keep     time.Duration
}

// get returns a snapshot no older than a second, or ten times what making it took, so that a
// crowd of readers costs little more than one. What came since is in the ring, or it is made
// anew.
func (s *snapshot) get(l *Log) (shot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := l.cfg.Now()
	if h := s.held; h.data != nil && start.Sub(h.made) < h.keep && (s.public || l.reaches(h.position)) {
		return h, nil
	}
	next, err := s.make(l)
	if err != nil {
		return shot{}, err
	}
	next.made = start
	next.keep = max(time.Second, 10*l.cfg.Now().Sub(start))
	s.held = next
	return next, nil
}

// make encodes and signs without the log's lock: the set may gain rules meanwhile, and what it
// held at the position read before is in it for certain.
func (s *snapshot) make(l *Log) (shot, error) {
	l.mu.Lock()
	b := Batch{
		Issuer: l.cfg.Issuer, Epoch: l.cfg.Epoch,
		Position: l.head, AsOf: l.asOf, Snapshot: true,
	}
	l.mu.Unlock()
	rules := &l.rules
	b.Key = l.cfg.Key
	if s.public {
		rules = &l.exposed
		b.Key, b.Public = publicKey(l.cfg.Key), true
	}
	now := l.cfg.Now()
	live := func(yield func(Rule) bool) {
		for r := range rules.all() {
			if !r.Until.Before(now) && !yield(r) {
				return
			}
		}
	}
	token, err := l.cfg.Sign(b.encode(live, rules.Len()))
	if err != nil {
		return shot{}, fmt.Errorf("sign snapshot: %w", err)
	}
	if s.public {
		return shot{data: []byte(token), position: b.Position}, nil
	}
	return shot{data: event("snapshot", cursor{b.Epoch, b.Position}, token), position: b.Position}, nil
}

// expire lets go of the bytes once they may not be shared any more.
func (s *snapshot) expire(now time.Time) {
	if !s.mu.TryLock() {
		return // one is being made
	}
	defer s.mu.Unlock()
	if now.Sub(s.held.made) >= s.held.keep {
		s.held = shot{}
	}
}
