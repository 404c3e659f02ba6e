package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// keeper is a reader that keeps, at clock now.
func keeper(t *testing.T, n notary, url string, now time.Time) *Reader {
	t.Helper()
	return newReader(t, n, url, func(c *ReaderConfig) {
		c.Keep, c.Now = true, func() time.Time { return now }
	})
}

func (n notary) offline(compact string) ([]byte, error) {
	return n.verify(context.Background(), compact)
}

func TestKeptLeadsToTheSameView(t *testing.T) {
	n, now := newNotary(t), testAsOf.Add(time.Minute)
	r := keeper(t, n, "http://unused", now)
	if got := r.Kept(); got != nil {
		t.Errorf("kept before anything = %d messages, want none", len(got))
	}
	at := func(s int) time.Time { return testAsOf.Add(time.Duration(s) * time.Second) }
	for i, b := range []Batch{
		state("e1", 5, at(0), 2, 5), news("e1", 5, 7, at(1), 7), news("e1", 7, 7, at(2)),
		news("e1", 6, 9, at(3), 7, 9), news("e1", 9, 9, at(4)), news("e1", 9, 9, at(5)), news("e1", 4, 5, at(9)),
	} {
		if err := r.take(t.Context(), n.token(t, b)); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	messages := r.Kept()
	if len(messages) != 4 { // the snapshot, two batches, the last heartbeat
		t.Errorf("kept %d messages, want 4", len(messages))
	}
	next := keeper(t, n, "http://unused", now)
	if err := next.Restore(messages, at(30), n.offline); err != nil {
		t.Fatal(err)
	}
	v, want := next.View(), r.View()
	if v.Position != 9 || v.Epoch != "e1" || !v.AsOf.Equal(at(5)) || !v.Heard.Equal(at(30)) || v.Set.Len() != want.Set.Len() {
		t.Errorf("restored = %+v with %d rules, want %+v with %d", v, v.Set.Len(), want, want.Set.Len())
	}
	for _, p := range []uint64{2, 5, 7, 9} {
		if !holds(v, KindGrant, fmt.Sprint("g", p), 0) {
			t.Errorf("rule %d is not restored", p)
		}
	}
	if got := v.Age(now); got != 55*time.Second {
		t.Errorf("age = %s, want that of the signed as-of, 55 s", got)
	}
	if !slices.Equal(next.Kept(), messages) {
		t.Error("what was restored is not kept")
	}
	if err := next.take(t.Context(), n.token(t, news("e1", 9, 11, at(61), 11))); err != nil || next.View().Position != 11 {
		t.Errorf("the stream goes on at %d: %v, want 11", next.View().Position, err)
	}
}

// Our own clock was wrong, or somebody set it: the older of the two words counts. Where it
// was put back since, how long ago the issuer was heard cannot be known.
func TestRestoredStateIsNoFresherThanHeard(t *testing.T) {
	n := newNotary(t)
	behind := testAsOf.Add(-time.Hour) // our clock, all along
	r := keeper(t, n, "http://unused", behind)
	messages := []string{n.token(t, state("e1", 5, testAsOf))}
	if err := r.Restore(messages, behind.Add(-10*time.Minute), n.offline); err != nil {
		t.Fatal(err)
	}
	v := r.View()
	if got := v.Age(behind); got != 10*time.Minute {
		t.Errorf("age by a clock that is an hour behind = %s, want the ten minutes since it was heard", got)
	}
	r = keeper(t, n, "http://unused", behind)
	if err := r.Restore(messages, behind.Add(wobble+time.Millisecond), n.offline); err == nil || !strings.Contains(err.Error(), "put back") {
		t.Errorf("heard in the future: %v, want that the clock was put back", err)
	}
	if v := r.View(); v.Ready || r.Kept() != nil {
		t.Errorf("heard in the future: view = %+v, want an empty one", v)
	}
	if err := r.Restore(messages, behind.Add(wobble), n.offline); err != nil {
		t.Fatal(err)
	}
	if v := r.View(); !v.Heard.Equal(behind) {
		t.Errorf("heard = %s, a moment in the future, want now", v.Heard)
	}
}

func TestRestoreTakesAllOrNothing(t *testing.T) {
	n, stranger := newNotary(t), newNotary(t)
	good := []Batch{state("e1", 5, testAsOf, 5), news("e1", 5, 7, testAsOf, 7), news("e1", 7, 9, testAsOf, 9)}
	var tokens []string
	for _, b := range good {
		tokens = append(tokens, n.token(t, b))
	}
	foreign, public := state("e1", 5, testAsOf), state("e1", 5, testAsOf)
	foreign.Issuer, public.Public = "https://evil.example", true
	tests := map[string][]string{
		"nothing":            nil,
		"no snapshot":        tokens[1:],
		"a gap":              {tokens[0], tokens[2]},
		"out of order":       {tokens[0], tokens[2], tokens[1]},
		"back again":         {tokens[0], tokens[1], n.token(t, news("e1", 3, 6, testAsOf))},
		"a second snapshot":  {tokens[0], n.token(t, state("e2", 1, testAsOf.Add(time.Hour)))},
		"another epoch":      {tokens[0], n.token(t, news("e2", 5, 7, testAsOf))},
		"another issuer":     {n.token(t, foreign)},
		"a public snapshot":  {n.token(t, public)},
		"a stranger's":       {stranger.token(t, good[0])},
		"a stranger's batch": {tokens[0], stranger.token(t, good[1])},
		"no message":         {tokens[0], "x"},
	}
	for name, messages := range tests {
		r := keeper(t, n, "http://unused", testAsOf)
		if err := r.Restore(messages, testAsOf, n.offline); err == nil {
			t.Errorf("%s: restored, want an error", name)
		}
		if v := r.View(); v.Ready || v.Set.Len() != 0 || r.Kept() != nil {
			t.Errorf("%s: view = %+v, want an empty one", name, v)
		}
	}
}

// An old copy must not bring back what was ended since.
func TestRestoreDoesNotTakeTheStateBack(t *testing.T) {
	n := newNotary(t)
	old := []string{n.token(t, state("e1", 5, testAsOf, 5))}
	for name, held := range map[string]Batch{
		"newer position": state("e1", 7, testAsOf.Add(time.Second), 7),
		"newer epoch":    state("e2", 1, testAsOf.Add(time.Second), 7),
	} {
		r := keeper(t, n, "http://unused", testAsOf)
		if err := r.take(t.Context(), n.token(t, held)); err != nil {
			t.Fatal(err)
		}
		if err := r.Restore(old, testAsOf, n.offline); err == nil {
			t.Errorf("%s: restored over it", name)
		}
		if v := r.View(); v.Epoch != held.Epoch || v.Position != held.Position || !holds(v, KindGrant, "g7", 0) {
			t.Errorf("%s: view = %+v, want what was held", name, v)
		}
	}
	r := keeper(t, n, "http://unused", testAsOf)
	if err := r.Restore(old, testAsOf, n.offline); err != nil {
		t.Fatal(err)
	}
	if err := r.take(t.Context(), n.token(t, state("e2", 1, testAsOf.Add(time.Second), 1))); err != nil || r.View().Epoch != "e2" {
		t.Errorf("a newer epoch over the restored state: epoch %s, %v", r.View().Epoch, err)
	}
}

func TestResumesFromTheRestoredPosition(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, nil)
	l.Append([]Plain{plain(1, KindGrant, "g1")}, 1, false)
	ids := make(chan string, 8)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ids <- r.Header.Get("Last-Event-ID")
		l.Events().ServeHTTP(w, r)
	}))
	first := newReader(t, n, url, func(c *ReaderConfig) { c.Keep = true })
	run(t, first)
	await(t, "the rule is held", func() bool { return first.View().Position == 1 })
	if got := <-ids; got != "" {
		t.Errorf("first Last-Event-ID = %q, want none", got)
	}
	next := newReader(t, n, url, func(c *ReaderConfig) { c.Keep = true })
	if err := next.Restore(first.Kept(), time.Now(), n.offline); err != nil {
		t.Fatal(err)
	}
	l.Append([]Plain{plain(2, KindGrant, "g2")}, 2, false)
	run(t, next)
	await(t, "what came meanwhile is held", func() bool { return holds(next.View(), KindGrant, "g2", 0) })
	if got := <-ids; got != "e1.1" {
		t.Errorf("Last-Event-ID after the restore = %q, want e1.1", got)
	}
}

