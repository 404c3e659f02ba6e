package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/store"
)

// report sends what a guard says.
func (w *world) report(t *testing.T, token, body string, want int) {
	t.Helper()
	r := request("POST", "/feed/state", nil)
	r.Body = io.NopCloser(strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if answer := w.do(r); answer.Code != want {
		t.Errorf("report %s = %d %s, want %d", body, answer.Code, answer.Body, want)
	}
}

// instances lists the guards the store knows.
func (w *world) instances(t *testing.T) (all []string) {
	t.Helper()
	err := w.db.View(t.Context(), func(tx *store.Tx) error {
		states, err := tx.GuardStates(time.Time{})
		all = nil
		for _, s := range states {
			all = append(all, s.ClientID+" "+s.Instance)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestGuardsThatLeave(t *testing.T) {
	w := newWorld(t)
	feed := adminIssuer + "/feed"
	one := w.token(t, "one", w.client(t, admin.Client{ID: "one", Guards: []string{"https://api.example"}}), feed, nil)
	two := w.token(t, "two", w.client(t, admin.Client{ID: "two", Guards: []string{"https://api.example"}}), feed, nil)
	w.report(t, one, `{"instance":"a","epoch":"e","position":1,"kids":["k"]}`, http.StatusNoContent)
	w.report(t, two, `{"instance":"b","epoch":"e","position":1,"kids":["k"]}`, http.StatusNoContent)
	w.report(t, one, `{"instance":"b","gone":true}`, http.StatusNoContent) // the other's
	w.report(t, one, `{"instance":"","gone":true}`, http.StatusBadRequest)
	w.report(t, "nothing", `{"instance":"b","gone":true}`, http.StatusUnauthorized)
	if got, want := w.instances(t), []string{"one a", "two b"}; !slices.Equal(got, want) {
		t.Errorf("guards = %q, want %q: only a client itself says that it leaves", got, want)
	}
	w.report(t, one, `{"instance":"a","epoch":"e","position":1,"kids":["k"],"gone":true}`, http.StatusNoContent)
	w.report(t, one, `{"instance":"a","gone":true}`, http.StatusNoContent) // said twice
	if got, want := w.instances(t), []string{"two b"}; !slices.Equal(got, want) {
		t.Errorf("guards = %q, want %q", got, want)
	}
}

// A client that restarts in a circle takes only its own place.
func TestGuardsPerClientAreBounded(t *testing.T) {
	w := newWorld(t)
	feed := adminIssuer + "/feed"
	many := w.token(t, "many", w.client(t, admin.Client{ID: "many", Guards: []string{"https://api.example"}}), feed, nil)
	calm := w.token(t, "calm", w.client(t, admin.Client{ID: "calm", Guards: []string{"https://api.example"}}), feed, nil)
	w.report(t, calm, `{"instance":"x","epoch":"e","position":1,"kids":[]}`, http.StatusNoContent)
	for n := range instancesPerGuard + 8 {
		w.report(t, many, fmt.Sprintf(`{"instance":"%03d","epoch":"e","position":1,"kids":[]}`, n), http.StatusNoContent)
	}
	got := w.instances(t)
	if len(got) != instancesPerGuard+1 || !slices.Contains(got, "calm x") || !slices.Contains(got, "many 071") || slices.Contains(got, "many 000") {
		t.Errorf("%d guards are remembered, from %q to %q; want the newest %d of many, and calm's", len(got), got[0], got[len(got)-1], instancesPerGuard)
	}
}

// The instances of one client may be many, but not so many that a stolen credential of
// a guard takes the connections of all others.
func TestConnectionsPerClientAreBounded(t *testing.T) {
	w := newWorld(t)
	feed := adminIssuer + "/feed"
	many := w.token(t, "many", w.client(t, admin.Client{ID: "many", Guards: []string{"https://api.example"}}), feed, nil)
	other := w.token(t, "other", w.client(t, admin.Client{ID: "other", Guards: []string{"https://api.example"}}), feed, nil)
	server := httptest.NewServer(w.Server)
	t.Cleanup(server.Close) // after the connections
	open := func(token string) (*http.Response, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/feed/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cancel(); res.Body.Close() })
		return res, cancel
	}
	var leave context.CancelFunc
	for n := range instancesPerGuard {
		res, cancel := open(many)
		if leave = cancel; res.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: %s, want 200", n+1, res.Status)
		}
	}
	if res, _ := open(many); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s, Retry-After %q, want 429 with one", res.Status, res.Header.Get("Retry-After"))
	}
	if res, _ := open(other); res.StatusCode != http.StatusOK {
		t.Errorf("another client: %s, want 200", res.Status)
	}
	leave()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if res, _ := open(many); res.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no place although one left")
		}
	}
}
