package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// network connects clients and one server by pipes, so that time can be faked around them.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
	client *http.Client
	srv    *http.Server
}

func newNetwork(t *testing.T, h http.Handler) *network {
	w := &network{conns: make(chan net.Conn), closed: make(chan struct{})}
	w.client = &http.Client{Transport: &http.Transport{DialContext: w.dial}}
	w.srv = &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.srv.Serve(w) }) // always ErrServerClosed
	t.Cleanup(func() {
		w.srv.Close()
		w.client.CloseIdleConnections()
		wg.Wait()
	})
	return w
}

func (w *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case w.conns <- far:
		return near, nil
	case <-w.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *network) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *network) Close() error   { close(w.closed); return nil }
func (w *network) Addr() net.Addr { return &net.TCPAddr{} }

// keep calls Fresh every 250 ms as long as on says so, and runs the log.
func keep(t *testing.T, l *Log, on *atomic.Bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) }) // always ctx's error
	wg.Go(func() {
		for ctx.Err() == nil {
			if on.Load() {
				l.Fresh(l.Applied(), time.Now())
			}
			time.Sleep(250 * time.Millisecond)
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
}

// times records when requests came.
type times struct {
	mu  sync.Mutex
	all []time.Time // guarded by mu
}

// add returns how many there are now.
func (x *times) add() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, time.Now())
	return len(x.all)
}

// gaps are the times between them.
func (x *times) gaps() []time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	var gaps []time.Duration
	for i := range x.all[1:] {
		gaps = append(gaps, x.all[i+1].Sub(x.all[i]))
	}
	return gaps
}

func TestStalenessGrowsWhenTheServerIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		var on atomic.Bool
		on.Store(true)
		keep(t, l, &on)
		w := newNetwork(t, l.Events())
		r := newReader(t, n, "http://feed", func(c *ReaderConfig) { c.Client = w.client })
		run(t, r)
		for range 60 {
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if age := time.Since(r.View().AsOf); age > 1600*time.Millisecond {
				t.Fatalf("staleness = %s with a fresh server, want at most 1.6 s", age)
			}
		}
		// The server lost its database. It still answers, and even sends what it has.
		on.Store(false)
		lost := time.Now()
		time.Sleep(20 * time.Second)
		l.Append([]Plain{plain(1, KindGrant, "a")}, 1, false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		v := r.View()
		if !holds(v, KindGrant, "a", 0) {
			t.Error("rule sent by a server that is not fresh did not arrive")
		}
		if v.AsOf.After(lost) {
			t.Errorf("state is trusted as of %s, after the server lost its database at %s", v.AsOf, lost)
		}
		on.Store(true)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if age := time.Since(r.View().AsOf); age > 1600*time.Millisecond {
			t.Errorf("staleness = %s after the server came back, want at most 1.6 s", age)
		}
	})
}

// A connection over which nothing comes any more is cut and dialed again.
func TestSilentConnectionIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		var dials times
		w := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			dials.add()
			l.Events().ServeHTTP(w, r)
		}))
		run(t, newReader(t, n, "http://feed", func(c *ReaderConfig) { c.Client = w.client; c.Client.Timeout = time.Second }))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		gaps := dials.gaps()
		if len(gaps) < 3 || len(gaps) > 6 {
			t.Fatalf("%d connections in 20 s of silence, want 4 to 7", len(gaps)+1)
		}
		for i, d := range gaps {
			if d < patience || d > patience+mostPause {
				t.Errorf("connection %d and the pause lasted %s, want %s to %s", i, d, patience, patience+mostPause)
			}
		}
	})
}

// While the issuer is down readers ask less and less often, with a fresh credential each time.
func TestReaderBacksOffAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		var on, down atomic.Bool
		on.Store(true)
		down.Store(true)
		keep(t, l, &on)
		var tries times
		w := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			want := fmt.Sprintf("Bearer token-%d", tries.add())
			if down.Load() || r.Header.Get("Authorization") != want {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			l.Events().ServeHTTP(w, r)
		}))
		asked := 0
		r := newReader(t, n, "http://feed", func(c *ReaderConfig) {
			c.Client = w.client
			c.Credential = func(context.Context) (string, error) {
				asked++
				return fmt.Sprintf("token-%d", asked), nil
			}
		})
		run(t, r)
		time.Sleep(time.Minute)
		synctest.Wait()
		gaps := tries.gaps()
		if len(gaps) < 75 || len(gaps) > 300 {
			t.Errorf("%d tries in a minute, want 75 to 300", len(gaps)+1)
		}
		for i, d := range gaps {
			if d < leastPause || d > mostPause {
				t.Errorf("pause %d is %s, want %s to %s", i, d, leastPause, mostPause)
			}
		}
		down.Store(false)
		time.Sleep(mostPause)
		synctest.Wait()
		if !r.View().Ready {
			t.Errorf("reader is not ready %s after the issuer came back", mostPause)
		}
	})
}

func TestCredentialThatFailsIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		w := newNetwork(t, l.Events())
		asked := 0
		r := newReader(t, n, "http://feed", func(c *ReaderConfig) {
			c.Client = w.client
			c.Credential = func(context.Context) (string, error) {
				if asked++; asked < 4 {
					return "", errors.New("issuer away")
				}
				return "secret", nil
			}
		})
		run(t, r)
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if !r.View().Ready {
			t.Errorf("reader is not ready; credential asked for %d times", asked)
		}
	})
}

func TestPollingReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		var on atomic.Bool
		on.Store(true)
		keep(t, l, &on)
		var polls times
		w := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("poll carries a credential")
			}
			polls.add()
			l.Snapshot().ServeHTTP(w, r)
		}))
		r := newReader(t, n, "", func(c *ReaderConfig) { c.Client, c.Credential, c.PublicURL = w.client, nil, "http://feed" })
		run(t, r)
		time.Sleep(10 * time.Second)
		l.Append([]Plain{plain(1, KindGrant, "a"), plain(2, KindSubject, "b")}, 2, false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		v := r.View()
		if !holds(v, KindGrant, "a", 0) || v.Position != 2 {
			t.Errorf("view = %+v, want the grant's rule at 2", v)
		}
		if holds(v, KindSubject, "b", 0) {
			t.Error("public snapshot carries a rule on a subject")
		}
		if age := time.Since(v.AsOf); age > 4*time.Second {
			t.Errorf("staleness = %s, want at most 4 s", age)
		}
		if got := len(polls.gaps()); got < 5 || got > 7 {
			t.Errorf("%d polls in 13 s, want one every 2 s", got+1)
		}
	})
}

// A private snapshot put before a polling reader is refused like a public one before the other.
func TestPollingReaderTakesPublicSnapshotsOnly(t *testing.T) {
	n := newNotary(t)
	r := newReader(t, n, "", func(c *ReaderConfig) { c.Credential, c.PublicURL = nil, "http://unused" })
	if err := r.take(t.Context(), n.token(t, state("e1", 1, testAsOf))); !errors.Is(err, errRefused) {
		t.Errorf("private snapshot: %v, want %v", err, errRefused)
	}
}

func TestRulesVanishAfterTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		var on atomic.Bool
		on.Store(true)
		keep(t, l, &on)
		w := newNetwork(t, l.Events())
		r := newReader(t, n, "http://feed", func(c *ReaderConfig) { c.Client = w.client })
		run(t, r)
		short := plain(1, KindGrant, "short")
		short.Until = time.Now().Add(5 * time.Minute)
		l.Append([]Plain{short, plain(2, KindGrant, "long")}, 2, false)
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if v := r.View(); !holds(v, KindGrant, "short", 0) || v.Set.Len() != 2 {
			t.Errorf("reader holds %d rules before the end of one, want 2", v.Set.Len())
		}
		time.Sleep(1*time.Minute + 2*time.Second)
		shot, err := l.whole.get(l)
		if err != nil {
			t.Fatal(err)
		}
		if b := decodeEvent(t, n, shot.data); !slices.Equal(positions(b), []uint64{2}) {
			t.Errorf("snapshot past the end holds rules %v, want 2 alone", positions(b))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if v := r.View(); holds(v, KindGrant, "short", 0) || !holds(v, KindGrant, "long", 0) || v.Set.Len() != 1 {
			t.Errorf("reader holds %d rules past the end of one, want 1", v.Set.Len())
		}
		if got := l.rules.Len(); got != 1 {
			t.Errorf("log holds %d rules past the end of one, want 1", got)
		}
	})
}

func TestSnapshotIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		keep(t, l, new(atomic.Bool))
		if _, err := l.whole.get(l); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if l.whole.held.data != nil {
			t.Errorf("snapshot of %d bytes is still held after 3 s", len(l.whole.held.data))
		}
	})
}

// A reader that does not take its bytes frees its goroutine.
func TestDeadReaderIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotary(t)
		l := newLog(t, n, nil)
		w := newNetwork(t, l.Events())
		res, err := w.client.Get("http://feed")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		for range 20 { // more than the client buffers without being asked
			l.Append(make([]Plain, 0), l.Applied()+1, false)
			var many []Plain
			for p := range uint64(500) {
				many = append(many, plain(l.Applied()+1+p, KindToken, fmt.Sprint(p)))
			}
			l.Append(many, l.Applied()+500, false)
		}
		synctest.Wait()
		if got := l.Subscribers(); got != 1 {
			t.Fatalf("Subscribers = %d, want 1", got)
		}
		time.Sleep(pieceLimit + time.Second)
		synctest.Wait()
		if got := l.Subscribers(); got != 0 {
			t.Errorf("Subscribers = %d after %s without a read, want 0", got, pieceLimit)
		}
	})
}

// TestBatchPostponesHeartbeat: a batch that vouches for the state as a heartbeat does
// takes its place; one that does not, because the head was not read lately, does not.
func TestBatchPostponesHeartbeat(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh bool
		want  int // heartbeats after 1.5 s, with batches at 0.8 s
	}{{"fresh", true, 1}, {"stale", false, 2}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(t, newNotary(t), nil)
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { _ = l.Run(ctx) }) // ctx's error
				defer running.Wait()
				defer cancel()
				time.Sleep(800 * time.Millisecond)
				if c.fresh {
					l.Fresh(0, time.Now())
				}
				l.Append([]Plain{plain(1, KindGrant, "g1")}, 1, false)
				time.Sleep(150 * time.Millisecond)
				l.Fresh(1, time.Now())
				time.Sleep(550 * time.Millisecond)
				l.mu.Lock()
				beats := l.beats
				l.mu.Unlock()
				if beats != c.want {
					t.Errorf("%d heartbeats in 1.5 s, want %d", beats, c.want)
				}
				l.Fresh(1, time.Now())
				time.Sleep(400 * time.Millisecond)
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.beats != 2 {
					t.Errorf("%d heartbeats in 1.9 s, want 2", l.beats)
				}
			})
		})
	}
}
