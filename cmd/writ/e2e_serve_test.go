package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

// Resources that the clients of these tests ask tokens for.
const (
	api   = "https://api.example/orders"
	inner = "https://orders.inner.example"
	stock = "https://stock.inner.example"
)

// Where the browsers of the seeded clients go back to.
const (
	webBack   = "https://web.example/callback?from=writ"
	firstBack = "https://first.example/callback"
	spaBack   = "https://spa.example/callback"
)

// authority is a running `writ serve` and what it was started with.
type authority struct {
	*process
	issuer   string
	database string
	seal     string
	flags    []string
	http     *http.Client // follows no redirect
}

// serve seeds a database and starts writ over it.
func serve(t *testing.T, database string, flags ...string) *authority {
	t.Helper()
	a := prepare(t, "http", database, flags...)
	a.start(t)
	return a
}

// prepare is serve without the start.
func prepare(t *testing.T, scheme, database string, flags ...string) *authority {
	t.Helper()
	port := freePort(t)
	a := &authority{
		issuer: scheme + "://127.0.0.1:" + port, database: database, seal: filepath.Join(t.TempDir(), "seal.key"),
		flags: append([]string{"--listen", "127.0.0.1:" + port, "--log-level", "debug"}, flags...),
		http:  newClient(t),
	}
	if err := mint.WriteSealKey(a.seal, rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.seed(t)
	return a
}

// start starts writ, again if need be, and returns how long it took to answer.
func (a *authority) start(t *testing.T) time.Duration {
	t.Helper()
	built(t)
	began := time.Now()
	args := append([]string{"serve", "--issuer", a.issuer, "--database", a.database, "--seal-key-file", a.seal}, a.flags...)
	a.process = run(t, args...)
	a.http.CloseIdleConnections() // of an earlier process
	a.answers(t, a.http, a.issuer+"/readyz")
	return time.Since(began)
}

// newClient is a client without memory that follows no redirect.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// secret is what the seeded client of that id proves itself with.
func secret(id string) string {
	sum := sha256.Sum256([]byte(id))
	return client.FormSecret(client.SecretPrefix, sum[:])
}

const password = "harvest-umbrella-quartz"

// passwordHash costs time, and every person here has the same.
var passwordHash = sync.OnceValues(func() (string, error) { return login.HashPassword(password, rand.Reader) })

// open opens the store that the server uses, in this process.
func (a *authority) open(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: a.database, Issuer: a.issuer, Kind: "serve"})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// seed writes what the server must know before it starts.
func (a *authority) seed(t *testing.T) {
	t.Helper()
	db := a.open(t)
	defer db.Close()
	operator, err := admin.New(admin.Config{Issuer: a.issuer, DB: db})
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.Provision(t.Context(), plan()); err != nil {
		t.Fatal(err)
	}
	hash, err := passwordHash()
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		for _, name := range []string{"alice", "bob"} {
			u := &store.User{ID: "u_" + name, Username: name, Name: strings.ToUpper(name), Email: name + "@example.com", PasswordHash: hash}
			if err := tx.AddUser(u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func plan() admin.Plan {
	both := []admin.Scope{{Name: "orders:read"}, {Name: "orders:write"}}
	const person = "openid profile email "
	const all = "orders:read orders:write"
	p := admin.Plan{Resources: []admin.Resource{
		{URI: api, Name: "Orders", Scopes: both},
		{URI: inner, Name: "Orders, inside", Scopes: both},
		{URI: stock, Name: "Stock", Scopes: both[:1]},
	}}
	for _, c := range []admin.Client{
		{ID: "web", RedirectURIs: []string{webBack}, Scope: person + "offline_access " + all, Resources: []string{api}},
		{ID: "first", RedirectURIs: []string{firstBack}, Scope: person + "orders:read", Resources: []string{api}, FirstParty: true},
		{ID: "spa", RedirectURIs: []string{spaBack}, Scope: person + "offline_access " + all, Resources: []string{api}, AuthMethod: oauth.AuthNone},
		{ID: "bound", RedirectURIs: []string{spaBack}, Scope: "offline_access " + all, Resources: []string{api}, AuthMethod: oauth.AuthNone, BoundTokens: true},
		{ID: "service", Scope: all, Resources: []string{api, stock}},
		{ID: "reader", Scope: "orders:read", Resources: []string{api}},
		{ID: "off", Scope: "orders:read", Resources: []string{api}, Disabled: true},
		{ID: "sample", Scope: "orders:read", Resources: []string{api}},
		{ID: "gateway", Scope: all, Guards: []string{api}, Resources: []string{inner}},
		{ID: "inner", Scope: all, Guards: []string{inner}, Resources: []string{inner, stock}},
		{ID: "stock", Scope: "orders:read", Guards: []string{stock}, Resources: []string{stock}},
	} {
		r := admin.Registration{Client: c}
		if c.AuthMethod != oauth.AuthNone {
			r.Secret = login.Secret(secret(c.ID))
		}
		if c.ID == "sample" {
			r.Secret = client.DevPrefix + "shown on a card"
		}
		p.Clients = append(p.Clients, r)
	}
	return p
}

// An ask is one request to an endpoint that clients call.
type ask struct {
	method, path string
	form         url.Values
	id, secret   string // HTTP Basic, unless id is ""
	header       http.Header
}

// post is an ask with the credentials of a seeded client.
func post(path, id string, form url.Values) ask {
	q := ask{method: http.MethodPost, path: path, form: form, header: http.Header{}}
	q.header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id == "spa" || id == "bound" {
		q.form.Set("client_id", id)
	} else if id != "" {
		q.id, q.secret = id, secret(id)
	}
	return q
}

// A reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends q and reads the whole reply.
func (a *authority) send(t *testing.T, q ask) reply {
	t.Helper()
	r, err := a.try(t.Context(), a.http, q)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return r
}

// try is send for callers who expect that it may fail.
func (a *authority) try(ctx context.Context, through *http.Client, q ask) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, a.issuer+q.path, strings.NewReader(q.form.Encode()))
	if err != nil {
		return reply{}, err
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	if q.id != "" {
		req.SetBasicAuth(url.QueryEscape(q.id), url.QueryEscape(q.secret)) // RFC 6749 §2.3.1
	}
	res, err := through.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, body}, err
}

// decode reads the reply's JSON, which must be one value.
func (r reply) decode(t *testing.T, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.body))
	if err := d.Decode(v); err != nil || d.More() {
		t.Fatalf("status %d, body %q is not one JSON value (%v)", r.status, r.body, err)
	}
}

