package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func credential(context.Context) (string, error) { return "secret", nil }

// newReader follows url, or only takes what the test hands it.
func newReader(t testing.TB, n notary, url string, change func(*ReaderConfig)) *Reader {
	t.Helper()
	cfg := ReaderConfig{Issuer: testIssuer, URL: url, Credential: credential, Verify: n.verify, Logger: quiet()}
	if change != nil {
		change(&cfg)
	}
	r, err := NewReader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs r until the test ends.
func run(t testing.TB, r *Reader) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) }) // always ctx's error
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
}

// await polls until ok, for at most five seconds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

var testAsOf = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// state makes a snapshot at position in which rule p ends the grant "g<p>".
func state(epoch string, position uint64, asOf time.Time, rules ...uint64) Batch {
	b := Batch{Issuer: testIssuer, Epoch: epoch, Position: position, AsOf: asOf, Snapshot: true, Key: testKey}
	for _, p := range rules {
		b.Rules = append(b.Rules, plain(p, KindGrant, fmt.Sprintf("g%d", p)).Rule(testKey, testIssuer))
	}
	return b
}

// news makes a batch likewise.
func news(epoch string, prev, position uint64, asOf time.Time, rules ...uint64) Batch {
	b := state(epoch, position, asOf, rules...)
	b.Snapshot, b.Key, b.Prev = false, nil, prev
	return b
}

func TestNewReaderChecksItsConfig(t *testing.T) {
	good := ReaderConfig{Issuer: "i", URL: "u", Credential: credential, Verify: notary{}.verify}
	tests := map[string]func(*ReaderConfig){
		"issuer": func(c *ReaderConfig) { c.Issuer = "" },
		"verify": func(c *ReaderConfig) { c.Verify = nil },
		"url":    func(c *ReaderConfig) { c.URL = "" },
		"public": func(c *ReaderConfig) { c.Credential = nil },
	}
	for name, change := range tests {
		cfg := good
		change(&cfg)
		if _, err := NewReader(cfg); err == nil {
			t.Errorf("%s: NewReader succeeds, want an error", name)
		}
	}
	r, err := NewReader(good)
	if err != nil {
		t.Fatal(err)
	}
	v := r.View()
	if _, hit := v.Set.Hit(Value{}, Token{}); hit || v.Ready {
		t.Errorf("new reader's view = %+v, want an empty one that is not ready", v)
	}
}

// Each case hands batches to a reader in order and looks at the state they leave.
func TestReaderTakesOnlyWhatLeadsOn(t *testing.T) {
	t0, t1, t2 := testAsOf, testAsOf.Add(time.Second), testAsOf.Add(2*time.Second)
	other := state("e1", 5, t1)
	other.Key = []byte("another key of thirty-two bytes!")
	public := state("e1", 9, t1)
	public.Public = true
	foreign := state("e1", 9, t1)
	foreign.Issuer = "https://evil.example"
	tests := []struct {
		name     string
		batches  []Batch
		err      error // of the last one
		epoch    string
		position uint64
		asOf     time.Time
		rules    []uint64
	}{
		{"snapshot", []Batch{state("e1", 5, t0, 2, 5)}, nil, "e1", 5, t0, []uint64{2, 5}},
		{"batch before any snapshot", []Batch{news("e1", 0, 1, t0, 1)}, errGap, "", 0, time.Time{}, nil},
		{"batch that follows", []Batch{state("e1", 5, t0, 5), news("e1", 5, 7, t1, 7)}, nil, "e1", 7, t1, []uint64{5, 7}},
		{"batch that overlaps", []Batch{state("e1", 5, t0, 5), news("e1", 3, 7, t1, 4, 7)}, nil, "e1", 7, t1, []uint64{4, 5, 7}},
		{"batch after a gap", []Batch{state("e1", 5, t0, 5), news("e1", 6, 7, t1, 7)}, errGap, "e1", 5, t0, []uint64{5}},
		{"batch of another epoch", []Batch{state("e1", 5, t0, 5), news("e2", 5, 7, t1, 7)}, errGap, "e1", 5, t0, []uint64{5}},
		{"replayed batch", []Batch{state("e1", 5, t0, 5), news("e1", 5, 7, t1, 7), news("e1", 5, 6, t2, 6)}, nil, "e1", 7, t1, []uint64{5, 7}},
		{"heartbeat", []Batch{state("e1", 5, t0, 5), news("e1", 5, 5, t1)}, nil, "e1", 5, t1, []uint64{5}},
		{"replayed heartbeat", []Batch{state("e1", 5, t1, 5), news("e1", 5, 5, t0)}, nil, "e1", 5, t1, []uint64{5}},
		{"heartbeat from behind", []Batch{state("e1", 5, t0, 5), news("e1", 4, 4, t1)}, nil, "e1", 5, t0, []uint64{5}},
		{"heartbeat from ahead", []Batch{state("e1", 5, t0, 5), news("e1", 6, 6, t1)}, errGap, "e1", 5, t0, []uint64{5}},
		{"replayed snapshot", []Batch{state("e1", 7, t1, 7), state("e1", 5, t2)}, nil, "e1", 7, t1, []uint64{7}},
		{"later snapshot only adds", []Batch{state("e1", 7, t1, 7), state("e1", 9, t2, 9)}, nil, "e1", 9, t2, []uint64{7, 9}},
		{"snapshot under another key", []Batch{state("e1", 5, t0, 5), other}, errRefused, "e1", 5, t0, []uint64{5}},
		{"new epoch, lower position", []Batch{state("e1", 9, t0, 9), state("e2", 1, t1, 1)}, nil, "e2", 1, t1, []uint64{1}},
		{"snapshot of an old epoch", []Batch{state("e1", 9, t0), state("e2", 3, t1, 3), state("e1", 9, t0)}, errRefused, "e2", 3, t1, []uint64{3}},
		{"public snapshot", []Batch{state("e1", 5, t0, 5), public}, errRefused, "e1", 5, t0, []uint64{5}},
		{"public snapshot first", []Batch{public}, errRefused, "", 0, time.Time{}, nil},
		{"another issuer", []Batch{foreign}, errRefused, "", 0, time.Time{}, nil},
	}
	n := newNotary(t)
	for _, tt := range tests {
		r := newReader(t, n, "http://unused", nil)
		var err error
		for _, b := range tt.batches {
			err = r.take(t.Context(), n.token(t, b))
		}
		v := r.View()
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: last error = %v, want %v", tt.name, err, tt.err)
		}
		if v.Epoch != tt.epoch || v.Position != tt.position || !v.AsOf.Equal(tt.asOf) || v.Ready != (tt.epoch != "") {
			t.Errorf("%s: view = %+v, want epoch %q, position %d, as of %s", tt.name, v, tt.epoch, tt.position, tt.asOf)
		}
		for p := range uint64(10) {
			want := false
			for _, q := range tt.rules {
				want = want || p == q
			}
			if got := v.Ready && holds(v, KindGrant, fmt.Sprintf("g%d", p), 0); got != want {
				t.Errorf("%s: rule %d hits = %t, want %t", tt.name, p, got, want)
			}
		}
	}
}

