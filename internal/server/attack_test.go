package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/store"
)

// TestProofForAnotherServer: a proof is for the issuer's own address, whatever the
// Host header says. Else a server that an operator's token was sent to by mistake
// could pass token and proof on to the issuer (RFC 9449 §4.3, htu).
func TestProofForAnotherServer(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t), w.client(t, operator)
	token := w.token(t, "operator", secret, adminIssuer+"/admin", key)
	for _, tt := range []struct {
		name, host, origin string
		want               int
	}{
		{"the issuer's", "", adminIssuer, http.StatusOK},
		{"another server's, said to be ours", "evil.example", "http://evil.example", http.StatusUnauthorized},
		{"another server's, over TLS", "evil.example", "https://evil.example", http.StatusUnauthorized},
		{"another server's, by the proxy's header", "", "https://forwarded.example", http.StatusUnauthorized},
	} {
		r := request("GET", "/admin/v1/clients", nil)
		if tt.host != "" {
			r.Host = tt.host
		}
		r.Header.Set("X-Forwarded-Host", "forwarded.example")
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", proof(t, key, "GET", tt.origin+"/admin/v1/clients", token))
		if answer := w.do(r); answer.Code != tt.want {
			t.Errorf("proof of %s address: %d %s, want %d", tt.name, answer.Code, answer.Body, tt.want)
		}
	}
}

// TestFeedOfDisabledGuard: a guard that was switched off does not go on to follow
// over the connection it has.
func TestFeedOfDisabledGuard(t *testing.T) {
	w := newWorld(t)
	w.again = 50 * time.Millisecond
	secret := w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}})
	token := w.token(t, "guard", secret, adminIssuer+"/feed", nil)
	server := httptest.NewServer(w)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/feed/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := server.Client().Do(r)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET /feed/events: %v, %v", res, err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for i := 0; i < 12 && lines.Scan(); i++ { // it follows
	}
	_, err = w.admin.SetClient(t.Context(), admin.System, "guard", func(c *admin.Client) error {
		c.Disabled = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for lines.Scan() { // heartbeats, until the server hangs up
	}
	if ctx.Err() != nil {
		t.Fatalf("still connected %v after the guard was disabled", time.Since(began))
	}
}

// TestSlowRequest: a body that comes drop by drop does not hold its connection.
func TestSlowRequest(t *testing.T) {
	w := newWorld(t)
	w.slow = 100 * time.Millisecond
	server := httptest.NewServer(w)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the server did not hang up: %v", err)
	}
}

// TestOriginsAreReadRarely: what the origins are is read when clients change, not
// after every revocation: anybody can send an Origin.
func TestOriginsAreReadRarely(t *testing.T) {
	w := newWorld(t)
	spa := func(id string) *store.Client {
		return &store.Client{ID: id, AuthMethod: "none", GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{"https://" + id + ".example/cb"}}
	}
	allowed := func(id string) bool {
		r := request("GET", "/jwks", nil)
		r.Header.Set("Origin", "https://"+id+".example")
		return w.do(r).Header().Get("Access-Control-Allow-Origin") != ""
	}
	put := func(id string) {
		if err := w.db.Update(t.Context(), func(tx *store.Tx) error { return tx.PutClient(spa(id)) }); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	if !allowed("one") {
		t.Fatal("the origin of a public client is refused")
	}
	put("two") // without a word to anybody, so that only reading again finds it
	w.cfg.Clients.Changed([]store.Entry{{Position: 1 << 40, Kind: "jti"}})
	if allowed("two") {
		t.Error("a revocation made the server read all clients again")
	}
	w.cfg.Clients.Changed([]store.Entry{{Position: 1<<40 + 1, Kind: client.KindConfig}})
	if !allowed("two") {
		t.Error("a change of clients did not make the server read them again")
	}
}

// TestGivenUpIsNoSuccess: an answer without a status would be 200, which says of a
// revocation that it stands.
func TestGivenUpIsNoSuccess(t *testing.T) {
	w := newWorld(t)
	key, secret := newKey(t), w.client(t, operator)
	token := w.token(t, "operator", secret, adminIssuer+"/admin", key)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	given := request("POST", "/revoke", url.Values{"client_id": {"nobody"}, "token": {token}})
	read := request("GET", "/admin/v1/clients", nil)
	read.Header.Set("Authorization", "DPoP "+token)
	read.Header.Set("DPoP", proof(t, key, "GET", adminIssuer+"/admin/v1/clients", token))
	for _, r := range []*http.Request{given, read} {
		if answer := w.do(r.WithContext(gone)); answer.Code < 400 {
			t.Errorf("%s %s = %d %s, want an error", r.Method, r.URL.Path, answer.Code, answer.Body)
		}
	}
}
