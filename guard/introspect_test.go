package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// introspection is what the issuer says of a token it did not end.
func introspection(t testing.TB, compact string) map[string]any {
	t.Helper()
	m, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	c, err := token.Decode(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"active": true, "iss": c.Issuer, "sub": c.Subject, "client_id": c.ClientID, "jti": c.ID, "aud": c.Audience[0]}
}

func say(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(body)
}

// aging is a guard whose feed has fallen silent while the issuer answers all else.
func aging(t testing.TB, i *issuer, with func(*Config)) *Guard {
	t.Helper()
	g := i.guard(t, func(c *Config) {
		c.WhenStale = Stale{Do: Introspect}
		if with != nil {
			with(c)
		}
	})
	settled(t, g, i)
	i.change(func() { i.mute = true })
	i.advance(11 * time.Second)
	return g
}

func TestIntrospectsWhenStale(t *testing.T) {
	i := newIssuer(t)
	var calls atomic.Int32
	ended := i.claims()
	i.asked = func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if err := r.ParseForm(); err != nil || r.Header.Get("Authorization") != "Bearer feed-credential" || r.URL.RawQuery != "" {
			t.Errorf("the guard asks with %q, query %q (%v)", r.Header.Get("Authorization"), r.URL.RawQuery, err)
		}
		answer := introspection(t, r.PostForm.Get("token"))
		if answer["jti"] == ended.ID {
			answer = map[string]any{"active": false}
		}
		say(w, answer)
	}
	i.rule(feed.KindGrant, "known", feed.End)
	g := aging(t, i, nil)
	good := i.token(t, i.claims())
	for range 3 {
		expect(t, g, bearer(good), Need{}, "")
	}
	if got := calls.Load(); got != 1 {
		t.Errorf("three requests in a row made %d calls, want 1", got)
	}
	for range 2 {
		expect(t, g, bearer(i.token(t, ended)), Need{}, ReasonRevoked)
	}
	if got := calls.Load(); got != 3 {
		t.Errorf("a token that is not active made %d calls, want one for each request", got-1)
	}
	// All else is checked as ever, and first.
	known := i.claims()
	known.GrantID, known.Rev = "known", 0
	late := i.claims()
	late.Expiry = i.in(-time.Minute)
	expect(t, g, bearer(i.token(t, known)), Need{}, ReasonRevoked)
	expect(t, g, bearer(i.token(t, late)), Need{}, ReasonExpired)
	expect(t, g, bearer(good[:len(good)-4]+"AAAA"), Need{}, ReasonSignature)
	if got := calls.Load(); got != 3 {
		t.Errorf("tokens that are bad by themselves made %d calls", got-3)
	}
	expect(t, g, bearer(good), Need{Scopes: []string{"orders:write"}}, ReasonScope)
	expect(t, g, bearer(good), Need{WhenStale: &Stale{}}, ReasonStale)
	i.change(func() { i.mute = false })
	settled(t, g, i)
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
	if got := calls.Load(); got != 3 {
		t.Errorf("with the feed back %d calls were made", got-3)
	}
}

// Whatever the answer is worth nothing for, Else decides, and never the answer.
func TestAnswersThatSayNothing(t *testing.T) {
	i := newIssuer(t)
	var answer http.HandlerFunc
	var mu sync.Mutex
	i.asked = func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		answer(w, r)
	}
	stolen := make(chan string, 8)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stolen <- r.Header.Get("Authorization")
		say(w, map[string]any{"active": true})
	}))
	defer elsewhere.Close()
	changed := func(name string, value any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			a := introspection(t, r.PostForm.Get("token"))
			if a[name] = value; value == nil {
				delete(a, name)
			}
			say(w, a)
		}
	}
	raw := func(status int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	g := aging(t, i, nil)
	for name, handler := range map[string]http.HandlerFunc{
		"another issuer's":    changed("iss", "https://evil.example"),
		"another subject's":   changed("sub", "user-2"),
		"another client's":    changed("client_id", "client-2"),
		"another token":       changed("jti", "other"),
		"for another":         changed("aud", "https://other.example"),
		"for another besides": changed("aud", []string{audience, "https://other.example"}),
		"no jti":              changed("jti", nil),
		"no aud":              changed("aud", nil),
		"active as text":      changed("active", "true"),
		"active as number":    changed("active", 1),
		"not active, as text": changed("active", "false"),
		"no active":           changed("active", nil),
		"nothing but active":  raw(200, "application/json", `{"active":true}`),
		"active twice":        raw(200, "application/json", `{"active":false,"active":true}`),
		"a page":              raw(200, "text/html", `{"active":true}`),
		"no JSON":             raw(200, "application/json", `active: true`),
		"nothing":             raw(200, "application/json", ``),
		"cut short":           raw(200, "application/json", `{"active":true`),
		"too large":           raw(200, "application/json", `{"active":false,"x":"`+strings.Repeat("x", askAnswer)+`"}`),
		"500":                 raw(500, "application/json", `{"active":false}`),
		"401":                 raw(401, "application/json", `{"active":false}`),
		"204":                 raw(204, "application/json", ``),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
	} {
		mu.Lock()
		answer = handler
		mu.Unlock()
		r := bearer(i.token(t, i.claims()))
		if got := reason(t, g, r, Need{}); got != ReasonStale {
			t.Errorf("%s: reason = %q, want %q", name, got, ReasonStale)
		}
		if got := reason(t, g, r, Need{WhenStale: &Stale{Do: Introspect, Else: Introspect}}); got != ReasonStale {
			t.Errorf("%s, else the same: reason = %q, want %q", name, got, ReasonStale)
		}
		if got := reason(t, g, r, Need{WhenStale: &Stale{Do: Introspect, Else: Allow, For: time.Minute}}); got != "" {
			t.Errorf("%s, else allow: reason = %q, want none", name, got)
		}
	}
	select {
	case got := <-stolen:
		t.Errorf("the credential %q went where the redirect led", got)
	default:
	}
	i.advance(time.Minute)
	expect(t, g, bearer(i.token(t, i.claims())), Need{WhenStale: &Stale{Do: Introspect, Else: Allow, For: time.Minute}}, ReasonStale)
}

