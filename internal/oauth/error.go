package oauth

import "strings"

// Error codes, with the RFC that defines each.
const (
	InvalidRequest          = "invalid_request"           // RFC 6749 §4.1.2.1, §5.2; RFC 6750 §3.1
	InvalidClient           = "invalid_client"            // RFC 6749 §5.2
	InvalidGrant            = "invalid_grant"             // RFC 6749 §5.2
	UnauthorizedClient      = "unauthorized_client"       // RFC 6749 §4.1.2.1, §5.2
	UnsupportedGrantType    = "unsupported_grant_type"    // RFC 6749 §5.2
	InvalidScope            = "invalid_scope"             // RFC 6749 §4.1.2.1, §5.2
	AccessDenied            = "access_denied"             // RFC 6749 §4.1.2.1
	UnsupportedResponseType = "unsupported_response_type" // RFC 6749 §4.1.2.1
	ServerError             = "server_error"              // RFC 6749 §4.1.2.1
	TemporarilyUnavailable  = "temporarily_unavailable"   // RFC 6749 §4.1.2.1

	InvalidToken      = "invalid_token"      // RFC 6750 §3.1
	InsufficientScope = "insufficient_scope" // RFC 6750 §3.1

	UnsupportedTokenType = "unsupported_token_type" // RFC 7009 §2.2.1

	InvalidRedirectURI    = "invalid_redirect_uri"    // RFC 7591 §3.2.2
	InvalidClientMetadata = "invalid_client_metadata" // RFC 7591 §3.2.2

	AuthorizationPending = "authorization_pending" // RFC 8628 §3.5
	SlowDown             = "slow_down"             // RFC 8628 §3.5
	ExpiredToken         = "expired_token"         // RFC 8628 §3.5

	InvalidTarget = "invalid_target" // RFC 8707 §2, RFC 8693 §2.2.2

	InvalidAuthorizationDetails = "invalid_authorization_details" // RFC 9396 §5

	InvalidDPoPProof = "invalid_dpop_proof" // RFC 9449 §5
	UseDPoPNonce     = "use_dpop_nonce"     // RFC 9449 §8

	InsufficientUserAuthentication = "insufficient_user_authentication" // RFC 9470 §3

	InteractionRequired      = "interaction_required"       // OIDC Core §3.1.2.6
	LoginRequired            = "login_required"             // OIDC Core §3.1.2.6
	AccountSelectionRequired = "account_selection_required" // OIDC Core §3.1.2.6
	ConsentRequired          = "consent_required"           // OIDC Core §3.1.2.6
	InvalidRequestURI        = "invalid_request_uri"        // OIDC Core §3.1.2.6
	InvalidRequestObject     = "invalid_request_object"     // OIDC Core §3.1.2.6
	RequestNotSupported      = "request_not_supported"      // OIDC Core §3.1.2.6
	RequestURINotSupported   = "request_uri_not_supported"  // OIDC Core §3.1.2.6
	RegistrationNotSupported = "registration_not_supported" // OIDC Core §3.1.2.6

	// OpenID Connect Unmet Authentication Requirements, used by RFC 9470 §5.
	UnmetAuthenticationRequirements = "unmet_authentication_requirements"
)

// An Error is an answer that the protocol defines. Code and Description are
// for the caller; Cause is for the log and never leaves the server.
type Error struct {
	Code        string
	Description string
	Cause       error
}

// Error returns code and description, and nothing of the cause, which may
// quote what the caller sent.
func (e *Error) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Code + ": " + Text(e.Description)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Text makes s fit for error_description. RFC 6749 §5.2: its values "MUST NOT
// include characters outside the set %x20-21 / %x23-5B / %x5D-7E"; double
// quotes become single ones, anything else outside becomes a question mark.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r == '\\' || r > 0x7e:
			return '?'
		}
		return r
	}, s)
}
