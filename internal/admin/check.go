package admin

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// Lengths and numbers that no honest registration reaches.
const (
	maxName      = 100
	maxText      = 300
	maxURI       = 2000
	maxItems     = 100 // entries of one list
	maxScopeText = 8000
)

// clientID is narrower than RFC 6749 §2.2: an id is part of a path, a log line
// and a shell command.
var clientID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// grantTypes is what a client can be allowed, in the order they are kept.
var grantTypes = []string{oauth.GrantCode, oauth.GrantRefresh, oauth.GrantClient, oauth.GrantExchange}

// complete fills in what may be left out and puts lists in order, so that equal
// clients are equal.
func (c Client) complete() Client {
	if c.Name == "" {
		c.Name = c.ID
	}
	if c.AuthMethod == "" {
		c.AuthMethod = oauth.AuthBasic
	}
	if c.Application == "" {
		c.Application = "web"
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = usual(c)
	}
	c.GrantTypes = list(c.GrantTypes)
	slices.SortFunc(c.GrantTypes, func(a, b string) int {
		return slices.Index(grantTypes, a) - slices.Index(grantTypes, b)
	})
	c.GrantTypes = slices.Compact(c.GrantTypes)
	c.Resources, c.Guards = canonicalURIs(c.Resources), canonicalURIs(c.Guards)
	c.RedirectURIs = list(c.RedirectURIs)
	slices.Sort(c.RedirectURIs)
	c.RedirectURIs = slices.Compact(c.RedirectURIs)
	if s, err := scope.Parse(c.Scope); err == nil {
		c.Scope = s.String()
	}
	return c
}

// usual is the grant types of a client that names none.
func usual(c Client) []string {
	var types []string
	if len(c.RedirectURIs) > 0 {
		types = append(types, oauth.GrantCode, oauth.GrantRefresh)
	} else if c.AuthMethod != oauth.AuthNone {
		types = append(types, oauth.GrantClient)
	}
	if len(c.Guards) > 0 {
		types = append(types, oauth.GrantClient, oauth.GrantExchange)
	}
	return types
}

// checkClient says what is wrong with a completed client, and returns it.
func (a *Admin) checkClient(tx *store.Tx, c Client) (Client, error) {
	for _, check := range []func(Client) error{checkID, checkName, checkGrants, checkRedirects, a.checkMarks} {
		if err := check(c); err != nil {
			return c, err
		}
	}
	if err := a.checkGuards(c); err != nil {
		return c, err
	}
	known, err := a.checkResources(tx, c)
	if err != nil {
		return c, err
	}
	return c, a.checkScope(c, known)
}

// checkID keeps client ids apart from subject ids and from the URLs that are ids
// of clients by metadata document: tokens carry both in sub.
func checkID(c Client) error {
	switch {
	case !clientID.MatchString(c.ID):
		return wrong("client_id", "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit")
	case strings.HasPrefix(c.ID, userPrefix):
		return wrong("client_id", "must not begin with %q: ids of people do", userPrefix)
	case c.ID == System.Actor:
		return wrong("client_id", "is what the server calls itself")
	}
	return nil
}

func checkName(c Client) error {
	if err := plain("client_name", c.Name, maxName); err != nil {
		return err
	}
	switch {
	case c.AuthMethod != oauth.AuthNone && c.AuthMethod != oauth.AuthBasic:
		return wrong("token_endpoint_auth_method", "must be %s or %s", oauth.AuthBasic, oauth.AuthNone)
	case c.Application != "web" && c.Application != "native":
		return wrong("application_type", "must be web or native")
	}
	return nil
}

func checkGrants(c Client) error {
	has := func(name string) bool { return slices.Contains(c.GrantTypes, name) }
	for _, name := range c.GrantTypes {
		if !slices.Contains(grantTypes, name) {
			return wrong("grant_types", "%q is none of %s", name, strings.Join(grantTypes, ", "))
		}
	}
	public := c.AuthMethod == oauth.AuthNone
	switch {
	case len(c.GrantTypes) == 0:
		return wrong("grant_types", "is empty: a public client needs redirect_uris, to sign people in")
	case public && (has(oauth.GrantClient) || has(oauth.GrantExchange)):
		return wrong("grant_types", "a public client, which has no secret, can only use %s and %s", oauth.GrantCode, oauth.GrantRefresh)
	case has(oauth.GrantRefresh) && !has(oauth.GrantCode):
		return wrong("grant_types", "%s needs %s: refresh tokens come with a person's grant", oauth.GrantRefresh, oauth.GrantCode)
	case has(oauth.GrantExchange) && len(c.Guards) == 0:
		return wrong("guards", "is empty: %s is for the tokens of resources that a client guards", oauth.GrantExchange)
	case len(c.Guards) > 0 && !has(oauth.GrantClient):
		return wrong("grant_types", "a client that guards a resource needs %s, to follow the revocation feed", oauth.GrantClient)
	}
	return nil
}

