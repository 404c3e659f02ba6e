package guard

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/usage"
)

// Reasons of refusals, one for each check. They are stable: use them as labels
// of metrics. Callers are not told them.
const (
	ReasonMissing     = "missing"     // nothing was presented
	ReasonCredentials = "credentials" // more than one Authorization or Txn-Token header, or both
	ReasonSize        = "size"        // over 16 KiB
	ReasonForm        = "form"        // no compact JWS
	ReasonHeader      = "header"      // no usable JOSE header; crit and b64 included
	ReasonType        = "type"        // typ is not that of the tokens that this header carries
	ReasonAlgorithm   = "algorithm"   // not allowed, or not the key's
	ReasonClaims      = "claims"      // malformed, or a required one is missing
	ReasonIssuer      = "issuer"      // another issuer's
	ReasonKey         = "key"         // the issuer publishes no such key
	ReasonSignature   = "signature"   // does not verify
	ReasonMandate     = "mandate"     // a transaction token says more than its gateway may
	ReasonExpired     = "expired"     // exp has passed
	ReasonEarly       = "early"       // nbf or iat lies ahead
	ReasonAudience    = "audience"    // for another resource
	ReasonBinding     = "binding"     // cnf, scheme and what was shown do not match
	ReasonUnbound     = "unbound"     // the route wants a bound token
	ReasonProof       = "proof"       // the DPoP proof is missing or wrong
	ReasonReplay      = "replay"      // the DPoP proof was used before
	ReasonRevoked     = "revoked"     // ended
	ReasonStepUp      = "step_up"     // asked to authenticate again
	ReasonScope       = "scope"       // a scope is missing
	ReasonACR         = "acr"         // authenticated in another way than the route wants
	ReasonAge         = "age"         // authenticated longer ago than the route wants
	ReasonNoKeys      = "no_keys"     // no keys of the issuer are held
	ReasonNoFeed      = "no_feed"     // no revocation state was ever received
	ReasonStale       = "stale"       // the revocation state is too old
)

func reasons() []string {
	return []string{
		ReasonMissing, ReasonCredentials, ReasonSize, ReasonForm, ReasonHeader, ReasonType, ReasonAlgorithm,
		ReasonClaims, ReasonIssuer, ReasonKey, ReasonSignature, ReasonMandate, ReasonExpired, ReasonEarly, ReasonAudience,
		ReasonBinding, ReasonUnbound, ReasonProof, ReasonReplay, ReasonRevoked, ReasonStepUp, ReasonScope,
		ReasonACR, ReasonAge, ReasonNoKeys, ReasonNoFeed, ReasonStale,
	}
}

// answer returns status and error code for a reason (RFC 6750 §3.1, RFC 9449
// §7.1, RFC 9470 §3).
func answer(reason string) (status int, code string) {
	switch reason {
	case ReasonMissing:
		// RFC 6750 §3.1: without any authentication information, "the
		// resource server SHOULD NOT include an error code".
		return http.StatusUnauthorized, ""
	case ReasonCredentials:
		return http.StatusBadRequest, oauth.InvalidRequest
	case ReasonScope:
		return http.StatusForbidden, oauth.InsufficientScope
	case ReasonProof, ReasonReplay:
		return http.StatusUnauthorized, oauth.InvalidDPoPProof
	case ReasonStepUp, ReasonACR, ReasonAge:
		return http.StatusUnauthorized, oauth.InsufficientUserAuthentication
	case ReasonNoKeys, ReasonNoFeed, ReasonStale:
		return http.StatusServiceUnavailable, oauth.TemporarilyUnavailable
	}
	return http.StatusUnauthorized, oauth.InvalidToken
}

// detail says in words what a code says, and no more.
func detail(code string) string {
	switch code {
	case "":
		return "This resource needs an access token."
	case oauth.InvalidRequest:
		return "More than one credential was presented."
	case oauth.InsufficientScope:
		return "The access token lacks a scope that this resource needs."
	case oauth.InvalidDPoPProof:
		return "The proof of possession was not accepted."
	case oauth.InsufficientUserAuthentication:
		return "This resource needs another or a more recent authentication."
	case oauth.TemporarilyUnavailable:
		return "Access tokens cannot be verified at the moment."
	}
	return "The access token was not accepted."
}

