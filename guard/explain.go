package guard

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/token"
)

// An Explanation is how Verify came to its verdict on one request.
type Explanation struct {
	Checks    []Checked     // in the order in which they are made, up to the one that refuses
	Refusal   *Refusal      // nil: admitted
	Claims    *token.Claims // nil unless the signature was verified
	KeyID     string        // of the key that verified it
	Staleness time.Duration // of the revocation state
	Rules     int           // revocations that were held against the token
}

// Checked is one check and what came of it.
type Checked struct {
	Check  string // in words
	Passed bool
	Detail string // of one that failed: what lay behind it
}

// checks in the order in which a request meets them, each with its reasons to refuse.
var checks = []struct {
	words   string
	reasons []string
}{
	{"one credential, in its header", []string{ReasonMissing, ReasonCredentials}},
	{"at most 16 KiB", []string{ReasonSize}},
	{"form of a compact JWS", []string{ReasonForm}},
	{"header", []string{ReasonHeader}},
	{"type is that of its header's tokens", []string{ReasonType}},
	{"algorithm is allowed and the key's", []string{ReasonAlgorithm}},
	{"claims are whole and well formed", []string{ReasonClaims}},
	{"issuer", []string{ReasonIssuer}},
	{"key is published by the issuer", []string{ReasonKey, ReasonNoKeys}},
	{"signature", []string{ReasonSignature}},
	{"within what its gateway may mint", []string{ReasonMandate}},
	{"audience", []string{ReasonAudience}},
	{"time", []string{ReasonExpired, ReasonEarly}},
	{"bound as it was presented", []string{ReasonBinding, ReasonUnbound, ReasonProof, ReasonReplay}},
	{"revocations are known and fresh", []string{ReasonNoFeed, ReasonStale}},
	{"not revoked", []string{ReasonRevoked, ReasonStepUp}},
	{"scope", []string{ReasonScope}},
	{"authenticated in the right way", []string{ReasonACR}},
	{"authenticated recently enough", []string{ReasonAge}},
}

// Explain verifies r as Verify does, and says how it went. It spends a DPoP proof
// and counts a refusal, like Verify.
func (g *Guard) Explain(r *http.Request, n Need) Explanation {
	e, refusal := g.verify(r, &n)
	v := g.feed.View()
	out := Explanation{Refusal: refusal, Staleness: v.Age(g.cfg.Now()), Rules: v.Set.Len()}
	if refusal != nil {
		e = refusal.entry
	}
	if e != nil {
		out.Claims, out.KeyID = e.claims, e.shape.key.ID
	}
	for _, c := range checks {
		if refusal != nil && slices.Contains(c.reasons, refusal.Reason) {
			detail := strings.ReplaceAll(refusal.Reason, "_", " ")
			if refusal.cause != nil {
				detail += ": " + refusal.cause.Error()
			} else if e != nil {
				detail = cmp.Or(lacks(refusal.Reason, &n, e.claims, g.names(e.shape.kind)), detail)
			}
			out.Checks = append(out.Checks, Checked{Check: c.words, Detail: detail})
			break
		}
		out.Checks = append(out.Checks, Checked{Check: c.words, Passed: true})
	}
	return out
}

// lacks says what a check wanted and what the token has; "" where the reason says it all.
func lacks(reason string, n *Need, c *token.Claims, audience string) string {
	has := func(what string) string { return cmp.Or(what, "none") }
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch reason {
	case ReasonScope:
		return fmt.Sprintf("needs %s, has %s", strings.Join(n.Scopes, " "), has(c.Scope.String()))
	case ReasonAudience:
		return fmt.Sprintf("needs %s, has %s", audience, has(strings.Join(c.Audience, " ")))
	case ReasonExpired:
		return "expired at " + at(c.Expiry)
	case ReasonEarly:
		if c.NotBefore.After(c.IssuedAt) {
			return "not good before " + at(c.NotBefore)
		}
		return "issued at " + at(c.IssuedAt) + ", which is still to come"
	case ReasonACR:
		return fmt.Sprintf("needs one of %s, has %s", strings.Join(n.ACR, " "), has(c.ACR))
	case ReasonAge:
		if c.AuthTime.IsZero() {
			return fmt.Sprintf("needs an authentication of the last %v, does not say when it was", n.MaxAge)
		}
		return fmt.Sprintf("needs an authentication of the last %v, was at %s", n.MaxAge, at(c.AuthTime))
	}
	return ""
}
