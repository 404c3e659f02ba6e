package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestAsked puts a proxy's questions to `writ gateway`, and uses the answer.
func TestAsked(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	ask := func(method, path, token string) reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.check+"/check", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Method": method, "Proto": "http", "Host": "any.example", "Uri": path} {
			req.Header.Set("X-Forwarded-"+name, value)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return replied(t, res)
	}
	robot, reader := d.token(t, "robot"), d.token(t, "reader")
	r := ask(http.MethodGet, "/orders", robot)
	minted := r.header.Get("Txn-Token")
	if r.status != http.StatusOK || minted == "" || r.header.Get("Authorization") != "" {
		t.Fatalf("status %d, %s, want a transaction token and nothing else", r.status, r.body)
	}
	if r := d.carry(t, http.MethodGet, d.orders.url+"/orders", "Txn-Token", minted); r.status != http.StatusOK {
		t.Errorf("the service says %d %s to the transaction token", r.status, r.body)
	}
	r = ask(http.MethodGet, "/swap", robot)
	inner, ok := strings.CutPrefix(r.header.Get("Authorization"), "Bearer ")
	if r.status != http.StatusOK || !ok || r.header.Get("Txn-Token") != "" {
		t.Fatalf("status %d, %s, want an exchanged token and nothing else", r.status, r.body)
	}
	if r := d.call(t, http.MethodGet, d.orders.url+"/orders", inner); r.status != http.StatusOK || inner == robot {
		t.Errorf("the service says %d %s to the inner token", r.status, r.body)
	}
	for _, tt := range []struct {
		name, method, path, token string
		status                    int
		code                      string
	}{
		{"no token", http.MethodGet, "/orders", "", http.StatusUnauthorized, ""},
		{"wrong scope", http.MethodPost, "/orders", reader, http.StatusForbidden, "insufficient_scope"},
		{"the inner token", http.MethodGet, "/orders", inner, http.StatusUnauthorized, "invalid_token"},
		{"the transaction token", http.MethodGet, "/orders", minted, http.StatusUnauthorized, "invalid_token"},
		{"no route", http.MethodGet, "/again", robot, http.StatusNotFound, ""},
	} {
		if r := ask(tt.method, tt.path, tt.token); r.status != tt.status || r.code() != tt.code || r.header.Get("Authorization") != "" {
			t.Errorf("%s: status %d, %s, want %d %q", tt.name, r.status, r.body, tt.status, tt.code)
		}
	}
	if r := d.call(t, http.MethodGet, d.url+"/check", robot); r.status != http.StatusNotFound {
		t.Errorf("on the gateway's own listener: %d %s, want 404", r.status, r.body)
	}
	if r := d.send(t, d.as(t, "/revoke", "robot", url.Values{"token": {robot}})); r.status != http.StatusOK {
		t.Fatalf("status %d, %s", r.status, r.body)
	}
	within(t, time.Second, "the check refuses the ended token", func() error {
		if r := ask(http.MethodGet, "/orders", robot); r.status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
}