// What is kept stays bounded: a new snapshot takes the place of what led to it, while the
// stream goes on.
func TestRenewPutsASnapshotInPlace(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, nil)
	url := serve(t, l.Events())
	r := newReader(t, n, url, func(c *ReaderConfig) { c.Keep = true })
	run(t, r)
	await(t, "the reader is ready", func() bool { return r.View().Ready })
	filler := strings.Repeat("x", 1000) // a kind as long as it likes
	for p := uint64(1); !r.Large() && p < 4000; p++ {
		rule := plain(p, Kind(filler), "v")
		l.Append([]Plain{rule}, p, false)
		await(t, "the batch is held", func() bool { return r.View().Position == p })
	}
	before := r.Kept()
	if !r.Large() {
		t.Fatalf("%d messages are not called large", len(before))
	}
	await(t, "a snapshot takes their place", func() bool { // not the first reader's, which others may be given for a second
		if err := r.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		return !r.Large()
	})
	after := r.Kept()
	if r.Large() || len(after) >= len(before) || len(after) > 3 {
		t.Errorf("after the renewal %d messages, of %d, large %t; want one to three", len(after), len(before), r.Large())
	}
	if got := l.Subscribers(); got > 2 {
		t.Errorf("%d connections, want the stream's and at most one that is going", got)
	}
	next := newReader(t, n, url, func(c *ReaderConfig) { c.Keep = true })
	if err := next.Restore(after, time.Now(), n.offline); err != nil || next.View().Position != r.View().Position {
		t.Errorf("restored to %d, %v, want %d", next.View().Position, err, r.View().Position)
	}
}

