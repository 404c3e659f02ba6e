package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// asked is a world whose gateway is asked by a proxy, at the address.
type asked struct {
	*world
	name, address string
	reader        string // Authorization of one who may read orders
}

// eachFront runs test with every proxy in front of the service, and with Check.
func eachFront(t *testing.T, test func(t *testing.T, a asked)) {
	run := func(name string, start func(t *testing.T, w *world) string) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(cfg *Config) {
				cfg.URL = "http://api.example"
				cfg.Routes = append(cfg.Routes, Route{Host: "open.example", Path: "/orders", Open: true, Upstream: cfg.Routes[0].Upstream})
			})
			a := asked{world: w, name: name, address: start(t, w)}
			w.url = "http://api.example"
			a.reader = w.request("GET", "/", "/orders", "orders:read").Header.Get("Authorization")
			test(t, a)
		})
	}
	run("check", func(t *testing.T, w *world) string {
		server := httptest.NewServer(directly(w.gateway, w.service.mux))
		t.Cleanup(server.Close)
		return address(server.URL)
	})
	for _, f := range fronts {
		run(f.name, func(t *testing.T, w *world) string {
			program := f.program(t)
			if program == "" {
				t.Skip(f.env + " is not set")
			}
			return f.start(t, program, w.gateway, w.service.URL)
		})
	}
}

