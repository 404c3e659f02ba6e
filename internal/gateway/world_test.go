package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const inside = "https://orders.internal" // audience of the upstream

// world is an issuer, a gateway and the service behind it, each on a port.
type world struct {
	t       testing.TB
	issuer  *guardtest.Issuer
	gateway *Gateway
	url     string // of the gateway
	service *service
	logs    *journal
}

// service is an upstream that tells what it was sent.
type service struct {
	*httptest.Server
	mux *http.ServeMux

	mu   sync.Mutex
	seen []*http.Request // guarded by mu; bodies read, as text
	last string          // guarded by mu; body of the last one
}

func newService(t testing.TB) *service {
	s := &service{mux: http.NewServeMux()}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the gateway broke off
		}
		s.mu.Lock()
		s.seen, s.last = append(s.seen, r), string(body)
		s.mu.Unlock()
		w.Header().Set("Set-Cookie", "writ_8400=planted")
		w.Header().Add("Set-Cookie", "theirs=1")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		fmt.Fprint(w, "from upstream")
	})
	s.Server = httptest.NewServer(s.mux)
	t.Cleanup(s.Close)
	return s
}

// got returns the last request, which must be the n-th.
func (s *service) got(t testing.TB, n int) *http.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) != n {
		t.Fatalf("the upstream got %d requests, want %d", len(s.seen), n)
	}
	return s.seen[n-1]
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// routes are those most tests use.
func routes(upstream string) []Route {
	read := Rule{Methods: []string{"GET"}, Scopes: []string{"orders:read"}}
	write := Rule{Methods: []string{"POST"}, Scopes: []string{"orders:write"}}
	return []Route{
		{Path: "/orders", Rules: []Rule{read, write}, Upstream: upstream, UpstreamAudience: inside, Name: "Orders",
			CORS: &CORS{Origins: []string{"https://app.example"}}},
		{Path: "/orders/admin", Rules: []Rule{{Scopes: []string{"admin"}}}, Upstream: upstream, UpstreamAudience: inside},
		{Path: "/files", Rules: []Rule{{}}, Upstream: upstream, Propagate: None, MaxBody: 100},
		{Path: "/public", Open: true, Upstream: upstream},
	}
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, issuer: guardtest.NewIssuer(t), service: newService(t), logs: new(journal)}
	server := httptest.NewUnstartedServer(nil)
	w.url = "http://" + server.Listener.Addr().String()
	cfg := Config{
		Issuer: w.issuer.URL(), URL: w.url, ClientID: "gateway", ClientSecret: "gw s3cret", Routes: routes(w.service.URL),
		Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if w.gateway, err = New(ctx, cfg); err != nil {
		cancel()
		server.Close()
		t.Fatal(err)
	}
	server.Config.Handler = w.gateway
	server.Config.MaxHeaderBytes = 1 << 20
	server.Start()
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
	})
	soon, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if err := w.gateway.Ready(soon); err != nil {
		t.Fatal(err)
	}
	return w
}

// request is one with a token for the route at audience, a path of the gateway.
func (w *world) request(method, path, audience string, scopes ...string) *http.Request {
	return w.issuer.Request(method, w.url+path, token.Claims{Subject: "alice", Audience: []string{w.url + audience}, Scope: scope.Set(scopes)})
}

// do sends r as it is and returns the answer with its body.
func (w *world) do(r *http.Request) (*http.Response, string) {
	w.t.Helper()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return res, string(body)
}

// raw sends what no client would.
func (w *world) raw(text string) (*http.Response, string) {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		w.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%.60q: %v", text, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(body)
}

// wantProblem checks that a refusal is one.
func wantProblem(t *testing.T, what string, res *http.Response, body string, status int) {
	t.Helper()
	var p struct {
		Type, Title, Detail, ID string
		Status                  int
	}
	err := json.Unmarshal([]byte(body), &p)
	if res.StatusCode != status || err != nil || p.Status != status || p.ID == "" || p.Detail == "" ||
		res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: %s %q %s, want problem %d", what, res.Status, res.Header.Get("Content-Type"), body, status)
	}
	if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (status == 401) && status != 403 && status != 400 {
		t.Errorf("%s: %d with WWW-Authenticate %q", what, status, challenge)
	}
}

// twice serves the gateway over HTTP/2, too.
func (w *world) twice() *httptest.Server {
	server := httptest.NewUnstartedServer(w.gateway)
	server.EnableHTTP2 = true
	server.StartTLS()
	w.t.Cleanup(server.Close)
	return server
}
