package guard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
)

// ResourceMetadata is the part of a resource's document (RFC 9728 §2) that a
// guard cannot know by itself. All of it is optional.
type ResourceMetadata struct {
	Name          string   // resource_name
	Documentation string   // resource_documentation, a URL
	Policy        string   // resource_policy_uri
	Terms         string   // resource_tos_uri
	Scopes        []string // scopes_supported
	DetailTypes   []string // authorization_details_types_supported
	ProofRequired bool     // dpop_bound_access_tokens_required
}

// resource is what one audience has for itself.
type resource struct {
	audience string
	document []byte // the metadata
	path     string // where it is to be mounted
	located  string // its URL; "" when the audience is no web address
}

func newResource(cfg Config, audience string, m ResourceMetadata) (resource, error) {
	if err := checkAudience(audience); err != nil {
		return resource{}, err
	}
	// RFC 9728 §2: offline_access is a matter of client and issuer.
	if slices.Contains(m.Scopes, oauth.ScopeOffline) {
		return resource{}, fmt.Errorf("guard: metadata: %s is no scope of a resource", oauth.ScopeOffline)
	}
	document, err := json.Marshal(oauth.ResourceMetadata{
		Resource:             audience,
		AuthorizationServers: []string{cfg.Issuer},
		BearerMethods:        []string{"header"},
		Scopes:               m.Scopes,
		Name:                 m.Name,
		Documentation:        m.Documentation,
		Policy:               m.Policy,
		Terms:                m.Terms,
		DetailTypes:          m.DetailTypes,
		DPoPAlgorithms:       jose.Algorithms(),
		DPoPRequired:         m.ProofRequired,
	})
	if err != nil {
		return resource{}, fmt.Errorf("guard: encode metadata: %w", err)
	}
	res := resource{
		audience: audience,
		document: document,
		path:     "/.well-known/" + oauth.ResourceDocument,
	}
	located, err := url.Parse(oauth.WellKnown(audience, oauth.ResourceDocument))
	if err == nil && (located.Scheme == "https" || located.Scheme == "http") {
		res.located, res.path = located.String(), located.EscapedPath()
	}
	return res, nil
}

// Metadata serves the RFC 9728 document; mount it at MetadataPath.
func (g *Guard) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(g.document) // fails when the caller has gone
	})
}

// MetadataPath is the path of the document that challenges point to: RFC 9728
// §3.1 inserts /.well-known/oauth-protected-resource before the path of the
// audience.
func (g *Guard) MetadataPath() string { return g.path }
