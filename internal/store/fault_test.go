package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// count adds one to a counter and one entry to the feed.
func count(d *store.DB) error {
	return d.Update(context.Background(), func(tx *store.Tx) error {
		a, err := tx.Attempt("n")
		if err != nil {
			return err
		}
		a.Level++
		return errors.Join(tx.PutAttempt(a), tx.Append(rule(fmt.Sprint(a.Level))))
	})
}

// counted fails unless the counter and the number of entries are as wanted.
func counted(t *testing.T, d *store.DB, want int) {
	t.Helper()
	view(t, d, func(tx *store.Tx) error {
		a, err := tx.Attempt("n")
		feed, err2 := tx.Feed(0, 1000)
		if err := errors.Join(err, err2); err != nil {
			return err // perhaps to be run again
		}
		if int(a.Level) != want || len(feed) != want {
			t.Errorf("counter = %d, entries = %d, want %d", a.Level, len(feed), want)
		}
		return nil
	})
}

func TestFullDiskIsToldAndLosesNothing(t *testing.T) {
	t.Parallel()
	at := storetest.SQLite(t)
	d := storetest.Open(t, at, issuer)
	if err := count(d); err != nil {
		t.Fatal(err)
	}
	if err := d.LimitPages(at, 1); err != nil {
		t.Fatal(err)
	}
	big := &store.Flow{ID: "f1", Request: make([]byte, 1<<20)}
	var failed atomic.Int32
	together(8, func(i int) { // some of them share a commit
		if err := d.Update(context.Background(), func(tx *store.Tx) error { return tx.PutFlow(big) }); errors.Is(err, store.ErrUnavailable) {
			failed.Add(1)
		} else {
			t.Errorf("Update on a full disk = %v, want ErrUnavailable", err)
		}
	})
	if s := d.Stats(); s.Unavailable != uint64(failed.Load()) || s.Retries > 8 {
		t.Errorf("stats = %+v, want %d unavailable and no endless repetition", s, failed.Load())
	}
	counted(t, d, 1)
	if err := d.LimitPages(at, 0); err != nil {
		t.Fatal(err)
	}
	update(t, d, func(tx *store.Tx) error { return tx.PutFlow(big) })
	if err := count(d); err != nil {
		t.Fatal(err)
	}
	counted(t, d, 2)
}

// A statement that cannot be carried out takes only its own Update down, also when others
// share the commit.
func TestFaultOfOneSparesTheOthers(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		const n = 100
		together(n, func(i int) {
			err := d.Update(context.Background(), func(tx *store.Tx) error {
				if err := tx.PutMeta(strconv.Itoa(i), "x"); err != nil {
					return err
				}
				if i%5 == 0 {
					tx.PutSession(&store.Session{ID: "s"}) // NOT NULL is violated; the error is ignored on purpose
				}
				if i%10 == 0 {
					return errMine // or taken for something else
				}
				return nil
			})
			if (i%5 == 0) != errors.Is(err, store.ErrUnavailable) || i%5 != 0 && err != nil {
				t.Errorf("Update %d = %v", i, err)
			}
		})
		view(t, d, func(tx *store.Tx) error {
			for i := range n {
				if _, err := tx.Meta(strconv.Itoa(i)); (err == nil) != (i%5 != 0) {
					t.Errorf("meta %d: %v", i, err)
				}
			}
			return nil
		})
		if s := d.Stats(); s.Unavailable != n/5 {
			t.Errorf("stats = %+v, want %d unavailable", s, n/5)
		}
	})
}

