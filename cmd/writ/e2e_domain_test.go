package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/relay"
)

// domain is a trust domain: `writ serve` and `writ gateway` as two processes, and
// two services in this one. All they share is URLs. An operator has set it up on
// the command line.
type domain struct {
	*authority
	owner   *testing.T // its end is the end of the processes
	dir     string
	gateway *process
	url     string // of the gateway
	check   string // where proxies ask it
	orders  *service
	stock   *service
}

// Names of the services' resources and of what they stand in. They are names, not
// addresses.
const (
	domainName = "domain.example"
	ordersName = "http://orders.domain.example"
	stockName  = "http://stock.domain.example"
)

func newDomain(t *testing.T) *domain {
	t.Helper()
	dir := t.TempDir()
	d := &domain{owner: t, dir: dir, authority: &authority{http: newClient(t)}}
	listen, front := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d.issuer, d.url, d.check = "http://"+listen, "http://"+front, "http://127.0.0.1:"+freePort(t)
	d.writ(t, "", "key", "seal", d.file("seal.key"))
	d.write(t, "serve.yaml", fmt.Sprintf("serve:\n  issuer: %s\n  listen: %s\n  database: sqlite:%s\n  seal_key_file: %s\n",
		d.issuer, listen, d.file("writ.db"), d.file("seal.key")))
	d.begin()

	both := []string{"--scope", "orders:read=See your orders", "--scope", "orders:write"}
	d.admin(t, append([]string{"resource", "add", d.url + "/orders"}, both...)...)
	d.admin(t, append([]string{"resource", "add", ordersName}, both...)...)
	d.admin(t, append([]string{"resource", "add", stockName}, both...)...)
	d.client(t, "robot", "--resource", d.url+"/orders", "--scope", "orders:read orders:write")
	d.client(t, "reader", "--resource", d.url+"/orders", "--scope", "orders:read")
	d.client(t, "edge", "--guards", d.url+"/orders", "--resource", ordersName, "--scope", "orders:read orders:write", "--trust-domain", domainName)
	d.client(t, "orders", "--guards", ordersName, "--resource", stockName)
	d.client(t, "stock", "--guards", stockName)
	d.admin(t, "client", "add", "app", "--public", "--redirect", spaBack, "--resource", d.url+"/orders", "--scope", "openid orders:read")
	d.writ(t, password+"\n", "admin", "user", "add", "alice", "--password-stdin", "--config", d.file("serve.yaml"))

	d.stock = newService(t, d, "stock", stockName, nil)
	d.orders = newService(t, d, "orders", ordersName, d.stock)
	d.routes(t, "/orders")
	d.gateway = run(t, "gateway", "--config", d.file("gateway.yaml"), "--listen", front)
	for _, address := range []string{d.url, d.orders.url, d.stock.url} {
		d.gateway.answers(t, d.http, address+"/readyz")
	}
	return d
}

// begin starts `writ serve`.
func (d *domain) begin() {
	d.owner.Helper()
	d.process = run(d.owner, "serve", "--config", d.file("serve.yaml"))
	d.http.CloseIdleConnections() // of an earlier process
	d.answers(d.owner, d.http, d.issuer+"/readyz")
}

func (d *domain) file(name string) string { return filepath.Join(d.dir, name) }

func (d *domain) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(d.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// routes writes the gateway's file, with these paths that all lead to orders, and
// /swap, which does so by an exchange.
func (d *domain) routes(t *testing.T, paths ...string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "gateway:\n  issuer: %s\n  url: %s\n  client_id: edge\n  client_secret_file: %s\n  check: {listen: %q}\n  trust_domain: %s\n  state_dir: %s\n  routes:\n",
		d.issuer, d.url, d.file("edge.secret"), strings.TrimPrefix(d.check, "http://"), domainName, d.dir)
	for _, path := range append(paths, "/swap") {
		fmt.Fprintf(&b, "    - path: %s\n      audience: %s/orders\n      upstream: %s\n"+
			"      rules:\n        - {methods: [GET], scopes: [orders:read]}\n        - {methods: [POST], scopes: [orders:write]}\n",
			path, d.url, d.orders.url)
	}
	fmt.Fprintf(&b, "      propagate: exchange\n      upstream_audience: %s\n", ordersName)
	d.write(t, "gateway.yaml", b.String())
}

