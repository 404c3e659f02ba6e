package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
)

// indented is a document as people read it.
func indented(t *testing.T, body []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return strings.TrimSpace(out.String())
}

// wantDocument checks a document whole: what is off must not be in it. In want,
// ISSUER and PROOFS stand for the issuer and the algorithms of proofs.
func wantDocument(t *testing.T, path string, body []byte, want string) {
	t.Helper()
	proofs, err := json.Marshal(jose.Algorithms())
	if err != nil {
		t.Fatal(err)
	}
	want = strings.NewReplacer("ISSUER", adminIssuer, "PROOFS", string(proofs)).Replace(want)
	if got, want := indented(t, body), indented(t, []byte(want)); got != want {
		t.Errorf("%s =\n%s\nwant\n%s", path, got, want)
	}
}

const serverDocument = `{
	"issuer": "ISSUER",
	"authorization_endpoint": "ISSUER/authorize",
	"token_endpoint": "ISSUER/token",
	"jwks_uri": "ISSUER/jwks",
	"revocation_endpoint": "ISSUER/revoke",
	"introspection_endpoint": "ISSUER/introspect",
	"userinfo_endpoint": "ISSUER/userinfo",
	"global_token_revocation_endpoint": "ISSUER/revoke/global",
	"scopes_supported": ["openid", "profile", "email", "offline_access"],
	"response_types_supported": ["code"],
	"response_modes_supported": ["query"],
	"code_challenge_methods_supported": ["S256"],
	"revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
	"introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "Bearer"],
	"dpop_signing_alg_values_supported": PROOFS,
	"subject_types_supported": ["public"],
	"id_token_signing_alg_values_supported": ["ES256"],
	"claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash", "name", "preferred_username", "email"],
	"authorization_response_iss_parameter_supported": true,
	"request_uri_parameter_supported": false,
	"grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
	"token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"]
}`

// TestServerDocument: clients believe what stands there (RFC 8414 §2, RFC 9207 §3).
// Whatever is off is not in it, and whichever document a client reads, it reads the
// same.
func TestServerDocument(t *testing.T) {
	w := newWorld(t)
	oidc := w.do(request("GET", "/.well-known/openid-configuration", nil))
	both := w.do(request("GET", "/.well-known/oauth-authorization-server", nil))
	if !bytes.Equal(oidc.Body.Bytes(), both.Body.Bytes()) {
		t.Errorf("the two documents differ:\n%s\n%s", oidc.Body, both.Body)
	}
	wantDocument(t, "the server's document", both.Body.Bytes(), serverDocument)
	if got := both.Header().Get("Content-Type"); both.Code != http.StatusOK || got != "application/json" {
		t.Errorf("status %d, Content-Type %q, want 200 and application/json", both.Code, got)
	}
	var named map[string]any
	if err := json.Unmarshal(both.Body.Bytes(), &named); err != nil {
		t.Fatal(err)
	}
	for name, value := range named {
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		path, _ := value.(string)
		path = strings.TrimPrefix(path, adminIssuer)
		if got := w.do(request("GET", path, nil)).Code; got == http.StatusNotFound {
			t.Errorf("%s leads to %s, where nothing is", name, path)
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server/userinfo", "/userinfo/.well-known/openid-configuration"} {
		if got := w.do(request("GET", path, nil)).Code; got != http.StatusNotFound {
			t.Errorf("%s = %d, want 404: it is nobody's document", path, got)
		}
	}
}

// TestResourceDocuments: the issuer's own resources describe themselves (RFC 9728
// §2), each where its name says (§3.1) and under no other name (§3.3), and a
// refusal says where (§5.1).
func TestResourceDocuments(t *testing.T) {
	w := newWorld(t)
	const well = "/.well-known/oauth-protected-resource"
	for _, tt := range []struct{ resource, refusing, document string }{
		{"/userinfo", "/userinfo", `{
			"resource": "ISSUER/userinfo", "authorization_servers": ["ISSUER"],
			"scopes_supported": ["openid", "profile", "email"], "bearer_methods_supported": ["header"],
			"resource_name": "Your account", "dpop_signing_alg_values_supported": PROOFS}`},
		{"/admin", "/admin/v1/clients", `{
			"resource": "ISSUER/admin", "authorization_servers": ["ISSUER"],
			"scopes_supported": ["admin:read", "admin:write", "admin:revoke"], "bearer_methods_supported": ["header"],
			"resource_name": "Administration", "dpop_signing_alg_values_supported": PROOFS,
			"dpop_bound_access_tokens_required": true}`},
		{"/feed", "", `{
			"resource": "ISSUER/feed", "authorization_servers": ["ISSUER"], "jwks_uri": "ISSUER/feed/jwks",
			"scopes_supported": ["feed:read", "usage:write", "keys:write"], "bearer_methods_supported": ["header"]}`},
	} {
		answer := w.do(request("GET", well+tt.resource, nil))
		if got := answer.Header().Get("Content-Type"); answer.Code != http.StatusOK || got != "application/json" {
			t.Fatalf("%s: status %d, Content-Type %q, want 200 and application/json", well+tt.resource, answer.Code, got)
		}
		wantDocument(t, well+tt.resource, answer.Body.Bytes(), tt.document)
		if tt.refusing == "" {
			continue
		}
		want := oauth.ChallengeResourceMetadata + `="` + adminIssuer + well + tt.resource + `"`
		if got := w.do(request("GET", tt.refusing, nil)).Header().Get("WWW-Authenticate"); !strings.Contains(got, want) {
			t.Errorf("%s without a token: WWW-Authenticate = %q, want %s", tt.refusing, got, want)
		}
	}
	for _, path := range []string{well, well + "/", well + "/userinfo/", well + "/nothing", "/userinfo" + well} {
		if got := w.do(request("GET", path, nil)).Code; got != http.StatusNotFound {
			t.Errorf("%s = %d, want 404: it is no resource's document", path, got)
		}
	}
}
