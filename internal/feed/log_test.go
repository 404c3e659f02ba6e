package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// newLog is a log that has its state, signed by n.
func newLog(t testing.TB, n notary, change func(*LogConfig)) *Log {
	t.Helper()
	cfg := LogConfig{Issuer: testIssuer, Epoch: "e1", Key: testKey, Sign: n.sign, Public: true, Logger: quiet()}
	if change != nil {
		change(&cfg)
	}
	l, err := NewLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Fresh(0, time.Now())
	return l
}

// subscription is a raw connection to Events.
type subscription struct {
	t   testing.TB
	n   notary
	res *http.Response
	p   *parser
}

func subscribe(t testing.TB, n notary, url, lastEventID string) *subscription {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return &subscription{t, n, res, newParser(res.Body, readLimit)}
}

// next reads one batch and checks that the event's name fits it.
func (s *subscription) next() Batch {
	s.t.Helper()
	m, err := s.p.next()
	if err != nil {
		s.t.Fatalf("next event: %v", err)
	}
	payload, err := s.n.verify(context.Background(), m.data)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := Decode(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	if (m.name == "snapshot") != b.Snapshot {
		s.t.Errorf("event %q carries a batch with snapshot = %t", m.name, b.Snapshot)
	}
	return b
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv.URL
}

func positions(b Batch) []uint64 {
	var all []uint64
	for _, r := range b.Rules {
		all = append(all, r.Position)
	}
	slices.Sort(all)
	return all
}

func TestNewLogChecksItsConfig(t *testing.T) {
	good := LogConfig{Issuer: "i", Epoch: "e", Key: testKey, Sign: notary{}.sign}
	tests := map[string]func(*LogConfig){
		"issuer": func(c *LogConfig) { c.Issuer = "" },
		"epoch":  func(c *LogConfig) { c.Epoch = "" },
		"dot":    func(c *LogConfig) { c.Epoch = "a.1" },
		"line":   func(c *LogConfig) { c.Epoch = "a\nb" },
		"key":    func(c *LogConfig) { c.Key = []byte("short") },
		"sign":   func(c *LogConfig) { c.Sign = nil },
		"ring":   func(c *LogConfig) { c.Ring = -1 },
	}
	for name, change := range tests {
		cfg := good
		change(&cfg)
		if _, err := NewLog(cfg); err == nil {
			t.Errorf("%s: NewLog(%+v) succeeds, want an error", name, cfg)
		}
	}
	if _, err := NewLog(good); err != nil {
		t.Errorf("NewLog: %v", err)
	}
}

func TestHalfLoadedLogServesNothing(t *testing.T) {
	n := newNotary(t)
	l, err := NewLog(LogConfig{Issuer: testIssuer, Epoch: "e1", Key: testKey, Sign: n.sign, Public: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Append([]Plain{plain(2, KindToken, "a")}, 2, false)
	l.Fresh(5, time.Now()) // the caller says itself that 3 to 5 are not there yet
	for _, h := range []http.Handler{l.Events(), l.Snapshot()} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("half-loaded log answers %d %v, want 503 with Retry-After", w.Code, w.Header())
		}
	}
	l.Append([]Plain{plain(5, KindToken, "b")}, 5, false)
	l.Fresh(5, time.Now())
	b := subscribe(t, n, serve(t, l.Events()), "").next()
	if got, want := positions(b), []uint64{2, 5}; b.Position != 5 || !slices.Equal(got, want) {
		t.Errorf("snapshot at %d has rules %v, want 5 and %v", b.Position, got, want)
	}
}

func TestEventsBeginWithASnapshotAndGoOn(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, nil)
	l.Append([]Plain{plain(1, KindToken, "a"), plain(3, KindSubject, "b")}, 4, false)
	s := subscribe(t, n, serve(t, l.Events()), "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
	} {
		if got := s.res.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	b := s.next()
	if !b.Snapshot || b.Public || b.Position != 4 || string(b.Key) != string(testKey) || !slices.Equal(positions(b), []uint64{1, 3}) {
		t.Errorf("first batch = %+v, want a snapshot at 4 with rules 1 and 3", b)
	}
	l.Append([]Plain{plain(3, KindSubject, "again"), plain(6, KindClient, "c")}, 7, false)
	l.Append(nil, 7, false)
	l.Append(nil, 9, true)
	b = s.next()
	if b.Snapshot || b.Prev != 4 || b.Position != 7 || b.KeysChanged || !slices.Equal(positions(b), []uint64{6}) {
		t.Errorf("second batch = %+v, want 4 to 7 with rule 6", b)
	}
	if want := Hash(testKey, KindClient, testIssuer, "c"); b.Rules[0].Value != want || b.Rules[0].Kind != KindClient {
		t.Errorf("rule = %+v, want kind client and value %s", b.Rules[0], want)
	}
	if b = s.next(); b.Prev != 7 || b.Position != 9 || !b.KeysChanged {
		t.Errorf("third batch = %+v, want 7 to 9 with changed keys", b)
	}
	if got := l.Applied(); got != 9 {
		t.Errorf("Applied = %d, want 9", got)
	}
	if got := l.Subscribers(); got != 1 {
		t.Errorf("Subscribers = %d, want 1", got)
	}
}

func TestEventsResume(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, func(c *LogConfig) { c.Ring = 3 })
	for p := uint64(2); p <= 10; p += 2 { // batches end at 2, 4, … 10; the ring holds 6, 8 and 10
		l.Append([]Plain{plain(p, KindToken, fmt.Sprint(p))}, p, false)
	}
	url := serve(t, l.Events())
	tests := []struct {
		id       string
		snapshot bool
		prev     uint64 // of the first batch otherwise
	}{
		{"e1.4", false, 4},
		{"e1.8", false, 8},
		{"e1.7", false, 6}, // where another replica cut: the batch around it is sent
		{"e1.3", true, 0},  // the ring has passed it
		{"e0.8", true, 0},
		{"e1.", true, 0},
		{"e1.08", true, 0},
		{"e1.-1", true, 0},
		{"8", true, 0},
		{"", true, 0},
		{"e1.8.8", true, 0},
	}
	for _, tt := range tests {
		b := subscribe(t, n, url, tt.id).next()
		if b.Snapshot != tt.snapshot || b.Prev != tt.prev {
			t.Errorf("Last-Event-ID %q: snapshot = %t, prev = %d; want %t, %d", tt.id, b.Snapshot, b.Prev, tt.snapshot, tt.prev)
		}
	}
	// Nothing lacks: the next batch is the next thing sent. A reader that is ahead of this
	// replica waits until the replica has caught up with it.
	level, ahead := subscribe(t, n, url, "e1.10"), subscribe(t, n, url, "e1.12")
	for p := uint64(11); p <= 13; p++ {
		l.Append([]Plain{plain(p, KindToken, fmt.Sprint(p))}, p, false)
	}
	if b := level.next(); b.Snapshot || b.Prev != 10 {
		t.Errorf("reader at the head gets %+v, want the batch after 10", b)
	}
	if b := ahead.next(); b.Snapshot || b.Position != 13 {
		t.Errorf("reader ahead gets %+v, want the batch that ends at 13", b)
	}
}

