package gateway

import (
	"fmt"
	"net/http"

	"github.com/writ-auth/writ/guard"
)

// Why is what the gateway makes of one request, up to the upstream.
type Why struct {
	Route    string   // host and path; "" when no route covers the request
	Open     bool     // the route looks at no token
	Audience string   // that the token must name
	Scopes   []string // that it must carry
	Detail   string   // why there is no rule; "" when there is one
	guard.Explanation
}

// Why says which rule r meets and how each check of its token goes. Nothing is sent
// anywhere, and r counts as refused if it is.
func (g *Gateway) Why(r *http.Request) Why {
	c := &call{g: g, r: r}
	host, _ := hostOf(r.Host)
	if !canonical(r.URL.EscapedPath()) {
		return Why{Detail: "no route has a path like this"}
	}
	if c.route = g.table.Load().find(host, r.URL.Path); c.route == nil {
		return Why{Detail: "no route covers this path"}
	}
	out := Why{Route: c.route.name, Open: c.route.Open, Audience: c.route.Audience}
	if c.rule = c.route.ruleFor(r.Method); c.rule == nil {
		out.Detail = fmt.Sprintf("the route has no rule for %s, only for %s", r.Method, c.route.allow)
		return out
	}
	out.Scopes = c.rule.need.Scopes
	if !c.route.Open {
		out.Explanation = c.route.guard.Explain(c.here(), c.rule.need)
	}
	return out
}
