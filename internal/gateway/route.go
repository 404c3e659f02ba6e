package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
)

// A Route sends requests under one path to one upstream.
//
// It covers Path itself and everything below it: "/orders" covers /orders,
// /orders/ and /orders/7, but not /orders2; "/" covers all. Of several routes
// the longest path wins. Paths are compared decoded and byte by byte; a path
// that differs from a route's only in case, or that is not in canonical form,
// is answered 404. The upstream gets the path exactly as it was matched.
//
// On every host /livez, /readyz and /.well-known/oauth-protected-resource, with
// all below the last, are the gateway's own.
type Route struct {
	Host string // without port, any case; "": every host that has no route of its own. A host with routes of its own is served by those alone
	Path string // required; begins with "/", does not end with one unless it is "/", has no percent sign

	Open  bool   // needs no token; the caller's is not looked at and not passed on
	Rules []Rule // what each method needs; required unless Open, where nil allows every method

	Upstream         string       // required; origin of the service, e.g. "http://127.0.0.1:9001"
	UpstreamAudience string       // resource identifier of the service: aud of the inner token; required where Propagate is Exchange
	UpstreamScopes   []string     // asked for in the inner token as far as the caller has them; nil: those the rule requires, and where it requires none the issuer decides (Exchange), or all the caller's (Transaction)
	Propagate        Propagate    // how the caller's identity goes on; "" means Transaction in a trust domain, else Exchange; open routes pass none
	Audience         string       // resource identifier the caller's token must name; "": Config.URL (with Host, if set) and Path
	Name             string       // for people: resource_name of the RFC 9728 document of Audience; "": none
	WhenStale        *guard.Stale // what to do while revocations are unknown; nil: deny. To introspect the gateway needs a client of its own
	CORS             *CORS        // scripts of other origins; nil: none
	MaxBody          int64        // bytes of a request body; 0: Config.MaxBody, negative: no limit
}

// A Rule says what requests with certain methods need.
type Rule struct {
	Methods []string // upper-case; GET includes HEAD. Nil: every method no other rule of the route names
	Scopes  []string // all of them; nil: any valid token
}

// Propagate is the way the caller's identity goes on to the upstream.
type Propagate string

// The ways. What the zero value means is Config.TrustDomain's to say.
const (
	Exchange    Propagate = "exchange"    // RFC 8693: a token for the upstream alone
	Transaction Propagate = "transaction" // a token for the trust domain, minted by the gateway
	None        Propagate = "none"        // the upstream learns no identity
)

// A route is a Route that was checked, ready for requests.
type route struct {
	Route
	name     string       // host and path, for logs
	host     string       // as hostOf spells it
	origin   *url.URL     // where clients reach the gateway for it
	upstream *url.URL     // scheme and host only
	guard    *guard.Guard // nil when open
	list     []*rule
	methods  map[string]*rule
	other    *rule // for methods that no rule names; nil: refused
	allow    string
	cors     *cors
}

// A rule is a Rule in use.
type rule struct {
	need     guard.Need
	admit    func(http.Handler) http.Handler // the guard, with need; nil when open
	target   relay.Target
	exchange *relay.Exchange // for target; nil when no exchanged token is passed on
	asked    scope.Set       // for transaction tokens: at most these of the caller's; nil: all
	text     string          // asked, as text
}

// Paths that the gateway answers itself, on every host; the last one with all
// below it.
const (
	livePath  = "/livez"
	readyPath = "/readyz"
	wellKnown = "/.well-known/oauth-protected-resource"
)

// check makes a route of r, all but its guard and exchanges.
func (r Route) check(cfg *Config) (*route, error) {
	made := &route{Route: r, name: r.Host + r.Path}
	if err := made.place(); err != nil {
		return nil, err
	}
	u, err := url.Parse(r.Upstream)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("upstream %q must be an http or https origin without a path", r.Upstream)
	}
	made.upstream = &url.URL{Scheme: u.Scheme, Host: u.Host}
	made.origin = cfg.origin(made.host)
	if err := made.identity(cfg); err != nil {
		return nil, err
	}
	if err := made.rules(); err != nil {
		return nil, err
	}
	if made.cors, err = r.CORS.check(strings.Split(made.allow, ", ")); err != nil {
		return nil, err
	}
	if made.MaxBody == 0 {
		made.MaxBody = cfg.MaxBody
	}
	return made, nil
}