// Refusal is one RFC 6750/9449/9470 answer. Error says why, for logs;
// ServeHTTP tells the caller no more than the RFC code, as
// application/problem+json. Neither shows the token.
type Refusal struct {
	Status     int      // 400 401 403 503
	Code       string   // invalid_token, insufficient_scope, …; "" when nothing was presented
	Challenges []string // WWW-Authenticate values; none with 503
	Reason     string   // one of the constants
	ID         string   // receipt id, also in the problem body, in the log, and in the issuer's log

	cause error
	entry *entry        // of a token whose signature was verified; nil else
	stale time.Duration // how old the revocation state was
}

// Error names the reason and what lay behind it.
func (r *Refusal) Error() string {
	if r.cause == nil {
		return "guard: refused: " + r.Reason
	}
	return "guard: refused: " + r.Reason + ": " + r.cause.Error()
}

// Unwrap returns what lay behind the refusal.
func (r *Refusal) Unwrap() error { return r.cause }

// report is what the issuer is told of it.
func (r *Refusal) report() usage.Refusal {
	out := usage.Refusal{Receipt: r.ID, Reason: r.Reason, Stale: r.stale.Milliseconds()}
	if r.cause != nil {
		out.Detail = fmt.Sprintf("%.200s", r.cause.Error())
	}
	if r.entry != nil {
		out.KeyID, out.ID = r.entry.shape.key.ID, r.entry.claims.ID
	}
	return out
}

// ServeHTTP writes the refusal (RFC 9457).
func (r *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	for _, challenge := range r.Challenges {
		h.Add("WWW-Authenticate", challenge)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if r.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(r.Status)
	// A write error means that the caller has gone.
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Error  string `json:"error,omitempty"`
		ID     string `json:"id"`
	}{"about:blank", http.StatusText(r.Status), r.Status, detail(r.Code), r.Code, r.ID})
}

// refuse counts a fault and turns it into an answer.
func (g *Guard) refuse(c credential, n *Need, f fault, e *entry) *Refusal {
	g.refusals[f.reason].Add(1)
	status, code := answer(f.reason)
	v := g.feed.View()
	r := &Refusal{
		Status: status, Code: code, Reason: f.reason, ID: rand.Text(),
		cause: f.cause, entry: e, stale: v.Age(g.cfg.Now()),
	}
	if g.usage != nil && f.reason != ReasonMissing {
		g.usage.Refused(r.report())
	}
	if status != http.StatusServiceUnavailable {
		r.Challenges = g.challenges(c.scheme, f.reason, code, n)
	}
	return r
}

// challenges returns one challenge for each scheme the route accepts. The
// error stands in that of the scheme that was used, which comes first; with
// none it stands in none.
func (g *Guard) challenges(scheme, reason, code string, n *Need) []string {
	acr, age := stepUp(reason, n)
	build := func(scheme, code, acr, age, algs string) string {
		return oauth.Challenge(scheme,
			oauth.ParamError, code,
			oauth.ParamScope, strings.Join(n.Scopes, " "),
			oauth.ParamACRValues, acr,
			oauth.ParamMaxAge, age,
			oauth.ChallengeAlgs, algs,
			oauth.ChallengeResourceMetadata, g.located)
	}
	// RFC 9449 §7.1: algs lists the algorithms of proofs.
	algs := strings.Join(jose.Algorithms(), " ")
	if scheme == oauth.DPoP {
		challenges := []string{build(oauth.DPoP, code, acr, age, algs)}
		if !n.ProofBound {
			challenges = append(challenges, build(oauth.Bearer, "", "", "", ""))
		}
		return challenges
	}
	if n.ProofBound {
		return []string{build(oauth.DPoP, code, acr, age, algs)}
	}
	return []string{build(oauth.Bearer, code, acr, age, ""), build(oauth.DPoP, "", "", "", algs)}
}

// stepUp returns what authentication would do (RFC 9470 §3). An order to
// authenticate again asks for one that has not happened yet: age 0.
func stepUp(reason string, n *Need) (acr, age string) {
	if reason != ReasonStepUp && reason != ReasonACR && reason != ReasonAge {
		return "", ""
	}
	acr = strings.Join(n.ACR, " ")
	switch {
	case reason == ReasonStepUp:
		age = "0"
	case n.MaxAge > 0:
		age = strconv.FormatInt(int64(n.MaxAge.Seconds()), 10)
	}
	return acr, age
}
