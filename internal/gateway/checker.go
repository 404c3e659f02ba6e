package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// checkPath is the only path of a Checker.
const checkPath = "/check"

// Checker answers proxies that ask before they send a request on (forward-auth):
// 200 with what Verdict says of it, or the refusal. It belongs on a listener of
// its own, where nobody but proxies comes: it believes what they say of the
// request, and it gives out the tokens of upstreams. Peers from elsewhere than
// in peers are turned away; nil is this machine alone.
func (g *Gateway) Checker(peers []netip.Prefix) http.Handler {
	if peers == nil {
		peers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return &checker{g, peers}
}

type checker struct {
	g     *Gateway
	peers []netip.Prefix
}

// Headers of answers, beside those of the verdict.
const (
	removeHeader  = "Writ-Remove"  // names to remove from the request
	uriHeader     = "Writ-Uri"     // where to send it
	problemHeader = "Writ-Problem" // a refusal's body, for proxies that keep only headers
)

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Nobody reads it. A proxy that announces one does not send it either.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	}
	switch {
	case !within(remoteOf(r), c.peers):
		c.refuse(w, r, problem{status: http.StatusForbidden, reason: "peer", detail: "Only proxies may ask here."})
	case r.RequestURI != checkPath:
		c.refuse(w, r, problem{status: http.StatusNotFound, reason: "path", detail: "The one path here is " + checkPath + "."})
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		c.refuse(w, r, problem{status: http.StatusMethodNotAllowed, reason: "method", allow: "GET, HEAD", detail: "The request's own method is said in a header."})
	case r.ContentLength != 0:
		c.refuse(w, r, problem{status: http.StatusBadRequest, reason: "body", detail: "A request's content is not looked at here: leave it out, and Content-Length too."})
	default:
		asked, err := described(r)
		if err != nil {
			c.refuse(w, r, problem{status: http.StatusBadRequest, reason: "description", detail: "The proxy does not say clearly which request it asks about: " + err.Error() + "."})
			return
		}
		c.g.Check(asked).answer(w, asked)
	}
}

// refuse answers a question that cannot be judged.
func (c *checker) refuse(w http.ResponseWriter, r *http.Request, p problem) {
	v := &Verdict{Refusal: make(http.Header)}
	id := p.write(reply{v})
	v.answer(w, r)
	c.g.cfg.Logger.LogAttrs(r.Context(), slog.LevelInfo, "check refused", slog.String("reason", p.reason),
		slog.String("detail", p.detail), slog.Int("status", p.status), slog.String("remote", remoteOf(r).String()), slog.String("id", id))
}

// answer writes the verdict on asked for a proxy that copies headers by name.
// Authorization and Cookie are always there, if need be empty: a proxy that
// finds none to copy may leave the client's.
func (v *Verdict) answer(w http.ResponseWriter, asked *http.Request) {
	h := w.Header()
	if v.Allowed {
		cookie := strings.Join(asked.Header["Cookie"], "; ")
		if slices.Contains(v.Remove, "Cookie") {
			cookie = ""
		} else if left, ok := v.Header["Cookie"]; ok {
			cookie = left[0]
		}
		remove := v.Remove
		if minted := v.Header.Get("Txn-Token"); minted != "" {
			// To be put there after the client's was removed; a proxy that knows
			// nothing of it passes none.
			h.Set("Txn-Token", minted)
			if _, sent := asked.Header["Txn-Token"]; sent {
				remove = append(slices.Clone(remove), "Txn-Token")
			}
		}
		h.Set("Authorization", v.Header.Get("Authorization"))
		h.Set("Cookie", cookie)
		h.Set(removeHeader, strings.Join(remove, ", "))
		h.Set(uriHeader, v.URI)
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		return
	}
	for name, values := range v.Refusal {
		h[name] = values
	}
	if several := v.Refusal["Www-Authenticate"]; len(several) > 1 {
		// RFC 9110 §5.3: one line or two, they say the same. nginx before 1.23
		// keeps only one.
		h.Set("WWW-Authenticate", strings.Join(several, ", "))
	}
	h.Set(problemHeader, strings.TrimSpace(string(v.Body)))
	w.WriteHeader(v.Status)
	_, _ = w.Write(v.Body) // fails when the proxy has gone
}

