package gateway

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// stolen is a request with a token that the test can end.
func (w *world) stolen(path string) *http.Request {
	return w.issuer.Request("GET", w.url+path, token.Claims{ID: "stolen", Audience: []string{w.url + "/orders"}, Scope: scope.Set{"orders:read"}})
}

func TestEventStream(t *testing.T) {
	w := newWorld(t, nil)
	next, gone := make(chan string), make(chan struct{})
	w.service.mux.HandleFunc("/orders/events", func(rw http.ResponseWriter, r *http.Request) {
		defer close(gone)
		rw.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event := <-next:
				fmt.Fprintf(rw, "data: %s\n\n", event)
				if err := http.NewResponseController(rw).Flush(); err != nil {
					t.Error(err)
				}
			case <-r.Context().Done():
				return
			}
		}
	})
	go func() { next <- "0" }()
	res, err := http.DefaultTransport.RoundTrip(w.stolen("/orders/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for n := range 3 { // each arrives before the next is sent
		if n > 0 {
			next <- fmt.Sprint(n)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", n) || !lines.Scan() {
			t.Fatalf("event %d = %q, %v", n, lines.Text(), lines.Err())
		}
	}
	w.issuer.Revoke(token.Claims{ID: "stolen"})
	if lines.Scan() {
		t.Errorf("got %q after the token had ended", lines.Text())
	}
	<-gone
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t, nil)
	gone := make(chan struct{})
	w.service.mux.HandleFunc("/orders/chat", func(rw http.ResponseWriter, r *http.Request) {
		defer close(gone)
		conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			if err := conn.Write(context.Background(), kind, message); err != nil {
				return
			}
		}
	})
	dial := func(r *http.Request) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(r.URL.String(), "http"), &websocket.DialOptions{HTTPHeader: r.Header})
	}
	if _, res, err := dial(with(w.stolen("/orders/chat"), "Authorization")); err == nil || res.StatusCode != 401 {
		t.Errorf("without a token: %v, want 401", err)
	}
	if _, res, err := dial(with(w.stolen("/orders/chat"), "Authorization", "", "")); err == nil || res.StatusCode != 400 {
		t.Errorf("with two: %v, want 400", err)
	}
	conn, _, err := dial(w.stolen("/orders/chat"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for n := range 3 {
		want := fmt.Sprintf("hello %d", n)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != want {
			t.Fatalf("echo = %q, %v, want %q", got, err, want)
		}
	}
	w.issuer.Revoke(token.Claims{ID: "stolen"})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, got, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("read %q, %v after the token had ended, want a closed connection", got, err)
	}
	<-gone
}

// TestSilentConnectionEnds has an upstream that hangs up and a client that
// says nothing: no read or write would ever fail by itself.
func TestSilentConnectionEnds(t *testing.T) {
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/orders/hang", func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		conn.Close()
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := with(with(w.stolen("/orders/hang"), "Connection", "Upgrade"), "Upgrade", "websocket")
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(conn), r); err != nil || res.StatusCode != 101 {
		t.Fatalf("answer = %v, %v, want 101", res, err)
	}
	w.issuer.Revoke(token.Claims{ID: "stolen"})
	waitFor(t, "end of the request", func() bool { return strings.Contains(w.logs.String(), "path=/orders/hang") })
}

func TestOtherUpgradesAreNotTunnels(t *testing.T) {
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/public/tunnel", func(rw http.ResponseWriter, r *http.Request) {
		if upgrade := r.Header.Get("Upgrade"); upgrade != "" {
			t.Errorf("Upgrade: %s reached the upstream", upgrade)
		}
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	})
	for _, upgrade := range []string{"h2c", "websocket, h2c", "TLS/1.0", "foo"} {
		res, body := w.raw("GET /public/tunnel HTTP/1.1\nHost: gw\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAMAAABk\nUpgrade: " + upgrade + "\n\n")
		wantProblem(t, upgrade, res, body, 502)
	}
	if res, _ := w.raw("POST /public HTTP/1.1\nHost: gw\nConnection: Upgrade, close\nUpgrade: websocket\nContent-Length: 0\n\n"); res.StatusCode != 200 {
		t.Errorf("POST with an upgrade: %s, want 200: the header is ignored", res.Status)
	}
}

func TestReloadUnderLoad(t *testing.T) {
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "old") }))
	t.Cleanup(old.Close)
	w := newWorld(t, nil)
	version := func(upstream string) []Route {
		list := routes(upstream)
		return append(list, Route{Path: fmt.Sprintf("/extra-%d", time.Now().UnixNano()), Open: true, Upstream: upstream})
	}
	r := w.request("GET", "/orders", "/orders", "orders:read")
	var sent, fromOld atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for !stop.Load() {
				res, body := w.do(r.Clone(t.Context()))
				if res.StatusCode != 200 {
					t.Errorf("answer = %s %s, want 200", res.Status, body)
					return
				}
				sent.Add(1)
				if body == "old" {
					fromOld.Add(1)
				}
			}
		})
	}
	for n := range 50 {
		upstream := w.service.URL
		if n%2 == 0 {
			upstream = old.URL
		}
		if err := w.gateway.Reload(version(upstream)); err != nil {
			t.Error(err)
		}
		goal := sent.Load() + 10
		waitFor(t, "requests", func() bool { return sent.Load() >= goal })
	}
	stop.Store(true)
	all.Wait()
	if fromOld.Load() == 0 || fromOld.Load() == sent.Load() {
		t.Errorf("%d of %d answers came from the one upstream, want some and not all", fromOld.Load(), sent.Load())
	}
}

func TestWrongReloadKeepsTheOld(t *testing.T) {
	w := newWorld(t, nil)
	bad := routes(w.service.URL)
	bad[1].Upstream = "nowhere"
	if err := w.gateway.Reload(bad); err == nil || !strings.Contains(err.Error(), "route 2 (/orders/admin)") {
		t.Errorf("error = %v, want one that names the route", err)
	}
	bad = routes(w.service.URL)
	bad[0].Audience = "no uri"
	if err := w.gateway.Reload(bad); err == nil {
		t.Error("audience that is no URI: no error, want one")
	}
	if res, body := w.do(w.request("GET", "/orders", "/orders", "orders:read")); res.StatusCode != 200 {
		t.Errorf("answer = %s %s, want 200 as before", res.Status, body)
	}
}

func TestEarlyHintsKeepCORS(t *testing.T) {
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/orders/hints", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(rw, "ok")
	})
	res, _ := w.do(with(w.request("GET", "/orders/hints", "/orders", "orders:read"), "Origin", "https://app.example"))
	if got := res.Header["Access-Control-Allow-Origin"]; len(got) != 1 {
		t.Errorf("Access-Control-Allow-Origin = %q after a 103, want the origin", got)
	}
}
