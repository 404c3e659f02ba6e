package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/token"
)

func TestStartsWhileTheIssuerIsDown(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, nil)
	tokens := map[string]string{}
	for _, who := range []string{"alice", "mallory"} {
		tokens[who] = w.issuer.Token(token.Claims{Subject: who, Audience: []string{w.url + "/files"}})
	}
	w.issuer.Revoke(token.Claims{Subject: "mallory"})
	second, stop := context.WithCancel(t.Context())
	defer stop()
	cfg := w.gateway.cfg
	cfg.StateDir = dir

	first, end := context.WithCancel(t.Context())
	g, err := New(first, cfg)
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(first, 10*time.Second)
	defer cancel()
	if err := g.Ready(soon); err != nil {
		t.Fatal(err)
	}
	end()
	<-g.Done()
	w.issuer.SetDown(true)
	if g, err = New(second, cfg); err != nil {
		t.Fatal(err)
	}
	get := func(subject string) int {
		r := httptest.NewRequest("GET", w.url+"/files/1", nil)
		r.Header.Set("Authorization", "Bearer "+tokens[subject])
		answer := httptest.NewRecorder()
		g.ServeHTTP(answer, r)
		return answer.Code
	}
	if got := get("alice"); got != http.StatusOK {
		t.Errorf("a living token: %d, want 200", got)
	}
	if got := get("mallory"); got != http.StatusUnauthorized {
		t.Errorf("an ended token: %d, want 401", got)
	}
	if s := g.State(); s.Rules != 1 || s.Restored.IsZero() || s.FileError != nil {
		t.Errorf("state = %+v, want that of the file", s)
	}
	info, err := os.Stat(filepath.Join(dir, "guard.state"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	cfg.StateDir = filepath.Join(dir, "none")
	if _, err := New(second, cfg); err == nil {
		t.Error("New takes a directory that is not there")
	}
}

// With a bound nobody keeps, every request is asked about.
func TestRouteThatIntrospects(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.MaxStaleness = time.Nanosecond
		for i := range c.Routes {
			if c.Routes[i].Path == "/files" {
				c.Routes[i].WhenStale = &guard.Stale{Do: guard.Introspect}
			}
		}
	})
	get := func(path string) int {
		res, _ := w.do(w.request("GET", path+"/1", path, "orders:read"))
		return res.StatusCode
	}
	if got := get("/orders"); got != http.StatusServiceUnavailable {
		t.Errorf("a route that denies: %d, want 503", got)
	}
	if got := get("/files"); got != http.StatusOK {
		t.Errorf("a route that introspects: %d, want 200", got)
	}
	alone := Config{Issuer: w.issuer.URL(), URL: w.url, Routes: []Route{{
		Path: "/files", Rules: []Rule{{}}, Upstream: w.service.URL, Propagate: None, WhenStale: &guard.Stale{Do: guard.Introspect},
	}}}
	if _, err := New(t.Context(), alone); err == nil {
		t.Error("New takes a route that introspects, without a client")
	}
}