// Two families of headers describe a request. Each stands for itself: a proxy
// that sets one of them lets the client's headers of the other through.
var (
	forwardedFamily = [...]string{"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"}
	originalFamily  = [...]string{"X-Original-Method", "X-Original-Url"}
)

// described makes the request that a proxy asks about. What is missing, twice
// there or spelled in another way is an error, and never taken from the
// question's own method, host or path.
func described(r *http.Request) (*http.Request, error) {
	said, err := description(r.Header)
	if err != nil {
		return nil, err
	}
	scheme, _ := strings.CutPrefix(said.scheme, "ws") // a WebSocket's, as some proxies say
	if scheme != said.scheme {
		scheme = "http" + scheme
	}
	_, known := hostOf(said.host)
	switch {
	case !isToken(said.method):
		return nil, errors.New("its method is none")
	case scheme != "http" && scheme != "https":
		return nil, errors.New("its scheme is neither http nor https")
	case !known:
		return nil, errors.New("its host is none")
	case !strings.HasPrefix(said.uri, "/") || strings.ContainsFunc(said.uri, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return nil, errors.New("its path does not begin with a slash, or has a space in it")
	}
	u, err := url.ParseRequestURI(said.uri)
	if err != nil {
		return nil, errors.New("its path is none")
	}
	asked := r.WithContext(r.Context()) // a copy
	asked.Method, asked.Host, asked.RequestURI, asked.URL = said.method, said.host, said.uri, u
	asked.TLS, asked.RemoteAddr, asked.Header = nil, clientOf(r.Header), r.Header.Clone()
	if scheme == "https" {
		asked.TLS = &tls.ConnectionState{} // without a certificate: a proxy's word is none
	}
	for _, name := range append(forwardedFamily[:], "X-Forwarded-For", "X-Original-Method", "X-Original-Url") {
		delete(asked.Header, name)
	}
	return asked, nil
}

// said is what a description says.
type said struct{ method, scheme, host, uri string }

// description reads the headers of one family, all of them once, and wants
// nothing of the other. A name that CGI and its heirs would take for one of
// theirs did not come from the proxy, which spells them well.
func description(h http.Header) (said, error) {
	var forwarded, original int
	var buf [64]byte
	for name, values := range h {
		word := string(normal(buf[:0], name))
		ours, theirs := oneOf(forwardedFamily[:], word), oneOf(originalFamily[:], word) || word == "x-original-uri"
		switch {
		case !ours && !theirs:
			continue
		case !strings.EqualFold(word, name):
			return said{}, fmt.Errorf("there is a header %q", name)
		case len(values) != 1 || values[0] == "":
			return said{}, fmt.Errorf("%s has no value or several", name)
		case word == "x-original-uri":
			return said{}, errors.New("X-Original-URI says neither scheme nor host: use X-Original-URL")
		case ours:
			forwarded++
		default:
			original++
		}
	}
	switch {
	case forwarded == len(forwardedFamily) && original == 0:
		return said{h.Get("X-Forwarded-Method"), h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-Host"), h.Get("X-Forwarded-Uri")}, nil
	case original == len(originalFamily) && forwarded == 0:
		scheme, rest, ok := strings.Cut(h.Get("X-Original-Url"), "://")
		slash := strings.IndexByte(rest, '/')
		if !ok || slash < 0 {
			return said{}, errors.New("X-Original-URL is no URL with a path")
		}
		return said{h.Get("X-Original-Method"), scheme, rest[:slash], rest[slash:]}, nil
	}
	return said{}, fmt.Errorf("it must send %s, or %s, and none of the others",
		strings.Join(forwardedFamily[:], ", "), strings.Join(originalFamily[:], ", "))
}

func oneOf(family []string, word string) bool {
	for _, name := range family {
		if strings.EqualFold(name, word) {
			return true
		}
	}
	return false
}

// clientOf is the client's address as the proxy that asks saw it: the last one
// of X-Forwarded-For, whatever the client wrote before it. "": not known.
func clientOf(h http.Header) string {
	lines := h["X-Forwarded-For"]
	if len(lines) == 0 {
		return ""
	}
	last := lines[len(lines)-1]
	addr, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
	if err != nil {
		return ""
	}
	return net.JoinHostPort(addr.String(), "0")
}
