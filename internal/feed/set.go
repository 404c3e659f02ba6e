package feed

import (
	"encoding/binary"
	"iter"
	"sync/atomic"
	"time"
)

// kinds in the order of their codes in a slot; code 0 is a kind this program does not know.
var kinds = [...]Kind{
	"other", KindToken, KindGrant, KindSession, KindSubject, KindClient, KindPair, KindActor,
	KindProofKey, KindCert, KindSigningKey, KindResource, KindEverything, KindIssuedBefore,
}

// code is the index of a kind in kinds.
func (k Kind) code() int {
	for i, known := range kinds {
		if known == k {
			return i
		}
	}
	return 0
}

// Set holds rules for lookup by value. One goroutine writes (Add, Sweep); any number read at
// the same time without a lock and without allocating. The zero Set is empty and ready. It
// holds exactly what it was given: a lookup has no false positives.
//
// It is an open-addressing table that is a third to two thirds full, so a rule takes 48 to 96
// bytes, none of them a pointer; one that asks for a step-up takes 60 to 120. A table only
// ever gains rules; growing and sweeping build a new one and swap it in.
type Set struct {
	ends  half
	steps half                   // rules that ask for a step-up
	broad atomic.Pointer[[]Rule] // those about every token: four at most; replaced, never changed

	kinds atomic.Uint32 // a bit for each kind that was ever added
}

// half is one table of a Set with its count.
type half struct {
	timed bool // its rules are about a time
	table atomic.Pointer[table]
	count atomic.Int64
}

type table struct {
	mask   uint64
	slots  []slot
	before []atomic.Int64 // of the rule in the slot of the same index, in seconds; nil: not timed
}

// A slot is published by its meta word, which is written last and is never zero in use. Value
// and effect stay what they are from then on; position, time and end may rise.
type slot struct {
	meta     atomic.Uint64 // end in seconds << 16 | code of the kind << 8 | code of the effect
	high     atomic.Uint64 // value, first half
	low      atomic.Uint64 // value, second half
	position atomic.Uint64
}

const smallest = 64 // slots of the first table

// Len is the number of rules held.
func (s *Set) Len() int {
	n := int(s.ends.count.Load() + s.steps.count.Load())
	if broad := s.broad.Load(); broad != nil {
		n += len(*broad)
	}
	return n
}

// Has reports whether a rule of this kind was ever added. Values of other kinds need not
// be looked up, nor hashed.
func (s *Set) Has(k Kind) bool { return s.kinds.Load()&(1<<k.code()) != 0 }

// Kinds has a bit for each kind that was ever added; it changes when Has does.
func (s *Set) Kinds() uint32 { return s.kinds.Load() }

// Hit looks for a rule on v that hits the token. Of several, one that ends the token wins
// over one that asks for more.
func (s *Set) Hit(v Value, t Token) (Rule, bool) {
	if r, hit := s.ends.hit(v, t); hit {
		return r, true
	}
	return s.steps.hit(v, t)
}

// Broad looks for a rule about every token that hits this one, as Hit does.
func (s *Set) Broad(t Token) (found Rule, hit bool) {
	broad := s.broad.Load()
	if broad == nil {
		return Rule{}, false
	}
	for _, r := range *broad {
		if r.Hits(t) && (!hit || r.Effect == End) {
			found, hit = r, true
		}
	}
	return found, hit
}

func (h *half) hit(v Value, token Token) (Rule, bool) {
	t := h.table.Load()
	if t == nil {
		return Rule{}, false
	}
	high, low := v.halves()
	for i := high & t.mask; ; i = (i + 1) & t.mask {
		e := &t.slots[i]
		meta := e.meta.Load()
		if meta == 0 {
			return Rule{}, false
		}
		if e.high.Load() != high || e.low.Load() != low {
			continue
		}
		if r := t.rule(i, meta, v); r.Hits(token) {
			return r, true
		}
	}
}

// Add puts r in. Of rules with the same kind, value and effect the set keeps one, with the
// highest position and the latest times: it hits whatever any of them hits.
func (s *Set) Add(r Rule) {
	s.kinds.Or(1 << r.Kind.code()) // first: a value that is looked up in vain costs nothing but time
	switch {
	case r.Kind.broad():
		s.widen(r)
	case r.Effect == StepUp:
		s.steps.timed = true
		s.steps.add(r)
	default:
		s.ends.add(r)
	}
}

