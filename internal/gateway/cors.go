package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// CORS opens a route to scripts of other origins (Fetch standard). Responses
// never allow credentials: a script brings its token itself.
type CORS struct {
	Origins []string // exact, e.g. "https://app.example"; required, "*" is refused
	Methods []string // a script may use; nil: those the route's rules name
	Headers []string // a script may set; nil: Authorization, Content-Type, DPoP
}

// cors is a CORS that was checked, as headers.
type cors struct {
	origins          []string
	methods, headers string
}

// exposed are the response headers a script may read: what a client needs to
// understand a refusal.
const exposed = "WWW-Authenticate, DPoP-Nonce, Retry-After"

func (c *CORS) check(methods []string) (*cors, error) {
	if c == nil {
		return nil, nil
	}
	if len(c.Origins) == 0 {
		return nil, fmt.Errorf("cors needs at least one origin")
	}
	for _, origin := range c.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || origin != strings.ToLower(u.Scheme+"://"+u.Host) {
			return nil, fmt.Errorf("cors origin %q must be exact and lower-case, like https://app.example", origin)
		}
	}
	if c.Methods != nil {
		methods = c.Methods
	}
	headers := c.Headers
	if headers == nil {
		headers = []string{"Authorization", "Content-Type", "DPoP"}
	}
	for _, word := range slices.Concat(methods, headers) {
		if !isToken(word) || word == "*" {
			return nil, fmt.Errorf("cors: %q is no method or header name", word)
		}
	}
	return &cors{c.Origins, strings.Join(methods, ", "), strings.Join(headers, ", ")}, nil
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !unreserved(c) && strings.IndexByte("!#$%&'*+^`|", c) < 0 {
			return false
		}
	}
	return s != ""
}

// allow opens a response to the origin that asked, if it is one of ours. The
// upstream has no say: what it sent of these headers goes.
func (c *cors) allow(response, request http.Header) bool {
	if c == nil {
		return false
	}
	for name := range response {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(response, name)
		}
	}
	if !slices.Contains(response["Vary"], "Origin") {
		response.Add("Vary", "Origin")
	}
	origin := request["Origin"]
	if len(origin) != 1 || !slices.Contains(c.origins, origin[0]) {
		return false
	}
	response["Access-Control-Allow-Origin"] = origin
	response["Access-Control-Expose-Headers"] = []string{exposed}
	return true
}

// preflight answers the browser's question before a request; it needs no token
// because a browser sends none.
func (c *cors) preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Del("Access-Control-Expose-Headers")
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Methods", c.methods)
	h.Set("Access-Control-Allow-Headers", c.headers)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// isPreflight reports whether r is such a question.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}
