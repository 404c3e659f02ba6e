package feed

import (
	"errors"
	"testing"
	"time"
)

// A replica whose clock is ahead, or a reader whose clock was put back, must not
// make a feed that broke off look fresh until the clocks meet.
func TestAgeWithWrongClocks(t *testing.T) {
	n := newNotary(t)
	now := testAsOf
	r := newReader(t, n, "http://unused", func(c *ReaderConfig) { c.Now = func() time.Time { return now } })
	take := func(b Batch) {
		t.Helper()
		if err := r.take(t.Context(), n.token(t, b)); err != nil {
			t.Fatal(err)
		}
	}
	age := func(want time.Duration) {
		t.Helper()
		v := r.View()
		if got := v.Age(now); got != want {
			t.Errorf("as of %s, heard at %s: age at %s = %s, want %s", v.AsOf, v.Heard, now, got, want)
		}
	}
	take(state("e1", 5, testAsOf.Add(time.Hour)))
	age(0)
	now = now.Add(20 * time.Second)
	age(20 * time.Second)
	take(news("e1", 5, 5, now)) // from another replica, whose clock is right
	age(0)
	now = now.Add(2 * time.Hour)
	take(news("e1", 5, 5, now.Add(-time.Minute)))
	age(time.Minute)
	now = now.Add(time.Second)
	take(news("e1", 5, 7, time.Time{}, 7)) // word of a rule, not of the head
	age(time.Minute + time.Second)
	now = now.Add(-time.Minute) // and with a clock that is behind:
	take(news("e1", 7, 7, testAsOf.Add(3*time.Hour)))
	age(0)
	now = now.Add(30 * time.Second)
	take(news("e1", 7, 7, testAsOf.Add(3*time.Hour))) // the same again
	age(30 * time.Second)
}

// Tokens are judged by the issuer's clock where the reader's is behind it, and that
// goes on between its words; where it is ahead, by the reader's.
func TestClock(t *testing.T) {
	n := newNotary(t)
	start := testAsOf.Add(-5 * time.Minute)
	now := start
	r := newReader(t, n, "http://unused", func(c *ReaderConfig) { c.Now = func() time.Time { return now } })
	want := func(clock time.Time, behind time.Duration) {
		t.Helper()
		if v := r.View(); !v.Clock(now).Equal(clock) || v.Behind() != behind {
			t.Errorf("clock at %s = %s, behind by %s, want %s and %s", now, v.Clock(now), v.Behind(), clock, behind)
		}
	}
	want(now, 0)
	for _, step := range []struct {
		asOf  time.Time
		clock time.Duration // of the issuer, ahead of the reader's
	}{
		{start.Add(5 * time.Minute), 5 * time.Minute},
		{start.Add(time.Minute), time.Minute}, // it was put right
		{start.Add(-5 * time.Minute), 0},
	} {
		now = start
		if err := r.take(t.Context(), n.token(t, state("e1", 5, step.asOf))); err != nil {
			t.Fatal(err)
		}
		want(now.Add(step.clock), step.asOf.Sub(start))
		now = now.Add(3 * time.Second)
		want(now.Add(step.clock), step.asOf.Sub(start))
	}
}

// A reader whose clock ran ahead goes on to hold the rules when it is put right:
// within an epoch nobody sends them again.
func TestRulesOutliveAFastClock(t *testing.T) {
	n := newNotary(t)
	now := testAsOf
	r := newReader(t, n, "http://unused", func(c *ReaderConfig) { c.Now = func() time.Time { return now } })
	if err := r.take(t.Context(), n.token(t, state("e1", 5, testAsOf, 5))); err != nil {
		t.Fatal(err)
	}
	end := plain(5, KindGrant, "g5").Until
	now = end.Add(time.Hour)
	for _, c := range []struct {
		asOf  time.Time
		holds bool
	}{{testAsOf.Add(time.Minute), true}, {end.Add(time.Minute), false}} {
		now = now.Add(2 * sweepEvery)
		if err := r.take(t.Context(), n.token(t, news("e1", 5, 5, c.asOf))); err != nil {
			t.Fatal(err)
		}
		if got := holds(r.View(), KindGrant, "g5", 0); got != c.holds {
			t.Errorf("as of %s, by a clock at %s: rule until %s held = %t, want %t", c.asOf, now, end, got, c.holds)
		}
	}
}

// A batch of the whole feed, put before a polling reader, would move it past
// rules that it cannot recognize.
func TestPollingReaderTakesNoBatch(t *testing.T) {
	n := newNotary(t)
	r := newReader(t, n, "", func(c *ReaderConfig) { c.Credential, c.PublicURL = nil, "http://unused" })
	public := state("e1", 5, testAsOf, 5)
	public.Public = true
	if err := r.take(t.Context(), n.token(t, public)); err != nil {
		t.Fatal(err)
	}
	if err := r.take(t.Context(), n.token(t, news("e1", 5, 9, testAsOf, 9))); !errors.Is(err, errRefused) {
		t.Errorf("batch: %v, want %v", err, errRefused)
	}
	if v := r.View(); v.Position != 5 {
		t.Errorf("position = %d, want 5", v.Position)
	}
}
