package mint

import (
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// What a key is for. One key, one use.
const (
	useSign = "sign" // access and ID tokens; public half in the JWK set
	useFeed = "feed" // feed batches and nothing else; a key set of its own
	useTag  = "tag"  // HMAC key of the jti's tag
	useMAC  = "mac"  // HMAC key of standing grants and feed hashes; never rotates
)

// schedule is how keys age. All fields are set by Config.
type schedule struct {
	life     time.Duration // a key signs this long
	publish  time.Duration // and is public at least this long before it signs
	deadline time.Duration // guards that do not report it are waited for this much longer
	retain   time.Duration // how long it stays public after it stopped signing
}

// A step is the one next thing to do about a family of keys (same use, same algorithm).
type step int

const (
	stepNone    step = iota
	stepFirst        // make a key that signs from now on
	stepNext         // make a key that waits
	stepPromote      // the waiting key signs from now on, the signing key retires
	stepDrop         // the oldest retired key leaves the set
)

// family is the keys of one use and algorithm.
type family struct {
	signing *store.Key
	waiting *store.Key
	retired []*store.Key // oldest first
}

func familyOf(keys []*store.Key, use, alg string) family {
	var f family
	for _, k := range keys {
		switch {
		case k.Use != use || k.Algorithm != alg:
		case !k.Retired.IsZero():
			f.retired = append(f.retired, k)
		case k.Active.IsZero():
			f.waiting = k
		default:
			f.signing = k
		}
	}
	slices.SortFunc(f.retired, func(a, b *store.Key) int { return a.Expires.Compare(b.Expires) })
	return f
}

// judge says what a family of keys needs at now. held reports that every
// registered guard seen in the last hour holds the waiting key.
//
// Signing moves when the next key has been public for the lead time and the
// guards hold it, or the deadline passed: a key set cached anywhere has been
// fetched again by then.
func (s schedule) judge(f family, held bool, now time.Time) step {
	if len(f.retired) > 0 && !now.Before(f.retired[0].Expires) {
		return stepDrop
	}
	if f.signing == nil {
		if f.waiting != nil {
			return stepPromote
		}
		return stepFirst
	}
	end := f.signing.Active.Add(s.life)
	if f.waiting == nil {
		if now.Before(end.Add(-s.publish)) {
			return stepNone
		}
		return stepNext
	}
	// The waiting key may also stand there because an operator asked for a
	// rotation ahead of time; then its own age counts, not the schedule.
	public := f.waiting.Created.Add(s.publish)
	switch {
	case now.Before(public):
		return stepNone
	case held || !now.Before(public.Add(s.deadline)):
		return stepPromote
	}
	return stepNone
}

// held reports whether every guard in states names kid.
func held(states []store.GuardState, kid string) bool {
	for _, g := range states {
		if !slices.Contains(g.KeyIDs, kid) {
			return false
		}
	}
	return true
}
