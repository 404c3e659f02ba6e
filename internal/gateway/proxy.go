package gateway

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/relay"
)

// forward sends the request to the upstream, with c.inner. The body is limited
// here.
func (c *call) forward() {
	r := c.r
	if limit := c.route.MaxBody; limit >= 0 && r.ContentLength < 0 {
		r.Body = http.MaxBytesReader(c.w, r.Body, limit)
	}
	r.Body = c.pace.body(r)
	var w http.ResponseWriter = &c.pace
	if isWebSocket(r) {
		w = &tied{ResponseWriter: w, ctx: r.Context(), taken: &c.taken}
	}
	defer func() { // a response that breaks off panics
		if c.reason == "" && errors.Is(context.Cause(r.Context()), guard.ErrEnded) {
			c.reason = "ended"
		}
	}()
	if simple(r) {
		c.pass(w, r)
		return
	}
	c.reverse(w, r)
}

// reverse sends on what pass does not.
func (c *call) reverse(w http.ResponseWriter, r *http.Request) {
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c.g.transport,
		ModifyResponse: c.response,
		ErrorHandler:   c.failed,
		BufferPool:     &c.g.buffers,
		ErrorLog:       c.g.quiet,
	}
	proxy.ServeHTTP(w, r)
}

// rewrite makes the request that goes to the upstream. ReverseProxy removed
// the hop-by-hop headers before, so no Connection header of the client's can
// remove what is added here.
func (c *call) rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL = &url.URL{
		Scheme: c.route.upstream.Scheme, Host: c.route.upstream.Host,
		Path: in.URL.Path, RawPath: in.URL.RawPath, // spelled as it was matched
		RawQuery: withoutToken(out.URL.RawQuery),
	}
	out.Host = ""     // the upstream's
	out.Trailer = nil // trailers come too late to be judged
	c.cross(out.Header, in)
	if !isWebSocket(in) {
		// Another protocol, such as h2c, would be a tunnel past every rule.
		// RFC 9110 §7.8: "A server MAY ignore" the header.
		delete(out.Header, "Upgrade")
		delete(out.Header, "Connection")
	}
}

// cross makes of the client's headers, which out holds, those that the upstream
// gets.
func (c *call) cross(out http.Header, in *http.Request) {
	strip(out)
	stripCookies(out)
	forwarded(out, in, c.g.cfg.TrustedProxies)
	if c.inner.name != "" {
		out[c.inner.name] = []string{c.inner.value}
	}
}

// response is what the upstream answered, before any of it is sent on.
func (c *call) response(res *http.Response) error {
	c.status = res.StatusCode
	c.judged()
	stripSetCookies(res.Header)
	c.route.cors.allow(res.Header, c.r.Header)
	return nil
}

// judged sees to it that a token the upstream refused is not sent again, or that
// the issuer still knows the key it was minted with.
func (c *call) judged() {
	switch {
	case c.status != http.StatusUnauthorized:
	case c.inner.from != nil:
		c.inner.from.Refused(c.r.Context(), c.inner.value)
	case c.inner.mint != nil:
		c.inner.mint.again()
	}
}

var tooLong = problem{status: http.StatusRequestEntityTooLarge, reason: "body", detail: "The request's content is too long."}

// failed answers when there is no response to send on.
func (c *call) failed(_ http.ResponseWriter, r *http.Request, err error) {
	c.err = err
	if errors.Is(err, errScopes) {
		c.err = nil // the reason says it
	}
	cause := context.Cause(r.Context())
	if c.taken {
		return // there is no one left to answer
	}
	e, refused := errors.AsType[*relay.Error](err)
	_, long := errors.AsType[*http.MaxBytesError](err)
	timeout, _ := errors.AsType[net.Error](err)
	stuck, alone := errors.AsType[*unmintable](err)
	switch {
	case errors.Is(cause, guard.ErrEnded):
		c.refuse(problem{status: http.StatusUnauthorized, reason: "ended", code: oauth.InvalidToken,
			auth: c.challenge(oauth.InvalidToken, ""), detail: "The token ended while the request was under way."})
	case cause != nil:
		c.status = 499 // the client has gone, or half of it, which must not read an empty 200
		if c.verdict == nil {
			panic(http.ErrAbortHandler)
		}
	case long:
		c.refuse(tooLong)
	case errors.Is(err, errScopes):
		c.refuse(problem{status: http.StatusForbidden, reason: "scope", code: oauth.InsufficientScope,
			auth:   c.challenge(oauth.InsufficientScope, strings.Join(c.route.UpstreamScopes, " ")),
			detail: "The token has no scope that the service behind this route knows."})
	case refused:
		c.refuse(c.noToken(e))
	case alone:
		c.refuse(c.unmintable(stuck))
	case timeout != nil && timeout.Timeout():
		c.refuse(problem{status: http.StatusGatewayTimeout, reason: "upstream_timeout", detail: "The service behind this route did not answer in time."})
	default:
		c.refuse(problem{status: http.StatusBadGateway, reason: "upstream", detail: "The service behind this route did not answer."})
	}
}

// noToken is the answer when the issuer gave no token for the upstream.
func (c *call) noToken(e *relay.Error) problem {
	switch {
	case e.Unavailable():
		return problem{status: http.StatusServiceUnavailable, reason: "issuer", retry: "1",
			detail: "The issuer does not answer; no token for the service behind this route could be got."}
	case e.Code == oauth.InvalidRequest || e.Code == oauth.InvalidGrant || e.Code == oauth.InvalidToken:
		// RFC 8693 §2.2.2: this is how an issuer says that the subject token is no good.
		return problem{status: http.StatusUnauthorized, reason: "exchange", code: oauth.InvalidToken,
			auth: c.challenge(oauth.InvalidToken, ""), detail: "The issuer no longer accepts the token."}
	case e.Code == oauth.InvalidTarget || e.Code == oauth.InvalidScope || e.Code == oauth.AccessDenied:
		return problem{status: http.StatusForbidden, reason: "exchange",
			detail: "The issuer does not let the token's bearer use the service behind this route."}
	}
	// Our own client is wrong, or the answer makes no sense: nothing the caller could mend.
	return problem{status: http.StatusBadGateway, reason: "exchange", detail: "The issuer refused the gateway."}
}

// challenge is a WWW-Authenticate value for the route.
func (c *call) challenge(code, scopes string) string {
	return oauth.Challenge(oauth.Bearer, oauth.ParamError, code, oauth.ParamScope, scopes,
		oauth.ChallengeResourceMetadata, oauth.WellKnown(c.route.Audience, oauth.ResourceDocument))
}

// isWebSocket reports whether r asks for the one protocol a connection may go
// over to (RFC 6455 §4.1).
func isWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return r.Method == http.MethodGet && len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket")
}

// A tied response gives its connection away only tied to a context: when the
// caller's token ends, so does the connection, whichever side is silent.
type tied struct {
	http.ResponseWriter
	ctx   context.Context
	taken *bool
}

// Unwrap is for http.ResponseController.
func (t *tied) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Hijack takes the connection over.
func (t *tied) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	*t.taken = true
	context.AfterFunc(t.ctx, func() { conn.Close() })
	return conn, rw, nil
}
