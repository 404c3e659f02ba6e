package feed

import (
	"encoding/binary"
	"iter"
	"sync/atomic"
	"time"
)

// kinds in the order of their codes in a slot; code 0 is a kind this program does not know.
var kinds = [...]Kind{"other", KindToken, KindGrant, KindSession, KindSubject, KindClient}

// Set holds rules for lookup by value. One goroutine writes (Add, Sweep); any number read at
// the same time without a lock and without allocating. The zero Set is empty and ready.
//
// It is an open-addressing table that is a third to two thirds full, so a rule takes 48 to 96
// bytes, none of them a pointer. A table only ever gains rules; growing and sweeping build a
// new one and swap it in.
type Set struct {
	table atomic.Pointer[table]
	count atomic.Int64
}

type table struct {
	mask  uint64
	slots []slot
}

// A slot is published by its meta word, which is written last and is never zero in use. Value
// and effect stay what they are from then on; position and end may rise.
type slot struct {
	meta     atomic.Uint64 // end in seconds << 16 | code of the kind << 8 | code of the effect
	high     atomic.Uint64 // value, first half
	low      atomic.Uint64 // value, second half
	position atomic.Uint64
}

const smallest = 64 // slots of the first table

// Len is the number of rules held.
func (s *Set) Len() int { return int(s.count.Load()) }

// Hit looks for a rule on v that hits a token decided on at rev. Of several, one that ends the
// token wins over one that asks for more.
func (s *Set) Hit(v Value, rev uint64) (Rule, bool) {
	t := s.table.Load()
	if t == nil {
		return Rule{}, false
	}
	high, low := v.halves()
	var found Rule
	var hit bool
	for i := high & t.mask; ; i = (i + 1) & t.mask {
		e := &t.slots[i]
		meta := e.meta.Load()
		if meta == 0 {
			return found, hit
		}
		if e.high.Load() != high || e.low.Load() != low {
			continue
		}
		r := rule(meta, v, e.position.Load())
		if !r.Hits(rev) {
			continue
		}
		if r.Effect == End {
			return r, true
		}
		found, hit = r, true
	}
}

// Add puts r in. Of rules with the same value and effect the set keeps one, with the highest
// position and the latest end: it hits whatever any of them hits.
func (s *Set) Add(r Rule) {
	t := s.table.Load()
	if t == nil || 3*(s.Len()+1) > 2*len(t.slots) {
		t = s.rebuild(time.Time{}, s.Len()+1)
	}
	if t.add(r) {
		s.count.Add(1)
	}
}

// add reports whether the rule took a slot of its own.
func (t *table) add(r Rule) bool {
	high, low := r.Value.halves()
	meta := r.meta()
	for i := high & t.mask; ; i = (i + 1) & t.mask {
		e := &t.slots[i]
		old := e.meta.Load()
		if old == 0 {
			e.high.Store(high)
			e.low.Store(low)
			e.position.Store(r.Position)
			e.meta.Store(meta)
			return true
		}
		if old&0xff != meta&0xff || e.high.Load() != high || e.low.Load() != low {
			continue
		}
		if r.Position > e.position.Load() {
			e.position.Store(r.Position)
		}
		if meta>>16 > old>>16 {
			e.meta.Store(meta)
		}
		return false
	}
}

// Sweep forgets the rules past their end at now.
func (s *Set) Sweep(now time.Time) {
	for r := range s.all() {
		if r.Until.Before(now) {
			s.rebuild(now, 0)
			return
		}
	}
}

// rebuild swaps in a table without the rules past their end at now, a third full with n rules
// or with those that stay, whichever are more.
func (s *Set) rebuild(now time.Time, n int) *table {
	stay := 0
	for r := range s.all() {
		if !r.Until.Before(now) {
			stay++
		}
	}
	size := smallest
	for 3*max(n, stay) > 2*size {
		size *= 2
	}
	t := &table{mask: uint64(size - 1), slots: make([]slot, size)}
	for r := range s.all() {
		if !r.Until.Before(now) {
			t.add(r)
		}
	}
	s.table.Store(t)
	s.count.Store(int64(stay))
	return t
}

// all yields the rules in no order. It may run while the writer adds: then it yields all that
// were there at its start, and perhaps some of the new.
func (s *Set) all() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		t := s.table.Load()
		if t == nil {
			return
		}
		for i := range t.slots {
			e := &t.slots[i]
			meta := e.meta.Load()
			if meta == 0 {
				continue
			}
			var v Value
			binary.BigEndian.PutUint64(v[:8], e.high.Load())
			binary.BigEndian.PutUint64(v[8:], e.low.Load())
			if !yield(rule(meta, v, e.position.Load())) {
				return
			}
		}
	}
}

func (v Value) halves() (high, low uint64) {
	return binary.BigEndian.Uint64(v[:8]), binary.BigEndian.Uint64(v[8:])
}

func (r Rule) meta() uint64 {
	effect := uint64(1)
	if r.Effect == StepUp {
		effect = 2
	}
	kind := uint64(0)
	for i, k := range kinds {
		if k == r.Kind {
			kind = uint64(i)
		}
	}
	return uint64(r.Until.Unix())<<16 | kind<<8 | effect
}

func rule(meta uint64, v Value, position uint64) Rule {
	effect := End
	if meta&0xff == 2 {
		effect = StepUp
	}
	return Rule{
		Position: position,
		Kind:     kinds[meta>>8&0xff],
		Value:    v,
		Effect:   effect,
		Until:    time.Unix(int64(meta>>16), 0).UTC(),
	}
}
