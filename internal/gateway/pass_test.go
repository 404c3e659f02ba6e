package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// answers is an upstream that says the same to everybody. It notes what it was
// asked.
type answers struct {
	say   string
	err   error
	asked string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = fmt.Sprintf("%s %s %v host %q body %v length %d close %t %v %v", r.Method, r.URL, r.Header, r.Host, r.Body, r.ContentLength, r.Close, r.Trailer, r.TransferEncoding)
	if a.err != nil {
		return nil, a.err
	}
	in := bufio.NewReader(strings.NewReader(a.say))
	for {
		res, err := http.ReadResponse(in, r)
		if err != nil || res.StatusCode >= 200 || res.StatusCode == 101 {
			return res, err
		}
		if err := httptrace.ContextClientTrace(r.Context()).Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
			return nil, err
		}
	}
}

// A slate is what a client would see.
type slate struct {
	mu     sync.Mutex
	header http.Header
	text   strings.Builder // guarded by mu
	held   bool            // guarded by mu; something was written and not flushed
	fail   bool            // to write
}

func (s *slate) Header() http.Header { return s.header }

func (s *slate) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.text, "%d %v\n", status, s.header)
}

func (s *slate) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return 0, errors.New("the client has gone")
	}
	s.held = true
	return s.text.Write(p)
}

func (s *slate) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
}

// through returns all that came of a request, by the one way or the other.
func through(g *Gateway, route *route, upstream *answers, r *http.Request, fail bool, way func(*call, http.ResponseWriter, *http.Request, http.RoundTripper)) string {
	w := &slate{header: http.Header{}, fail: fail}
	c := &call{g: g, w: w, r: r, route: route, rule: route.other}
	var broken any
	func() {
		defer func() { broken = recover() }()
		way(c, w, r, upstream)
	}()
	// What the server adds to the headers from here on are trailers. A refusal
	// has an id of its own.
	text := w.text.String()
	if c.id != "" {
		text = strings.ReplaceAll(text, c.id, "id")
	}
	return fmt.Sprintf("asked: %s\nseen: %s\nafter: %v held back %t broken %v\nstatus %d %s", upstream.asked, text, w.header, w.held, broken, c.status, c.reason)
}

// TestPassIsReverseProxy compares the two ways a simple request may go.
func TestPassIsReverseProxy(t *testing.T) {
	w := newWorld(t, nil)
	open := w.gateway.table.Load().find("", "/public")
	for _, say := range []string{
		"200 OK\nContent-Length: 2\n\nok",
		"200 OK\nContent-Length: 0\n\n",
		"200 OK\n\nuntil the end",
		"200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n",
		"200 OK\nTransfer-Encoding: chunked\nTrailer: Sum\n\n2\nok\n0\nSum: 7\n\n",
		"200 OK\nTransfer-Encoding: chunked\nTrailer: Sum\n\n2\nok\n0\nSum: 7\nSum: 8\nOther: 9\n\n",
		"200 OK\nTransfer-Encoding: chunked\nTrailer: Sum\n\n2\nok\n0\n\n",
		"200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\nOther: 9\n\n",
		"200 OK\nTransfer-Encoding: chunked\nTrailer: X-A\nX-A: b\n\n2\nok\n0\nX-A: c\n\n",
		"200 OK\nTrailer: Sum\nContent-Length: 2\n\nok",
		"200 OK\nContent-Type: text/event-stream\nContent-Length: 2\n\nok",
		"200 OK\nContent-Type: Text/Event-Stream; charset=utf-8\nContent-Length: 2\n\nok",
		"200 OK\nContent-Type: text/event-stream; =\nContent-Length: 2\n\nok",
		"200 OK\nContent-Type: text/event-streams\nContent-Length: 2\n\nok",
		"200 OK\nContent-Type: application/json\nContent-Length: 2\n\nok",
		"200 OK\nConnection: X-A, keep-alive\nX-A: b\nKeep-Alive: 5\nContent-Length: 2\n\nok",
		"200 OK\nconnection: close, x-a\nX-A: b\nContent-Length: 2\n\nok",
		"200 OK\nConnection: Content-Length\nContent-Length: 2\n\nok",
		"200 OK\nUpgrade: h2c\nTe: x\nProxy-Connection: x\nProxy-Authenticate: Basic\nProxy-Authorization: x\nContent-Length: 2\n\nok",
		"200 OK\nSet-Cookie: writ_8400=planted\nSet-Cookie: theirs=1\nSet-Cookie: other=2\nX-A: b\nX-A: c\nContent-Length: 2\n\nok",
		"204 No Content\n\n", "304 Not Modified\nContent-Length: 5\n\n", "404 Not Found\nContent-Length: 2\n\nno",
		"103 Early Hints\nLink: </a>\n\nHTTP/1.1 103 Early Hints\nLink: </b>\nX-A: b\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"200 OK\nContent-Length: 9\n\nhalf",
		"200 OK\nTransfer-Encoding: chunked\n\n2\nok\nx\n",
		"101 Switching Protocols\n\n", "101 Switching Protocols\nConnection: Upgrade\nUpgrade: h2c\n\n",
		"nonsense",
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for _, fail := range []bool{false, true} {
				upstream := &answers{say: "HTTP/1.1 " + strings.ReplaceAll(say, "\n", "\r\n")}
				alike(t, w.gateway, open, upstream, asker(method, "/public/a", nil), fail)
			}
		}
	}
	alike(t, w.gateway, open, &answers{err: errors.New("nobody there")}, asker("GET", "/public", nil), false)
	alike(t, w.gateway, open, &answers{err: context.DeadlineExceeded}, asker("GET", "/public", nil), false)
}

