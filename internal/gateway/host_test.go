package gateway

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/writ-auth/writ/token"
)

func TestHosts(t *testing.T) {
	w := newWorld(t, func(cfg *Config) {
		up := cfg.Routes[0].Upstream
		cfg.Routes = []Route{
			{Host: "a.example", Path: "/", Rules: []Rule{{}}, Propagate: None, Upstream: up},
			{Path: "/public", Open: true, Upstream: up},
		}
	})
	for _, c := range []struct {
		host, path string
		status     int
	}{
		{"a.example", "/public", 401}, {"A.EXAMPLE:8443", "/public", 401}, {"a.example.", "/public", 401}, {"a.example.:1", "/x", 401},
		{"b.example", "/public", 200}, {"b.example", "/x", 404}, {"", "/public", 200}, {"a.example,b.example", "/public", 400}, {"a.example/", "/public", 400},
	} {
		if res, body := w.raw("GET " + c.path + " HTTP/1.1\nHost: " + c.host + "\nConnection: close\n\n"); res.StatusCode != c.status {
			t.Errorf("%q%s: %s %s, want %d", c.host, c.path, res.Status, body, c.status)
		}
	}
}

func TestIPv6(t *testing.T) {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Host"))
	}))
	up.Listener.Close()
	up.Listener = listener
	up.Start()
	t.Cleanup(up.Close)
	outer, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	self := "http://" + outer.Addr().String()
	w := newWorld(t, func(cfg *Config) {
		cfg.URL = self
		cfg.Routes = []Route{{Path: "/six", Rules: []Rule{{}}, Upstream: up.URL, UpstreamAudience: inside}}
	})
	front := httptest.NewUnstartedServer(w.gateway)
	front.Listener.Close()
	front.Listener = outer
	front.Start()
	t.Cleanup(front.Close)
	u, err := url.Parse(self)
	if err != nil {
		t.Fatal(err)
	}
	res, body := w.do(w.issuer.Request("GET", self+"/six", token.Claims{Audience: []string{self + "/six"}}))
	if want := "::1 " + u.Host; res.StatusCode != 200 || body != want {
		t.Errorf("answer = %s %q, want 200 %q", res.Status, body, want)
	}
}
