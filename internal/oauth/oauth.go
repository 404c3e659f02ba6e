// Package oauth is the vocabulary of OAuth 2.0 and OpenID Connect: parameter
// names, grant names, token types, error codes, challenges and metadata
// documents.
//
// It owns how these things are spelled. It does not own when they apply: it
// parses no request, decides nothing and knows no HTTP status.
//
// Invariant: what this package writes into a header or document is within the
// characters its RFC allows, whatever it was given.
package oauth

// Grant types (RFC 6749, RFC 8628, RFC 8693, RFC 7523).
const (
	GrantCode     = "authorization_code"
	GrantRefresh  = "refresh_token"
	GrantClient   = "client_credentials"
	GrantDevice   = "urn:ietf:params:oauth:grant-type:device_code"
	GrantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	GrantJWT      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// Token types as parameters name them (RFC 8693 §3).
const (
	TypeAccess  = "urn:ietf:params:oauth:token-type:access_token"
	TypeRefresh = "urn:ietf:params:oauth:token-type:refresh_token"
	TypeID      = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT     = "urn:ietf:params:oauth:token-type:jwt"
	TypeTxn     = "urn:ietf:params:oauth:token-type:txn_token"
)

// Hints to revocation and introspection (RFC 7009 §2.1).
const (
	HintAccess  = "access_token"
	HintRefresh = "refresh_token"
)

// Authentication schemes, which are the values of token_type as well.
const (
	Bearer = "Bearer" // RFC 6750
	DPoP   = "DPoP"   // RFC 9449
	NA     = "N_A"    // RFC 8693 §2.2.1: no access token was issued
)

// Methods of client authentication (RFC 7591 §2, OIDC Core §9, RFC 8705 §2).
const (
	AuthNone       = "none"
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthKey        = "private_key_jwt"
	AuthTLS        = "tls_client_auth"
	AuthSelfSigned = "self_signed_tls_client_auth"
)

// AssertionJWT is the client_assertion_type of private_key_jwt (RFC 7523 §2.2).
const AssertionJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Values that requests and metadata share.
const (
	ResponseCode  = "code"
	ModeQuery     = "query"
	MethodS256    = "S256" // the one PKCE method (RFC 7636 §4.2)
	PromptNone    = "none"
	PromptLogin   = "login"
	PromptConsent = "consent"
	PromptSelect  = "select_account"
)

// Scopes with a meaning of their own (OIDC Core §5.4, §11).
const (
	ScopeOpenID  = "openid"
	ScopeProfile = "profile"
	ScopeEmail   = "email"
	ScopeOffline = "offline_access"
)

// Names of well-known documents, for WellKnown.
const (
	ServerDocument   = "oauth-authorization-server" // RFC 8414
	ProviderDocument = "openid-configuration"       // OIDC Discovery; appended to the issuer instead
	ResourceDocument = "oauth-protected-resource"   // RFC 9728
)

// Parameters of requests and responses.
const (
	ParamACR              = "acr"
	ParamACRValues        = "acr_values"
	ParamAccessToken      = "access_token"
	ParamActive           = "active"
	ParamActorToken       = "actor_token"
	ParamActorTokenType   = "actor_token_type"
	ParamAssertion        = "client_assertion"
	ParamAssertionType    = "client_assertion_type"
	ParamAudience         = "audience"
	ParamClaims           = "claims"
	ParamClientID         = "client_id"
	ParamClientSecret     = "client_secret"
	ParamCode             = "code"
	ParamCodeChallenge    = "code_challenge"
	ParamCodeMethod       = "code_challenge_method"
	ParamCodeVerifier     = "code_verifier"
	ParamDPoPThumbprint   = "dpop_jkt"
	ParamDetails          = "authorization_details"
	ParamDisplay          = "display"
	ParamError            = "error"
	ParamErrorDescription = "error_description"
	ParamExpiresIn        = "expires_in"
	ParamGrantType        = "grant_type"
	ParamIDToken          = "id_token"
	ParamIDTokenHint      = "id_token_hint"
	ParamIssuedTokenType  = "issued_token_type"
	ParamIssuer           = "iss"
	ParamLoginHint        = "login_hint"
	ParamMaxAge           = "max_age"
	ParamNonce            = "nonce"
	ParamPostLogout       = "post_logout_redirect_uri"
	ParamPrompt           = "prompt"
	ParamRedirectURI      = "redirect_uri"
	ParamRefreshToken     = "refresh_token"
	ParamRequest          = "request"
	ParamRequestURI       = "request_uri"
	ParamRequestedType    = "requested_token_type"
	ParamResource         = "resource"
	ParamResponseMode     = "response_mode"
	ParamResponseType     = "response_type"
	ParamScope            = "scope"
	ParamState            = "state"
	ParamSubjectToken     = "subject_token"
	ParamSubjectTokenType = "subject_token_type"
	ParamToken            = "token"
	ParamTokenHint        = "token_type_hint"
	ParamTokenType        = "token_type"
	ParamUILocales        = "ui_locales"
)

// Parameters of a challenge (RFC 6750 §3, RFC 9449 §7.1, RFC 9470 §3, RFC 9728 §5.1).
const (
	ChallengeAlgs             = "algs"
	ChallengeRealm            = "realm"
	ChallengeResourceMetadata = "resource_metadata"
)
