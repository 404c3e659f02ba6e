package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/oauth"
)

// bound checks what ties a token to its holder: cnf and the scheme must say
// the same, and what cnf names must be shown.
func (g *Guard) bound(r *http.Request, c credential, e *entry, n *Need, now time.Time) fault {
	if !e.shape.bound {
		switch {
		case c.scheme == oauth.DPoP:
			return fault{ReasonBinding, errors.New("scheme DPoP, token not bound to a key")}
		case n.ProofBound:
			return fault{reason: ReasonUnbound}
		}
		return fault{}
	}
	cnf := e.claims.Confirmation
	// RFC 9449 §7.1, §7.2: a bound token must come with the scheme DPoP; as
	// Bearer it must be refused, or a thief would simply leave out the proof.
	if (c.scheme == oauth.DPoP) != (cnf.KeyThumbprint != "") {
		return fault{ReasonBinding, errors.New("scheme and cnf do not match")}
	}
	if cnf.CertThumbprint != "" && !presents(r.TLS, cnf.CertThumbprint) {
		return fault{ReasonBinding, errors.New("not the certificate of cnf")}
	}
	if cnf.KeyThumbprint != "" {
		return g.prove(r, e, cnf.KeyThumbprint, now)
	}
	return fault{}
}

// presents compares the client certificate with x5t#S256 (RFC 8705 §3).
func presents(state *tls.ConnectionState, thumbprint string) bool {
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(thumbprint)) == 1
}

// prove checks the request's proof (RFC 9449 §4.3, §7.1) and remembers it. A
// proof counts as used only once its key is known to be the token's.
func (g *Guard) prove(r *http.Request, e *entry, thumbprint string, now time.Time) fault {
	proofs := r.Header["Dpop"]
	if len(proofs) != 1 {
		return fault{ReasonProof, errors.New("want exactly one DPoP header")}
	}
	proof, err := dpop.Verify(proofs[0], dpop.Expect{
		Method:      r.Method,
		URL:         g.external(r),
		AccessToken: e.compact,
		Now:         now,
	})
	if err != nil {
		return fault{ReasonProof, err}
	}
	if subtle.ConstantTimeCompare([]byte(proof.Thumbprint), []byte(thumbprint)) == 0 {
		return fault{ReasonBinding, errors.New("proof by another key")}
	}
	if !g.replay.Fresh(proof, now) {
		return fault{reason: ReasonReplay}
	}
	return fault{}
}

// external returns the request's URL as the client sees it, without query.
func (e *engine) external(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if e.fromProxy(r.RemoteAddr) {
		if proto := single(r.Header["X-Forwarded-Proto"]); proto != "" {
			scheme = proto
		}
		if name := single(r.Header["X-Forwarded-Host"]); name != "" {
			host = name
		}
	}
	return scheme + "://" + host + r.URL.EscapedPath()
}

// fromProxy reports whether the peer's X-Forwarded headers are believed.
func (e *engine) fromProxy(remote string) bool {
	if len(e.cfg.Proxies) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	for _, prefix := range e.cfg.Proxies {
		if prefix.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// single returns a header's only value. Of several, some may be the caller's.
func single(values []string) string {
	if len(values) != 1 || strings.Contains(values[0], ",") {
		return ""
	}
	return values[0]
}