// send sends a request line and headers as they are, and whatever else a request
// has to have. It returns the answer and what reached the service, nil if nothing.
func (a asked) send(t *testing.T, request string) (*http.Response, string, *http.Request) {
	t.Helper()
	conn, err := net.Dial("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, headers, _ := strings.Cut(request, "\n")
	if !strings.Contains(headers, "Host: ") {
		headers = "Host: api.example\n" + headers
	}
	if headers = strings.TrimSuffix(headers, "\n"); headers != "" {
		headers += "\n"
	}
	text := line + " HTTP/1.1\n" + headers + "Connection: close\n\n"
	before := a.service.count()
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	said := body(t, res)
	if a.service.count() == before {
		return res, said, nil
	}
	return res, said, a.service.got(t, before+1)
}

// A client describes, in every way it can think of, another request than the one
// it makes. None of it comes through without a token, nor with one that may only
// read.
func TestDescribedByTheClient(t *testing.T) {
	const nobody, reader = "", "reader"
	attacks := []struct{ name, who, request string }{
		{"nothing said", nobody, "GET /orders/7"},
		{"another path", nobody, "GET /orders/7\nX-Forwarded-Uri: /public"},
		{"another path in capitals", nobody, "GET /orders/7\nX-FORWARDED-URI: /public"},
		{"another path twice", nobody, "GET /orders/7\nX-Forwarded-Uri: /public\nX-Forwarded-Uri: /public"},
		{"another path, underscores", nobody, "GET /orders/7\nX_Forwarded_Uri: /public"},
		{"another path, one underscore", nobody, "GET /orders/7\nX-Forwarded_Uri: /public"},
		{"another path, dots", nobody, "GET /orders/7\nX.Forwarded.Uri: /public"},
		{"another original path", nobody, "GET /orders/7\nX-Original-URI: /public"},
		{"another original path, underscores", nobody, "GET /orders/7\nX_Original_URI: /public"},
		{"another original URL", nobody, "GET /orders/7\nX-Original-URL: http://api.example/public\nX-Original-Method: GET"},
		{"another original URL, underscores", nobody, "GET /orders/7\nX_Original_URL: http://api.example/public\nX_Original_Method: GET"},
		{"all of it", nobody, "GET /orders/7\nX-Forwarded-Method: GET\nX-Forwarded-Proto: http\nX-Forwarded-Host: api.example\nX-Forwarded-Uri: /public"},
		{"another host", nobody, "GET /orders/7\nX-Forwarded-Host: open.example"},
		{"another host twice", nobody, "GET /orders/7\nX-Forwarded-Host: open.example\nX-Host: open.example\nForwarded: host=open.example"},
		{"rewrites", nobody, "GET /orders/7\nX-Rewrite-Url: /public\nX-Forwarded-Path: /public\nX-Forwarded-Prefix: /public\nX-Accel-Redirect: /public"},
		{"the gateway's answer", nobody, "GET /orders/7\nWrit-Uri: /public\nX-Writ: allow\nWrit-Remove: Authorization"},
		{"an identity", nobody, "GET /orders/7\nX-User: admin\nX-Forwarded-User: admin\nRemote-User: admin"},
		{"another method", reader, "POST /orders/7\nX-Forwarded-Method: GET"},
		{"another method, underscores", reader, "POST /orders/7\nX_Forwarded_Method: GET"},
		{"another original method", reader, "POST /orders/7\nX-Original-Method: GET"},
		{"method override", reader, "POST /orders/7\nX-HTTP-Method-Override: GET\nX-HTTP-METHOD: GET\nX-Method-Override: GET"},
		{"method in lower case", reader, "post /orders/7"},
		{"preflight", nobody, "OPTIONS /orders/7\nOrigin: https://app.example\nAccess-Control-Request-Method: GET"},
		{"TRACE", reader, "TRACE /orders/7"},
		{"the way to the check", nobody, "GET /_writ"},
		{"the check", nobody, "GET /check"},
		{"the check, described", nobody, "GET /check\nX-Forwarded-Method: GET\nX-Forwarded-Proto: http\nX-Forwarded-Host: api.example\nX-Forwarded-Uri: /public"},
	}
	for _, path := range []string{
		"/orders/admin", "/orders/admin/users", "/orders//admin", "/orders/./admin", "/orders/x/../admin", "/public/../orders/admin", "/public/..%2forders/admin",
		"/orders/%61dmin", "/orders/%41dmin", "/orders%2Fadmin", "/orders%2fadmin", "/%6frders/admin", "/orders/%2e/admin", "/public/%2e%2e/orders/admin", "/public/%252e%252e/orders/admin",
		"/orders\\admin", "/public/..;/orders/admin", "/orders;x/admin", "/orders/admin;x", "/orders/admin%3Bx", "/orders/admin%00", "/orders/admin%0a",
		"/Orders/admin", "/orders/Admin", "//orders/admin", "/%2Forders/admin", "/orders/admin#/../../public", "/public#/../orders/admin", "/public%23/../orders/admin", "/orders/admin%3Fx", "/orders/admin?/../public",
		"/public/../orders/admin?x=/public", "/public/%2E%2E/orders/admin", "/public/.%2e/orders/admin", "/public/..%5corders/admin", "http://api.example/orders/admin", "http://api.example//orders/admin",
		"http://api.example/public/../orders/admin", "http://open.example@api.example/orders/admin",
	} {
		attacks = append(attacks, struct{ name, who, request string }{"path " + path, reader, "GET " + path})
	}
	eachFront(t, func(t *testing.T, a asked) {
		if res, said, got := a.send(t, "GET /orders/7\nAuthorization: "+a.reader); res.StatusCode != 200 || got == nil {
			t.Fatalf("the good twin: %s %s, want 200", res.Status, said)
		}
		for _, attack := range attacks {
			request := attack.request
			if attack.who == reader {
				request += "\nAuthorization: " + a.reader
			}
			res, said, got := a.send(t, request)
			if got != nil {
				t.Errorf("%s: %s %s reached the service at %s", attack.name, got.Method, got.RequestURI, got.Host)
			}
			if refusals := []int{400, 401, 403, 404, 405}; !slices.Contains(refusals, res.StatusCode) {
				t.Errorf("%s: %s %.200s, want one of %d", attack.name, res.Status, said, refusals)
			}
			if strings.Contains(said, "Bearer ey") || res.Header.Get("Authorization") != "" {
				t.Errorf("%s: the answer has a token in it", attack.name)
			}
		}
	})
}

// What a client says of a host in the request line or the header, the service
// hears of the one by which the request was judged.
func TestJudgedByTheHostThatIsAsked(t *testing.T) {
	eachFront(t, func(t *testing.T, a asked) {
		if res, said, got := a.send(t, "GET /orders/7\nHost: open.example"); got == nil || got.Host != "open.example" && a.name != "check" {
			t.Fatalf("the good twin: %s %s, reached %v, want open.example", res.Status, said, got)
		}
		for _, request := range []string{
			"GET http://open.example/orders/7\nHost: api.example", "GET http://api.example/orders/7\nHost: open.example",
			"GET http://open.example/orders/7\nHost: open.example", "GET //open.example/orders/7\nHost: api.example",
			"GET /orders/7\nHost: open.example\nHost: api.example", "GET /orders/7\nHost: api.example\nHost: open.example",
			"GET /orders/7\nHost: open.example, api.example", "GET /orders/7\nHost: open.example/\n", "GET /orders/7\nHost: api.example\nX-Forwarded-Host: open.example",
		} {
			if res, _, got := a.send(t, request); got != nil && got.Host != "open.example" {
				t.Errorf("%q: %s, reached the service at %s without a token", request, res.Status, got.Host)
			}
		}
	})
}

// What reaches the service is what the gateway itself would have sent.
func TestWhatCrosses(t *testing.T) {
	lies := "X-User: admin\nx-user-id: 1\nX_User: admin\nX-Auth-Request-Email: a@b\nRemote_User: admin\nX-Forwarded-User: admin\nForwarded: for=10.0.0.1\nTxn-Token: x.y.z\n" +
		"Client-Cert: :AA==:\nDPoP: x\nX-HTTP-Method-Override: DELETE\nX-Real-Ip: 10.0.0.1\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Prefix: /x\nAuthorization_: x\n" +
		"Cookie: writ_8400=session; theirs=1; __Host-writ=x\nX-Request-Id: kept\nProxy-Authorization: x\n"
	eachFront(t, func(t *testing.T, a asked) {
		for _, c := range []struct{ path, audience string }{{"/public?q=1&access_token=abc&r=%20", ""}, {"/files/a%20b?q=1&r=%20", "/files"}, {"/orders?access%5Ftoken=abc&q=1&r=%20", "/orders"}} {
			outer := a.request("GET", "/", c.audience, "orders:read").Header.Get("Authorization")
			res, said, got := a.send(t, "GET "+c.path+"\nAuthorization: "+outer+"\n"+lies)
			if res.StatusCode != 200 || got == nil {
				t.Errorf("%s: %s %s, want 200", c.path, res.Status, said)
				continue
			}
			path, _, _ := strings.Cut(c.path, "?")
			if got.RequestURI != path+"?q=1&r=%20" && (a.name != "caddy" || got.RequestURI != c.path) { // which cannot
				t.Errorf("%s: reached the service as %s", c.path, got.RequestURI)
			}
			inner := got.Header["Authorization"]
			if a.name == "caddy" && len(inner) == 1 && inner[0] == "" {
				inner = nil // it cannot leave out what is empty
			}
			if (path == "/orders") != (len(inner) == 1) || len(inner) > 0 && inner[0] == outer {
				t.Errorf("%s: %d values of Authorization, the caller's own: %t", c.path, len(inner), slices.Contains(inner, outer))
			}
			for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "api.example", "Cookie": "theirs=1", "X-Request-Id": "kept"} {
				if values := got.Header[name]; len(values) != 1 || values[0] != want && (name != "X-Request-Id" || a.name != "envoy") { // which gives its own
					t.Errorf("%s: %s = %q, want %s", c.path, name, values, want)
				}
			}
			for name, values := range got.Header {
				switch name {
				case "Authorization", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Cookie", "X-Request-Id", "Connection", "Host", "Authorization_", "Accept-Encoding", "X-Envoy-Expected-Rq-Timeout-Ms":
				default:
					t.Errorf("%s: %s = %q reached the service", c.path, name, values)
				}
			}
		}
	})
}

// While nobody answers the proxy, nothing passes.
func TestNobodyToAsk(t *testing.T) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			program := f.program(t)
			if program == "" {
				t.Skip(f.env + " is not set")
			}
			service := newService(t)
			started := false
			a := asked{world: &world{service: service}, name: f.name}
			for range 5 {
				if a.address = free(t); f.run(t, program, map[string]string{"127.0.0.1:8080": a.address, "127.0.0.1:8401": "127.0.0.1:1", "127.0.0.1:8402": "127.0.0.1:1", "127.0.0.1:8403": "127.0.0.1:1", "127.0.0.1:9001": address(service.URL)}) {
					started = true
					break
				}
			}
			if !started {
				t.Fatal("the proxy does not start")
			}
			if res, said, got := a.send(t, "GET /public"); res.StatusCode != 502 && res.StatusCode != 503 || got != nil {
				t.Errorf("%s %s, reached %v, want 502 or 503", res.Status, said, got)
			}
		})
	}
}
