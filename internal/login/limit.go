package login

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// A limit is a leaky bucket: it takes burst attempts at once, and then one every
// so often.
type limit struct {
	burst int
	every time.Duration
}

var (
	pairLimit    = limit{burst: 5, every: time.Minute}       // one account from one address
	addressLimit = limit{burst: 30, every: 10 * time.Second} // one address, whatever the account
	accountLimit = limit{burst: 50, every: 2 * time.Minute}  // one account, from all strangers together
	deviceLimit  = limit{burst: 10, every: 30 * time.Second} // one account from one browser it knows
	changeLimit  = limit{burst: 5, every: time.Minute}       // the old password, when a new one is set
	auditLimit   = limit{burst: 1000, every: 5 * time.Second}
	flowLimit    = limit{burst: 2000, every: 50 * time.Millisecond} // sign-ins begun from one address
)

// A bucket is one limit and the row that holds its state.
type bucket struct {
	key   string
	limit limit
}

// Throttled says that too much was tried and when to try again.
type Throttled struct{ After time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("login: too many attempts; wait %v", t.After)
}

// judgeAttempt says whether one more attempt fits at now. The level is time: what
// was put in and has not yet leaked out. With wait > 0 the attempt is refused and
// nothing changes.
func judgeAttempt(lim limit, a store.Attempt, now time.Time) (next store.Attempt, wait time.Duration) {
	debt, full := leak(lim, a, now), time.Duration(lim.burst)*lim.every
	if over := debt + lim.every - full; over > 0 {
		return a, over
	}
	return store.Attempt{Key: a.Key, Level: (debt + lim.every).Microseconds(), At: now}, 0
}

// giveBack takes one attempt out again.
func giveBack(lim limit, a store.Attempt, now time.Time) store.Attempt {
	debt := max(0, leak(lim, a, now)-lim.every)
	return store.Attempt{Key: a.Key, Level: debt.Microseconds(), At: now}
}

// leak returns what is left in the bucket at now. A clock that went back leaks
// nothing, and no stored state can fill a bucket beyond its brim.
func leak(lim limit, a store.Attempt, now time.Time) time.Duration {
	brim := time.Duration(lim.burst) * lim.every
	level := time.Duration(min(max(0, a.Level), brim.Microseconds())) * time.Microsecond
	return max(0, level-max(0, now.Sub(a.At)))
}

// wait returns how long until one attempt fits all buckets; 0: now.
func wait(tx *store.Tx, buckets []bucket, now time.Time) (time.Duration, error) {
	var longest time.Duration
	for _, b := range buckets {
		a, err := tx.Attempt(b.key)
		if err != nil {
			return 0, err
		}
		_, w := judgeAttempt(b.limit, a, now)
		longest = max(longest, w)
	}
	return longest, nil
}

// charge puts one attempt into every bucket, or into none and says how long to
// wait.
func charge(tx *store.Tx, buckets []bucket, now time.Time) (time.Duration, error) {
	longest, err := wait(tx, buckets, now)
	if err != nil || longest > 0 {
		return longest, err
	}
	for _, b := range buckets {
		a, err := tx.Attempt(b.key)
		if err != nil {
			return 0, err
		}
		a, _ = judgeAttempt(b.limit, a, now)
		a.Key = b.key
		if err := tx.PutAttempt(a); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// refund takes the attempt that charge put in out of every bucket. It empties
// none: else one good account would buy its owner endless guesses at others.
func refund(tx *store.Tx, buckets []bucket, now time.Time) error {
	for _, b := range buckets {
		a, err := tx.Attempt(b.key)
		if err != nil {
			return err
		}
		a = giveBack(b.limit, a, now)
		a.Key = b.key
		if err := tx.PutAttempt(a); err != nil {
			return err
		}
	}
	return nil
}

// Admit charges an authorization request that will be kept to the address it came
// from. Anybody can send one, and each takes room in the store until it expires.
// The error is a *Throttled when there are too many.
func (l *Login) Admit(tx *store.Tx, address string, now time.Time) error {
	wait, err := charge(tx, []bucket{{l.bucketKey("flow", network(address)), flowLimit}}, now)
	if err == nil && wait > 0 {
		return &Throttled{After: wait}
	}
	return err
}

// stranger returns the buckets of a browser that the account does not know.
func (l *Login) stranger(username, address string) []bucket {
	from := network(address)
	return []bucket{
		{l.bucketKey("pair", username, from), pairLimit},
		{l.bucketKey("address", from), addressLimit},
		{l.bucketKey("account", username), accountLimit},
	}
}

// bucketKey names a bucket: one of 2^20 of its kind.
func (l *Login) bucketKey(kind string, parts ...string) string {
	sum := l.mac("limit "+kind, parts...)
	return fmt.Sprintf("login.%s:%05x", kind, binary.BigEndian.Uint32(sum)>>12)
}

// mac is HMAC-SHA-256 over a purpose and parts, each framed by its length.
func (l *Login) mac(purpose string, parts ...string) []byte {
	h := hmac.New(sha256.New, l.cfg.Key)
	for _, p := range append([]string{purpose}, parts...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// network is what of an address counts as one: IPv6 hosts have a /64 to
// themselves.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, _ := a.Prefix(64) // 64 bits always fit an IPv6 address
	return p.String()
}

// A gate lets so many through at once as it has room.
type gate chan struct{}

// hashWait is how long an attempt queues for a hashing slot.
const hashWait = 3 * time.Second

// enter waits for room; the caller leaves by calling leave.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-timer.C:
		return nil, &Throttled{After: hashWait}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
