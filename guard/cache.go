package guard

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

const (
	ways     = 8       // tokens in one set of the cache
	maxEntry = 4 << 10 // longer tokens are verified each time, so that the cache's size can be told
)

// A cache holds verified tokens, identified by all of their bytes. It is a
// table of sets of eight: a token's hash, under a seed nobody knows, names its
// set, and another for when that one is full. When both are, the token of the first
// that was least used makes room. Reading and writing take no lock. Only what was
// verified gets in, so forged tokens push nothing out.
type cache struct {
	seed maphash.Seed
	sets []set
}

// A set's tags tell most tokens apart without following a pointer. A tag and
// its slot are written one after the other; a reader that meets them between
// misses at worst, because the whole token decides.
type set struct {
	tags  [ways]atomic.Uint32 // part of the hash, never 0 in use
	used  atomic.Uint32       // a bit for each slot: since the search for room last passed
	hand  atomic.Uint32       // where that search goes on
	_     [24]byte            // fills two cache lines
	slots [ways]atomic.Pointer[entry]
}

// newCache returns a cache for n tokens, rounded up to whole sets.
func newCache(n int) *cache {
	return &cache{seed: maphash.MakeSeed(), sets: make([]set, (n+ways-1)/ways)}
}

// place hashes the end of the token, most of the signature: what differs most.
// Tokens that end alike compete for the places of one set, no more.
func (c *cache) place(compact string) (first, second *set, tag uint32) {
	h, n := maphash.String(c.seed, compact[max(0, len(compact)-64):]), uint64(len(c.sets))
	return &c.sets[h%n], &c.sets[bits.RotateLeft64(h, 32)%n], uint32(h>>32) | 1
}

func (c *cache) get(compact string) *entry {
	first, second, tag := c.place(compact)
	if e := first.get(compact, tag); e != nil {
		return e
	}
	return second.get(compact, tag)
}

func (s *set) get(compact string, tag uint32) *entry {
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		if e := s.slots[i].Load(); e.compact == compact {
			if s.used.Load()&(1<<i) == 0 {
				s.used.Or(1 << i)
			}
			return e
		}
	}
	return nil
}

func (c *cache) put(e *entry) {
	if len(e.compact) > maxEntry {
		return
	}
	s, second, tag := c.place(e.compact)
	i, free := s.find(e.compact)
	if !free {
		if at, ok := second.find(e.compact); ok {
			s, i, free = second, at, true
		}
	}
	if !free {
		i = s.evict()
	}
	s.used.And(^uint32(1 << i))
	s.slots[i].Store(e)
	s.tags[i].Store(tag)
}

// find returns the slot of the same token, or else a free one, if there is one.
func (s *set) find(compact string) (at uint32, ok bool) {
	for i := range uint32(ways) {
		e := s.slots[i].Load()
		if e == nil {
			at, ok = i, true
		} else if e.compact == compact {
			return i, true
		}
	}
	return at, ok
}

// evict returns the first slot after the hand that was not used since the hand last
// passed.
func (s *set) evict() uint32 {
	for range ways {
		i := s.hand.Add(1) % ways
		if s.used.And(^uint32(1<<i))&(1<<i) == 0 {
			return i
		}
	}
	return s.hand.Add(1) % ways
}
