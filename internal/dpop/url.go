package dpop

import (
	"errors"
	"strings"
)

// target is the part of a URL that htu is compared by (RFC 9449 §4.3): without
// query and fragment, with scheme and host in lower case, without the
// scheme's own port and never with an empty path (RFC 3986 §6.2.2, §6.2.3).
// The path is left as it is, byte by byte, since servers differ in what they
// take for equal; a path that names its parents has no one meaning and is
// refused.
func target(url string) (string, error) {
	if !printable(url) {
		return "", errors.New("empty or with characters no URL has")
	}
	url, _, _ = strings.Cut(url, "#")
	url, _, _ = strings.Cut(url, "?")
	scheme, rest, _ := strings.Cut(url, "://")
	scheme = strings.ToLower(scheme)
	port := ""
	switch scheme {
	case "https":
		port = ":443"
	case "http":
		port = ":80"
	default:
		return "", errors.New("not an absolute http URL")
	}
	host, path, _ := strings.Cut(rest, "/")
	host = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), port), ":")
	if host == "" || strings.IndexByte(host, '@') >= 0 {
		return "", errors.New("no host, or user information before it")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return "", errors.New("dot segment")
		}
	}
	return scheme + "://" + host + "/" + path, nil
}

// printable reports whether s is visible ASCII and not empty.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
