package login

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestJudgeAttempt(t *testing.T) {
	lim := limit{burst: 3, every: time.Minute} // holds 3 min
	level := func(d time.Duration) int64 { return d.Microseconds() }
	for _, tt := range []struct {
		name  string
		level int64
		ago   time.Duration // since the state was written
		next  int64
		wait  time.Duration
	}{
		{"first", 0, 0, level(time.Minute), 0},
		{"third at once", level(2 * time.Minute), 0, level(3 * time.Minute), 0},
		{"fourth at once", level(3 * time.Minute), 0, 0, time.Minute},
		{"fourth, a bit later", level(3 * time.Minute), 20 * time.Second, 0, 40 * time.Second},
		{"fourth, just not yet", level(3 * time.Minute), time.Minute - time.Microsecond, 0, time.Microsecond},
		{"fourth, when there is room", level(3 * time.Minute), time.Minute, level(3 * time.Minute), 0},
		{"long after", level(3 * time.Minute), 24 * time.Hour, level(time.Minute), 0},
		{"a clock that went back", level(3 * time.Minute), -time.Hour, 0, time.Minute},
		{"beyond the brim", level(1000 * time.Hour), 0, 0, time.Minute},
		{"nonsense", math.MaxInt64, 0, 0, time.Minute},
		{"negative", math.MinInt64 + 1, 0, level(time.Minute), 0},
	} {
		a := store.Attempt{Key: "k", Level: tt.level, At: epoch}
		now := epoch.Add(tt.ago)
		next, wait := judgeAttempt(lim, a, now)
		if wait != tt.wait {
			t.Errorf("%s: wait = %v, want %v", tt.name, wait, tt.wait)
		}
		want := a
		if tt.wait == 0 {
			want = store.Attempt{Key: "k", Level: tt.next, At: now}
		}
		if next != want {
			t.Errorf("%s: next = %+v, want %+v", tt.name, next, want)
		}
	}
}

func TestFreshBucket(t *testing.T) {
	next, wait := judgeAttempt(pairLimit, store.Attempt{Key: "k"}, epoch)
	if want := (store.Attempt{Key: "k", Level: pairLimit.every.Microseconds(), At: epoch}); next != want || wait != 0 {
		t.Errorf("judgeAttempt(zero) = %+v, %v, want %+v, 0", next, wait, want)
	}
}

// TestRate lets somebody try as fast as they are let, for a day.
func TestRate(t *testing.T) {
	for name, lim := range map[string]limit{"pair": pairLimit, "address": addressLimit, "account": accountLimit, "device": deviceLimit} {
		a, tried, now := store.Attempt{}, 0, epoch
		for now.Before(epoch.Add(24 * time.Hour)) {
			next, wait := judgeAttempt(lim, a, now)
			if wait > 0 {
				now = now.Add(wait)
				continue
			}
			a, tried = next, tried+1
		}
		if want := lim.burst - 1 + int(24*time.Hour/lim.every); tried > want+1 || tried < want-1 {
			t.Errorf("%s: %d attempts in a day, want %d", name, tried, want)
		}
	}
}

func TestGiveBack(t *testing.T) {
	lim := limit{burst: 3, every: time.Minute}
	for _, tt := range []struct{ level, want time.Duration }{
		{3 * time.Minute, 2 * time.Minute},
		{time.Minute, 0},
		{30 * time.Second, 0},
		{0, 0},
	} {
		got := giveBack(lim, store.Attempt{Key: "k", Level: tt.level.Microseconds(), At: epoch}, epoch)
		if want := (store.Attempt{Key: "k", Level: tt.want.Microseconds(), At: epoch}); got != want {
			t.Errorf("giveBack(%v) = %+v, want %+v", tt.level, got, want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":                  "192.0.2.7",
		"::ffff:192.0.2.7":           "192.0.2.7",
		"2001:db8:1:2:3:4:5:6":       "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1":       "2001:db8:1:2::/64",
		"2001:db8:1:3::1":            "2001:db8:1:3::/64",
		"fe80::1%eth0":               "fe80::/64",
		"@":                          "@",
		"":                           "",
		"192.0.2.7:80":               "192.0.2.7:80",
		"0:0:0:0:0:ffff:192.0.2.129": "192.0.2.129",
	} {
		if got := network(address); got != want {
			t.Errorf("network(%q) = %q, want %q", address, got, want)
		}
	}
}

// TestFraming: parts that run together must not name one bucket.
func TestFraming(t *testing.T) {
	l := &Login{cfg: Config{Key: make([]byte, 32)}}
	if l.bucketKey("pair", "ab", "c") == l.bucketKey("pair", "a", "bc") {
		t.Error("(ab, c) and (a, bc) share a bucket")
	}
	if l.bucketKey("pair", "a", "b") == l.bucketKey("address", "a", "b") {
		t.Error("two kinds share a bucket")
	}
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate, 1)
		leave, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = g.enter(t.Context())
		var throttled *Throttled
		if !errors.As(err, &throttled) || time.Since(start) != hashWait {
			t.Errorf("enter a full gate = %v after %v, want Throttled after %v", err, time.Since(start), hashWait)
		}
		leave()
		if leave, err = g.enter(t.Context()); err != nil {
			t.Errorf("enter a free gate: %v", err)
		}
		leave()
	})
}

// TestAdmitIsLimited: one address cannot fill the store with requests that nobody
// signs in for. Others go on.
func TestAdmitIsLimited(t *testing.T) {
	f := newFixture(t)
	begin := func(address string) (err error) {
		f.update(func(tx *store.Tx) error {
			err = f.Admit(tx, address, f.clock())
			return nil
		})
		return err
	}
	f.update(func(tx *store.Tx) error {
		for range flowLimit.burst {
			if err := f.Admit(tx, "2001:db8::1", f.clock()); err != nil {
				return err
			}
		}
		return nil
	})
	var throttled *Throttled
	if err := begin("2001:db8::2"); !errors.As(err, &throttled) {
		t.Errorf("one more from that network: %v, want a *Throttled", err)
	}
	if err := begin("192.0.2.1"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	f.pass(flowLimit.every)
	if err := begin("2001:db8::2"); err != nil {
		t.Errorf("a little later: %v", err)
	}
}
