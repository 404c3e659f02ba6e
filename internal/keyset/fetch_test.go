package keyset

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

func TestUnusableKeysAreLeftOutOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, err := newKey(t, "good").Encode()
		if err != nil {
			t.Fatal(err)
		}
		iss := newIssuer(asURL)
		iss.document = `{"keys":[
			{"kty":"AKP","kid":"pq","alg":"ML-DSA-44","pub":"AAAA"},
			{"kty":"EC","crv":"P-521","kid":"big","x":"AA","y":"AA"},
			{"kty":"oct","kid":"secret","k":"AAAA"},
			{"kty":"OKP","crv":"X25519","kid":"enc","x":"AA","use":"enc"},
			17,` + string(good) + `]}`
		s := start(t, iss.config())
		time.Sleep(time.Second)
		if got := s.State().Keys; len(got) != 1 || got[0].ID != "good" {
			t.Errorf("keys = %+v, want the good one", got)
		}
	})
}

func TestAlgorithmsOutsideTheListAreLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		cfg := iss.config()
		cfg.Algorithms = []string{jose.PS256}
		s := start(t, cfg)
		time.Sleep(time.Second)
		if got := s.State().Keys; len(got) != 0 {
			t.Errorf("keys = %+v, want none", got)
		}
	})
}

func TestMetadataMustBeTheIssuers(t *testing.T) {
	for _, c := range []struct {
		name, issuer, metadata, want string
	}{
		{"another issuer", "https://as.example", `{"issuer":"https://evil.example","jwks_uri":"https://as.example/jwks"}`, "another issuer"},
		{"a slash more", "https://as.example", `{"issuer":"https://as.example/","jwks_uri":"https://as.example/jwks"}`, "another issuer"},
		{"no issuer", "https://as.example", `{"jwks_uri":"https://as.example/jwks"}`, "another issuer"},
		{"issuer twice", "https://as.example", `{"issuer":"https://evil.example","issuer":"https://as.example","jwks_uri":"https://as.example/jwks"}`, "duplicate"},
		{"no jwks_uri", "https://as.example", `{"issuer":"https://as.example"}`, "jwks_uri"},
		{"plain http", "https://as.example", `{"issuer":"https://as.example","jwks_uri":"http://as.example/jwks"}`, "must be https"},
		{"less safe", "https://as.example", `{"issuer":"https://as.example","jwks_uri":"http://127.0.0.1/jwks"}`, "less safe"},
		{"not http", "https://as.example", `{"issuer":"https://as.example","jwks_uri":"file:///jwks"}`, "jwks_uri"},
		{"no object", "https://as.example", `[]`, "object"},
		{"loopback", "http://127.0.0.1:1", `{"issuer":"http://127.0.0.1:1","jwks_uri":"http://127.0.0.1:1/jwks"}`, ""},
		{"key host elsewhere", "https://as.example", `{"issuer":"https://as.example","jwks_uri":"https://keys.example/jwks"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				iss := newIssuer(c.issuer, newKey(t, "a"))
				iss.metadata = c.metadata
				s := start(t, iss.config())
				time.Sleep(time.Second)
				err := s.State().Err
				if c.want == "" {
					if err != nil || !s.Ready() {
						t.Errorf("error = %v, want keys", err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error = %v, want one with %q", err, c.want)
				}
				if s.Ready() {
					t.Error("keys are held all the same")
				}
			})
		})
	}
}

func TestMovedKeySetIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "a"))
		s := start(t, iss.config())
		time.Sleep(time.Second)
		b := newKey(t, "b")
		iss.change(func() { iss.jwks = "/keys/2" })
		iss.publish(b)
		s.Refresh()
		time.Sleep(time.Second)
		if s.Lookup("b") == nil {
			t.Errorf("the moved set is not held: %v", s.State().Err)
		}
	})
}

func TestRedirects(t *testing.T) {
	key := newKey(t, "a")
	set, err := jose.EncodeSet([]jose.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	serve := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s", set) }
	elsewhere := httptest.NewServer(http.HandlerFunc(serve))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", serve)
	mux.Handle("/near", http.RedirectHandler("/jwks", http.StatusFound))
	mux.Handle("/far", http.RedirectHandler(elsewhere.URL+"/jwks", http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	home := httptest.NewServer(mux)
	defer home.Close()
	for path, want := range map[string]string{"/near": "", "/far": "another origin", "/round": "too many redirects"} {
		t.Run(path, func(t *testing.T) {
			s := once(t, Config{Issuer: home.URL, URL: home.URL + path})
			switch err := s.State().Err; {
			case want == "" && err != nil:
				t.Errorf("error = %v, want none", err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want) || s.Ready()):
				t.Errorf("error = %v, want one with %q and no keys", err, want)
			}
		})
	}
}

func TestLargeDocumentIsRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"keys":[],"pad":%q}`, strings.Repeat("x", maxBody))
	}))
	defer server.Close()
	s := once(t, Config{Issuer: server.URL, URL: server.URL})
	if err := s.State().Err; err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error = %v, want the size refused", err)
	}
}

