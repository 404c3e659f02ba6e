package gateway

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/token"
)

// A call is one request on its way through, used by one goroutine.
type call struct {
	g      *Gateway
	w      http.ResponseWriter
	r      *http.Request
	start  time.Time
	route  *route        // nil until found
	rule   *rule         // nil until found
	claims *token.Claims // nil until verified
	inner  credential    // for the upstream; zero until made
	taken  bool          // the connection went over to another protocol
	pace   pace          // how long the client may keep us waiting

	verdict *Verdict // nil where the gateway itself sends the request on

	// What the log says.
	status int
	reason string // why the gateway itself answered; "" when the upstream did
	id     string // receipt of that answer
	err    error
}

// ServeHTTP judges one request and sends it on or answers it. The steps are in
// order of what they cost, and none but the last touches the upstream.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{g: g, w: w, r: r, start: g.cfg.Now()}
	c.pace = pace{w, http.NewResponseController(w), g.cfg.stall}
	defer c.log() // also when a response breaks off, which panics
	c.pace.begin(r)
	c.serve()
	if !c.taken {
		c.pace.end()
	}
}

func (c *call) serve() {
	host, known := hostOf(c.r.Host)
	switch {
	case headerSize(c.r) > c.g.cfg.MaxHeader:
		c.refuse(problem{status: http.StatusRequestHeaderFieldsTooLarge, reason: "header", detail: "The request line and headers are too long."})
		return
	case c.r.Method == http.MethodConnect || c.r.Method == http.MethodTrace:
		// Neither is for a gateway: CONNECT would tunnel past it, TRACE echo what it added.
		c.refuse(problem{status: http.StatusMethodNotAllowed, reason: "method", allow: anyMethod, detail: "This method is never allowed here."})
		return
	case !known && c.r.Host != "":
		c.refuse(problem{status: http.StatusBadRequest, reason: "host", detail: "The host is malformed."})
		return
	case !canonical(c.r.URL.EscapedPath()) || c.verdict != nil && respelled(c.r):
		c.refuse(problem{status: http.StatusNotFound, reason: "path", detail: "No route has a path like this."})
		return
	}
	t := c.g.table.Load()
	if c.own(t, host) {
		return
	}
	if c.route = t.find(host, c.r.URL.Path); c.route == nil {
		c.refuse(problem{status: http.StatusNotFound, reason: "route", detail: "No route covers this path."})
		return
	}
	if c.route.cors != nil && isPreflight(c.r) && c.verdict == nil {
		c.preflight()
		return
	}
	if c.rule = c.route.ruleFor(c.r.Method); c.rule == nil {
		c.refuse(problem{status: http.StatusMethodNotAllowed, reason: "method", allow: c.route.allow, detail: "This route does not have the method."})
		return
	}
	if c.route.Open {
		c.proceed(c.r)
		return
	}
	c.admit()
}

// proceed goes on with a request that may pass: it makes the credential for the
// upstream, then sends the request there or says how. r's context has the caller
// in it, if there is one, and ends with the caller's token.
func (c *call) proceed(r *http.Request) {
	c.r = r
	if limit := c.route.MaxBody; c.verdict == nil && limit >= 0 && r.ContentLength > limit {
		c.refuse(tooLong)
		return
	}
	var err error
	if c.inner, err = c.g.inner(r.Context(), c.route, c.rule, c.claims, r); err != nil {
		c.failed(c.w, r, err)
		return
	}
	if c.verdict != nil {
		c.allow()
		return
	}
	c.forward()
}

// anyMethod is Allow for methods no route can have.
var anyMethod = strings.Join(common, ", ")

// admit sends the request on if its token is what the rule needs. The guard
// answers if it is not, and ends the request's context with the token.
func (c *call) admit() {
	c.reason = "token" // the guard's own line, with the same receipt, says what of it
	c.rule.admit((*admitted)(c)).ServeHTTP((*witness)(c), c.here())
}

// here is the request as a proof has to name it: at the route's own address,
// whatever name the caller or a proxy gave. RFC 9449 §4.3: htu must be the address
// of this very resource; by the caller's Host a proof made for another server,
// which a token was sent to by mistake, would hold here.
func (c *call) here() *http.Request {
	if len(c.r.Header["Dpop"]) == 0 {
		return c.r
	}
	r := c.r.WithContext(c.r.Context()) // a copy
	r.Host, r.Header = c.route.origin.Host, c.r.Header.Clone()
	r.Header.Del("X-Forwarded-Host")
	r.Header.Del("X-Forwarded-Proto")
	switch {
	case c.route.origin.Scheme == "http":
		r.TLS = nil
	case r.TLS == nil:
		r.TLS = &tls.ConnectionState{} // a proxy ended it
	}
	return r
}

// An admitted call is one that the guard lets through.
type admitted call

