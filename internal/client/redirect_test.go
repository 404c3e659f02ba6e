package client

import (
	"testing"

	"github.com/writ-auth/writ/internal/store"
)

func TestRedirectOK(t *testing.T) {
	c := &store.Client{RedirectURIs: []string{
		"https://app.example/cb", "https://app.example/cb?tenant=1", "http://127.0.0.1/cb", "http://[::1]:9000/cb",
		"http://localhost:7000/cb", "com.example.app:/cb",
	}}
	for uri, want := range map[string]bool{
		"https://app.example/cb":          true,
		"https://app.example/cb?tenant=1": true,
		"com.example.app:/cb":             true,
		"http://localhost:7000/cb":        true,
		"http://127.0.0.1:51234/cb":       true,
		"http://127.0.0.1/cb":             true,
		"http://[::1]:1/cb":               true,

		"":                                  false,
		"https://app.example/cb/":           false,
		"https://app.example/cb?":           false,
		"https://app.example/cb#":           false,
		"https://app.example/CB":            false,
		"https://APP.example/cb":            false,
		"https://app.example:443/cb":        false,
		"https://app.example/x/../cb":       false,
		"https://app.example/%63b":          false,
		"https://app.example/cb?tenant=2":   false,
		"https://app.example/cb?tenant=1&x": false,
		"https://app.example.evil/cb":       false,
		"https://app.example@evil/cb":       false,
		"http://app.example/cb":             false,
		"com.example.app:/cb/evil":          false,
		"http://localhost:7001/cb":          false, // a name may lead elsewhere
		"http://localhost/cb":               false,

		"http://127.0.0.1:1/cb#":               false,
		"http://127.0.0.1:1/cb#x":              false,
		"http://127.0.0.1:1/cb?":               false,
		"http://127.0.0.1:1/cb?x":              false,
		"http://127.0.0.1:1/cb/":               false,
		"http://127.0.0.1:1/%63b":              false,
		"http://127.0.0.1:1//cb":               false,
		"http://127.0.0.1:x/cb":                false,
		"http://127.0.0.1:1@evil.example/cb":   false,
		"http://evil@127.0.0.1:1/cb":           false,
		"http://127.0.0.1.evil.example/cb":     false,
		"http://127.0.0.2:1/cb":                false,
		"http://127.1:1/cb":                    false,
		"http://0x7f.0.0.1:1/cb":               false,
		"http://0.0.0.0:1/cb":                  false,
		"http://[::ffff:127.0.0.1]:1/cb":       false,
		"http://[0:0:0:0:0:0:0:1]:1/cb":        false,
		"http://[::1%25lo]:1/cb":               false,
		"http:127.0.0.1:1/cb":                  false,
		"http:/127.0.0.1:1/cb":                 false,
		"http://127.0.0.1:1\\@evil.example/cb": false,
		"http://127.0.0.1:1/cb\r\nX: y":        false,
		" http://127.0.0.1:1/cb":               false,
		"https://127.0.0.1:1/cb":               false,
		"//127.0.0.1:1/cb":                     false,
	} {
		if got := RedirectOK(c, uri); got != want {
			t.Errorf("RedirectOK(%q) = %v, want %v", uri, got, want)
		}
	}
}