// code is the error code of a refusal, "" of anything else.
func (r reply) code() string {
	var e struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(r.body, &e) // no JSON: no code
	return e.Error
}

// tokens is the answer of the token endpoint.
type tokens struct {
	Access     string `json:"access_token"`
	Type       string `json:"token_type"`
	Expires    int    `json:"expires_in"`
	Scope      string `json:"scope"`
	Refresh    string `json:"refresh_token"`
	ID         string `json:"id_token"`
	IssuedType string `json:"issued_token_type"`
}

// grant sends q to the token endpoint, which must answer with tokens.
func (a *authority) grant(t *testing.T, q ask) tokens {
	t.Helper()
	r := a.send(t, q)
	if r.status != http.StatusOK {
		t.Fatalf("POST %s: status %d, body %s, want tokens", q.path, r.status, r.body)
	}
	var out tokens
	r.decode(t, &out)
	return out
}

// own asks for a token of the client's own.
func own(id, resource, scope string) ask {
	form := url.Values{"grant_type": {oauth.GrantClient}, "resource": {resource}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return post("/token", id, form)
}

// refreshing asks for the next tokens of a grant.
func refreshing(id, token string) ask {
	return post("/token", id, url.Values{"grant_type": {oauth.GrantRefresh}, "refresh_token": {token}})
}

// exchanging asks for a token to call the next service with.
func exchanging(id, subject, resource, scope string) ask {
	form := url.Values{
		"grant_type": {oauth.GrantExchange}, "subject_token": {subject},
		"subject_token_type": {oauth.TypeAccess}, "resource": {resource},
	}
	if scope != "" {
		form.Set("scope", scope)
	}
	return post("/token", id, form)
}

// active asks, as the client, whether a token is good.
func (a *authority) active(t *testing.T, id, token string) bool {
	t.Helper()
	r := a.send(t, post("/introspect", id, url.Values{"token": {token}}))
	var answer struct {
		Active *bool `json:"active"`
	}
	r.decode(t, &answer)
	if r.status != http.StatusOK || answer.Active == nil {
		t.Fatalf("introspection: status %d, body %s", r.status, r.body)
	}
	return *answer.Active
}

// userinfo is the status that userinfo answers a token with.
func (a *authority) userinfo(t *testing.T, token string) int {
	t.Helper()
	q := ask{method: http.MethodGet, path: "/userinfo", header: http.Header{"Authorization": {"Bearer " + token}}}
	return a.send(t, q).status
}
