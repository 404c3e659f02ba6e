package gateway

import (
	"net/http"
	"testing"
)

func TestCORSChecks(t *testing.T) {
	for name, c := range map[string]*CORS{
		"none":           {},
		"any":            {Origins: []string{"*"}},
		"null":           {Origins: []string{"null"}},
		"with a path":    {Origins: []string{"https://app.example/"}},
		"upper case":     {Origins: []string{"https://App.example"}},
		"any header":     {Origins: []string{"https://app.example"}, Headers: []string{"*"}},
		"broken header":  {Origins: []string{"https://app.example"}, Headers: []string{"A\r\nB"}},
		"several in one": {Origins: []string{"https://app.example"}, Methods: []string{"GET, POST"}},
	} {
		if _, err := c.check([]string{"GET"}); err == nil {
			t.Errorf("%s: no error, want one", name)
		}
	}
}

func TestCORSIsExact(t *testing.T) {
	c, err := (&CORS{Origins: []string{"https://app.example", "http://localhost:3000"}}).check([]string{"GET", "HEAD"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://app.example": true, "http://localhost:3000": true,
		"http://app.example": false, "https://app.example:443": false, "https://app.example.evil.example": false,
		"https://evil.example": false, "https://APP.example": false, "null": false, "": false,
	} {
		h := http.Header{"Access-Control-Allow-Credentials": {"true"}, "Access-Control-Allow-Origin": {"*"}} // an upstream's
		got := c.allow(h, http.Header{"Origin": {origin}})
		if got != want || (h["Access-Control-Allow-Origin"] != nil) != want {
			t.Errorf("origin %q: %v with %v, want %v", origin, got, h, want)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Vary") != "Origin" {
			t.Errorf("origin %q: %v, want no credentials and Vary: Origin", origin, h)
		}
	}
}
