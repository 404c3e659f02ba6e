package relay

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
)

// A Target is a service to call and what to ask for.
type Target struct {
	Resource string   // required; becomes aud (RFC 8707)
	Scopes   []string // asked for; the issuer may only narrow
	Origins  []string // where the token may be sent, e.g. "http://127.0.0.1:8403"; empty: origin of Resource. Anywhere else, redirects included, is an error
}

// A destination is a Target that was checked.
type destination struct {
	resource string
	scope    string // as it is sent
	origins  []origin
}

func (t Target) check() (destination, error) {
	u, err := url.Parse(t.Resource)
	// RFC 8707 §2: an absolute URI that "MUST NOT include a fragment component".
	if err != nil || u.Scheme == "" || strings.Contains(t.Resource, "#") {
		return destination{}, fmt.Errorf("relay: resource %q must be an absolute URI without a fragment", t.Resource)
	}
	asked, err := scope.Parse(strings.Join(t.Scopes, " "))
	if err != nil {
		return destination{}, fmt.Errorf("relay: scopes for %s: %w", t.Resource, err)
	}
	to := destination{resource: t.Resource, scope: asked.String()}
	origins := t.Origins
	if len(origins) == 0 {
		origins = []string{u.Scheme + "://" + u.Host}
	}
	for _, text := range origins {
		o, err := parseOrigin(text)
		if err != nil {
			return destination{}, fmt.Errorf("relay: origin %q for %s: %w", text, t.Resource, err)
		}
		to.origins = append(to.origins, o)
	}
	return to, nil
}

// form begins a token request for the destination.
func (d destination) form(grant string) url.Values {
	form := url.Values{oauth.ParamGrantType: {grant}, oauth.ParamResource: {d.resource}}
	if d.scope != "" {
		form.Set(oauth.ParamScope, d.scope)
	}
	return form
}

// An origin is scheme, host and port (RFC 6454), the port always written.
type origin struct{ scheme, host, port string }

func parseOrigin(text string) (origin, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return origin{}, errors.New("not a URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return origin{}, errors.New("want http or https and a host")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return origin{}, errors.New("want scheme, host and port only")
	}
	return originOf(u), nil
}

func originOf(u *url.URL) origin {
	o := origin{scheme: u.Scheme, host: u.Hostname(), port: u.Port()}
	switch {
	case o.port != "":
	case strings.EqualFold(o.scheme, "https"):
		o.port = "443"
	case strings.EqualFold(o.scheme, "http"):
		o.port = "80"
	}
	return o
}

func (o origin) in(list []origin) bool {
	for _, p := range list {
		if o.port == p.port && strings.EqualFold(o.scheme, p.scheme) && strings.EqualFold(o.host, p.host) {
			return true
		}
	}
	return false
}

func (o origin) String() string { return o.scheme + "://" + net.JoinHostPort(o.host, o.port) }
