package gateway

import (
	"net/url"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, path := range []string{
		"/", "/orders", "/orders/", "/orders/7/items", "/a.b", "/..a", "/a..", "/...", "/.hidden", "/~me",
		"/a@b.example", "/a%40b.example", "/a,b:c=d&e+f!$'()*", "/caf%C3%A9", "/two%20words", "/100%25", "/50%25-off", "/%7B%7D%7C",
	} {
		if !canonical(path) {
			t.Errorf("canonical(%q) = false, want true", path)
		}
	}
	for _, path := range []string{
		"", "orders", "*", "http:opaque",
		"//orders", "/orders//7", "/orders//", "/./orders", "/orders/.", "/orders/..", "/orders/../admin", "/../etc",
		"/%2e%2e/admin", "/%2E%2E/admin", "/.%2e/admin", "/orders/%2e", "/%6frders", "/%6Frders", "/orders%2F7", "/orders%2f7", "/orders%5C..%5Cadmin", `/orders\..\admin`,
		"/orders;v=1", "/..;/admin", "/orders%3Bv=1", "/orders%00", "/orders%0d%0aX:%20y", "/orders%0A", "/orders%7F", "/orders\x00", "/orders\n", "/orders \t",
		"/%c3%A9", "/%C3%a9", "/100%", "/100%2", "/%zz", "/%252e%252e/admin", "/%252F", "/%25u002e", "/%2541", "/caf\xc3\xa9",
	} {
		if canonical(path) {
			t.Errorf("canonical(%q) = true, want false", path)
		}
	}
}

// FuzzCanonical holds to the promise that a canonical path has one reading:
// what a server decodes has the segments that were seen, decoding it once more
// changes none of them, and cleaning changes nothing.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"/orders/7", "/a%40b", "/%2e%2e/x", "/100%25", "/%252e", "/..;/x", "/a//b", "/caf%C3%A9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !canonical(u.EscapedPath()) {
			return
		}
		for _, path := range []string{u.EscapedPath(), u.Path, unescape(u.Path)} {
			if got, want := strings.Count(path, "/"), strings.Count(u.EscapedPath(), "/"); got != want {
				t.Errorf("%q: read as %q it has %d segments, want %d", target, path, got, want)
			}
			if strings.ContainsAny(path, "\\;\x00\r\n") {
				t.Errorf("%q: read as %q it has a character of another meaning", target, path)
			}
			for segment := range strings.SplitSeq(path, "/") {
				if segment == "." || segment == ".." {
					t.Errorf("%q: read as %q it has a dot segment", target, path)
				}
			}
		}
	})
}

func unescape(s string) string {
	if once, err := url.PathUnescape(s); err == nil {
		return once
	}
	return s
}

func TestFind(t *testing.T) {
	list := &tree{routes: make(map[string]*route)}
	for _, path := range []string{"/orders", "/orders/admin", "/Stock", "/a/b/c/d"} {
		list.add(&route{Route: Route{Path: path}})
	}
	all := &tree{routes: make(map[string]*route)}
	for _, path := range []string{"/", "/orders", "/kelvin", "/s"} {
		all.add(&route{Route: Route{Path: path}})
	}
	for _, c := range []struct {
		tree       *tree
		path, want string
	}{
		{list, "/orders", "/orders"},
		{list, "/orders/", "/orders"},
		{list, "/orders/7", "/orders"},
		{list, "/orders/7/" + strings.Repeat("x/", 5000), "/orders"},
		{list, "/orders2", ""},
		{list, "/order", ""},
		{list, "/", ""},
		{list, "/orders/admin", "/orders/admin"},
		{list, "/orders/admin/x", "/orders/admin"},
		{list, "/orders/administration", "/orders"},
		{list, "/orders/what?", "/orders"},
		{list, "/orders/7#8/9?", "/orders"},
		{list, "/orders/admin/?x", "/orders/admin"},
		{list, "/orders/admin?x", ""}, // decoded and passed on, it would be /orders/admin
		{list, "/orders/admin#x", ""},
		{list, "/orders/Admin#x", ""},
		{list, "/orders?", ""},
		{list, "/orders/Admin", ""}, // a server that ignores case would serve it by the weaker rule
		{list, "/ORDERS/admin", ""},
		{list, "/Orders", ""},
		{list, "/Stock/1", "/Stock"},
		{list, "/stock/1", ""},
		{list, "/a/b/c", ""},
		{list, "/a/b/c/d/e", "/a/b/c/d"},
		{list, "/orders/\xff", ""},
		{all, "/", "/"},
		{all, "/else", "/"},
		{all, "/what?", "/"},
		{all, "/?", "/"},
		{all, "/orders?x", ""},
		{all, "/Else", "/"},
		{all, "/orders2", "/"},
		{all, "/Orders", ""},
		{all, "/OrderS/7", ""},
		{all, "/\u212Aelvin", ""}, // the Kelvin sign
		{all, "/\u017F", ""},      // the long s
	} {
		got := ""
		if r := c.tree.find(c.path); r != nil {
			got = r.Path
		}
		if got != c.want {
			t.Errorf("find(%.40q) = %q, want %q", c.path, got, c.want)
		}
	}
}

func TestHostOf(t *testing.T) {
	for header, want := range map[string]string{
		"api.example": "api.example", "API.Example:8443": "api.example", "api.example.": "api.example", "api.example.:443": "api.example",
		"127.0.0.1:80": "127.0.0.1", "[::1]": "::1", "[::1]:8402": "::1", "[2001:DB8::1]:1": "2001:db8::1",
	} {
		if got, ok := hostOf(header); !ok || got != want {
			t.Errorf("hostOf(%q) = %q, %v, want %q", header, got, ok, want)
		}
	}
	for _, header := range []string{"", ":80", "a b", "a/b", "a@b", "a\x00", "[::1", "[::1]x", "[::1]:x", "api.example:80:evil", "api.example:evil.example", "::1", "api.example,evil.example", "<a>"} {
		if got, ok := hostOf(header); ok {
			t.Errorf("hostOf(%q) = %q, want it refused", header, got)
		}
	}
}