func TestSQLiteWaitsForAnotherProcess(t *testing.T) {
	t.Parallel()
	at := storetest.SQLite(t)
	d := storetest.Open(t, at, issuer)
	other, err := sql.Open("sqlite", strings.TrimPrefix(at, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- count(d) }()
	for d.Stats().Retries == 0 { // one whole busy time-out
		select {
		case err := <-done:
			t.Fatalf("Update while another process writes = %v, want it to wait", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Update after the other process was done: %v", err)
	}
	counted(t, d, 1)
}

// Every connection is cut again and again while Updates run. Each that returned nil was
// made exactly once, also those whose answer was cut off.
func TestConnectionsCutUnderUpdates(t *testing.T) {
	t.Parallel()
	at := storetest.Postgres(t)
	name := "cut" + at[strings.LastIndex(at, "=")+1:]
	d := storetest.Open(t, at+"&application_name="+name, issuer)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw(t, at, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '"+name+"'")
			select {
			case <-stop:
				return
			case <-time.After(60 * time.Millisecond):
			}
		}
	})
	var made, unknown atomic.Int64
	together(8, func(int) {
		for range 25 {
			switch err := count(d); {
			case err == nil:
				made.Add(1)
			case errors.Is(err, store.ErrUnavailable):
				if strings.Contains(err.Error(), "unknown") { // on a busy machine no connection lives long enough to ask
					unknown.Add(1)
				}
			default:
				t.Errorf("Update: %v", err)
			}
		}
	})
	close(stop)
	wg.Wait()
	view(t, d, func(tx *store.Tx) error {
		a, err := tx.Attempt("n")
		feed, err2 := tx.Feed(0, 1000)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if n := a.Level; n < made.Load() || n > made.Load()+unknown.Load() || int(n) != len(feed) {
			t.Errorf("counter = %d, entries = %d, want what %d Updates made, and at most %d more", n, len(feed), made.Load(), unknown.Load())
		}
		return nil
	})
	if made.Load() == 0 || d.Stats().Retries == 0 {
		t.Errorf("%d made, %d retries: want Updates that were cut and run again", made.Load(), d.Stats().Retries)
	}
}

func TestLostCommits(t *testing.T) {
	t.Parallel()
	at := storetest.Postgres(t)
	p := newProxy(t, at)
	d := storetest.Open(t, p.url, issuer)
	d.SetPatience(500 * time.Millisecond)
	for i, c := range []struct {
		name    string
		loss    int32
		runs    int
		unknown bool
	}{
		{"nothing lost", pass, 1, false},
		{"COMMIT never arrived: run again", loseAsked, 2, false},
		{"committed, answer lost: not run again", loseAnswer, 1, false},
		{"committed, answer lost, server gone: unknown", downOnLoose, 1, true},
	} {
		runs := 0
		err := d.Update(context.Background(), func(tx *store.Tx) error {
			runs++
			a, err := tx.Attempt("n")
			if err != nil {
				return err
			}
			a.Level++
			if err := errors.Join(tx.PutAttempt(a), tx.Append(rule("x"))); err != nil {
				return err
			}
			if runs == 1 {
				p.cut.Store(c.loss)
			}
			return nil
		})
		if runs != c.runs || errors.Is(err, store.ErrUnavailable) != c.unknown || !c.unknown && err != nil {
			t.Errorf("%s: Update = %v after %d runs, want unknown = %v after %d", c.name, err, runs, c.unknown, c.runs)
		}
		p.down.Store(false)
		counted(t, d, i+1)
	}
}

func TestDatabaseGoneAndBack(t *testing.T) {
	t.Parallel()
	p := newProxy(t, storetest.Postgres(t))
	d := storetest.Open(t, p.url, issuer)
	if err := count(d); err != nil {
		t.Fatal(err)
	}
	p.down.Store(true)
	p.cut.Store(loseAsked)
	if err := count(d); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update with the server gone = %v, want ErrUnavailable", err)
	}
	if err := d.Ping(context.Background()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ping with the server gone = %v, want ErrUnavailable", err)
	}
	if s := d.Stats(); s.Unavailable != 2 || s.Retries == 0 {
		t.Errorf("stats = %+v, want 2 unavailable after retries", s)
	}
	p.down.Store(false)
	if err := count(d); err != nil {
		t.Errorf("Update with the server back: %v", err)
	}
	counted(t, d, 2)
}

func ask(t *testing.T, at, question string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), question).Scan(&n); err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return n
}

// A rule of one replica wakes the other, and still does after the listener's connection
// was cut.
func TestReplicasTellEachOther(t *testing.T) {
	t.Parallel()
	at := storetest.Postgres(t)
	name := "tell" + at[strings.LastIndex(at, "=")+1:]
	a, b := storetest.Open(t, at, issuer), storetest.Open(t, at+"&application_name="+name, issuer)
	b.SetPatience(time.Second) // after which it looks whether its connection still lives
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, d := range []*store.DB{a, b} {
		wg.Go(func() {
			if err := d.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Run = %v, want Canceled", err)
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	wait := func(why string) {
		t.Helper()
		select {
		case <-b.Changed():
		case <-time.After(20 * time.Second):
			t.Fatalf("not told: %s", why)
		}
	}
	wait("it listens from now on")
	update(t, a, func(tx *store.Tx) error { return tx.Append(rule("x")) })
	wait("a rule of another replica")
	for found := false; !found; { // the look came, and did not end the connection
		found = ask(t, at, "SELECT count(*) FROM pg_stat_activity WHERE query = '-- ping' AND application_name = '"+name+"'") > 0
	}
	update(t, a, func(tx *store.Tx) error { return tx.Append(rule("x")) })
	wait("a rule after a quiet time")
	raw(t, at, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '"+name+"'")
	wait("it listens again and may have missed something")
	// A command that changes the store and ends, without Run.
	command := storetest.Open(t, at, issuer)
	update(t, command, func(tx *store.Tx) error { return tx.Append(rule("y")) })
	command.Close()
	wait("a rule of a command")
}
