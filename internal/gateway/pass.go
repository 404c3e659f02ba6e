package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"sync"
)

// hop are the headers that ReverseProxy keeps from crossing (RFC 9110 §7.6.1).
var hop = [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// simple reports whether pass may send r on: it has no body, nothing in it is
// about the connection, and its query is one that ReverseProxy would not change.
func simple(r *http.Request) bool {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.Trailer != nil {
		return false
	}
	for _, name := range hop {
		if _, there := r.Header[name]; there {
			return false
		}
	}
	query := r.URL.RawQuery
	for i := 0; i < len(query); i++ {
		switch query[i] {
		case ';':
			return false
		case '%':
			if i+2 >= len(query) || !isHex(query[i+1]) || !isHex(query[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// pass does for a simple request what ReverseProxy does, with its steps in its
// order, but copies the request once and not three times. Whatever is not
// simple goes by ReverseProxy itself; a test compares the two.
func (c *call) pass(w http.ResponseWriter, r *http.Request, transport http.RoundTripper) {
	hints := hints{w: w}
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: hints.pass})
	out := r.WithContext(ctx)
	out.Header, out.Body, out.Close = make(http.Header, len(r.Header)+4), nil, false
	for name, values := range r.Header {
		out.Header[name] = values[:len(values):len(values)]
	}
	c.rewrite(&httputil.ProxyRequest{In: r, Out: out})
	if _, there := out.Header["User-Agent"]; !there {
		out.Header["User-Agent"] = []string{""} // else the transport names itself
	}
	res, err := transport.RoundTrip(out)
	hints.end()
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body.Close()
		err = errors.New("gateway: the upstream switched the protocol unasked")
	}
	if err != nil {
		c.failed(w, out, err)
		return
	}
	defer res.Body.Close()
	removeHop(res.Header)
	if err := c.response(res); err != nil {
		c.failed(w, out, err)
		return
	}
	announced := begin(w, res)
	if err := c.g.copy(w, res); err != nil {
		panic(http.ErrAbortHandler) // the status is out: all that is left is to break off
	}
	res.Body.Close() // trailers are whole only now
	trailers(w, res, announced)
}

// hints sends informational responses on, until the final one is there.
type hints struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	done bool // guarded by mu
}

func (h *hints) pass(code int, header textproto.MIMEHeader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return nil
	}
	to := h.w.Header()
	add(to, http.Header(header))
	h.w.WriteHeader(code)
	clear(to) // WriteHeader does not, for these
	return nil
}

func (h *hints) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = true
}

func removeHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hop {
		delete(h, name)
	}
}

// add is for headers whose names are in canonical form.
func add(to, from http.Header) {
	for name, values := range from {
		if before := to[name]; len(before) > 0 {
			values = append(before, values...)
		}
		if len(values) > 0 { // a trailer that was announced need not come
			to[name] = values
		}
	}
}

// begin sends status and headers, and returns how many trailers were announced.
func begin(w http.ResponseWriter, res *http.Response) (announced int) {
	h := w.Header()
	add(h, res.Header)
	if announced = len(res.Trailer); announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		h.Add("Trailer", strings.Join(names, ", "))
	}
	w.WriteHeader(res.StatusCode)
	return announced
}

// copy sends the body, each piece at once where the response is a stream.
func (g *Gateway) copy(w http.ResponseWriter, res *http.Response) error {
	flush := func() {}
	if isStream(res) {
		flush = func() { _ = http.NewResponseController(w).Flush() } // what it could not send, the next Write cannot
		flush()
	}
	buf := g.buffers.Get()
	defer g.buffers.Put(buf)
	for {
		n, end := res.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			flush()
		}
		switch {
		case errors.Is(end, io.EOF):
			return nil
		case end != nil:
			g.quiet.Printf("gateway: read the response: %v", end)
			return end
		}
	}
}

// isStream reports whether the client should not wait for the next piece.
func isStream(res *http.Response) bool {
	switch {
	case res.Body == http.NoBody:
		return false
	case res.ContentLength == -1:
		return true
	}
	kind := res.Header.Get("Content-Type")
	if !strings.Contains(strings.ToLower(kind), "event-stream") {
		return false
	}
	kind, _, _ = mime.ParseMediaType(kind) // "" when there is none
	return kind == "text/event-stream"
}

// trailers sends those of res. The header is out by then, without a length: only
// a stream has trailers.
func trailers(w http.ResponseWriter, res *http.Response, announced int) {
	if len(res.Trailer) == announced {
		add(w.Header(), res.Trailer)
		return
	}
	for name, values := range res.Trailer {
		for _, value := range values {
			w.Header().Add(http.TrailerPrefix+name, value)
		}
	}
}
