package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// world is a whole server of an https issuer, without its pages.
type world struct {
	*Server
	admin *admin.Admin
	db    *store.DB
}

const patience = 10 * time.Second

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, db, quiet := t.Context(), storetest.New(t, adminIssuer), slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seal, err := mint.NewSealer(make([]byte, 32))
	must(err)
	keys, err := mint.Open(ctx, mint.Config{Issuer: adminIssuer, DB: db, Seal: seal, Algorithms: []string{jose.ES256}, Logger: quiet})
	must(err)
	log, err := feed.NewLog(feed.LogConfig{
		Issuer: adminIssuer, Epoch: "e", Key: keys.FeedKey("e"), Sign: keys.Feed, Logger: quiet, Public: true, Heartbeat: 50 * time.Millisecond,
	})
	must(err)
	clients := client.NewDirectory(db, false)
	follower := &revoke.Follower{DB: db, Log: log, Now: time.Now, Logger: quiet, Changed: clients.Changed}
	must(follower.Load(ctx))
	clients.Start(log.Applied())
	people, err := login.New(login.Config{DB: db, Key: make([]byte, 32), TokenLife: mint.LongestLife, Logger: quiet})
	must(err)
	grants, err := grant.New(grant.Config{Issuer: adminIssuer, DB: db, Keys: keys, Clients: clients, Login: people, Logger: quiet})
	must(err)
	w := &world{db: db}
	w.admin, err = admin.New(admin.Config{Issuer: adminIssuer, DB: db, Keys: keys, Logger: quiet})
	must(err)
	run, stop := context.WithCancel(ctx)
	w.Server, err = New(run, Config{
		Issuer: adminIssuer, DB: db, Keys: keys, Clients: clients, Authority: grants, Admin: w.admin, Log: log, Logger: quiet,
		Pages: http.NotFoundHandler(), PagePaths: []string{"/login"},
		Page: func(w http.ResponseWriter, _ *http.Request, status int, message, _ string) {
			http.Error(w, message, status)
		},
	})
	must(err)
	var loops sync.WaitGroup
	loops.Go(func() { _ = log.Run(run) })
	loops.Go(func() { _ = follower.Run(run) })
	t.Cleanup(func() { stop(); loops.Wait() })
	return w
}

// client registers a confidential client and returns its secret.
func (w *world) client(t *testing.T, c admin.Client) string {
	t.Helper()
	r, err := w.admin.AddClient(t.Context(), admin.System, c)
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Secret)
}

// request is as it comes to a server behind a proxy that ends TLS.
func request(method, path string, form url.Values) *http.Request {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, adminIssuer+path, body)
	r.TLS = nil
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	return answer
}

// token gets a client's own token, bound to key unless that is nil.
func (w *world) token(t *testing.T, id, secret, resource string, key *ecdsa.PrivateKey) string {
	t.Helper()
	r := request("POST", "/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "resource": {resource},
	})
	if key != nil {
		r.Header.Set("DPoP", proof(t, key, "POST", adminIssuer+"/token", ""))
	}
	answer := w.do(r)
	var body struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || body.Access == "" {
		t.Fatalf("token for %s: %d %s", id, answer.Code, answer.Body)
	}
	return body.Access
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func proof(t *testing.T, key *ecdsa.PrivateKey, method, url, token string) string {
	t.Helper()
	p, err := dpop.New(key, jose.ES256, method, url, token, time.Now(), rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var operator = admin.Client{ID: "operator", Admin: true, Scope: "admin:read"}