// place checks host and path.
func (r *route) place() error {
	if r.Host != "" {
		var ok bool
		host := r.Host
		if strings.Count(host, ":") > 1 && host[0] != '[' {
			host = "[" + host + "]"
		}
		if r.host, ok = hostOf(host); !ok {
			return fmt.Errorf("host %q is no host name", r.Host)
		}
		if _, _, err := net.SplitHostPort(r.Host); err == nil {
			return fmt.Errorf("host %q must come without a port", r.Host)
		}
	}
	switch p := r.Path; {
	case !canonical(p) || strings.ContainsAny(p, "%?#"):
		return fmt.Errorf("path %q must begin with / and be plain: no //, /./, /../, ; \\ or percent sign", p)
	case p != "/" && strings.HasSuffix(p, "/"):
		return fmt.Errorf("path %q covers what is below it already: write it without the last /", p)
	case p == livePath || p == readyPath || covers(wellKnown, p):
		return fmt.Errorf("path %q is the gateway's own", p)
	}
	return nil
}

// identity checks what the upstream learns of the caller.
func (r *route) identity(cfg *Config) error {
	usual := Exchange
	if cfg.TrustDomain != "" {
		usual = Transaction
	}
	switch r.Propagate = cmp.Or(r.Propagate, usual); r.Propagate {
	case Exchange, None:
	case Transaction:
		if cfg.TrustDomain == "" {
			return errors.New("to mint transaction tokens, the gateway needs a trust domain")
		}
	default:
		return fmt.Errorf("propagate %q is none of transaction, exchange and none", r.Propagate)
	}
	if _, err := scope.Parse(strings.Join(r.UpstreamScopes, " ")); err != nil {
		return fmt.Errorf("upstream scopes: %w", err)
	}
	if r.UpstreamScopes != nil && len(r.UpstreamScopes) == 0 {
		return errors.New("upstream scopes are empty: asking for none would ask for all")
	}
	if r.Open {
		r.Propagate = None
		if r.Audience != "" || r.UpstreamAudience != "" || r.UpstreamScopes != nil || r.WhenStale != nil {
			return errors.New("an open route looks at no token: it has no audience, scopes or rule for stale state")
		}
		return nil
	}
	if r.WhenStale != nil && r.WhenStale.Do == guard.Introspect && cfg.ClientID == "" {
		return errors.New("to introspect when stale, the gateway needs a client of its own")
	}
	if r.Audience == "" {
		r.Audience = r.origin.String() + strings.TrimSuffix(r.Path, "/")
	}
	if r.Propagate == Exchange && (r.UpstreamAudience == "" || cfg.ClientID == "") {
		return errors.New("to exchange tokens, the route needs an upstream audience and the gateway a client of its own")
	}
	return nil
}

// common are the methods that Allow names where a rule is for all others.
var common = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// rules puts the rules in order of methods.
func (r *route) rules() error {
	rules := r.Rules
	if r.Open && rules == nil {
		rules = []Rule{{}}
	}
	if len(rules) == 0 {
		return errors.New("a route that is not open needs rules")
	}
	r.methods = make(map[string]*rule)
	for _, from := range rules {
		made, err := r.rule(from)
		if err != nil {
			return err
		}
		r.list = append(r.list, made)
		if from.Methods == nil {
			if r.other != nil {
				return errors.New("two rules are for all other methods")
			}
			r.other = made
		}
		for _, method := range from.Methods {
			switch {
			case !isToken(method) || method != strings.ToUpper(method):
				return fmt.Errorf("method %q must be upper-case", method)
			case method == http.MethodConnect || method == http.MethodTrace:
				return fmt.Errorf("method %s is always refused", method)
			case r.methods[method] != nil:
				return fmt.Errorf("method %s has two rules", method)
			}
			r.methods[method] = made
		}
	}
	if get := r.methods["GET"]; get != nil && r.methods["HEAD"] == nil {
		r.methods["HEAD"] = get // RFC 9110 §9.3.2: the same, without the content
	}
	r.allow = strings.Join(r.allowed(), ", ")
	return nil
}

func (r *route) rule(from Rule) (*rule, error) {
	if from.Methods != nil && len(from.Methods) == 0 {
		return nil, errors.New("a rule has an empty list of methods")
	}
	if _, err := scope.Parse(strings.Join(from.Scopes, " ")); err != nil {
		return nil, fmt.Errorf("scopes: %w", err)
	}
	if r.Open && len(from.Scopes) > 0 {
		return nil, errors.New("an open route cannot require scopes")
	}
	return &rule{need: guard.Need{Scopes: from.Scopes, WhenStale: r.WhenStale}}, nil
}

// allowed lists the methods for Allow, the usual ones where any will do.
func (r *route) allowed() []string {
	var list []string
	for method := range r.methods {
		list = append(list, method)
	}
	if r.other != nil {
		list = append(list, common...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// ruleFor returns the rule for a method; nil refuses it. Methods are case
// sensitive (RFC 9110 §9.1) but some servers are not, so that "delete" is not
// left to the rule for all others.
func (r *route) ruleFor(method string) *rule {
	if made := r.methods[method]; made != nil {
		return made
	}
	if method != strings.ToUpper(method) {
		return nil
	}
	return r.other
}
