package admin

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// Resource is an API that tokens are issued for, as operators see and set it.
type Resource struct {
	ID        string    `json:"id,omitempty"` // its place in the admin API; follows from the URI
	URI       string    `json:"uri"`          // becomes aud
	Name      string    `json:"name"`
	Scopes    []Scope   `json:"scopes"`
	TokenLife int64     `json:"token_life"` // seconds; 0: the issuer's default
	Algorithm string    `json:"algorithm"`  // "": the issuer's default
	Created   time.Time `json:"created,omitzero"`
}

// Scope is a scope and what the consent page says of it.
type Scope struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// shortestLife keeps a mistaken unit from making tokens that nobody can use.
const shortestLife = 10 * time.Second

// ResourceID is where the resource of a URI stands in the admin API.
func ResourceID(uri string) string { return base64.RawURLEncoding.EncodeToString([]byte(uri)) }

// resourceURI is the inverse of ResourceID. What is no id is of no resource.
func resourceURI(id string) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(b) == 0 {
		return "", store.ErrNotFound
	}
	return string(b), nil
}

func viewResource(r *store.Resource) Resource {
	view := Resource{
		ID: ResourceID(r.URI), URI: r.URI, Name: r.Name, Scopes: []Scope{},
		TokenLife: int64(r.TokenLife / time.Second), Algorithm: r.Algorithm, Created: r.Created,
	}
	for _, s := range r.Scopes {
		view.Scopes = append(view.Scopes, Scope(s))
	}
	return view
}

func (r Resource) record() *store.Resource {
	record := &store.Resource{
		URI: r.URI, Name: r.Name, TokenLife: time.Duration(r.TokenLife) * time.Second, Algorithm: r.Algorithm, Created: r.Created,
	}
	for _, s := range r.Scopes {
		record.Scopes = append(record.Scopes, store.ScopeText(s))
	}
	return record
}

// AddResource registers an API.
func (a *Admin) AddResource(ctx context.Context, by By, in Resource) (*Resource, error) {
	if !in.Created.IsZero() {
		return nil, wrong("created", "is set by the server")
	}
	if in.ID != "" {
		return nil, wrong("id", "is set by the server")
	}
	set, err := a.checkResource(in)
	if err != nil {
		return nil, err
	}
	act := a.act(by, "resource.add", set.URI)
	set.Created = act.now
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if err := tx.AddResource(set.record()); err != nil {
			return err
		}
		return act.note(tx, nil)
	})
	if errors.Is(err, store.ErrConflict) {
		return nil, &Taken{Field: "uri", Value: set.URI}
	}
	if err != nil {
		return nil, err
	}
	return &set, nil
}

// Resource finds an API by its place.
func (a *Admin) Resource(ctx context.Context, id string) (*Resource, error) {
	uri, err := resourceURI(id)
	if err != nil {
		return nil, err
	}
	var found Resource
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		r, err := tx.Resource(uri)
		if err == nil {
			found = viewResource(r)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// Resources lists APIs by URI; after is a URI.
func (a *Admin) Resources(ctx context.Context, after string, limit int) (Page[Resource], error) {
	limit, err := pageSize(limit)
	if err != nil {
		return Page[Resource]{}, err
	}
	var found []*store.Resource
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Resources()
		return err
	})
	found = slices.DeleteFunc(found, func(r *store.Resource) bool { return r.URI <= after })
	slices.SortFunc(found, func(x, y *store.Resource) int { return strings.Compare(x.URI, y.URI) })
	return page(found, limit, viewResource, func(r *store.Resource) string { return r.URI }), err
}

// SetResource changes an API. change may run more than once. Tokens issued
// before keep what they say until they expire.
func (a *Admin) SetResource(ctx context.Context, by By, id string, change func(*Resource) error) (*Resource, error) {
	uri, err := resourceURI(id)
	if err != nil {
		return nil, err
	}
	act := a.act(by, "resource.set", uri)
	var set Resource
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		old, err := tx.Resource(uri)
		if err != nil {
			return err
		}
		was, in := viewResource(old), viewResource(old)
		if err := change(&in); err != nil {
			return err
		}
		if in.URI != was.URI || in.ID != was.ID || !in.Created.Equal(was.Created) {
			return wrong("uri", "cannot be changed: tokens name it; add another resource")
		}
		if set, err = a.checkResource(in); err != nil {
			return err
		}
		if err := tx.PutResource(set.record()); err != nil {
			return err
		}
		return act.note(tx, changed(was, set))
	})
	if err != nil {
		return nil, err
	}
	return &set, nil
}

// RemoveResource removes an API: no more tokens for it are issued.
func (a *Admin) RemoveResource(ctx context.Context, by By, id string) error {
	uri, err := resourceURI(id)
	if err != nil {
		return err
	}
	act := a.act(by, "resource.remove", uri)
	return a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteResource(uri); err != nil {
			return err
		}
		return act.note(tx, nil)
	})
}

