package grant

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// request is an authorization request that passed its checks. It is what a flow
// record holds.
type request struct {
	ClientID    string
	RedirectURI string
	Given       bool // redirect_uri was in the request, so the token request must repeat it
	State       string
	Scope       scope.Set
	Resources   []string
	Challenge   string
	Nonce       string
	Prompt      []string
	MaxAge      *int64 // seconds
	LoginHint   string
	KeyID       string // dpop_jkt
}

func (r *request) prompts(word string) bool { return slices.Contains(r.Prompt, word) }

// A PageError is an authorization request that must not be answered by a
// redirect, because client or redirect URI cannot be trusted (RFC 6749 §4.1.2.1).
type PageError struct{ Message string }

func (e *PageError) Error() string { return e.Message }

// maxRequest is more than any honest request has. Whatever one holds is kept as
// long as a flow, and anybody can send one.
const maxRequest = 8 << 10

// size is how much text is in a request.
func size(params url.Values) int {
	n := 0
	for name, values := range params {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// place checks what decides where answers go. Its errors are for a page.
func place(c *store.Client, params url.Values) (uri string, given bool, err error) {
	if len(params[oauth.ParamRedirectURI]) > 1 {
		return "", false, &PageError{"The request names more than one place to return to."}
	}
	uri = params.Get(oauth.ParamRedirectURI)
	if uri == "" {
		if len(c.RedirectURIs) != 1 {
			return "", false, &PageError{"The request does not say where to return to (redirect_uri)."}
		}
		return c.RedirectURIs[0], false, nil
	}
	if !client.RedirectOK(c, uri) {
		return "", false, &PageError{"The request wants to return to an address that " + c.Name + " has not registered (redirect_uri)."}
	}
	return uri, true, nil
}

// read checks the rest of the request; its errors go to the redirect URI.
func read(c *store.Client, params url.Values) (*request, error) {
	for name, values := range params {
		if len(values) > 1 && name != oauth.ParamResource && name != oauth.ParamAudience {
			return nil, refuse(oauth.InvalidRequest, "a parameter is there more than once: "+name)
		}
	}
	r := &request{
		ClientID: c.ID, State: params.Get(oauth.ParamState), Nonce: params.Get(oauth.ParamNonce),
		LoginHint: params.Get(oauth.ParamLoginHint), KeyID: params.Get(oauth.ParamDPoPThumbprint),
	}
	switch {
	case params.Get(oauth.ParamRequest) != "":
		return nil, refuse(oauth.RequestNotSupported, "request objects are not offered here")
	case params.Get(oauth.ParamRequestURI) != "":
		return nil, refuse(oauth.RequestURINotSupported, "request_uri is not offered here")
	case params.Get(oauth.ParamResponseType) == "":
		return nil, refuse(oauth.InvalidRequest, "response_type is missing")
	case params.Get(oauth.ParamResponseType) != oauth.ResponseCode:
		return nil, refuse(oauth.UnsupportedResponseType, "the only response_type is code")
	case params.Get(oauth.ParamResponseMode) != "" && params.Get(oauth.ParamResponseMode) != oauth.ModeQuery:
		return nil, refuse(oauth.InvalidRequest, "the only response_mode is query")
	case !slices.Contains(c.GrantTypes, oauth.GrantCode):
		return nil, refuse(oauth.UnauthorizedClient, "this client may not use authorization_code")
	case r.KeyID != "" && !hash(r.KeyID):
		return nil, refuse(oauth.InvalidRequest, "dpop_jkt is not a SHA-256 hash in base64url")
	}
	if err := r.readChallenge(params); err != nil {
		return nil, err
	}
	if err := r.readPrompt(params); err != nil {
		return nil, err
	}
	want, err := askedScope(params)
	if err != nil {
		return nil, err
	}
	if len(want) == 0 {
		want = scope.Set(c.Scope).Intersect(scope.Set(c.Scope)) // all it may have
	}
	if !scope.Set(c.Scope).Contains(want) {
		return nil, refuse(oauth.InvalidScope, "a scope that this client may not ask for")
	}
	r.Scope = want
	r.Resources, err = targets(params)
	return r, err
}

// readChallenge wants PKCE S256 of every client. RFC 7636 §4.3: an omitted
// method means plain, which is refused.
func (r *request) readChallenge(params url.Values) error {
	r.Challenge = params.Get(oauth.ParamCodeChallenge)
	switch {
	case r.Challenge == "":
		return refuse(oauth.InvalidRequest, "code_challenge is missing: every client uses PKCE with S256")
	case params.Get(oauth.ParamCodeMethod) != oauth.MethodS256:
		return refuse(oauth.InvalidRequest, "code_challenge_method must be S256")
	case !hash(r.Challenge):
		return refuse(oauth.InvalidRequest, "code_challenge is not a SHA-256 hash in base64url")
	}
	return nil
}

// readPrompt reads prompt and max_age (OIDC Core §3.1.2.1).
func (r *request) readPrompt(params url.Values) error {
	r.Prompt = strings.Fields(params.Get(oauth.ParamPrompt))
	if r.prompts(oauth.PromptNone) && len(r.Prompt) > 1 {
		return refuse(oauth.InvalidRequest, "prompt=none stands alone")
	}
	if text := params.Get(oauth.ParamMaxAge); text != "" {
		age, err := strconv.ParseInt(text, 10, 32)
		if err != nil || age < 0 {
			return refuse(oauth.InvalidRequest, "max_age is not a number of seconds")
		}
		r.MaxAge = &age
	}
	return nil
}

// hash reports whether s has the form of a SHA-256 hash in base64url.
func hash(s string) bool {
	if len(s) != 43 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// A verdict is what an authorization request needs next.
type verdict int

const (
	needLogin verdict = iota
	needConsent
	denied
	issueCode
)

// judgeAuthorize decides what comes next. s is nil when nobody is signed in.
// Under prompt=none, where no page may be shown, what is needed becomes the
// refusal that says so.
func judgeAuthorize(r *request, c *store.Client, s *store.Session, f *store.Flow, now time.Time) (verdict, error) {
	v := judgePerson(r, c, s, f, now)
	if !r.prompts(oauth.PromptNone) {
		return v, nil
	}
	switch v {
	case needLogin:
		return v, refuse(oauth.LoginRequired, "nobody is signed in, or not recently enough")
	case needConsent:
		return v, refuse(oauth.ConsentRequired, "the person has to be asked")
	}
	return v, nil
}

func judgePerson(r *request, c *store.Client, s *store.Session, f *store.Flow, now time.Time) verdict {
	if s == nil {
		return needLogin
	}
	signedInHere := !s.AuthTime.Before(f.Created) // the sign-in answered this very request
	switch {
	case (r.prompts(oauth.PromptLogin) || r.prompts(oauth.PromptSelect)) && !signedInHere:
		return needLogin
	case r.MaxAge != nil && !signedInHere && now.Sub(s.AuthTime) >= time.Duration(*r.MaxAge)*time.Second:
		return needLogin
	case f.Consent == "denied":
		return denied
	case f.Consent == "allowed" && f.ConsentSession == s.ID:
		return issueCode
	case consentNeeded(r, c):
		return needConsent
	}
	return issueCode
}

// consentNeeded is false only for a client that an operator marked first-party,
// with an https redirect, and nothing in the request that outlives the session
// or administers.
func consentNeeded(r *request, c *store.Client) bool {
	return !c.FirstParty || !strings.HasPrefix(r.RedirectURI, "https://") ||
		r.prompts(oauth.PromptConsent) || r.Scope.Has(oauth.ScopeOffline) || len(r.Scope.Intersect(adminScopes)) > 0
}
