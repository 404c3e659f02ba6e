package oauth

import "regexp"

var domain = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// IsTrustDomain reports whether a text may name a trust domain: it looks like the
// name of a host, in lower case and without a scheme, so that it is nobody's URL.
func IsTrustDomain(name string) bool { return len(name) <= 253 && domain.MatchString(name) }