// ServeHTTP goes on with r, whose context says who calls.
func (a *admitted) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.reason, a.claims = "", guard.From(r.Context())
	if len(r.Header["Dpop"]) > 0 {
		r = a.r.WithContext(r.Context()) // upstreams are told what the client said
	}
	(*call)(a).proceed(r)
}

// A witness is where the guard writes a refusal. It adds what a script needs to
// read it, and notes what the log needs.
type witness call

// Header returns the response's.
func (w *witness) Header() http.Header { return w.w.Header() }

// WriteHeader is called once, by a refusal.
func (w *witness) WriteHeader(status int) {
	w.status = status
	w.route.cors.allow(w.w.Header(), w.r.Header)
	w.w.WriteHeader(status)
}

// Write gets a refusal's body, whole.
func (w *witness) Write(body []byte) (int, error) {
	var told struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &told); err == nil {
		w.id = told.ID
	}
	return w.w.Write(body)
}

// headerSize is what the request's head took on the wire, nearly.
func headerSize(r *http.Request) int {
	size := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	return size
}

// own answers on the gateway's own paths; it reports whether it did.
func (c *call) own(t *table, host string) bool {
	switch path := c.r.URL.Path; {
	case c.verdict != nil && (covers(wellKnown, path) || path == livePath || path == readyPath):
		c.refuse(problem{status: http.StatusNotFound, reason: "route", detail: "The gateway itself has to be asked for this."})
	case covers(wellKnown, path):
		c.document(t.document(host, path))
	case path != livePath && path != readyPath:
		return false
	case c.r.Method != http.MethodGet && c.r.Method != http.MethodHead:
		c.refuse(problem{status: http.StatusMethodNotAllowed, reason: "method", allow: "GET, HEAD", detail: "This is for reading only."})
	case path == readyPath && !c.g.ready():
		c.refuse(problem{status: http.StatusServiceUnavailable, reason: "not_ready", retry: "1", detail: "The issuer's keys or revocations are not here yet."})
	default:
		c.status = http.StatusOK
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		c.w.Header().Set("Cache-Control", "no-store")
		_, _ = c.w.Write([]byte("ok\n")) // fails when the client has gone
	}
	return true
}

// document serves the RFC 9728 metadata of a resource. It is public, so that
// scripts of every origin may read it.
func (c *call) document(found http.Handler) {
	h := c.w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch {
	case found == nil:
		c.refuse(problem{status: http.StatusNotFound, reason: "route", detail: "There is no protected resource of this name."})
	case isPreflight(c.r):
		c.status = http.StatusNoContent
		h.Set("Access-Control-Allow-Headers", "*") // clients send a version of their protocol
		h.Set("Access-Control-Max-Age", "600")
		c.w.WriteHeader(c.status)
	case c.r.Method != http.MethodGet && c.r.Method != http.MethodHead:
		c.refuse(problem{status: http.StatusMethodNotAllowed, reason: "method", allow: "GET, HEAD", detail: "This is for reading only."})
	default:
		c.status = http.StatusOK
		found.ServeHTTP(c.w, c.r)
	}
}

// preflight answers a browser that asks for a script of another origin.
func (c *call) preflight() {
	if !c.route.cors.allow(c.w.Header(), c.r.Header) {
		c.refuse(problem{status: http.StatusForbidden, reason: "origin", detail: "Scripts of this origin are not allowed here."})
		return
	}
	c.status = http.StatusNoContent
	c.route.cors.preflight(c.w)
}

// refuse answers in the upstream's place.
func (c *call) refuse(p problem) {
	if c.route != nil {
		c.route.cors.allow(c.w.Header(), c.r.Header)
	}
	c.status, c.reason = p.status, p.reason
	c.id = p.write(c.w)
}

// log writes one line: at info when the gateway itself answered no, at debug
// otherwise. The query is left out, as are all headers.
func (c *call) log() {
	level := slog.LevelDebug
	if c.reason != "" {
		level = slog.LevelInfo
	}
	ctx := c.r.Context()
	if !c.g.cfg.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path),
		slog.Int("status", c.status), slog.Duration("took", c.g.cfg.Now().Sub(c.start)),
		slog.String("remote", remoteOf(c.r).String()))
	if c.route != nil {
		attrs = append(attrs, slog.String("route", c.route.name))
	}
	if c.claims != nil {
		attrs = append(attrs, slog.Any("", c.claims)) // sub client_id jti grant_id, inline
	}
	message := "request"
	if c.reason != "" {
		message = "request refused"
		attrs = append(attrs, slog.String("reason", c.reason), slog.String("id", c.id))
	}
	if c.err != nil {
		attrs = append(attrs, slog.Any("error", c.err))
	}
	c.g.cfg.Logger.LogAttrs(ctx, level, message, attrs...)
}