// A guard that polls has nothing to ask with.
func TestIntrospectionWithoutCredential(t *testing.T) {
	i := newIssuer(t)
	i.asked = func(http.ResponseWriter, *http.Request) { t.Error("the guard asks without a credential") }
	g := i.guard(t, func(c *Config) { c.Credential = nil })
	settled(t, g, i)
	i.change(func() { i.mute = true })
	i.advance(11 * time.Second)
	expect(t, g, bearer(i.token(t, i.claims())), Need{WhenStale: &Stale{Do: Introspect}}, ReasonStale)
}

// Many who ask about one token share one call; one who leaves takes nothing from
// the others.
func TestOneCallAToken(t *testing.T) {
	i := newIssuer(t)
	var calls atomic.Int32
	asked, release := make(chan struct{}, 1), make(chan struct{})
	i.asked = func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		asked <- struct{}{}
		<-release
		say(w, introspection(t, r.PostForm.Get("token")))
	}
	g := aging(t, i, nil)
	r := bearer(i.token(t, i.claims()))
	ctx, leave := context.WithCancel(t.Context())
	reasons := make(chan string, 20)
	var all sync.WaitGroup
	all.Go(func() { reasons <- reason(t, g, r.WithContext(ctx), Need{}) })
	<-asked
	leave() // the one whose call it is
	for range 19 {
		all.Go(func() { reasons <- reason(t, g, r, Need{}) })
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, g, r.WithContext(gone), Need{}, ReasonStale) // does not wait
	close(release)
	all.Wait()
	for range 20 {
		if got := <-reasons; got != "" {
			t.Errorf("reason = %q, want none", got)
		}
	}
	if got := calls.Load(); got != 1 {
		t.Errorf("%d calls for one token, want 1", got)
	}
}

func TestSlowIntrospection(t *testing.T) {
	i := newIssuer(t)
	i.asked = func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // the server notices that the guard is gone only when the body is read
		<-r.Context().Done()
	}
	g := aging(t, i, nil)
	begun := time.Now()
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, ReasonStale)
	if took := time.Since(begun); took < askTime || took > askTime+time.Second {
		t.Errorf("an answer that does not come took %s, want %s", took, askTime)
	}
}

func TestIntrospectionIsCapped(t *testing.T) {
	i := newIssuer(t)
	var calls atomic.Int32
	i.asked = func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		say(w, map[string]any{"active": false})
	}
	g := aging(t, i, nil)
	begun, stale := time.Now(), 0
	for range 4 * askRate {
		if reason(t, g, bearer(i.token(t, i.claims())), Need{}) == ReasonStale {
			stale++
		}
	}
	most := int32(askRate + askRate*time.Since(begun).Seconds() + 1)
	if got := calls.Load(); got > most || got < askRate || stale != 4*askRate-int(got) {
		t.Errorf("%d calls and %d refusals, want %d to %d calls and a refusal for each other request", got, stale, askRate, most)
	}
}

// The arithmetic of the cap and of what is kept, by a clock of its own.
func TestAskerRemembers(t *testing.T) {
	var a asker
	now := time.Now()
	for n := range askRate {
		if _, mine, err := a.join(fmt.Sprint("t", n), now); err != nil || !mine {
			t.Fatalf("call %d: mine %t, %v", n, mine, err)
		}
	}
	if _, _, err := a.join("one more", now); err == nil {
		t.Error("a call over the cap")
	}
	now = now.Add(time.Second / askRate)
	c, mine, err := a.join("one more", now)
	if err != nil || !mine {
		t.Fatalf("a fiftieth of a second later: mine %t, %v", mine, err)
	}
	a.leave("one more", c, nil, askKeep)
	if again, mine, err := a.join("one more", now.Add(askKeep-time.Millisecond)); err != nil || mine || again != c {
		t.Errorf("within five seconds: mine %t, %v, want the same answer", mine, err)
	}
	if _, mine, err := a.join("one more", now.Add(askKeep)); err != nil || !mine {
		t.Errorf("after five seconds: mine %t, %v, want a new call", mine, err)
	}
	c, _, err = a.join("short", now.Add(askKeep))
	if err != nil {
		t.Fatal(err)
	}
	a.leave("short", c, nil, -time.Second) // exp has passed, within the leeway
	if _, mine, _ := a.join("short", now.Add(askKeep)); !mine {
		t.Error("an answer is kept past exp")
	}
}
