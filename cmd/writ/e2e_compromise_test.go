package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
)

// TestCompromise: a signing key leaks, and an operator says so on the host, without any
// token. What it signed is refused everywhere within the promise, guards and services
// get credentials of the next key by themselves, and so does a client that has a refresh
// token.
func TestCompromise(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	orders := d.url + "/orders"
	alice := d.tokens(t)
	if r := d.call(t, http.MethodGet, orders, alice.Access); r.status != http.StatusOK {
		t.Fatalf("before: status %d, %s", r.status, r.body)
	}
	inner := d.orders.calledWith()
	m, err := jose.Parse(alice.Access)
	if err != nil {
		t.Fatal(err)
	}
	d.admin(t, "key", "compromise", m.Header.KeyID)
	d.ends(t, time.Second, orders, alice.Access)
	d.ends(t, time.Second, d.orders.url+"/orders", inner)

	refreshed := d.grant(t, post("/token", "", url.Values{
		"grant_type": {oauth.GrantRefresh}, "client_id": {"app"}, "refresh_token": {alice.Refresh},
	}))
	if m, err = jose.Parse(refreshed.Access); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refreshed token is good everywhere", func() error {
		if r := d.call(t, http.MethodGet, orders, refreshed.Access); r.status != http.StatusOK {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
	// All three guards report again, with a credential that the next key signed.
	within(t, patience, "guards hold the next key", func() error {
		if out := d.writ(t, "", "admin", "key", "list", "--config", d.file("serve.yaml")); strings.Contains(out, m.Header.KeyID+" is not held by") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	d.send(t, d.as(t, "/revoke", "robot", url.Values{"token": {d.token(t, "robot")}}))
	robot := d.token(t, "robot")
	if r := d.call(t, http.MethodGet, orders, robot); r.status != http.StatusOK {
		t.Errorf("a new token: status %d, %s, want 200", r.status, r.body)
	}
	d.send(t, d.as(t, "/revoke", "robot", url.Values{"token": {robot}}))
	d.ends(t, time.Second, orders, robot)
}
