package oauth

import (
	"encoding/json"
	"net/url"
	"strings"
)

// WellKnown returns the URL of a document about the issuer or resource id: RFC
// 8414 §3.1 and RFC 9728 §3.1 insert /.well-known/NAME between host and path.
// The first drops any slash at the end of the path, the second only a path
// that is nothing else. WellKnown returns "" when id is no absolute URL with a
// host: then there is no such place.
func WellKnown(id, name string) string {
	u, err := url.Parse(id)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return ""
	}
	path := u.EscapedPath()
	if path == "/" || name != ResourceDocument {
		path = strings.TrimSuffix(path, "/")
	}
	path = "/.well-known/" + name + path
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return u.Scheme + "://" + u.Host + path
}

// Metadata is the document of an authorization server (RFC 8414, OIDC
// Discovery §3). Keys of what is switched off are left out.
type Metadata struct {
	Issuer                    string   `json:"issuer"`
	AuthorizationEndpoint     string   `json:"authorization_endpoint,omitempty"`
	TokenEndpoint             string   `json:"token_endpoint,omitempty"`
	JWKSURI                   string   `json:"jwks_uri,omitempty"`
	RegistrationEndpoint      string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint        string   `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint     string   `json:"introspection_endpoint,omitempty"`
	UserinfoEndpoint          string   `json:"userinfo_endpoint,omitempty"`
	EndSessionEndpoint        string   `json:"end_session_endpoint,omitempty"`
	PushedRequestEndpoint     string   `json:"pushed_authorization_request_endpoint,omitempty"`
	DeviceEndpoint            string   `json:"device_authorization_endpoint,omitempty"`
	StatusListEndpoint        string   `json:"status_list_aggregation_endpoint,omitempty"`
	GlobalRevocationEndpoint  string   `json:"global_token_revocation_endpoint,omitempty"`
	Scopes                    []string `json:"scopes_supported,omitempty"`
	ResponseTypes             []string `json:"response_types_supported,omitempty"`
	ResponseModes             []string `json:"response_modes_supported,omitempty"`
	Prompts                   []string `json:"prompt_values_supported,omitempty"`
	CodeChallengeMethods      []string `json:"code_challenge_methods_supported,omitempty"`
	AuthAlgorithms            []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	RevocationAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationAlgorithms      []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAlgorithms   []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	DPoPAlgorithms            []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DetailTypes               []string `json:"authorization_details_types_supported,omitempty"`
	SubjectTypes              []string `json:"subject_types_supported,omitempty"`
	IDTokenAlgorithms         []string `json:"id_token_signing_alg_values_supported,omitempty"`
	UserinfoAlgorithms        []string `json:"userinfo_signing_alg_values_supported,omitempty"`
	RequestObjectAlgorithms   []string `json:"request_object_signing_alg_values_supported,omitempty"`
	Claims                    []string `json:"claims_supported,omitempty"`
	ClaimTypes                []string `json:"claim_types_supported,omitempty"`
	ACRValues                 []string `json:"acr_values_supported,omitempty"`
	UILocales                 []string `json:"ui_locales_supported,omitempty"`
	ProtectedResources        []string `json:"protected_resources,omitempty"` // RFC 9728 §4
	Documentation             string   `json:"service_documentation,omitempty"`
	Policy                    string   `json:"op_policy_uri,omitempty"`
	Terms                     string   `json:"op_tos_uri,omitempty"`
	ClaimsParameter           bool     `json:"claims_parameter_supported,omitempty"`
	RequestParameter          bool     `json:"request_parameter_supported,omitempty"`
	RequirePushedRequests     bool     `json:"require_pushed_authorization_requests,omitempty"`
	RequireSignedRequests     bool     `json:"require_signed_request_object,omitempty"`
	IssuerParameter           bool     `json:"authorization_response_iss_parameter_supported,omitempty"` // RFC 9207
	BoundCertificates         bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	ClientMetadataDocuments   bool     `json:"client_id_metadata_document_supported,omitempty"`
	BackchannelLogout         bool     `json:"backchannel_logout_supported,omitempty"`
	BackchannelLogoutSessions bool     `json:"backchannel_logout_session_supported,omitempty"`

	// Always written: left out they mean true, code with implicit, and
	// client_secret_basic (OIDC Discovery §3, RFC 8414 §2).
	RequestURIParameter bool     `json:"request_uri_parameter_supported"`
	GrantTypes          []string `json:"grant_types_supported"`
	AuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
}

// MarshalJSON writes the two lists that must stand in the document as lists,
// even when they are empty: null would read as absent.
func (m Metadata) MarshalJSON() ([]byte, error) {
	type plain Metadata
	p := plain(m)
	if p.GrantTypes == nil {
		p.GrantTypes = []string{}
	}
	if p.AuthMethods == nil {
		p.AuthMethods = []string{}
	}
	return json.Marshal(p)
}

// ResourceMetadata is the document of a protected resource (RFC 9728 §2).
type ResourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	JWKSURI              string   `json:"jwks_uri,omitempty"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported,omitempty"`
	SigningAlgorithms    []string `json:"resource_signing_alg_values_supported,omitempty"`
	Name                 string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
	Policy               string   `json:"resource_policy_uri,omitempty"`
	Terms                string   `json:"resource_tos_uri,omitempty"`
	BoundCertificates    bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	DetailTypes          []string `json:"authorization_details_types_supported,omitempty"`
	DPoPAlgorithms       []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DPoPRequired         bool     `json:"dpop_bound_access_tokens_required,omitempty"`
}