// A renewal that is ahead of the stream, behind it, or of another epoch.
func TestRenewalMeetsTheStream(t *testing.T) {
	n := newNotary(t)
	at := func(s int) time.Time { return testAsOf.Add(time.Duration(s) * time.Second) }
	for _, tt := range []struct {
		name    string
		renewal Batch
		then    []Batch
		want    uint64
		count   int
	}{
		{"behind the stream", state("e1", 6, at(9), 5, 6), nil, 7, 2},
		{"behind the snapshot", state("e1", 4, at(9), 4), nil, 7, 3},
		{"another epoch", state("e2", 9, at(9), 9), nil, 7, 3},
		{"ahead", state("e1", 9, at(9), 5, 7, 8, 9), nil, 9, 1},
		{"ahead, and the stream catches up", state("e1", 9, at(9), 5, 7, 8, 9),
			[]Batch{news("e1", 7, 8, at(9), 8), news("e1", 8, 10, at(10), 9, 10)}, 10, 2},
		{"ahead, and the stream begins anew", state("e1", 9, at(9), 5, 7, 8, 9),
			[]Batch{state("e2", 1, at(10), 1)}, 1, 1},
	} {
		r := keeper(t, n, "http://unused", at(60))
		for _, b := range []Batch{state("e1", 5, at(0), 5), news("e1", 5, 6, at(1), 6), news("e1", 6, 7, at(2), 7)} {
			if err := r.take(t.Context(), n.token(t, b)); err != nil {
				t.Fatal(err)
			}
		}
		r.kept.renew(tt.renewal, n.token(t, tt.renewal))
		for _, b := range tt.then {
			if err := r.take(t.Context(), n.token(t, b)); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		messages := r.Kept()
		next := keeper(t, n, "http://unused", at(60))
		err := next.Restore(messages, at(60), n.offline)
		if err != nil || next.View().Position != tt.want || len(messages) != tt.count {
			t.Errorf("%s: %d messages lead to %d, %v; want %d to %d", tt.name, len(messages), next.View().Position, err, tt.count, tt.want)
		}
	}
}

func TestRenewRefusesWhatIsNoSnapshot(t *testing.T) {
	n, stranger := newNotary(t), newNotary(t)
	public := state("e1", 9, testAsOf)
	public.Public = true
	for name, answer := range map[string]string{
		"a batch":       string(event("batch", cursor{"e1", 9}, n.token(t, news("e1", 5, 9, testAsOf, 9)))),
		"a public one":  string(event("snapshot", cursor{"e1", 9}, n.token(t, public))),
		"a stranger's":  string(event("snapshot", cursor{"e1", 9}, stranger.token(t, state("e1", 9, testAsOf)))),
		"a batch named": string(event("snapshot", cursor{"e1", 9}, n.token(t, news("e1", 5, 9, testAsOf, 9)))),
	} {
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.Write([]byte(answer))
		}))
		r := newReader(t, n, url, func(c *ReaderConfig) { c.Keep = true })
		if err := r.take(t.Context(), n.token(t, state("e1", 5, testAsOf, 5))); err != nil {
			t.Fatal(err)
		}
		before := r.Kept()
		if err := r.Renew(t.Context()); !errors.Is(err, errRefused) {
			t.Errorf("%s: error = %v, want refused", name, err)
		}
		if !slices.Equal(r.Kept(), before) {
			t.Errorf("%s: what is kept changed", name)
		}
	}
}