// A reader that does not read is passed by the ring and gets a snapshot; the others do not wait.
func TestSlowReaderGetsASnapshot(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, func(c *LogConfig) { c.Ring = 4 })
	gate := &gated{open: make(chan struct{}), held: make(chan struct{}, 1)}
	slow := subscribe(t, n, serve(t, gate.wrap(l.Events())), "e1.0")
	quick := subscribe(t, n, serve(t, l.Events()), "e1.0")
	for p := uint64(1); p <= 20; p++ {
		l.Append([]Plain{plain(p, KindToken, fmt.Sprint(p))}, p, false)
		if b := quick.next(); b.Snapshot || b.Position != p {
			t.Fatalf("quick reader gets %+v, want batch %d", b, p)
		}
		if p == 1 {
			<-gate.held // the slow one hangs in its first write
		}
	}
	close(gate.open)
	if b := slow.next(); b.Snapshot || b.Position != 1 {
		t.Errorf("slow reader gets %+v first, want batch 1", b)
	}
	if b := slow.next(); !b.Snapshot || b.Position != 20 || len(b.Rules) != 20 {
		t.Errorf("slow reader gets %+v then, want a snapshot at 20", b)
	}
}

// gated holds back the first event written.
type gated struct {
	http.ResponseWriter
	open, held chan struct{}
}

func (g *gated) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&gated{w, g.open, g.held}, r)
	})
}

func (g *gated) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gated) Write(p []byte) (int, error) {
	select {
	case g.held <- struct{}{}:
	default:
	}
	<-g.open
	return g.ResponseWriter.Write(p)
}

func TestUnsignedBatchMakesReadersTakeASnapshot(t *testing.T) {
	n := newNotary(t)
	var broken atomic.Bool
	l := newLog(t, n, func(c *LogConfig) {
		c.Sign = func(payload []byte) (string, error) {
			if broken.Load() {
				return "", errors.New("key store away")
			}
			return n.sign(payload)
		}
	})
	l.Append([]Plain{plain(1, KindToken, "a")}, 1, false)
	url := serve(t, l.Events())
	broken.Store(true)
	l.Append([]Plain{plain(2, KindToken, "b")}, 2, false)
	if _, err := subscribe(t, n, url, "e1.1").p.next(); !errors.Is(err, io.EOF) {
		t.Errorf("event of a log that cannot sign: %v, want the end of the stream", err)
	}
	broken.Store(false)
	if b := subscribe(t, n, url, "e1.1").next(); !b.Snapshot || !slices.Equal(positions(b), []uint64{1, 2}) {
		t.Errorf("batch = %+v, want a snapshot with rules 1 and 2", b)
	}
}

func TestRuleWithoutEndStays(t *testing.T) {
	p := plain(1, KindToken, "a")
	p.Until = time.Time{}
	if got := p.Rule(testKey, testIssuer).Until; got.Unix() != farthest {
		t.Errorf("end = %s, want the farthest there is", got)
	}
	p.Until = time.Unix(100, 1)
	if got := p.Rule(testKey, testIssuer).Until; got.Unix() != 101 {
		t.Errorf("end = %d, want 101: rounded up", got.Unix())
	}
}

func TestEventsNeedsAConnectionItCanBound(t *testing.T) {
	w := httptest.NewRecorder() // has no deadlines
	newLog(t, newNotary(t), nil).Events().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status = %d, want 500", w.Code)
	}
}

func TestSubscribersLeave(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, nil)
	srv := httptest.NewServer(l.Events())
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	leaver, stayer := subscribe(t, n, srv.URL, ""), subscribe(t, n, srv.URL, "")
	leaver.next()
	stayer.next()
	leaver.res.Body.Close()
	for deadline := time.Now().Add(5 * time.Second); l.Subscribers() != 1; {
		if time.Now().After(deadline) {
			t.Fatalf("Subscribers = %d after one left, want 1", l.Subscribers())
		}
		l.Append(nil, l.Applied()+1, false)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context.Canceled", err)
	}
	for {
		if _, err := stayer.p.next(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("stream ends with %v when Run has ended, want EOF", err)
			}
			break
		}
	}
}
