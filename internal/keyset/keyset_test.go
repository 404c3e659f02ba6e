package keyset

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const asURL = "https://as.example"

// The attack: tokens with key ids that never existed, to make every verifier
// fetch the key set each time. The genuine keys must not suffer for it.
func TestRandomKeyIDsCauseOneFetch(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	iss := newIssuer("http://"+server.Listener.Addr().String(), newKey(t, "old"))
	server.Config.Handler = iss
	server.Start()
	defer server.Close()
	cfg := iss.config()
	cfg.Client = server.Client()
	s := start(t, cfg)
	ready(t, s)
	before := iss.count()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := range 25 {
				kid := fmt.Sprintf("forged-%d-%d", worker, n)
				if _, err := s.Key(t.Context(), kid); !errors.Is(err, ErrUnknown) {
					t.Errorf("key %s: %v, want %v", kid, err, ErrUnknown)
				}
			}
		})
	}
	wg.Wait()
	if got := iss.count() - before; got > 1 {
		t.Errorf("200 forged key ids caused %d fetches, want at most 1", got)
	}

	iss.publish(newKey(t, "old"), newKey(t, "new"))
	eventually(t, time.Second, "the rotated key is accepted", func() bool {
		_, err := s.Key(t.Context(), "new")
		return err == nil
	})
}

func TestKnownKeyIDCausesNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		s := start(t, iss.config())
		time.Sleep(time.Second)
		before, begun := iss.count(), time.Now()
		for range 200 {
			if _, err := s.Key(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		if got := iss.count() - before; got != 0 {
			t.Errorf("200 tokens with a known key id caused %d fetches, want 0", got)
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited %v, want 0", waited)
		}
	})
}

func TestWithdrawnKeyIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		cache   string
		refresh time.Duration
		within  time.Duration
	}{
		{"no max-age", "", 0, 5 * time.Minute},
		{"max-age", "public, max-age=120", 0, 2 * time.Minute},
		{"max-age too short", "max-age=1", 0, time.Minute},
		{"max-age too long", "max-age=9999999999", 0, time.Hour},
		{"configured", "max-age=3600", 30 * time.Second, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newKey(t, "a"), newKey(t, "b")
				iss := newIssuer(asURL, a, b)
				iss.cache = c.cache
				cfg := iss.config()
				cfg.Refresh = c.refresh
				s := start(t, cfg)
				time.Sleep(time.Second)
				kept := s.Lookup("b")
				if s.Lookup("a") == nil || kept == nil {
					t.Fatal("the keys are not held")
				}
				iss.publish(b)
				time.Sleep(c.within)
				if s.Lookup("a") != nil {
					t.Errorf("the withdrawn key is held %v later", c.within)
				}
				if got := s.Lookup("b"); got != kept {
					t.Errorf("the key that stayed is %p, want the same pointer %p", got, kept)
				}
			})
		})
	}
}

func TestReplacedKeyIsAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		s := start(t, iss.config())
		time.Sleep(time.Second)
		before := s.Lookup("a")
		iss.publish(newKey(t, "a"))
		s.Refresh()
		time.Sleep(time.Second)
		if got := s.Lookup("a"); got == nil || got == before {
			t.Errorf("key with an id used again = %p, want another than %p", got, before)
		}
	})
}

func TestIssuerDownKeysGoOn(t *testing.T) {
	outages := map[string]func(*issuer){
		"answers 503": func(i *issuer) { i.status = 503 },
		"refuses":     func(i *issuer) { i.refuse = true },
		"broken set":  func(i *issuer) { i.document = `{"keys":` },
		"other issuer": func(i *issuer) {
			i.status, i.metadata = 0, `{"issuer":"https://evil.example","jwks_uri":"https://as.example/jwks"}`
			i.jwks = "/moved"
		},
	}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				iss := newIssuer(asURL, newKey(t, "a"))
				var logs logs
				cfg := iss.config()
				cfg.MaxAge = time.Hour
				cfg.Logger = logs.logger()
				s := start(t, cfg)
				time.Sleep(time.Second)
				iss.change(func() { outage(iss) })

				for range 59 {
					time.Sleep(time.Minute)
					begun := time.Now()
					if _, err := s.Key(t.Context(), "a"); err != nil {
						t.Fatalf("within the maximum age: %v", err)
					}
					if waited := time.Since(begun); waited != 0 {
						t.Fatalf("the request waited %v for the fetch", waited)
					}
				}
				time.Sleep(10 * time.Minute)
				if _, err := s.Key(t.Context(), "a"); !errors.Is(err, ErrUnavailable) {
					t.Errorf("after the maximum age: %v, want %v", err, ErrUnavailable)
				}
				if s.Lookup("a") != nil {
					t.Error("Lookup trusts a key past the maximum age")
				}
				if s.State().Err == nil {
					t.Error("State().Err = nil, want the failure")
				}
				if got := logs.count("key set not fetched"); got != 1 {
					t.Errorf("the outage was logged %d times, want once", got)
				}
			})
		})
	}
}

