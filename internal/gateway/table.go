package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
)

// A table is all that a request is judged by besides the token. It never
// changes once it is in use.
type table struct {
	hosts     map[string]*tree // by hostOf; "" is for hosts without an entry
	documents []document
}

// A document is the RFC 9728 metadata of one audience.
type document struct {
	host, path string
	handler    http.Handler
}

// Reload puts routes in the place of those in use. Requests under way end by
// the old ones, later ones see all the new. On error nothing changes.
func (g *Gateway) Reload(routes []Route) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	made, err := g.cfg.compile(routes)
	if err != nil {
		return err
	}
	t := &table{hosts: make(map[string]*tree)}
	for _, r := range made {
		if t.hosts[r.host] == nil {
			t.hosts[r.host] = &tree{routes: make(map[string]*route)}
		}
		t.hosts[r.host].add(r)
	}
	if err := g.protect(t, made); err != nil {
		return err
	}
	g.table.Store(t)
	return nil
}

// compile checks routes, each alone and all together.
func (c *Config) compile(routes []Route) ([]*route, error) {
	var made []*route
	taken := make(map[string]string) // host and folded path → name
	for i, r := range routes {
		one, err := r.check(c)
		if err != nil {
			return nil, fmt.Errorf("gateway: route %d (%s%s): %w", i+1, r.Host, r.Path, err)
		}
		place := one.host + fold(one.Path)
		if other, ok := taken[place]; ok {
			return nil, fmt.Errorf("gateway: route %d (%s) stands in the place of %s: hosts and paths that differ only in case are one", i+1, one.name, other)
		}
		taken[place] = one.name
		made = append(made, one)
	}
	return made, nil
}

// protect gives every route its guard and its way to the upstream. Routes of
// one audience share a guard, whose metadata names the scopes of them all.
func (g *Gateway) protect(t *table, routes []*route) error {
	metadata := make(map[string]*guard.ResourceMetadata)
	for _, r := range routes {
		if r.Open {
			continue
		}
		m := metadata[r.Audience]
		if m == nil {
			m = &guard.ResourceMetadata{Name: r.Name}
			metadata[r.Audience] = m
		}
		for _, from := range r.Rules {
			m.Scopes = append(m.Scopes, from.Scopes...)
		}
	}
	guards := make(map[string]*guard.Guard)
	for audience, m := range metadata {
		slices.Sort(m.Scopes)
		m.Scopes = slices.Compact(m.Scopes)
		made, err := g.guard.For(audience, *m)
		if err != nil {
			return fmt.Errorf("gateway: audience %s: %w", audience, err)
		}
		guards[audience] = made
		if u, err := url.Parse(audience); err == nil {
			host, _ := hostOf(u.Host)
			t.documents = append(t.documents, document{host, made.MetadataPath(), made.Metadata()})
		}
	}
	for _, r := range routes {
		r.guard = guards[r.Audience]
		for _, made := range r.list {
			if err := g.equip(r, made); err != nil {
				return fmt.Errorf("gateway: %s: %w", r.name, err)
			}
		}
	}
	return nil
}

// equip gives a rule its guard and its exchange.
func (g *Gateway) equip(r *route, made *rule) error {
	if !r.Open {
		made.admit = r.guard.With(made.need)
	}
	switch r.Propagate {
	case None:
		return nil
	case Transaction:
		asked := r.UpstreamScopes
		if asked == nil {
			asked = made.need.Scopes
		}
		made.asked = scope.Set(asked).Union(nil)
		made.text = made.asked.String()
		return nil
	}
	made.target = relay.Target{Resource: r.UpstreamAudience, Scopes: made.need.Scopes, Origins: []string{r.upstream.String()}}
	var err error
	made.exchange, err = g.relay.Exchange(made.target)
	return err
}

func (t *tree) add(r *route) {
	t.routes[fold(r.Path)] = r
	depth := 0
	for i := range len(r.Path) {
		if r.Path[i] == '/' && r.Path != "/" {
			depth++
		}
	}
	t.depth = max(t.depth, depth)
}

// find returns the route for a request, nil when there is none.
func (t *table) find(host, path string) *route {
	routes, ok := t.hosts[host]
	if !ok {
		if routes, ok = t.hosts[""]; !ok {
			return nil
		}
	}
	return routes.find(path)
}

// document returns the metadata at a well-known path. The host decides where
// two audiences share the path; otherwise clients that know the gateway by
// another name find it too, and judge by the resource it names.
func (t *table) document(host, path string) http.Handler {
	var found http.Handler
	for _, d := range t.documents {
		switch {
		case d.path != path:
		case d.host == host:
			return d.handler
		case found != nil:
			return nil // two, and neither is this host's
		default:
			found = d.handler
		}
	}
	return found
}
