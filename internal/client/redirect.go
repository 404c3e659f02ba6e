package client

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/writ-auth/writ/internal/store"
)

// RedirectOK reports whether uri is one of the client's registered redirect URIs,
// compared character by character (RFC 9700 §2.1). Only the port of a loopback
// redirect may differ, as native apps take a free one (RFC 8252 §7.3).
func RedirectOK(c *store.Client, uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	asked, err := url.Parse(uri)
	if err != nil || !loopback(asked) || strings.Contains(uri, "#") {
		return false
	}
	for _, registered := range c.RedirectURIs {
		u, err := url.Parse(registered)
		if err == nil && loopback(u) && withoutPort(u) == withoutPort(asked) {
			return true
		}
	}
	return false
}

// loopback reports whether u is plain http to a loopback address. The name
// localhost counts only where it was registered with the port it is asked with.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && ip != nil && ip.IsLoopback() && u.User == nil
}

func withoutPort(u *url.URL) string {
	v := *u
	v.Host = u.Hostname()
	return v.String()
}

// CheckRedirect says what is wrong with a redirect URI at registration, "" if nothing.
func CheckRedirect(uri string, native bool) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil || !u.IsAbs():
		return "is not an absolute URI"
	case u.Fragment != "" || strings.Contains(uri, "#"):
		return "has a fragment (RFC 6749 §3.1.2)"
	case u.Scheme == "https" && u.Host != "" && u.User == nil:
		return ""
	case u.Scheme == "http" && (loopback(u) || u.Hostname() == "localhost") && u.User == nil:
		return ""
	case u.Scheme == "http" || u.Scheme == "https":
		return "must be https, or http to a loopback address"
	case native && strings.Contains(u.Scheme, "."):
		return "" // RFC 8252 §7.1: a private-use scheme is a reversed domain name
	}
	return "has a scheme that is neither https nor a private-use scheme of a native app"
}

// RedirectOrigin is the source expression of a Content-Security-Policy that
// admits uri: an origin, or a private-use scheme.
func RedirectOrigin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}