// An attacker who can replay what was once signed pairs an old snapshot with live heartbeats.
func TestOldSnapshotWithLiveHeartbeatsIsStale(t *testing.T) {
	n := newNotary(t)
	r := newReader(t, n, "http://unused", nil)
	old, live := n.token(t, state("e1", 5, testAsOf)), n.token(t, news("e1", 9, 9, testAsOf.Add(time.Hour)))
	if err := r.take(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := r.take(t.Context(), live); !errors.Is(err, errGap) {
		t.Errorf("heartbeat of a later position: %v, want %v", err, errGap)
	}
	if v := r.View(); !v.AsOf.Equal(testAsOf) {
		t.Errorf("state is trusted as of %s, want %s", v.AsOf, testAsOf)
	}
}

func TestForgedBatchesAreRefused(t *testing.T) {
	n, thief := newNotary(t), newNotary(t)
	good := n.token(t, state("e1", 5, testAsOf, 5))
	dot := strings.IndexByte(good, '.')
	tests := map[string]string{
		"another key":    thief.token(t, state("e1", 5, testAsOf, 5)),
		"payload byte":   good[:dot+9] + flip(good[dot+9]) + good[dot+10:],
		"signature byte": good[:len(good)-9] + flip(good[len(good)-9]) + good[len(good)-8:],
		"cut short":      good[:len(good)-4],
		"nothing":        "",
	}
	for name, token := range tests {
		r := newReader(t, n, "http://unused", nil)
		if err := r.take(t.Context(), token); !errors.Is(err, errRefused) {
			t.Errorf("%s: %v, want %v", name, err, errRefused)
		}
		if v := r.View(); v.Ready {
			t.Errorf("%s: reader is ready after it", name)
		}
	}
	signed, err := n.sign([]byte(`{"iss":"` + testIssuer + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := newReader(t, n, "http://unused", nil).take(t.Context(), signed); !errors.Is(err, errRefused) {
		t.Errorf("signed, but no batch: %v, want %v", err, errRefused)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestAppliedTellsOfNews(t *testing.T) {
	n := newNotary(t)
	var got []string
	r := newReader(t, n, "http://unused", nil)
	r.cfg.Applied = func(b Batch) {
		if v := r.View(); v.Position != b.Position {
			t.Errorf("Applied(%d) while the view is at %d", b.Position, v.Position)
		}
		got = append(got, fmt.Sprintf("%d rules=%d keys=%t", b.Position, len(b.Rules), b.KeysChanged))
	}
	keys := news("e1", 7, 8, testAsOf)
	keys.KeysChanged = true
	for _, b := range []Batch{
		state("e1", 5, testAsOf, 5), state("e1", 5, testAsOf, 5), news("e1", 5, 5, testAsOf),
		news("e1", 5, 6, testAsOf, 6), news("e1", 5, 6, testAsOf, 6), news("e1", 6, 7, testAsOf),
		keys, state("e1", 9, testAsOf, 5, 6), state("e1", 4, testAsOf),
	} {
		if err := r.take(t.Context(), n.token(t, b)); err != nil {
			t.Fatal(err)
		}
	}
	want := "5 rules=1 keys=true, 6 rules=1 keys=false, 8 rules=0 keys=true, 9 rules=2 keys=true"
	if all := strings.Join(got, ", "); all != want {
		t.Errorf("Applied saw %s\nwant         %s", all, want)
	}
}

// Followers that connect, break off and resume while rules are appended miss none of them.
func TestFollowersMissNothing(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, func(c *LogConfig) { c.Ring = 32 })
	var cuts atomic.Int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if cuts.Add(1)%3 != 0 { // two of three connections are cut after some writes
			w = &cutting{ResponseWriter: w, left: 5, cut: cancel}
		}
		l.Events().ServeHTTP(w, r.WithContext(ctx))
	}))
	const followers, rules = 8, 600
	var readers []*Reader
	for i := range uint64(rules) {
		if i%(rules/followers) == 0 {
			r := newReader(t, n, url, nil)
			readers = append(readers, r)
			run(t, r)
		}
		if i%5 == 0 {
			l.Append(nil, l.Applied()+3, false) // numbers that were rolled back
		}
		p := l.Applied() + 1
		l.Append([]Plain{plain(p, KindGrant, fmt.Sprintf("g%d", i))}, p, false)
		if i%20 == 0 {
			time.Sleep(time.Millisecond) // lets connections come and go in between
		}
	}
	for i, r := range readers {
		await(t, fmt.Sprintf("follower %d at %d", i, l.Applied()), func() bool { return r.View().Position == l.Applied() })
		v := r.View()
		for j := range rules {
			if !holds(v, KindGrant, fmt.Sprintf("g%d", j), 0) {
				t.Errorf("follower %d misses rule %d", i, j)
			}
		}
		if v.Set.Len() != rules {
			t.Errorf("follower %d holds %d rules, want %d", i, v.Set.Len(), rules)
		}
	}
}

// cutting ends the request after some writes, in the middle of one.
type cutting struct {
	http.ResponseWriter
	left int
	cut  func()
}

func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutting) Write(p []byte) (int, error) {
	if c.left--; c.left < 0 {
		c.cut()
		n, _ := c.ResponseWriter.Write(p[:len(p)/2])
		return n, errors.New("cut")
	}
	return c.ResponseWriter.Write(p)
}

