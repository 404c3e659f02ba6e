package gateway

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// A Verdict is what becomes of a request that somebody else sends on: a proxy
// that asks first. It is the gateway's own word, but for what only the gateway
// can do: answer its own paths and preflights, limit bodies, end what runs.
type Verdict struct {
	Allowed bool

	// Of a request that is allowed. Without any one of these, what the upstream
	// gets is not what was judged.
	Header http.Header // to set on it, in the place of what is there
	Remove []string    // names of headers to remove from it, sorted
	URI    string      // path and query to send it to

	// Of the answer to one that is not.
	Status  int
	Refusal http.Header
	Body    []byte
}

// Check judges r by the very steps of ServeHTTP and sends it nowhere. It is the
// request as its client sent it: Method, Host, Header, RequestURI and the URL
// parsed from that, RemoteAddr, and TLS if there was any.
func (g *Gateway) Check(r *http.Request) *Verdict {
	v := &Verdict{Refusal: make(http.Header)}
	c := &call{g: g, w: reply{v}, r: r, start: g.cfg.Now(), verdict: v}
	defer c.log()
	c.serve()
	if !v.Allowed && v.Status == 0 {
		v.Status = c.status // who asked has gone
	}
	return v
}

// allow says how the request goes on: as cross would have sent it.
func (c *call) allow() {
	in := c.r.Header
	out := in.Clone()
	if out == nil {
		out = make(http.Header)
	}
	c.cross(out, c.r)
	v := c.verdict
	v.Allowed, v.Header = true, make(http.Header)
	for name := range in {
		if _, ok := out[name]; !ok {
			v.Remove = append(v.Remove, name)
		}
	}
	slices.Sort(v.Remove)
	maps.Copy(v.Header, out)
	maps.DeleteFunc(v.Header, func(name string, values []string) bool { return slices.Equal(values, in[name]) })
	v.URI = c.r.URL.EscapedPath()
	if query := withoutToken(c.r.URL.RawQuery); query != "" {
		v.URI += "?" + query
	}
	c.status = http.StatusOK
}

// respelled reports whether the request's target is not spelled as it was
// judged: whole URLs, and bytes that URLs have only encoded. The gateway sends
// another spelling on, which others cannot be relied on to do.
func respelled(r *http.Request) bool {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path != r.URL.EscapedPath()
}

// A reply is where a refusal is written.
type reply struct{ v *Verdict }

func (r reply) Header() http.Header    { return r.v.Refusal }
func (r reply) WriteHeader(status int) { r.v.Status = status }

func (r reply) Write(body []byte) (int, error) {
	r.v.Body = append(r.v.Body, body...)
	return len(body), nil
}