// writ runs the command with this standard input and returns what it says.
func (d *domain) writ(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, built(t), args...)
	cmd.Env, cmd.Stdin = environment(t), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("writ %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// admin does what operators do on the server's host.
func (d *domain) admin(t *testing.T, args ...string) {
	t.Helper()
	d.writ(t, "", append(append([]string{"admin"}, args...), "--config", d.file("serve.yaml"))...)
}

// client registers a confidential client; its secret goes to a file.
func (d *domain) client(t *testing.T, id string, flags ...string) {
	t.Helper()
	d.admin(t, append([]string{"client", "add", id, "--secret-file", d.file(id + ".secret")}, flags...)...)
}

func (d *domain) secret(t *testing.T, id string) string {
	t.Helper()
	text, err := os.ReadFile(d.file(id + ".secret"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// as sends a form with a client's credentials.
func (d *domain) as(t *testing.T, path, id string, form url.Values) ask {
	q := post(path, "", form)
	q.id, q.secret = id, d.secret(t, id)
	return q
}

// token is a new token of the client's own, for the outside.
func (d *domain) token(t *testing.T, id string) string {
	t.Helper()
	return d.grant(t, d.as(t, "/token", id, url.Values{"grant_type": {oauth.GrantClient}})).Access
}

// call calls an address with a token, or without one.
func (d *domain) call(t *testing.T, method, address, token string) reply {
	t.Helper()
	if token != "" {
		token = "Bearer " + token
	}
	return d.carry(t, method, address, "Authorization", token)
}

// carry calls an address with a header.
func (d *domain) carry(t *testing.T, method, address, header, value string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if value != "" {
		req.Header.Set(header, value)
	}
	res, err := d.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return replied(t, res)
}

func replied(t *testing.T, res *http.Response) reply {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, body}
}

// ends waits, as long as the product promises, until the token is refused there.
func (d *domain) ends(t *testing.T, limit time.Duration, address, token string) {
	t.Helper()
	d.over(t, limit, address, "Authorization", "Bearer "+token)
}

// over is ends for any header.
func (d *domain) over(t *testing.T, limit time.Duration, address, header, value string) {
	t.Helper()
	within(t, limit, address+" refuses the ended token", func() error {
		if r := d.carry(t, http.MethodGet, address, header, value); r.status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
}

// service is a resource server as anybody would write one.
type service struct {
	url  string
	mu   sync.Mutex
	last string // guarded by mu: the token it was called with
}

// heard is what a service knows of a call.
type heard struct {
	Subject string   `json:"sub"`
	Through []string `json:"through"`
	Next    *heard   `json:"next,omitempty"`
}

// newService starts a service that asks next, if there is one, on the caller's behalf.
func newService(t *testing.T, d *domain, id, audience string, next *service) *service {
	t.Helper()
	client, err := relay.New(relay.Config{Issuer: d.issuer, ClientID: id, Secret: d.secret(t, id)})
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New(t.Context(), client.Follow(guard.Config{
		Issuer: d.issuer, Audience: audience, TrustDomain: domainName, Logger: slog.New(slog.DiscardHandler),
	}))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	var forward, exchange *http.Client
	if next != nil {
		target := relay.Target{Resource: stockName, Scopes: []string{"orders:read"}, Origins: []string{next.url}}
		forward, exchange = &http.Client{Transport: relay.Forward(target.Origins, nil)}, &http.Client{Transport: client.OnBehalf(target, nil)}
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.last = r.Header.Get("Txn-Token") + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Unlock()
		caller := guard.From(r.Context())
		h := heard{Subject: caller.Subject}
		for a := caller.Actor; a != nil; a = a.Actor {
			h.Through = append(h.Through, a.Subject)
		}
		if next != nil {
			onward := forward // inside the domain; a token for this service alone is exchanged
			if caller.Workload == "" {
				onward = exchange
			}
			if err := inquire(r.Context(), onward, next.url+"/orders", &h.Next); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		_ = json.NewEncoder(w).Encode(h)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", g.Require("orders:read")(http.HandlerFunc(answer)))
	mux.Handle("GET /again", g.Require("orders:read")(http.HandlerFunc(answer)))
	mux.Handle("GET /swap", g.Require("orders:read")(http.HandlerFunc(answer)))
	mux.Handle("POST /orders", g.Require("orders:write")(http.HandlerFunc(answer)))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := g.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// inquire gets one JSON value.
func inquire(ctx context.Context, client *http.Client, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(into)
}

// calledWith is the token of the last call.
func (s *service) calledWith() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}