// widen puts in a rule about every token.
func (s *Set) widen(r Rule) {
	var next []Rule
	if broad := s.broad.Load(); broad != nil {
		for _, old := range *broad {
			if old.Kind == r.Kind && old.Effect == r.Effect {
				r.Position = max(r.Position, old.Position)
				r.Before, r.Until = later(r.Before, old.Before), later(r.Until, old.Until)
				continue
			}
			next = append(next, old)
		}
	}
	next = append(next, r)
	s.broad.Store(&next)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (h *half) add(r Rule) {
	t := h.table.Load()
	n := int(h.count.Load())
	if t == nil || 3*(n+1) > 2*len(t.slots) {
		t = h.rebuild(time.Time{}, n+1)
	}
	if t.add(r) {
		h.count.Add(1)
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
			if t.before != nil {
				t.before[i].Store(r.Before.Unix())
			}
			e.meta.Store(meta)
			return true
		}
		if old&0xffff != meta&0xffff || e.high.Load() != high || e.low.Load() != low {
			continue
		}
		if r.Position > e.position.Load() {
			e.position.Store(r.Position)
		}
		if t.before != nil && r.Before.Unix() > t.before[i].Load() {
			t.before[i].Store(r.Before.Unix())
		}
		if meta>>16 > old>>16 {
			e.meta.Store(meta)
		}
		return false
	}
}

// Sweep forgets the rules past their end at now.
func (s *Set) Sweep(now time.Time) {
	s.ends.sweep(now)
	s.steps.sweep(now)
	if broad := s.broad.Load(); broad != nil {
		var stay []Rule
		for _, r := range *broad {
			if !r.Until.Before(now) {
				stay = append(stay, r)
			}
		}
		s.broad.Store(&stay)
	}
}

func (h *half) sweep(now time.Time) {
	for r := range h.all() {
		if r.Until.Before(now) {
			h.rebuild(now, 0)
			return
		}
	}
}

// reserve makes room for n rules that end tokens.
func (s *Set) reserve(n int) { s.ends.rebuild(time.Time{}, n) }

// rebuild swaps in a table without the rules past their end at now, a third full with n rules
// or with those that stay, whichever are more.
func (h *half) rebuild(now time.Time, n int) *table {
	stay := 0
	for r := range h.all() {
		if !r.Until.Before(now) {
			stay++
		}
	}
	size := smallest
	for 3*max(n, stay) > 2*size {
		size *= 2
	}
	t := &table{mask: uint64(size - 1), slots: make([]slot, size)}
	if h.timed {
		t.before = make([]atomic.Int64, size)
	}
	for r := range h.all() {
		if !r.Until.Before(now) {
			t.add(r)
		}
	}
	h.table.Store(t)
	h.count.Store(int64(stay))
	return t
}

// all yields the rules in no order. It may run while the writer adds: then it yields all that
// were there at its start, and perhaps some of the new.
func (s *Set) all() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		for _, rules := range []iter.Seq[Rule]{s.ends.all(), s.steps.all()} {
			for r := range rules {
				if !yield(r) {
					return
				}
			}
		}
		if broad := s.broad.Load(); broad != nil {
			for _, r := range *broad {
				if !yield(r) {
					return
				}
			}
		}
	}
}

func (h *half) all() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		t := h.table.Load()
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
			if !yield(t.rule(uint64(i), meta, v)) {
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
	return uint64(r.Until.Unix())<<16 | uint64(r.Kind.code())<<8 | effect
}

// rule is what slot i holds.
func (t *table) rule(i, meta uint64, v Value) Rule {
	r := Rule{
		Position: t.slots[i].position.Load(),
		Kind:     kinds[meta>>8&0xff],
		Value:    v,
		Effect:   End,
		Until:    time.Unix(int64(meta>>16), 0).UTC(),
	}
	if meta&0xff == 2 {
		r.Effect = StepUp
	}
	if t.before != nil {
		r.Before = time.Unix(t.before[i].Load(), 0).UTC()
	}
	return r
}