// A stream that turns bad in the middle is dropped; the rules sent meanwhile arrive all the same.
func TestCorruptedStreamIsDroppedAndResumed(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, nil)
	var corrupt atomic.Bool
	var ids sync.Map
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ids.Store(r.Header.Get("Last-Event-ID"), true)
		l.Events().ServeHTTP(&corrupting{w, &corrupt}, r)
	}))
	r := newReader(t, n, url, nil)
	run(t, r)
	await(t, "snapshot", func() bool { return r.View().Ready })
	l.Append([]Plain{plain(1, KindGrant, "a")}, 1, false)
	await(t, "rule 1", func() bool { return r.View().Position == 1 })
	corrupt.Store(true)
	l.Append([]Plain{plain(2, KindGrant, "b")}, 2, false)
	await(t, "rule 2 after the corrupted one", func() bool { return r.View().Position == 2 })
	if v := r.View(); !holds(v, KindGrant, "a", 0) || !holds(v, KindGrant, "b", 1) {
		t.Error("reader misses a rule")
	}
	if _, ok := ids.Load("e1.1"); !ok {
		t.Error("reader did not resume at e1.1")
	}
}

// corrupting changes one byte, once.
type corrupting struct {
	http.ResponseWriter
	once *atomic.Bool
}

func (c *corrupting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *corrupting) Write(p []byte) (int, error) {
	if len(p) > 100 && c.once.CompareAndSwap(true, false) {
		q := append([]byte(nil), p...)
		copy(q[len(q)-20:], flip(q[len(q)-20]))
		return c.ResponseWriter.Write(q)
	}
	return c.ResponseWriter.Write(p)
}

func TestReaderIsNotSentElsewhere(t *testing.T) {
	n := newNotary(t)
	var asked atomic.Int64
	elsewhere := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1) }))
	var redirected atomic.Int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		redirected.Add(1)
		http.Redirect(w, r, elsewhere, http.StatusFound)
	}))
	run(t, newReader(t, n, url, nil))
	await(t, "two attempts", func() bool { return redirected.Load() > 1 })
	if got := asked.Load(); got != 0 {
		t.Errorf("reader followed a redirect %d times, want 0", got)
	}
}