func TestIssuerDownAtStartThenBack(t *testing.T) {
	for _, outage := range []time.Duration{time.Millisecond, time.Second, 10 * time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				iss := newIssuer(asURL, newKey(t, "a"))
				iss.refuse = true
				s := start(t, iss.config())
				begun := time.Now()
				if _, err := s.Key(t.Context(), "a"); !errors.Is(err, ErrUnavailable) {
					t.Errorf("while down: %v, want %v", err, ErrUnavailable)
				}
				if waited := time.Since(begun); waited > patience {
					t.Errorf("the refusal took %v, want at most %v", waited, patience)
				}
				time.Sleep(outage)
				iss.change(func() { iss.refuse = false })
				if _, err := s.Key(t.Context(), "a"); err != nil {
					t.Errorf("first request after the issuer's return: %v", err)
				}
			})
		})
	}
}

// While the issuer is away and no key is held, requests must not become a
// flood of connections to it.
func TestNoKeysBoundsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL)
		iss.status = 503
		s := start(t, iss.config())
		until := time.Now().Add(10 * time.Second)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for time.Now().Before(until) {
					if _, err := s.Key(t.Context(), "a"); !errors.Is(err, ErrUnavailable) {
						t.Errorf("error = %v, want %v", err, ErrUnavailable)
					}
				}
			})
		}
		wg.Wait()
		iss.mu.Lock()
		defer iss.mu.Unlock()
		if got := iss.fetches[metadataPath]; got > 101 {
			t.Errorf("%d fetches in 10 s, want at most one in %v", got, spacing)
		}
	})
}

func TestFirstRequestWaitsForTheFirstFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		s := start(t, iss.config())
		if _, err := s.Key(t.Context(), "a"); err != nil {
			t.Errorf("first request: %v", err)
		}
		if got := iss.count(); got != 1 {
			t.Errorf("fetches = %d, want 1", got)
		}
	})
}

func TestHangingIssuerHoldsRequestsBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		s := start(t, iss.config())
		time.Sleep(time.Second)
		iss.change(func() { iss.hang = true })
		for range 20 {
			begun := time.Now()
			if _, err := s.Key(t.Context(), "forged"); !errors.Is(err, ErrUnknown) {
				t.Errorf("error = %v, want %v", err, ErrUnknown)
			}
			if waited := time.Since(begun); waited > patience {
				t.Errorf("waited %v, want at most %v", waited, patience)
			}
			begun = time.Now()
			if _, err := s.Key(t.Context(), "a"); err != nil || time.Since(begun) != 0 {
				t.Errorf("the held key: %v after %v, want it at once", err, time.Since(begun))
			}
		}
	})
}

func TestCancelledRequestStopsWaiting(t *testing.T) {
	s, err := New(newIssuer(asURL).config()) // nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Key(ctx, "a"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error = %v, want %v", err, ErrUnavailable)
	}
}

func TestRefreshIgnoresTheCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		changes := 0
		cfg := iss.config()
		cfg.Changed = func() { changes++ }
		s := start(t, cfg)
		time.Sleep(10 * time.Second)
		if _, err := s.Key(t.Context(), "forged"); !errors.Is(err, ErrUnknown) {
			t.Fatalf("error = %v, want %v", err, ErrUnknown)
		}
		iss.publish(newKey(t, "b"))
		s.Refresh()
		s.Refresh()
		time.Sleep(2*spacing + 40*time.Millisecond)
		synctest.Wait()
		if s.Lookup("b") == nil {
			t.Error("the new key is not held after Refresh")
		}
		if changes != 2 {
			t.Errorf("Changed was called %d times, want 2", changes)
		}
	})
}

func TestChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "first"))
		var logs logs
		cfg := iss.config()
		cfg.Logger = logs.logger()
		s := start(t, cfg)
		time.Sleep(time.Second)
		iss.publish(newKey(t, "second"))
		s.Refresh()
		time.Sleep(time.Second)
		s.Refresh() // changes nothing
		time.Sleep(time.Second)
		for words, want := range map[string]int{
			"key added,kid=first": 1, "key withdrawn,kid=first": 1, "key added,kid=second": 1, "key withdrawn,kid=second": 0,
		} {
			if got := logs.count(strings.Split(words, ",")...); got != want {
				t.Errorf("lines with %s = %d, want %d", words, got, want)
			}
		}
	})
}

func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "b"), newKey(t, "a"))
		s := start(t, iss.config())
		if state := s.State(); len(state.Keys) != 0 || !state.Fetched.IsZero() {
			t.Errorf("before the first fetch: %+v, want nothing", state)
		}
		time.Sleep(time.Second)
		since := s.State().Fetched
		time.Sleep(time.Hour)
		state := s.State()
		if len(state.Keys) != 2 || state.Keys[0].ID != "a" || state.Keys[0].Alg != "ES256" || !state.Keys[0].Since.Equal(since) {
			t.Errorf("keys = %+v, want a and b of ES256 since %v", state.Keys, since)
		}
		if age := time.Since(state.Fetched); age > 5*time.Minute {
			t.Errorf("age = %v, want at most 5 min", age)
		}
	})
}

func TestLookupDoesNotAllocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, newIssuer(asURL, newKey(t, "a")).config())
		time.Sleep(time.Second)
		if got := testing.AllocsPerRun(100, func() { s.Lookup("a") }); got != 0 {
			t.Errorf("allocations = %v, want 0", got)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	s, err := New(newIssuer(asURL).config())
	if err != nil {
		b.Fatal(err)
	}
	key := newKey(b, "a")
	s.held.Store(&held{keys: map[string]known{"a": {key: &key}}, fetched: time.Now()})
	b.ReportAllocs()
	for b.Loop() {
		if s.Lookup("a") == nil {
			b.Fatal("not held")
		}
	}
}
