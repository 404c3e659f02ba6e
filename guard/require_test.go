package guard

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
)

func TestRequire(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	good := i.token(t, i.claims())
	served := 0
	h := g.Require("orders:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		if got := From(r.Context()); got == nil || got.Subject != "user-1" {
			t.Errorf("From = %+v, want user-1", got)
		}
		if got := Presented(r.Context()); got != good {
			t.Errorf("Presented = %q, want the token", got)
		}
		// What middleware of others does to a context must not hide the caller.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if From(ctx) == nil {
			t.Error("From finds nothing in a derived context")
		}
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, bearer(good))
	if w.Code != http.StatusOK || served != 1 {
		t.Errorf("status = %d after %d calls, want 200 after one", w.Code, served)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request())
	if w.Code != http.StatusUnauthorized || served != 1 {
		t.Errorf("status = %d after %d calls, want 401 and no further call", w.Code, served)
	}
	w = httptest.NewRecorder()
	g.Require("orders:write")(h).ServeHTTP(w, bearer(good))
	if w.Code != http.StatusForbidden || served != 1 {
		t.Errorf("status = %d after %d calls, want 403 and no further call", w.Code, served)
	}
}

// TestAdmit: a server that is not net/http gets the same verdict, caller and end.
func TestAdmit(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	c := i.claims()
	var refusal *Refusal
	if _, _, err := g.Admit(bearer(i.token(t, c)), Need{Scopes: []string{"orders:write"}}); !errors.As(err, &refusal) || refusal.Reason != ReasonScope {
		t.Errorf("error = %v, want a refusal for the scope", err)
	}
	ctx, release, err := g.Admit(bearer(i.token(t, c)), Need{Scopes: []string{"orders:read"}})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if got := From(ctx); got == nil || got.Subject != "user-1" {
		t.Errorf("From = %+v, want user-1", got)
	}
	i.rule(feed.KindSubject, "user-1", feed.End)
	select {
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, ErrEnded) {
			t.Errorf("cause = %v, want ErrEnded", cause)
		}
	case <-time.After(5 * time.Second):
		t.Error("the request goes on although its subject was ended")
	}
}

func TestFromWithoutGuard(t *testing.T) {
	if From(t.Context()) != nil || Presented(t.Context()) != "" {
		t.Error("a context that no guard made has a caller")
	}
}

// The need must not change under the guard's feet.
func TestWithKeepsItsNeed(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	scopes := []string{"orders:write"}
	h := g.Require(scopes...)(http.NotFoundHandler())
	scopes[0] = "orders:read"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, bearer(i.token(t, i.claims())))
	if w.Code != http.StatusForbidden {
		t.Errorf("status = %d, want 403", w.Code)
	}
}

// A request that is under way when its token dies is told so.
func TestRunningRequestsAreEnded(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *issuer){
		"revoked":                     func(t *testing.T, i *issuer) { i.rule(feed.KindGrant, "grant-1", feed.End) },
		"asked to authenticate again": func(t *testing.T, i *issuer) { i.rule(feed.KindGrant, "grant-1", feed.StepUp) },
		"expired":                     func(t *testing.T, i *issuer) { i.advance(10 * time.Minute) },
		"key withdrawn": func(t *testing.T, i *issuer) {
			i.publish(t, newSigner(t, "key-2", jose.ES256).Key)
			i.keysChanged()
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			g := i.guard(t, nil)
			begun := make(chan struct{})
			causes := make(chan error, 1)
			h := g.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				select {
				case <-r.Context().Done():
					causes <- context.Cause(r.Context())
				case <-time.After(10 * time.Second):
					causes <- errors.New("went on")
				}
			}))
			var wg sync.WaitGroup
			wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), bearer(i.token(t, i.claims()))) })
			<-begun
			end(t, i)
			if got := <-causes; got != ErrEnded {
				t.Errorf("cause = %v, want %v", got, ErrEnded)
			}
			wg.Wait()
			if n := g.running.count(); n != 0 {
				t.Errorf("%d requests are still registered, want none", n)
			}
		})
	}
}

// Others' rules and the issuer's absence leave running requests alone.
func TestRunningRequestsGoOn(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	h := g.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.rule(feed.KindGrant, "another", feed.End)
		settled(t, g, i)
		i.change(func() { i.down = true })
		i.CloseClientConnections()
		for range 2 { // the second is taken up when the first is done
			nudge(g.sweep)
			eventually(t, "running requests are looked at", func() bool { return len(g.sweep) == 0 })
		}
		if err := r.Context().Err(); err != nil {
			t.Errorf("context = %v, want it to go on", err)
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), bearer(i.token(t, i.claims())))
}

// A handler that panics must not leave its request in the registry.
func TestPanickingHandlerIsRemoved(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	h := g.Require()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	func() {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), bearer(i.token(t, i.claims())))
	}()
	if n := g.running.count(); n != 0 {
		t.Errorf("%d requests are registered, want none", n)
	}
}

// count is the number of requests under way.
func (g *registry) count() int {
	n := 0
	for i := range g.shards {
		g.shards[i].mu.Lock()
		n += len(g.shards[i].runs)
		g.shards[i].mu.Unlock()
	}
	return n
}

func TestRefusalsAreLoggedWithoutTheToken(t *testing.T) {
	i := newIssuer(t)
	var buf bytes.Buffer
	g := i.guard(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&buf, nil)) })
	compact := i.token(t, i.claims())
	h := g.Require("orders:write")(http.NotFoundHandler())
	buf.Reset()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, bearer(compact))
	h.ServeHTTP(httptest.NewRecorder(), request())
	line := buf.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, "reason=scope") {
		t.Errorf("log = %q, want one line with the reason", line)
	}
	if strings.Contains(line, compact[:20]) || strings.Contains(line, compact[len(compact)-20:]) {
		t.Errorf("log = %q shows the token", line)
	}
}
