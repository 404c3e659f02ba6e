package gateway

import (
	"strings"
	"unicode/utf8"
)

// canonical reports whether a path, as url.URL.EscapedPath spells it, is one
// that every reader reads alike. Servers behind a gateway differ in whether
// they decode twice, fold "//" and "..", cut ";params" or take "\" for "/", so
// a path with any of these is none of ours: with one spelling a resource, no
// spelling goes around its rule.
func canonical(escaped string) bool {
	if escaped == "" || escaped[0] != '/' {
		return false
	}
	for i := 0; i < len(escaped); i++ {
		switch c := escaped[i]; {
		case c == '/':
			if oddSegment(escaped[i+1:]) {
				return false
			}
		case c == ';' || c == '\\' || c <= ' ' || c >= 0x7f:
			return false
		case c == '%':
			if !plainOctet(escaped[i+1:]) {
				return false
			}
			i += 2
		}
	}
	return true
}

// oddSegment reports whether the first segment of rest is ".", "..", or empty
// without being the end of the path.
func oddSegment(rest string) bool {
	segment, _, more := strings.Cut(rest, "/")
	return segment == "." || segment == ".." || segment == "" && more
}

// plainOctet judges what follows a percent sign. RFC 3986 §2.1 and §2.3: the
// digits are upper-case and unreserved characters are not encoded at all.
// Beyond that, nothing that has a meaning in some server's paths comes encoded,
// and no encoded percent sign begins an encoding of its own.
func plainOctet(rest string) bool {
	if len(rest) < 2 {
		return false
	}
	high, ok := hex(rest[0])
	low, ok2 := hex(rest[1])
	if !ok || !ok2 {
		return false
	}
	switch c := high<<4 | low; {
	case c < ' ' || c == 0x7f || unreserved(c):
		return false
	case c == '/' || c == '\\' || c == ';':
		return false
	case c == '%':
		return len(rest) == 2 || !strings.ContainsRune("0123456789abcdefABCDEFuU", rune(rest[2]))
	}
	return true
}

// hex returns the value of an upper-case hexadecimal digit.
func hex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// A tree finds the routes of one host by path.
type tree struct {
	routes map[string]*route // by folded path
	depth  int               // segments of the longest path
}

// find returns the route with the longest path that covers path, which is
// decoded and came in canonical form; nil when there is none. The search
// ignores case, and what it finds must then cover the path as it is spelled:
// so /Orders is never left to a wider rule than the one for /orders, whatever
// the upstream makes of capitals. Nor is /orders/admin%3Fx left to /orders: a
// server that passes decoded paths on would ask the next one for /orders/admin.
func (t *tree) find(path string) *route {
	if !utf8.ValidString(path) {
		return nil
	}
	best := t.longest(fold(path))
	if best == nil || !covers(best.Path, path) {
		return nil
	}
	if cut := strings.IndexAny(path, "?#"); cut >= 0 && t.find(path[:cut]) != best {
		return nil
	}
	return best
}

// longest returns the route for a folded path.
func (t *tree) longest(folded string) *route {
	best := t.routes["/"]
	for i, segments := 1, 0; i <= len(folded) && segments < t.depth; i++ {
		if i < len(folded) && folded[i] != '/' {
			continue
		}
		if r := t.routes[folded[:i]]; r != nil {
			best = r
		}
		segments++
	}
	return best
}

// covers reports whether a route's path is path or a parent of it.
func covers(parent, path string) bool {
	if parent == "/" {
		return true
	}
	return strings.HasPrefix(path, parent) && (len(path) == len(parent) || path[len(parent)] == '/')
}

// fold makes paths equal that differ only in case. Upper case comes first for
// letters like "ſ" and "K" (Kelvin), which are capitals' small forms only that way.
func fold(path string) string {
	for i := range len(path) {
		if c := path[i]; c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return strings.ToLower(strings.ToUpper(path))
		}
	}
	return path
}

// hostOf returns the host of a Host header in one spelling: lower-case,
// without port, brackets and the root's dot. It returns false for what is no
// host at all.
func hostOf(header string) (string, bool) {
	for i := range len(header) {
		if c := header[i]; !unreserved(c) && c != ':' && c != '[' && c != ']' || c == '~' {
			return "", false
		}
	}
	host, port := header, ""
	if rest, ok := strings.CutPrefix(host, "["); ok {
		if host, port, ok = strings.Cut(rest, "]"); !ok || port != "" && port[0] != ':' {
			return "", false
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		host, port, _ = strings.Cut(host, ":")
	}
	if strings.Trim(port, "0123456789") != "" { // upstreams are told of it
		return "", false
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")), host != ""
}