// TestPassAsksLikeReverseProxy has clients that say odd things.
func TestPassAsksLikeReverseProxy(t *testing.T) {
	w := newWorld(t, nil)
	open := w.gateway.table.Load().find("", "/public")
	for _, target := range []string{
		"/public", "/public/a%2Cb", "/public?", "/public?a=b&access_token=x", "/public?a=%3b%20&b=+", "/public?%61ccess_token=x&c", "/public/%E4%B8%96?q=\"<>",
	} {
		alike(t, w.gateway, open, &answers{say: "HTTP/1.1 204 No Content\r\n\r\n"}, asker("GET", target, nil), false)
	}
	for name, values := range map[string][]string{
		"User-Agent": {"a"}, "Forwarded": {"for=evil"}, "X-Forwarded-For": {"evil"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"},
		"X-User": {"root"}, "X_user": {"root"}, "Authorization": {"Bearer x"}, "Dpop": {"x"}, "Cookie": {"writ_8400=x; a=b", "__Host-writ=y"},
		"Accept-Encoding": {"gzip", "br"}, "X-A": {"b", "c"}, "Content-Length": {"0"}, "Content-Type": {"text/plain"}, "Host": {"evil"},
	} {
		r := asker("GET", "/public", http.Header{name: values, "Accept": {"*/*"}})
		before := fmt.Sprint(r.Header)
		alike(t, w.gateway, open, &answers{say: "HTTP/1.1 204 No Content\r\n\r\n"}, r, false)
		if after := fmt.Sprint(r.Header); after != before {
			t.Errorf("the client's request now has %s, want %s", after, before)
		}
	}
}

func asker(method, target string, header http.Header) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr, r.Host = "192.0.2.1:1234", "gw.example"
	if header != nil {
		r.Header = header
	}
	// ReverseProxy breaks off only where a server is to catch it.
	return r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, new(http.Server)))
}

func alike(t *testing.T, g *Gateway, route *route, upstream *answers, r *http.Request, fail bool) {
	t.Helper()
	if !simple(r) {
		t.Errorf("%s %s %v is not simple", r.Method, r.URL, r.Header)
	}
	got := through(g, route, upstream, r, fail, (*call).pass)
	want := through(g, route, upstream, r, fail, (*call).reverse)
	if got != want {
		t.Errorf("%s %.80q:\n%s\nwant, as by ReverseProxy:\n%s", r.Method, upstream.say, got, want)
	}
}

// TestSilentStream: a client learns that its stream has begun before anything is
// in it.
func TestSilentStream(t *testing.T) {
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/public/silent", func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := http.DefaultTransport.RoundTrip(w.request("GET", "/public/silent", "").WithContext(ctx))
	if err != nil {
		t.Fatalf("%v, want the header", err)
	}
	res.Body.Close()
}

// TestTrailersCross, also after a body so short that the server would count it.
func TestTrailersCross(t *testing.T) {
	w := newWorld(t, nil)
	w.service.mux.HandleFunc("/public/sum", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "Sum")
		_ = http.NewResponseController(rw).Flush()
		fmt.Fprint(rw, r.URL.RawQuery)
		rw.Header().Set("Sum", "7")
		rw.Header().Set(http.TrailerPrefix+"Other", "8")
	})
	for _, body := range []string{"", "ok"} {
		res, got := w.do(w.request("GET", "/public/sum?"+body, ""))
		if got != body || res.Trailer.Get("Sum") != "7" || res.Trailer.Get("Other") != "8" {
			t.Errorf("answer = %q with trailers %v, want %q with two", got, res.Trailer, body)
		}
	}
}

func TestSimple(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"body":       func(r *http.Request) { r.ContentLength = 1 },
		"chunks":     func(r *http.Request) { r.ContentLength = -1 },
		"encoding":   func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"trailer":    func(r *http.Request) { r.Trailer = http.Header{"X-A": nil} },
		"connection": func(r *http.Request) { r.Header.Set("Connection", "X-A") },
		"upgrade":    func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
		"te":         func(r *http.Request) { r.Header.Set("TE", "trailers") },
		"semicolon":  func(r *http.Request) { r.URL.RawQuery = "a=b;c=d" },
		"percent":    func(r *http.Request) { r.URL.RawQuery = "a=%zz" },
		"end":        func(r *http.Request) { r.URL.RawQuery = "a=%4" },
	} {
		r := asker("GET", "/public?a=%41", nil)
		if !simple(r) {
			t.Fatal("a simple request is none")
		}
		if change(r); simple(r) {
			t.Errorf("%s: simple, want left to ReverseProxy", name)
		}
	}
}

// FuzzPass lets an upstream say anything.
func FuzzPass(f *testing.F) {
	w := newWorld(f, nil)
	open := w.gateway.table.Load().find("", "/public")
	f.Add("200 OK\r\nConnection: X-A\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok", "a=b")
	f.Add("103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n", "%41;")
	f.Fuzz(func(t *testing.T, say, query string) {
		r := asker("GET", "/public", nil)
		if r.URL.RawQuery = query; !simple(r) || strings.Contains(strings.ToLower(say), "trailer") {
			return // announced trailers come in the order of a map
		}
		alike(t, w.gateway, open, &answers{say: "HTTP/1.1 " + say}, r, false)
	})
}