// checkResource says what is wrong with an API, and returns it in canonical form.
func (a *Admin) checkResource(r Resource) (Resource, error) {
	uri, err := canonicalURI(r.URI)
	if err != nil {
		return r, wrong("uri", "%q %s", r.URI, err.Error())
	}
	r.URI, r.ID = uri, ResourceID(uri)
	if r.Name == "" {
		r.Name = r.URI
	}
	if r.Name != r.URI {
		if err := plain("name", r.Name, maxName); err != nil {
			return r, err
		}
	}
	life := time.Duration(r.TokenLife) * time.Second
	switch {
	case a.own(r.URI) != nil:
		return r, wrong("uri", "%q is the issuer's own", r.URI)
	case r.TokenLife < 0 || r.TokenLife > int64(mint.LongestLife/time.Second):
		return r, wrong("token_life", "must be at most %d seconds (%v)", int64(mint.LongestLife/time.Second), mint.LongestLife)
	case r.TokenLife != 0 && life < shortestLife:
		return r, wrong("token_life", "must be at least %d seconds, or 0 for the issuer's default", int64(shortestLife/time.Second))
	}
	if err := a.checkAlgorithm(r.Algorithm); err != nil {
		return r, err
	}
	r.Scopes, err = checkScopes(r.Scopes)
	return r, err
}

func (a *Admin) checkAlgorithm(alg string) error {
	if alg == "" {
		return nil
	}
	if a.cfg.Keys == nil {
		return wrong("algorithm", "cannot be checked without the sealing key; leave it out for the issuer's default")
	}
	if !slices.Contains(a.cfg.Keys.Algorithms(), alg) {
		return wrong("algorithm", "must be one of %s, for which keys are kept", strings.Join(a.cfg.Keys.Algorithms(), ", "))
	}
	return nil
}

// checkScopes wants at least one scope: a token without any gives nothing. The
// names with a meaning of their own stay the issuer's.
func checkScopes(scopes []Scope) ([]Scope, error) {
	if len(scopes) == 0 || len(scopes) > maxItems {
		return nil, wrong("scopes", "must be 1 to %d", maxItems)
	}
	reserved := adminScopes.Union(personScopes).Union(feedScopes).Union(scope.Set{"offline_access"})
	var names scope.Set
	checked := make([]Scope, 0, len(scopes))
	for _, s := range scopes {
		parsed, err := scope.Parse(s.Name)
		switch {
		case err != nil || len(parsed) != 1 || len(s.Name) > maxName:
			return nil, wrong("scopes", "%q is no scope name: 1 to %d visible ASCII characters without quote and backslash", s.Name, maxName)
		case reserved.Has(s.Name):
			return nil, wrong("scopes", "%q is one of the issuer's own", s.Name)
		case names.Has(s.Name):
			return nil, wrong("scopes", "%q is there twice", s.Name)
		}
		if err := plain("scopes", s.Text, maxText); err != nil {
			return nil, err
		}
		if s.Text == "" {
			s.Text = s.Name
		}
		names = names.Union(parsed)
		checked = append(checked, s)
	}
	return checked, nil
}

// canonicalURI is the one spelling of a resource's URI, since tokens and guards
// compare it byte by byte: scheme and host in lower case, without the scheme's
// own port and without a slash at the end, unless the path is nothing else.
func canonicalURI(uri string) (string, error) {
	u, err := url.Parse(uri)
	switch {
	case err != nil || !u.IsAbs():
		return "", errors.New("is not an absolute URI")
	case strings.Contains(uri, "#"):
		return "", errors.New("has a fragment (RFC 8707 §2)")
	case u.RawQuery != "" || u.ForceQuery:
		return "", errors.New("has a query (RFC 8707 §2)")
	case u.User != nil:
		return "", errors.New("has a user name in it")
	case len(uri) > maxURI:
		return "", errors.New("is too long")
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\^{|}`+"`", r) }):
		return "", errors.New("has characters that a URI must percent-encode")
	}
	if u.Opaque != "" {
		return u.Scheme + ":" + u.Opaque, nil
	}
	if u.Host == "" {
		return "", errors.New("has no host")
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" || port == "" {
		u.Host = strings.TrimSuffix(strings.TrimSuffix(u.Host, port), ":")
	}
	path := u.EscapedPath()
	if path != "/" {
		path = strings.TrimRight(path, "/")
	}
	return u.Scheme + "://" + u.Host + path, nil
}

// canonicalURIs puts a list in order. What is no URI stays as it is, for the
// check that names it.
func canonicalURIs(uris []string) []string {
	in := list(uris)
	for i, uri := range in {
		if canonical, err := canonicalURI(uri); err == nil {
			in[i] = canonical
		}
	}
	slices.Sort(in)
	return slices.Compact(in)
}
