package guard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
)

// New does not wait; while the issuer is down requests are refused quickly and
// with a hint; the first one after its return is admitted.
func TestIssuerDownAtStartThenBack(t *testing.T) {
	i := newIssuer(t)
	i.down = true
	g := start(t, i, nil)
	r := bearer(i.token(t, i.claims()))
	for range 8 { // long enough for every back-off to have grown
		begun := time.Now()
		expect(t, g, r, Need{}, ReasonNoKeys)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the refusal took %v", took)
		}
		time.Sleep(200 * time.Millisecond)
	}
	i.change(func() { i.down = false })
	expect(t, g, r, Need{}, "")
}

func TestFirstRequestNeedsNoReady(t *testing.T) {
	i := newIssuer(t)
	g := start(t, i, nil)
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
}

// Keys and revocations once held outlast the issuer, as long as Config says.
func TestIssuerDownLater(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	i.rule(feed.KindGrant, "ended", feed.End)
	settled(t, g, i)
	ended := i.claims()
	ended.GrantID, ended.Rev = "ended", 0
	i.change(func() { i.down = true })
	i.CloseClientConnections()
	begun := time.Now()
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
	expect(t, g, bearer(i.token(t, ended)), Need{}, ReasonRevoked)
	if took := time.Since(begun); took > patience {
		t.Errorf("two requests took %v while the issuer is away", took)
	}
	i.advance(11 * time.Second)
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, ReasonStale)
	i.change(func() { i.down = false })
	settled(t, g, i)
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
}

func TestRotatedKeyIsAcceptedAtOnce(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	old := bearer(i.token(t, i.claims()))
	expect(t, g, old, Need{}, "")
	next := newSigner(t, "key-2", jose.PS256)
	i.publish(t, i.key.Key, next.Key)
	i.keysChanged()
	settled(t, g, i)
	i.key = next
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
	expect(t, g, old, Need{}, "")
}

// The feed counts only when signed by the feed's own keys, with its own typ.
func TestForgedFeed(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	payload, err := feed.Batch{Issuer: i.URL, Epoch: "e1", Position: 9}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		by   signer
		typ  string
		ok   bool
	}{
		{"genuine", *i.feeder.Load(), feedType, true},
		{"signed with the token key", i.key, feedType, false},
		{"signed by somebody", newSigner(t, "feed-1", jose.Ed25519), feedType, false},
		{"an access token", *i.feeder.Load(), "at+jwt", false},
		{"no typ", *i.feeder.Load(), "", false},
	} {
		header := jose.Header{Alg: c.by.Alg, Typ: c.typ, KeyID: c.by.ID}
		compact := c.by.sign(t, string(header.Encode()), string(payload))
		if _, err := g.verifyFeed(t.Context(), compact); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %v", c.name, err, c.ok)
		}
	}
	if _, err := g.verifyFeed(t.Context(), "a.b"); err == nil {
		t.Error("what is no JWS was accepted")
	}
}

// A credential can end before it expires. Who keeps it is told, at the stream as
// at the report, or the guard would be blind for as long as it is kept.
func TestRefusedCredential(t *testing.T) {
	i := newIssuer(t)
	var mu sync.Mutex
	held, refused := "ended", 0
	i.guard(t, func(c *Config) {
		c.Credential = func(context.Context) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return held, nil
		}
		c.Refused = func(credential string) {
			mu.Lock()
			defer mu.Unlock()
			if credential == held {
				refused++
				held = "feed-credential"
			}
		}
	})
	mu.Lock()
	if held != "feed-credential" || refused != 1 {
		t.Errorf("the guard follows with %q after %d refusals, want another credential after one", held, refused)
	}
	held = "ended" // the stream goes on with the one it has
	mu.Unlock()
	i.rule(feed.KindGrant, "grant-2", feed.End)
	eventually(t, "a report arrives", func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		return len(i.reports) > 0 && i.reports[len(i.reports)-1].Position == i.log.Applied()
	})
	mu.Lock()
	defer mu.Unlock()
	if refused != 2 {
		t.Errorf("refusals told = %d, want 2", refused)
	}
}

func TestReports(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	last := func() (news report, n int) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if n = len(i.reports); n > 0 {
			news = i.reports[n-1]
		}
		return news, n
	}
	eventually(t, "the first report arrives", func() bool { _, n := last(); return n > 0 })

	i.rule(feed.KindGrant, "grant-2", feed.End)
	begun := time.Now()
	eventually(t, "the rule is confirmed", func() bool { news, _ := last(); return news.Position == i.log.Applied() })
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the confirmation took %v", took)
	}
	next := newSigner(t, "key-2", jose.ES256)
	i.publish(t, i.key.Key, next.Key)
	i.keysChanged()
	eventually(t, "the new key is confirmed", func() bool {
		news, _ := last()
		return slices.Equal(news.KeyIDs, []string{"key-1", "key-2"})
	})
	news, n := last()
	if news.Instance != g.instance || news.Epoch != "e1" {
		t.Errorf("report = %+v, want instance %s and epoch e1", news, g.instance)
	}
	begun = time.Now()
	for range 20 { // people sign out all day
		i.rule(feed.KindToken, "t", feed.End)
		time.Sleep(60 * time.Millisecond)
	}
	eventually(t, "the last is confirmed", func() bool { news, _ := last(); return news.Position == i.log.Applied() })
	_, m := last()
	if most := reportQuick + 1 + int(time.Since(begun)/reportGap); m-n > most {
		t.Errorf("20 rules made %d reports, want %d at most", m-n, most)
	}
}

func TestReportIsTriedAgain(t *testing.T) {
	i := newIssuer(t)
	i.guard(t, func(c *Config) {
		c.HTTPClient = &http.Client{Transport: &flaky{post: 1}}
	})
	eventually(t, "a report arrives", func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		return len(i.reports) > 0
	})
}

// flaky loses the first posts.
type flaky struct {
	http.Transport
	post int // owned by the goroutine that reports
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && f.post > 0 {
		f.post--
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusBadGateway)
		return w.Result(), nil
	}
	return f.Transport.RoundTrip(r)
}

// The credential must not follow a redirect.
func TestReportIsNotRedirected(t *testing.T) {
	var got []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	i := newIssuer(t)
	g := i.guard(t, nil)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	e := &engine{cfg: g.cfg, keys: g.keys, feed: g.feed}
	e.cfg.Issuer = server.URL
	if err := e.tell(t.Context(), false); err == nil {
		t.Error("a redirect counts as a report")
	}
	if len(got) > 0 {
		t.Errorf("the report was redirected, with %q", got)
	}
}

// ctx bounds the guard's life.
func TestGuardEndsWithItsContext(t *testing.T) {
	i := newIssuer(t)
	ctx, cancel := context.WithCancel(t.Context())
	g, err := New(ctx, i.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "the guard has left the feed", func() bool { return i.log.Subscribers() == 0 })
}
