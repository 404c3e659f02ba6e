package dpop

import (
	"crypto/sha256"
	"sync"
	"time"
)

// defaultLimit is 14,000 new proofs a second for the 75 s a proof may live.
const defaultLimit = 1 << 20

// A Replay remembers proofs in memory, so that each is taken once. It holds at
// most Limit proofs, about 60 bytes each; when it is full it takes no new one
// rather than forget an old one. The zero Replay is ready for use, also
// from several goroutines. Do not copy it.
type Replay struct {
	Limit int // proofs held at a time; 0 means 1,048,576

	mu   sync.Mutex
	seen map[id]bool    // guarded by mu
	due  map[int64][]id // guarded by mu; what is in seen, by the second it expires
	past int64          // guarded by mu; what expired before this second is forgotten
}

// An id is one proof: a hash of thumbprint and jti.
type id [16]byte

// Fresh remembers a verified proof until it expires and reports whether it may
// be taken: not if it was seen, if it expired, or if there is no room.
func (r *Replay) Fresh(p Proof, now time.Time) bool {
	if now.After(p.Expires) {
		return false
	}
	// A thumbprint is always 43 characters long, so no two pairs meet.
	sum := sha256.Sum256([]byte(p.Thumbprint + p.ID))
	key := id(sum[:])
	second := p.Expires.Unix()

	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now.Unix())
	// A clock that was set back must not make room for what was forgotten.
	if second < r.past || r.seen[key] || len(r.seen) >= r.limit() {
		return false
	}
	if r.seen == nil {
		r.seen, r.due = make(map[id]bool), make(map[int64][]id)
	}
	r.seen[key] = true
	r.due[second] = append(r.due[second], key)
	return true
}

func (r *Replay) limit() int {
	if r.Limit > 0 {
		return r.Limit
	}
	return defaultLimit
}

// sweep forgets, at most once a second, what expired before this one began.
func (r *Replay) sweep(now int64) {
	if now <= r.past {
		return
	}
	r.past = now
	for second, keys := range r.due {
		if second >= now {
			continue
		}
		for _, key := range keys {
			delete(r.seen, key)
		}
		delete(r.due, second)
	}
}
