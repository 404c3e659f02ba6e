package gateway

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// lies are headers that some server or framework takes for a verified identity,
// another path or method, the client's address, or, with an underscore in them,
// the end of the request: the true length and encoding stand elsewhere, and the
// transport writes them anew. From outside they go, on every route. They are
// spelled as normal spells them and ordered by their first letter; a star ends
// those that are the beginning of a name.
var lies = [...][]string{
	'a': {"authorization"},
	'c': {"client-cert*", "cf-access-*", "cf-connecting-*", "content-length"},
	'd': {"dpop"},
	'f': {"forwarded", "fastly-client-*", "fly-client-ip"},
	'i': {"iv-user", "iv-groups", "iv-creds"},
	'm': {"mellon-*"},
	'o': {"oidc-*", "oauth-client-attestation*"},
	'p': {"proxy", "proxy-*"},
	'r': {"remote-*"},
	's': {"ssl-client-*", "shib-*", "sm-user"},
	't': {"txn-token", "tailscale-user-*", "teleport-jwt-*", "true-client-ip", "transfer-encoding"},
	'w': {"workload-*"},
	'x': {
		"x-user*", "x-auth*", "x-forwarded*", "x-remote-*", "x-identity-*", "x-claims-*", "x-jwt*", "x-webauth-*",
		"x-email", "x-group", "x-groups", "x-role", "x-roles", "x-access-token", "x-id-token",
		"x-consumer-*", "x-anonymous-consumer", "x-credential-*", "x-oidc-*", "x-openid-*", "x-vouch-*", "x-pomerium-*", "x-hasura-*",
		"x-ssl-*", "x-client-cert*", "x-client-dn*", "x-client-verify*",
		"x-amzn-oidc-*", "x-goog-authenticated-*", "x-goog-iap-*", "x-appengine-user-*", "x-apigateway-api-userinfo",
		"x-endpoint-api-userinfo", "x-ms-client-principal*", "x-ms-token-*", "x-envoy-*",
		"x-original-*", "x-rewrite-*", "x-http-method*", "x-method-override",
		"x-real-ip", "x-client-ip", "x-cluster-client-ip",
	},
}

// strip removes what only the gateway may say, and the client's own proofs.
func strip(h http.Header) {
	var buf [64]byte
	for name := range h {
		if lie(normal(buf[:0], name)) {
			delete(h, name)
		}
	}
}

func lie(name []byte) bool {
	if len(name) == 0 || int(name[0]) >= len(lies) {
		return false
	}
	for _, entry := range lies[name[0]] {
		beginning, more := strings.CutSuffix(entry, "*")
		if len(name) < len(beginning) || !more && len(name) > len(beginning) {
			continue
		}
		if string(name[:len(beginning)]) == beginning {
			return true
		}
	}
	return false
}

// normal appends name as CGI and its heirs would understand it: they take
// underscores, and some dots and others, for dashes. Only as much as the
// longest entry above is looked at.
func normal(dst []byte, name string) []byte {
	for i := range min(len(name), cap(dst)) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
		default:
			c = '-'
		}
		dst = append(dst, c)
	}
	return dst
}

// forwarded says to the upstream where the request came from: what in says,
// when a trusted proxy sent it, and else only what the gateway saw itself.
func forwarded(out http.Header, in *http.Request, trusted []netip.Prefix) {
	scheme := "http"
	if in.TLS != nil {
		scheme = "https"
	}
	host, client, remote := in.Host, "unknown", remoteOf(in) // RFC 7239 §6.2
	if remote.IsValid() {
		client = remote.String()
	}
	if within(remote, trusted) {
		if before := strings.Join(in.Header["X-Forwarded-For"], ", "); before != "" {
			client = before + ", " + client
		}
		if said := in.Header["X-Forwarded-Host"]; len(said) == 1 {
			if _, ok := hostOf(said[0]); ok {
				host = said[0]
			}
		}
		if said := in.Header["X-Forwarded-Proto"]; len(said) == 1 && (said[0] == "http" || said[0] == "https") {
			scheme = said[0]
		}
	}
	said := []string{client, host, scheme}
	out["X-Forwarded-For"] = said[0:1:1]
	out["X-Forwarded-Host"] = said[1:2:2]
	out["X-Forwarded-Proto"] = said[2:3:3]
}

// remoteOf is the address at the other end of the connection.
func remoteOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// stripCookies removes the issuer's cookies: host-wide as cookies are, a
// browser sends them to the gateway too when both have one host name.
func stripCookies(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if pair = textproto.TrimString(pair); pair != "" && !issuerCookie(pair) {
				kept = append(kept, pair)
			}
		}
	}
	delete(h, "Cookie")
	if len(kept) > 0 {
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

// stripSetCookies keeps an upstream from setting them, which would put its own
// session in the place of the user's.
func stripSetCookies(h http.Header) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		if !issuerCookie(textproto.TrimString(line)) {
			kept = append(kept, line)
		}
	}
	if h["Set-Cookie"] = kept; kept == nil {
		delete(h, "Set-Cookie")
	}
}

// issuerCookie reports whether a pair begins with a name of the issuer's.
// Browsers treat the prefix __Host- without regard to case, and send a cookie
// without a name back as its value alone: "=writ_8400=x" comes as writ_8400.
func issuerCookie(pair string) bool {
	pair = strings.TrimLeft(pair, "= \t")
	return hasPrefixFold(pair, "writ_") || hasPrefixFold(pair, "__Host-writ")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// withoutToken removes access_token from a query: RFC 6750 §2.3's way to send
// a token is none of ours, and upstreams and their logs are no place for it.
func withoutToken(query string) string {
	if query == "" {
		return ""
	}
	pairs := strings.Split(query, "&")
	kept := slices.DeleteFunc(pairs, tokenParameter)
	if len(kept) == len(pairs) {
		return query
	}
	return strings.Join(kept, "&")
}

func tokenParameter(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(name)
	var buf [64]byte
	return err == nil && string(normal(buf[:0], name)) == "access-token"
}
