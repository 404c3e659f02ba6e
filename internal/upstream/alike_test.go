package upstream

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// responses are what upstreams may say to a request, well and badly meant. What
// http.Transport makes of each is what we make of it.
var responses = []struct{ name, say string }{
	{"length", ok("hello")},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"},
	{"empty", ok("")},
	{"other status", "HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok"},
	{"until closed", "HTTP/1.1 200 OK\r\n\r\nuntil the end"},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nuntil the end"},
	{"HTTP/1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"},
	{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"},
	{"close among others", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok"},

	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n"},
	{"chunk extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d\"\r\nok\r\n0;last\r\n\r\n"},
	{"long chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 5000) + "\r\nok\r\n0\r\n\r\n"},
	{"many chunk extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 500)+"\r\na\r\n", 100) + "0\r\n\r\n"},
	{"trailers", "HTTP/1.1 200 OK\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\nOther: 8\r\n\r\n"},
	{"forbidden trailer", "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 7\r\n\r\n"},
	{"malformed trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nno colon\r\n\r\n"},
	{"long trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSum: " + strings.Repeat("7", 5000) + "\r\n\r\n"},
	{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"},
	{"no trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"},
	{"bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n0\r\n\r\n"},
	{"negative chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n"},
	{"0x chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n"},
	{"endless chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n"},
	{"no chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n"},
	{"chunk longer than said", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"},
	{"chunk ended by LF", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n"},

	{"one length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokay"},
	{"two lengths in one", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"},
	{"signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"},
	{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"},
	{"no number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"},
	{"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok"},
	{"endless length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"},
	{"spaced length", "HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok"},
	{"length of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nokay"},
	{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"bad length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"gzip and chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"odd encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\nok"},
	{"encoding behind a tab", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\tchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"encoding behind a vertical tab", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \vchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"encoding of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok"},
	{"length before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"},
	{"short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"},

	{"folded", "HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 2\r\n\r\nok"},
	{"folded length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok"},
	{"folded first", "HTTP/1.1 200 OK\r\n X-A: one\r\nContent-Length: 2\r\n\r\nok"},
	{"no colon", "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok"},
	{"no name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok"},
	{"NUL in a value", "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok"},
	{"NUL in a name", "HTTP/1.1 200 OK\r\nX\x00A: ab\r\nContent-Length: 2\r\n\r\nok"},
	{"CR in a value", "HTTP/1.1 200 OK\r\nX-A: a\rContent-Length: 9\r\nContent-Length: 2\r\n\r\nok"},
	{"LF alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
	{"no header", "HTTP/1.1 200 OK\r\n"},
	{"nothing", ""},
	{"part of a line", "HTTP/1.1 2"},
	{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
	{"HTTP/0.9", "<html>hello</html>"},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{"HTTP/9.9", "HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"status below 100", "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok"},
	{"signed status", "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"long header", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 60<<10) + "\r\nContent-Length: 2\r\n\r\nok"},
	{"too long header", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 65<<10) + "\r\nContent-Length: 2\r\n\r\nok"},
	{"too long line", "HTTP/1.1 200 " + strings.Repeat("a", 65<<10) + "\r\nContent-Length: 2\r\n\r\nok"},
	{"too many headers", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 20000) + "Content-Length: 2\r\n\r\nok"},

	{"204", "HTTP/1.1 204 No Content\r\n\r\n"},
	{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"},
	{"204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"},
	{"304 with a body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok"},
	{"100 first", "HTTP/1.1 100 Continue\r\n\r\n" + ok("hello")},
	{"103 first", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + ok("hello")},
	{"103 with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + ok("hello")},
	{"103 and no more", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"},
	{"103 too long", "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("a", 65<<10) + "\r\n\r\n" + ok("hello")},
	{"103 long, twice", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 40<<10)+"\r\n\r\n", 2) + ok("hello")},
}

// TestAlike sends the same request over http.Transport and over ours, to an
// upstream that says the same: what came of it and what it was sent are alike.
// The next request gets its own answer, whatever was said to this one.
func TestAlike(t *testing.T) {
	for _, c := range responses {
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			t.Run(c.name+" "+method, func(t *testing.T) {
				t.Parallel()
				alike(t, method, said(c.say))
			})
		}
	}
}

func alike(t *testing.T, method string, s script) {
	t.Helper()
	want, wanted := twice(t, standard, method, s)
	got, sent := twice(t, ours, method, s)
	if got[0] != want[0] {
		t.Errorf("ours: %.300s\nwant: %.300s", got[0], want[0])
	}
	// DELETE is not repeated, and whether the connection is known to be closed
	// by then is chance.
	if got[1] != want[1] && method != "DELETE" {
		t.Errorf("next, ours: %.300s\nwant: %.300s", got[1], want[1])
	}
	if !slices.Equal(sent, wanted) && method != "DELETE" {
		t.Errorf("ours sent %q\nwant %q", sent, wanted)
	}
}

// standard and ours make a transport that dials in its own way.
func standard(t *testing.T, dial dialer) http.RoundTripper {
	std := settings()
	std.DialContext = dial
	t.Cleanup(std.CloseIdleConnections)
	return std
}

func ours(t *testing.T, dial dialer) http.RoundTripper {
	return newTransport(t, func(std *http.Transport) { std.DialContext = dial })
}

// twice sends two requests, and returns what came of them and what was sent. A
// request that met the end of its connection and was sent again counts once.
func twice(t *testing.T, kind func(*testing.T, dialer) http.RoundTripper, method string, s script) (came, sent []string) {
	t.Helper()
	server, dial := local(t, s)
	rt := kind(t, dial)
	for range 2 {
		came = append(came, try(rt, server.request(t, method)))
	}
	sent, _ = server.seen()
	return came, slices.Compact(sent)
}

// TestRequestsAlike compares what is written, and what is refused.
func TestRequestsAlike(t *testing.T) {
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for name, change := range map[string]func(*http.Request){
		"nothing":              func(*http.Request) {},
		"no method":            func(r *http.Request) { r.Method = "" },
		"POST without a body":  func(r *http.Request) { r.Method = "POST" },
		"PUT without a body":   func(r *http.Request) { r.Method, r.Body = "PUT", http.NoBody },
		"odd method":           func(r *http.Request) { r.Method = "BREW" },
		"method with a space":  func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" },
		"close":                func(r *http.Request) { r.Close = true },
		"two values":           set("X-A", "one", "two"),
		"value with a tab":     set("X-A", "one\ttwo"),
		"value with a high":    set("X-A", "gr\xfc\xdfe"),
		"value with CRLF":      set("X-A", "one\r\nTransfer-Encoding: chunked"),
		"value with LF":        set("X-A", "one\nX-B: two"),
		"value with CR":        set("X-A", "one\rX-B: two"),
		"value with NUL":       set("X-A", "one\x00"),
		"value with DEL":       set("X-A", "one\x7f"),
		"name with CRLF":       set("X-A: b\r\nX-B", "one"),
		"name with a colon":    set("X-A:", "one"),
		"name with a space":    set("X A", "one"),
		"name with NUL":        set("X\x00A", "one"),
		"empty name":           set("", "one"),
		"high name":            set("X-\xc3\xa4", "one"),
		"small name":           set("x-a", "one"),
		"no agent":             set("User-Agent", ""),
		"agent with CRLF":      set("User-Agent", "a\r\nX-B: two"),
		"a length":             set("Content-Length", "7"),
		"a length in disguise": set("content-length", "0"),
		"a host":               set("Host", "evil.example"),
		"a trailer":            set("Trailer", "X-A"),
		"te":                   set("Te", "trailers"),
		"connection":           set("Connection", "close"),
		"host with CRLF":       func(r *http.Request) { r.Host = "a\r\nX-B: two" },
		"host with a slash":    func(r *http.Request) { r.Host = "a/b" },
		"host of letters":      func(r *http.Request) { r.Host = "b\u00fccher.example" },
		"path with CRLF":       func(r *http.Request) { r.URL.Path = "/a\r\nX-B: two" },
		"path with a space":    func(r *http.Request) { r.URL.Path = "/a b" },
		"path spelled":         func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b", "/a%2Fb" },
		"no path":              func(r *http.Request) { r.URL.Path = "" },
		"query with CRLF":      func(r *http.Request) { r.URL.RawQuery = "a\r\nX-B: two" },
		"query with a space":   func(r *http.Request) { r.URL.RawQuery = "a b" },
		"query with NUL":       func(r *http.Request) { r.URL.RawQuery = "a\x00" },
		"opaque":               func(r *http.Request) { r.URL.Opaque = "//other.example/x" },
		"opaque with CRLF":     func(r *http.Request) { r.URL.Opaque = "/x HTTP/1.1\r\nX-B: two\r\n\r\n" },
		"length without body":  func(r *http.Request) { r.ContentLength = 5 },
		"no host":              func(r *http.Request) { r.URL.Host = "" },
		"other scheme":         func(r *http.Request) { r.URL.Scheme = "gopher" },
		"no URL":               func(r *http.Request) { r.URL = nil },
		"no header":            func(r *http.Request) { r.Header = nil },
		"long":                 set("X-A", strings.Repeat("a", 2*maxHead)),
	} {
		t.Run(name, func(t *testing.T) {
			var came, sent []string
			for _, kind := range []func(*testing.T, dialer) http.RoundTripper{standard, ours} {
				server, dial := local(t, script{{{ok("hello"), stay}}})
				r := server.request(t, "GET")
				change(r)
				came = append(came, try(kind(t, dial), r))
				heads, _ := server.seen()
				sent = append(sent, strings.Join(heads, "\n"))
			}
			if came[1] != came[0] {
				t.Errorf("ours: %s\nwant: %s", came[1], came[0])
			}
			if sent[1] != sent[0] {
				t.Errorf("ours sent %q\nwant %q", sent[1], sent[0])
			}
		})
	}
}
