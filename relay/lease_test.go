package relay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokenIsKeptUntilItsMargin(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	i := &issuer{answer: good(5 * time.Minute)}
	c := newClient(t, i, func() time.Time { return now })
	first, expiry, err := c.Token(t.Context(), stock)
	if err != nil {
		t.Fatal(err)
	}
	if want := now.Add(5 * time.Minute); !expiry.Equal(want) {
		t.Errorf("expiry = %v, want %v", expiry, want)
	}
	now = now.Add(5*time.Minute - maxMargin)
	second, _, err := c.Token(t.Context(), stock)
	if err != nil {
		t.Fatal(err)
	}
	if first != "token-1" || second != "token-2" {
		t.Errorf("tokens = %s, %s, want a new one at the margin", first, second)
	}
	other := stock
	other.Scopes = []string{"stock:read"}
	if third, _, err := c.Token(t.Context(), other); err != nil || third != "token-3" {
		t.Errorf("token = %s, %v, want another one for other scopes", third, err)
	}
}

func TestTokenWithoutLifetimeIsNotKept(t *testing.T) {
	i := &issuer{answer: good(0)}
	c := newClient(t, i, nil)
	for range 2 {
		if _, expiry, err := c.Token(t.Context(), stock); err != nil || !expiry.IsZero() {
			t.Errorf("expiry = %v, error %v, want none", expiry, err)
		}
	}
	if got := i.count(); got != 2 {
		t.Errorf("token requests = %d, want 2", got)
	}
}

func TestLeaseEndsWithTheCaller(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		expiresIn int64
		until     time.Time
		want      time.Duration // of the lease; 0: not kept
	}{
		{300, time.Time{}, 290 * time.Second},
		{300, start.Add(time.Hour), 290 * time.Second},
		{300, start.Add(50 * time.Second), 45 * time.Second},
		{300, start.Add(-time.Second), 0},
		{1 << 62, time.Time{}, maxLife - maxMargin},
		{0, time.Time{}, 0},
		{-5, time.Time{}, 0},
	} {
		l := (&answer{AccessToken: "a", ExpiresIn: c.expiresIn}).lease(start, c.until)
		if got := max(0, l.until.Sub(start)); got != c.want {
			t.Errorf("expires_in %d, caller until %v: kept %v, want %v", c.expiresIn, c.until, got, c.want)
		}
	}
}

func TestRenewAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		i := &issuer{answer: func(ctx context.Context, form url.Values, n int) (int, string, error) {
			if n == 2 {
				<-release
			}
			return good(100*time.Second)(ctx, form, n)
		}}
		c := newClient(t, i, time.Now)
		want := func(token string, requests int) {
			t.Helper()
			got, _, err := c.Token(t.Context(), stock)
			synctest.Wait()
			if err != nil || got != token || i.count() != requests {
				t.Errorf("token = %s, %v after %d requests, want %s after %d", got, err, i.count(), token, requests)
			}
		}
		want("token-1", 1)
		time.Sleep(79 * time.Second)
		want("token-1", 1)
		time.Sleep(time.Second) // 80 % of its life
		want("token-1", 2)
		want("token-1", 2) // one request at a time
		close(release)
		synctest.Wait()
		want("token-2", 2)
	})
}

func TestRenewalThatFailsLeavesTheTokenInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{answer: func(ctx context.Context, form url.Values, n int) (int, string, error) {
			if n > 1 {
				return 503, "", nil
			}
			return good(100*time.Second)(ctx, form, n)
		}}
		c := newClient(t, i, time.Now)
		for range 90 {
			if got, _, err := c.Token(t.Context(), stock); err != nil || got != "token-1" {
				t.Fatalf("token = %s, %v after %d requests, want token-1", got, err, i.count())
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if got := i.count(); got < 5 || got > 12 {
			t.Errorf("token requests = %d, want about one a second from 80 s on", got)
		}
		if _, _, err := c.Token(t.Context(), stock); err == nil {
			t.Error("no error at the margin, want one")
		}
	})
}

func TestMissesShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		i := &issuer{answer: func(ctx context.Context, form url.Values, n int) (int, string, error) {
			<-release
			return good(time.Hour)(ctx, form, n)
		}}
		c := newClient(t, i, time.Now)
		impatient, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := c.Token(impatient, stock); !errors.Is(err, errBored) {
				t.Errorf("error = %v, want the cause of the cancellation", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if got, _, err := c.Token(t.Context(), stock); err != nil || got != "token-1" {
					t.Errorf("token = %s, %v, want token-1", got, err)
				}
			})
		}
		synctest.Wait()
		cancel(errBored) // the one that began it leaves; the others still wait
		synctest.Wait()
		close(release)
		all.Wait()
		if got := i.count(); got != 1 {
			t.Errorf("token requests = %d, want 1", got)
		}
	})
}

var errBored = errors.New("bored")

func TestRequestEndsWithItsLastWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		i := &issuer{answer: func(ctx context.Context, form url.Values, n int) (int, string, error) {
			if n == 1 {
				<-ctx.Done()
				ended = true
				return 0, "", ctx.Err()
			}
			return good(time.Hour)(ctx, form, n)
		}}
		c := newClient(t, i, time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { c.Token(ctx, stock) })
		}
		synctest.Wait()
		cancel()
		all.Wait()
		synctest.Wait()
		if !ended {
			t.Error("the request goes on although nobody waits")
		}
		if got, _, err := c.Token(t.Context(), stock); err != nil || got != "token-2" {
			t.Errorf("token = %s, %v, want token-2: an abandoned request is no outage", got, err)
		}
	})
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		i := &issuer{answer: func(ctx context.Context, form url.Values, n int) (int, string, error) {
			if down {
				<-ctx.Done() // a black hole
				return 0, "", ctx.Err()
			}
			return good(time.Hour)(ctx, form, n)
		}}
		c := newClient(t, i, time.Now)
		ask := func(resource string) (time.Duration, error) {
			start := time.Now()
			_, _, err := c.Token(t.Context(), Target{Resource: resource})
			return time.Since(start), err
		}
		if took, err := ask("https://a.example"); err == nil || took != requestTimeout {
			t.Errorf("first: %v, %v, want an error after %v", took, err, requestTimeout)
		}
		for n := range 100 {
			took, err := ask(fmt.Sprintf("https://%d.example", n))
			if e, ok := errors.AsType[*Error](err); took != 0 || !ok || !e.Unavailable() {
				t.Fatalf("while down: %v, %v, want unavailable at once", took, err)
			}
		}
		time.Sleep(retryPause)
		probe := make(chan error)
		go func() { _, err := ask("https://a.example"); probe <- err }()
		synctest.Wait()
		if took, err := ask("https://b.example"); took != 0 || err == nil {
			t.Errorf("beside the probe: %v, %v, want an error at once", took, err)
		}
		if err := <-probe; err == nil {
			t.Error("probe: no error, want one")
		}
		down = false
		time.Sleep(retryPause)
		if _, err := ask("https://a.example"); err != nil {
			t.Errorf("back: %v", err)
		}
		if _, err := ask("https://b.example"); err != nil {
			t.Errorf("back: %v", err)
		}
	})
}

func TestMetadataIsReadAgainAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{answer: func(ctx context.Context, form url.Values, n int) (int, string, error) {
			if n == 3 {
				return 404, "moved", nil
			}
			return good(0)(ctx, form, n)
		}}
		c := newClient(t, i, time.Now)
		for n, want := range []int{1, 1, 1, 2, 2} {
			if _, _, err := c.Token(t.Context(), stock); (err == nil) == (n == 2) {
				t.Errorf("request %d: error %v", n, err)
			}
			if i.reads != want {
				t.Errorf("request %d: metadata read %d times, want %d", n, i.reads, want)
			}
		}
	})
}

func TestLeasesAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var l leases
	l.init(func() time.Time { return now })
	put := func(n int, until time.Time) {
		k := key{resource: fmt.Sprint(n)}
		if _, err := l.get(t.Context(), k, func(context.Context) (lease, error) {
			return lease{token: "t", until: until}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range maxLeases + 100 {
		put(n, now.Add(time.Minute))
	}
	if got := len(l.byKey); got != maxLeases {
		t.Errorf("held = %d, want %d", got, maxLeases)
	}
	now = now.Add(time.Hour)
	for n := range maxLeases {
		put(-n, now.Add(time.Minute))
	}
	stale := 0
	for _, got := range l.byKey {
		if !now.Before(got.until) {
			stale++
		}
	}
	if len(l.byKey) > maxLeases || stale > maxLeases/100 {
		t.Errorf("held = %d, %d of them of no use, want hardly any", len(l.byKey), stale)
	}
	if len(l.flights) != 0 {
		t.Errorf("flights = %d after all have landed", len(l.flights))
	}
}

func TestDropSparesTheSuccessor(t *testing.T) {
	var l leases
	l.init(time.Now)
	k := key{resource: "r"}
	l.byKey[k] = lease{token: "new", until: time.Now().Add(time.Hour)}
	l.drop(k, "old")
	if _, ok := l.held(k); !ok {
		t.Error("a late 401 for the old token dropped the new one")
	}
	l.drop(k, "new")
	if _, ok := l.held(k); ok {
		t.Error("the refused token is still held")
	}
}

// A token handed out by Token that was refused elsewhere is not handed out again.
func TestDrop(t *testing.T) {
	i := &issuer{answer: good(time.Hour)}
	c := newClient(t, i, nil)
	take := func() string {
		t.Helper()
		token, _, err := c.Token(t.Context(), stock)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := take()
	c.Drop(Target{Resource: "https://other.example"}, first)
	c.Drop(stock, "another")
	if got := take(); got != first {
		t.Errorf("token = %q after others were dropped, want %q", got, first)
	}
	c.Drop(stock, first)
	if got := take(); got == first {
		t.Errorf("token = %q, want another than the one dropped", got)
	}
}