func checkRedirects(c Client) error {
	signsIn := slices.Contains(c.GrantTypes, oauth.GrantCode)
	switch {
	case signsIn && len(c.RedirectURIs) == 0:
		return wrong("redirect_uris", "is empty: %s needs a place to send the browser back to", oauth.GrantCode)
	case !signsIn && len(c.RedirectURIs) > 0:
		return wrong("redirect_uris", "are for %s only", oauth.GrantCode)
	case len(c.RedirectURIs) > maxItems:
		return wrong("redirect_uris", "must not be more than %d", maxItems)
	}
	for _, uri := range c.RedirectURIs {
		if problem := client.CheckRedirect(uri, c.Application == "native"); problem != "" {
			return wrong("redirect_uris", "%q %s", uri, problem)
		}
		if len(uri) > maxURI {
			return wrong("redirect_uris", "must not be longer than %d bytes", maxURI)
		}
	}
	return nil
}

// checkMarks is about what an operator vouches for.
func (a *Admin) checkMarks(c Client) error {
	public := c.AuthMethod == oauth.AuthNone
	switch {
	case c.ID == CLI:
		return a.checkCLI(c)
	case public && c.Admin:
		return wrong("admin", "is not for public clients: anybody can claim to be one")
	case public && len(c.Guards) > 0:
		return wrong("guards", "is not for public clients: a guard proves who it is")
	case c.TrustDomain != "" && !oauth.IsTrustDomain(c.TrustDomain):
		return wrong("trust_domain", "must be a name in lower case without a scheme, such as inside.example")
	case c.TrustDomain != "" && len(c.Guards) == 0: // of which no public client has any
		return wrong("trust_domain", "is for gateways: clients that guard a resource")
	case c.TrustDomain != "" && c.Scope == "":
		return wrong("trust_domain", "needs a scope: it bounds the transaction tokens that the client mints")
	case c.FirstParty && !slices.Contains(c.GrantTypes, oauth.GrantCode):
		return wrong("first_party", "is about the consent page, and this client signs nobody in")
	}
	return nil
}

func (a *Admin) checkGuards(c Client) error {
	if len(c.Guards) > maxItems {
		return wrong("guards", "must not be more than %d", maxItems)
	}
	for _, uri := range c.Guards {
		if _, err := canonicalURI(uri); err != nil {
			return wrong("guards", "%q %s", uri, err.Error())
		}
		if a.own(uri) != nil {
			return wrong("guards", "%q is the issuer's own and guarded by it", uri)
		}
	}
	return nil
}

// checkResources returns the scopes that the client's resources know.
func (a *Admin) checkResources(tx *store.Tx, c Client) (scope.Set, error) {
	if len(c.Resources) > maxItems {
		return nil, wrong("resources", "must not be more than %d", maxItems)
	}
	var known scope.Set
	for _, uri := range c.Resources {
		if own := a.own(uri); own != nil {
			if !own.open(c) {
				return nil, wrong("resources", "%q is the issuer's own: %s", uri, own.rule)
			}
			known = known.Union(own.scopes)
			continue
		}
		r, err := tx.Resource(uri)
		if errors.Is(err, store.ErrNotFound) {
			return nil, wrong("resources", "there is no resource %q: add it first", uri)
		}
		if err != nil {
			return nil, err
		}
		for _, s := range r.Scopes {
			known = known.Union(scope.Set{s.Name})
		}
	}
	return known, nil
}

func (a *Admin) checkScope(c Client, known scope.Set) error {
	if len(c.Scope) > maxScopeText {
		return wrong("scope", "must not be longer than %d bytes", maxScopeText)
	}
	asked, err := scope.Parse(c.Scope)
	if err != nil {
		return wrong("scope", "must be names with single spaces between")
	}
	has := func(name string) bool { return slices.Contains(c.GrantTypes, name) }
	if c.Admin {
		known = known.Union(adminScopes)
	}
	if has(oauth.GrantCode) {
		known = known.Union(personScopes)
	}
	if has(oauth.GrantRefresh) {
		known = known.Union(scope.Set{oauth.ScopeOffline})
	}
	for _, name := range asked {
		switch {
		case known.Has(name):
		case adminScopes.Has(name):
			return wrong("scope", "%s is for clients marked admin", name)
		case personScopes.Has(name):
			return wrong("scope", "%s is about a person, and this client signs nobody in", name)
		case name == oauth.ScopeOffline:
			return wrong("scope", "%s needs the grant type %s", name, oauth.GrantRefresh)
		default:
			return wrong("scope", "%s is no scope of this client's resources", name)
		}
	}
	onlyExchanges := has(oauth.GrantExchange) && !has(oauth.GrantCode)
	switch {
	case c.Admin && len(asked.Intersect(adminScopes)) == 0:
		return wrong("scope", "names none of %s, without which the mark admin gives nothing", adminScopes)
	case len(asked) == 0 && len(c.Guards) == 0 && !onlyExchanges:
		return wrong("scope", "is empty: such a client could be given nothing")
	}
	return nil
}
