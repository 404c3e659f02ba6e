package guard

import (
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
)

func TestCacheFindsWhatItHolds(t *testing.T) {
	c := newCache(1000)
	for n := range 500 {
		c.put(&entry{compact: fmt.Sprint("token-", n)})
	}
	found := 0
	for n := range 500 {
		e := c.get(fmt.Sprint("token-", n))
		if e == nil {
			continue // its set was full
		}
		if found++; e.compact != fmt.Sprint("token-", n) {
			t.Fatalf("token-%d is %s", n, e.compact)
		}
	}
	if found < 450 {
		t.Errorf("found %d of 500, want nearly all", found)
	}
	if c.get("token-500") != nil {
		t.Error("found what was never put")
	}
}

func TestCacheIsBounded(t *testing.T) {
	for _, c := range []struct{ tokens, most int }{{1, 8}, {8, 8}, {9, 16}, {1000, 1000}} {
		cache := newCache(c.tokens)
		for n := range 5000 {
			cache.put(&entry{compact: fmt.Sprint(n)})
		}
		held := 0
		for n := range 5000 {
			if cache.get(fmt.Sprint(n)) != nil {
				held++
			}
		}
		if held == 0 || held > c.most {
			t.Errorf("a cache for %d tokens holds %d, want 1 to %d", c.tokens, held, c.most)
		}
	}
}

func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(8) // one set
	c.put(&entry{compact: "used"})
	for n := range 1000 {
		if c.get("used") == nil {
			t.Fatalf("pushed out after %d others", n)
		}
		c.put(&entry{compact: fmt.Sprint(n)})
	}
}

func TestCachePutTwice(t *testing.T) {
	c := newCache(8)
	c.put(&entry{compact: "a"})
	second := &entry{compact: "a"}
	c.put(second)
	if got := c.get("a"); got != second {
		t.Errorf("got %p, want the later %p", got, second)
	}
	for n := range 7 {
		c.put(&entry{compact: fmt.Sprint(n)})
	}
	if c.get("a") == nil {
		t.Error("a token put twice takes two places")
	}
}

func TestCacheLeavesOutLongTokens(t *testing.T) {
	c := newCache(8)
	long := string(make([]byte, maxEntry+1))
	c.put(&entry{compact: long})
	if c.get(long) != nil {
		t.Error("a token over the limit is held")
	}
}

func TestCacheConcurrently(t *testing.T) {
	c := newCache(64)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := range 2000 {
				compact := fmt.Sprint((n * (worker + 1)) % 200)
				if e := c.get(compact); e != nil && e.compact != compact {
					t.Errorf("got %s for %s", e.compact, compact)
				}
				c.put(&entry{compact: compact})
			}
		})
	}
	wg.Wait()
}

// Forged tokens leave no trace: neither in the cache nor among the headers.
func TestForgeriesAreNotCached(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.CacheTokens = 8 })
	good := i.token(t, i.claims())
	expect(t, g, bearer(good), Need{}, "")
	held := g.cache.get(good)
	thief := newSigner(t, "key-1", "ES256")
	for n := range 100 {
		c := i.claims()
		c.ID = fmt.Sprint("forged-", n)
		payload, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		header := fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":"key-1","n":%d}`, n)
		expect(t, g, bearer(thief.sign(t, header, string(payload))), Need{}, ReasonSignature)
	}
	if held == nil || g.cache.get(good) != held {
		t.Error("forged tokens pushed a good one out")
	}
	if got := len(*g.headers.known.Load()); got != 1 {
		t.Errorf("headers remembered = %d, want 1", got)
	}
}

func TestCacheOff(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.CacheTokens = -1 })
	r := bearer(i.token(t, i.claims()))
	for range 3 {
		expect(t, g, r, Need{}, "")
	}
}

func TestHeadersStartAnewWhenFull(t *testing.T) {
	var h headers
	for n := range 3 * maxHeaders {
		segment := fmt.Sprint(n)
		h.put(segment, header{kid: segment})
		if got, ok := h.get(segment); !ok || got.kid != segment {
			t.Fatalf("header %d = %+v, %v, want it held", n, got, ok)
		}
		if got := len(*h.known.Load()); got > maxHeaders {
			t.Fatalf("headers held = %d, want at most %d", got, maxHeaders)
		}
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	r := bearer(i.token(t, i.claims()))
	i.rule(feed.KindGrant, "another", feed.End)
	settled(t, g, i)
	n := Need{Scopes: []string{"orders:read"}}
	if got := testing.AllocsPerRun(200, func() {
		if _, err := g.Verify(r, n); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("allocations = %v, want 0", got)
	}
}

// Verdicts stay right while tokens, rules and keys come and go.
func TestConcurrently(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.CacheTokens = 16 })
	var good, ended []string
	for n := range 40 {
		c := i.claims()
		if n%2 == 0 {
			c.GrantID = "doomed"
		}
		compact := i.token(t, c)
		if n%2 == 0 {
			ended = append(ended, compact)
		} else {
			good = append(good, compact)
		}
	}
	i.rule(feed.KindGrant, "doomed", feed.End)
	settled(t, g, i)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 100 {
				expect(t, g, bearer(good[n%len(good)]), Need{}, "")
				expect(t, g, bearer(ended[n%len(ended)]), Need{}, ReasonRevoked)
			}
		})
	}
	for n := range 20 {
		i.rule(feed.KindToken, fmt.Sprint("other-", n), feed.End)
		g.keys.Refresh()
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
}

// What a hit reads of a token besides its text is one line of the processor's cache.
func TestEntryIsOneLine(t *testing.T) {
	if size := reflect.TypeFor[entry]().Size(); size != 64 && strconv.IntSize == 64 {
		t.Errorf("an entry takes %d bytes, want 64", size)
	}
}