// once runs one fetch.
func once(t *testing.T, cfg Config) *Set {
	t.Helper()
	cfg.Client = &http.Client{}
	cfg.Logger = (&logs{}).logger()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.begin()
	_, err = s.fetch(t.Context())
	s.end(err)
	return s
}

func TestNewRefusesBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":       {},
		"no issuer":     {URL: "https://as.example/jwks"},
		"no URL":        {Issuer: asURL},
		"both URLs":     {Issuer: asURL, URL: "https://as.example/a", Metadata: "https://as.example/b"},
		"plain http":    {Issuer: asURL, URL: "http://as.example/jwks"},
		"relative":      {Issuer: asURL, URL: "/jwks"},
		"fragment":      {Issuer: asURL, URL: "https://as.example/jwks#a"},
		"user":          {Issuer: asURL, URL: "https://u:p@as.example/jwks"},
		"negative time": {Issuer: asURL, URL: "https://as.example/jwks", MaxAge: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for _, c := range []struct {
		url      string
		insecure bool
		ok       bool
	}{
		{"https://as.example", false, true},
		{"http://127.0.0.1:8400", false, true},
		{"http://[::1]:8400/t", false, true},
		{"http://localhost:8400", false, true},
		{"http://as.example", false, false},
		{"http://as.example", true, true},
		{"http://127.0.0.1.example", false, false},
		{"http://localhost.example", false, false},
		{"ftp://127.0.0.1", true, false},
		{"https:///path", false, false},
	} {
		if err := CheckURL(c.url, c.insecure); (err == nil) != c.ok {
			t.Errorf("CheckURL(%q, %v) = %v, want ok %v", c.url, c.insecure, err, c.ok)
		}
	}
}

// The issuer said that it withdrew a key. A cache in front of it, or a replica
// that has not heard yet, must not keep the key alive for the life of the set.
func TestRefreshSeesTheWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newKey(t, "a"), newKey(t, "b")
		for name, late := range map[string]time.Duration{"cache": 0, "replica": 300 * time.Millisecond, "slow replica": 3 * time.Second} {
			iss := newIssuer(asURL, a, b)
			iss.cache = "public, max-age=3600"
			s := start(t, iss.config())
			time.Sleep(time.Minute)
			if s.Lookup("a") == nil {
				t.Fatalf("%s: the key is not held", name)
			}
			before := iss.count()
			iss.change(func() { iss.shared = iss.document })
			s.Refresh()
			time.Sleep(late)
			iss.publish(b)
			time.Sleep(max(time.Second, 2*late) - late)
			if s.Lookup("a") != nil {
				t.Errorf("%s: the withdrawn key is held, want it gone", name)
			}
			time.Sleep(time.Hour / 2)
			if got := iss.count() - before; got != 3 {
				t.Errorf("%s: %d fetches in half an hour, want 3", name, got)
			}
		}
	})
}

func TestEndpointOfTheMetadata(t *testing.T) {
	for endpoint, want := range map[string]string{
		`"https://as.example/introspect"`: "https://as.example/introspect",
		`"http://127.0.0.1/introspect"`:   "", // less safe than the issuer
		`"file:///introspect"`:            "",
		`""`:                              "",
		`17`:                              "",
		`"https://u:p@as.example/"`:       "",
	} {
		synctest.Test(t, func(t *testing.T) {
			iss := newIssuer(asURL, newKey(t, "a"))
			iss.metadata = `{"issuer":"` + asURL + `","jwks_uri":"` + asURL + `/jwks","introspection_endpoint":` + endpoint + `}`
			cfg := iss.config()
			cfg.Member = "introspection_endpoint"
			s := start(t, cfg)
			if got := s.Endpoint(); got != "" {
				t.Errorf("endpoint before any fetch = %q", got)
			}
			time.Sleep(time.Second)
			if got := s.Endpoint(); got != want || !s.Ready() {
				t.Errorf("endpoint %s = %q, want %q, and keys all the same", endpoint, got, want)
			}
		})
	}
}
