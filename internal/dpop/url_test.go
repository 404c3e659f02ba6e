package dpop

import "testing"

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		"https://api.example":                       "https://api.example/",
		"https://api.example/":                      "https://api.example/",
		"https://api.example?a=b":                   "https://api.example/",
		"https://api.example#f":                     "https://api.example/",
		"HTTPS://API.Example:443/a/B?c=d#e":         "https://api.example/a/B",
		"https://api.example:/a":                    "https://api.example/a",
		"https://api.example:80/a":                  "https://api.example:80/a",
		"http://api.example:80/a":                   "http://api.example/a",
		"http://api.example:443/a":                  "http://api.example:443/a",
		"http://[::1]:80/":                          "http://[::1]/",
		"http://[::443]/":                           "http://[::443]/",
		"http://127.0.0.1:8403/a//b":                "http://127.0.0.1:8403/a//b",
		"https://api.example/a%2Fb":                 "https://api.example/a%2Fb",
		"https://api.example/a%2fb":                 "https://api.example/a%2fb",
		"https://api.example/...":                   "https://api.example/...",
		"https://api.example/a?b=/../":              "https://api.example/a",
		"https://api.example/a?redirect=http://x/y": "https://api.example/a",
	} {
		if got, err := target(in); err != nil || got != want {
			t.Errorf("target(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "/", "api.example/a", "//api.example/a", "https:", "https:/api.example", "https://", "https:///a", "https://:443/a",
		"ftp://api.example/a", "wss://api.example/a", "https://user@api.example/a", "https://api.example@evil.example/a",
		"https://api.example/a b", "https://api.example/\n", "https://\u212aapi.example/", "https://api.example/é", "\x00",
		"https://api.example/./a", "https://api.example/a/..", "https://api.example/../a", "https://api.example/.",
		"https://api.example/%2e/a", "https://api.example/a/%2E%2e/b", "https://api.example/.%2e",
		"x?https://api.example/a", "#https://api.example/a",
	} {
		if got, err := target(in); err == nil {
			t.Errorf("target(%q) = %q, want an error", in, got)
		}
	}
}
