package main_test

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
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

// TestStolenKeyIsNoticed: a thief of the signing key gets past the gateway, which verifies
// by itself; but the gateway tells the server what it saw, and the server knows that it
// never made this token.
func TestStolenKeyIsNoticed(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	genuine := d.token(t, "robot")
	m, err := jose.Parse(genuine)
	if err != nil {
		t.Fatal(err)
	}
	c, err := token.Decode(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	c.Subject = "u_victim"
	payload, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := jose.Sign(d.steal(t, m.Header.KeyID), jose.ES256, jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: m.Header.KeyID}.Encode(), payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, compact := range []string{genuine, forged} {
		d.call(t, http.MethodGet, d.url+"/orders", compact)
	}
	within(t, patience, "the server says so", func() error {
		if !strings.Contains(d.out.String(), "signing key in foreign hands") || !strings.Contains(d.out.String(), c.ID) {
			return errors.New("nothing in the log yet")
		}
		return nil
	})
	out := d.writ(t, "", "admin", "key", "list", "--config", d.file("serve.yaml"))
	if want := m.Header.KeyID + " is in foreign hands"; !strings.Contains(out, want) {
		t.Errorf("key list says\n%s\nwant %q in it", out, want)
	}
	if got := strings.Count(d.writ(t, "", "admin", "audit", "list", "--config", d.file("serve.yaml")), "key.foreign"); got != 1 {
		t.Errorf("%d audit lines, want 1", got)
	}
}

// steal opens the database and a signing key in it, as whoever has read both files can.
func (d *domain) steal(t *testing.T, kid string) crypto.Signer {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + d.file("writ.db"), Issuer: d.issuer, Kind: "serve"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	seal, err := mint.ReadSealKey(d.file("seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	var key crypto.Signer
	err = db.View(t.Context(), func(tx *store.Tx) error {
		keys, err := tx.Keys()
		for _, k := range keys {
			if k.ID != kid {
				continue
			}
			secret, err := seal.Open("key sign", d.issuer, kid, k.Sealed)
			if err != nil {
				return err
			}
			private, err := x509.ParsePKCS8PrivateKey(secret)
			if err != nil {
				return err
			}
			key = private.(crypto.Signer)
		}
		return err
	})
	if err != nil || key == nil {
		t.Fatalf("key %s: %v", kid, err)
	}
	return key
}
