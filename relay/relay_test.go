package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	issuerURL = "https://as.example"
	secret    = "s3cr&t:p%ss"
)

// trip is a RoundTripper made of a function.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerWith(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

// issuer is an authorization server without a network. Fields are set before
// it is used.
type issuer struct {
	metadata string // "": a right one
	answer   func(ctx context.Context, form url.Values, n int) (int, string, error)

	mu     sync.Mutex
	forms  []url.Values // guarded by mu
	header http.Header  // guarded by mu; of the last token request
	reads  int          // guarded by mu; of the metadata
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.URL.String() {
	case issuerURL + "/.well-known/oauth-authorization-server":
		i.mu.Lock()
		defer i.mu.Unlock()
		i.reads++
		body := i.metadata
		if body == "" {
			body = `{"issuer":"` + issuerURL + `","token_endpoint":"` + issuerURL + `/token"}`
		}
		return answerWith(r, 200, body), nil
	case issuerURL + "/token":
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(text))
		if err != nil {
			return nil, err
		}
		i.mu.Lock()
		i.forms, i.header = append(i.forms, form), r.Header
		n := len(i.forms)
		i.mu.Unlock()
		status, body, err := i.answer(r.Context(), form, n)
		if err != nil {
			return nil, err
		}
		return answerWith(r, status, body), nil
	}
	return nil, fmt.Errorf("the issuer was asked for %s", r.URL)
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.forms)
}

// good answers with token-1, token-2, … living for life.
func good(life time.Duration) func(context.Context, url.Values, int) (int, string, error) {
	return func(_ context.Context, _ url.Values, n int) (int, string, error) {
		return 200, tokenAnswer(fmt.Sprintf("token-%d", n), life), nil
	}
}

func tokenAnswer(token string, life time.Duration) string {
	text, err := json.Marshal(map[string]any{"access_token": token, "token_type": "bearer", "expires_in": int(life.Seconds()),
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func newClient(t *testing.T, i *issuer, now func() time.Time) *Client {
	t.Helper()
	c, err := New(Config{Issuer: issuerURL, ClientID: "orders service", Secret: secret, HTTPClient: &http.Client{Transport: i}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// service records the requests it is sent and answers with status.
type service struct {
	status int
	seen   []*http.Request
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.seen = append(s.seen, r)
	res := answerWith(r, s.status, "")
	if s.status == http.StatusFound {
		res.Header.Set("Location", "https://evil.example/")
	}
	return res, nil
}

var stock = Target{Resource: "https://stock.example/v1", Scopes: []string{"stock:read", "stock:hold"}}

func get(t *testing.T, rt http.RoundTripper, target string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: rt}).Do(req)
	if err == nil {
		res.Body.Close()
	}
	return res, err
}

func TestNewRefuses(t *testing.T) {
	ok := Config{Issuer: issuerURL, ClientID: "c", Secret: "s"}
	for name, change := range map[string]func(*Config){
		"no issuer":              func(c *Config) { c.Issuer = "" },
		"no URL":                 func(c *Config) { c.Issuer = "as.example" },
		"http beyond loopback":   func(c *Config) { c.Issuer = "http://as.example" },
		"http to a look-alike":   func(c *Config) { c.Issuer = "http://127.0.0.1.evil.example" },
		"other scheme":           func(c *Config) { c.Issuer = "ftp://as.example" },
		"query":                  func(c *Config) { c.Issuer = issuerURL + "?a" },
		"password in the issuer": func(c *Config) { c.Issuer = "https://u:p@as.example" },
		"no client":              func(c *Config) { c.ClientID = "" },
		"no secret":              func(c *Config) { c.Secret = "" },
	} {
		cfg := ok
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error, want one", name)
		}
	}
	for _, issuer := range []string{issuerURL, "http://127.0.0.1:8400", "http://[::1]:8400", "http://localhost:8400"} {
		cfg := ok
		cfg.Issuer = issuer
		if _, err := New(cfg); err != nil {
			t.Errorf("issuer %s: error %v, want none", issuer, err)
		}
	}
	cfg := ok
	cfg.Issuer, cfg.InsecureHTTP = "http://as.example", true
	if _, err := New(cfg); err != nil {
		t.Errorf("InsecureHTTP: error %v, want none", err)
	}
}

func TestTargetRefuses(t *testing.T) {
	c := newClient(t, &issuer{answer: good(time.Hour)}, nil)
	for name, target := range map[string]Target{
		"no resource":          {},
		"relative resource":    {Resource: "/stock"},
		"fragment":             {Resource: "https://stock.example/#a"},
		"empty fragment":       {Resource: "https://stock.example/#"},
		"scope with a space":   {Resource: "https://stock.example", Scopes: []string{"a  b"}},
		"URN without origin":   {Resource: "urn:example:stock"},
		"origin with a path":   {Resource: "https://stock.example", Origins: []string{"https://stock.example/v1"}},
		"origin with a user":   {Resource: "https://stock.example", Origins: []string{"https://a@stock.example"}},
		"origin without host":  {Resource: "https://stock.example", Origins: []string{"https://"}},
		"origin of other kind": {Resource: "https://stock.example", Origins: []string{"ftp://stock.example"}},
	} {
		s := &service{status: 200}
		if _, err := get(t, c.AsSelf(target, s), "https://stock.example/"); err == nil || len(s.seen) > 0 {
			t.Errorf("%s: error %v after %d requests, want one and none", name, err, len(s.seen))
		}
	}
}

func TestAsSelf(t *testing.T) {
	i := &issuer{answer: good(time.Hour)}
	c := newClient(t, i, nil)
	s := &service{status: 200}
	rt := c.AsSelf(stock, s)
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://STOCK.example:443/v1/items", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["authorization"] = []string{"Basic b3V0ZXI="} // spelled as no canonical map would
		req.Header.Set("Authorization", "Bearer outer")
		req.Header.Set("Accept", "text/plain")
		res, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := req.Header.Get("Authorization"); got != "Bearer outer" {
			t.Errorf("the caller's request was changed: Authorization = %q", got)
		}
	}
	for _, r := range s.seen {
		var got []string
		for name, values := range r.Header {
			if strings.EqualFold(name, "Authorization") {
				got = append(got, values...)
			}
		}
		if len(got) != 1 || got[0] != "Bearer token-1" {
			t.Errorf("Authorization = %q, want Bearer token-1 alone", got)
		}
		if got := r.Header.Get("Accept"); got != "text/plain" {
			t.Errorf("Accept = %q, want it kept", got)
		}
	}
	if len(i.forms) != 1 {
		t.Fatalf("token requests = %d, want 1", len(i.forms))
	}
	want := url.Values{"grant_type": {"client_credentials"}, "resource": {stock.Resource}, "scope": {"stock:hold stock:read"}}
	if got := i.forms[0].Encode(); got != want.Encode() {
		t.Errorf("form = %s, want %s", got, want.Encode())
	}
	// RFC 6749 §2.3.1: form-encoded first, so that a colon in the secret is harmless.
	r := http.Request{Header: i.header}
	if user, password, _ := r.BasicAuth(); user != "orders+service" || password != "s3cr%26t%3Ap%25ss" {
		t.Errorf("credentials = %q %q, want both form-encoded", user, password)
	}
}

func TestTokenGoesNowhereElse(t *testing.T) {
	c := newClient(t, &issuer{answer: good(time.Hour)}, nil)
	for _, target := range []string{
		"https://evil.example/", "http://stock.example/", "https://stock.example:8443/",
		"https://stock.example.evil.example/", "https://stock.example@evil.example/",
	} {
		s := &service{status: 200}
		if _, err := get(t, c.AsSelf(stock, s), target); err == nil || len(s.seen) > 0 {
			t.Errorf("%s: error %v after %d requests, want one and none", target, err, len(s.seen))
		}
	}
	moved := stock
	moved.Origins = []string{"http://127.0.0.1:8403"}
	s := &service{status: 200}
	if _, err := get(t, c.AsSelf(moved, s), "http://127.0.0.1:8403/v1"); err != nil {
		t.Errorf("a listed origin: %v", err)
	}
	if _, err := get(t, c.AsSelf(moved, s), "https://stock.example/v1"); err == nil {
		t.Error("the resource's own origin was called although Origins names another")
	}
}

func TestRedirectElsewhereIsAnError(t *testing.T) {
	c := newClient(t, &issuer{answer: good(time.Hour)}, nil)
	s := &service{status: http.StatusFound}
	_, err := get(t, c.AsSelf(stock, s), "https://stock.example/v1")
	if err == nil || !strings.Contains(err.Error(), "evil.example") {
		t.Errorf("error = %v, want one that names the other origin", err)
	}
	if len(s.seen) != 1 {
		t.Errorf("requests = %d, want 1: the redirect must not be followed", len(s.seen))
	}
}

func TestRefusedTokenIsDropped(t *testing.T) {
	i := &issuer{answer: good(time.Hour)}
	c := newClient(t, i, nil)
	s := &service{status: http.StatusUnauthorized}
	rt := c.AsSelf(stock, s)
	for range 2 {
		if _, err := get(t, rt, "https://stock.example/v1"); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.seen) != 2 {
		t.Errorf("requests = %d, want 2: nothing is sent twice", len(s.seen))
	}
	if got := s.seen[1].Header.Get("Authorization"); got != "Bearer token-2" {
		t.Errorf("Authorization = %q after a 401, want a new token", got)
	}
}

func TestOnBehalfNeedsCaller(t *testing.T) {
	i := &issuer{answer: good(time.Hour)}
	s := &service{status: 200}
	_, err := get(t, newClient(t, i, nil).OnBehalf(stock, s), "https://stock.example/v1")
	if !errors.Is(err, ErrNoCaller) || len(s.seen) > 0 || i.count() > 0 {
		t.Errorf("error = %v after %d calls and %d token requests, want ErrNoCaller and none", err, len(s.seen), i.count())
	}
}

func TestMetadataIsChecked(t *testing.T) {
	for name, metadata := range map[string]string{
		"other issuer":     `{"issuer":"https://as.example/","token_endpoint":"https://as.example/token"}`,
		"no issuer":        `{"token_endpoint":"https://as.example/token"}`,
		"no endpoint":      `{"issuer":"https://as.example"}`,
		"endpoint in http": `{"issuer":"https://as.example","token_endpoint":"http://as.example/token"}`,
		"loopback in http": `{"issuer":"https://as.example","token_endpoint":"http://127.0.0.1/token"}`,
		"no JSON":          `<html>`,
		"too long":         `{"issuer":"https://as.example","token_endpoint":"https://as.example/token","x":"` + strings.Repeat("x", maxDocument) + `"}`,
	} {
		i := &issuer{metadata: metadata, answer: good(time.Hour)}
		_, _, err := newClient(t, i, nil).Token(t.Context(), stock)
		if e, ok := errors.AsType[*Error](err); !ok || i.count() > 0 {
			t.Errorf("%s: error %v after %d token requests, want *Error and none", name, e, i.count())
		}
	}
}

func TestSecretIsNotRedirected(t *testing.T) {
	asked := 0
	c, err := New(Config{Issuer: issuerURL, ClientID: "c", Secret: secret, HTTPClient: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
		if r.Method == "GET" {
			return answerWith(r, 200, `{"issuer":"`+issuerURL+`","token_endpoint":"`+issuerURL+`/token"}`), nil
		}
		asked++
		res := answerWith(r, http.StatusTemporaryRedirect, "")
		res.Header.Set("Location", "https://evil.example/token")
		return res, nil
	})}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Token(t.Context(), stock); err == nil || asked != 1 {
		t.Errorf("error %v after %d token requests, want one and 1", err, asked)
	}
}

func TestAnswersThatDoNotFit(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":       "token",
		"no token":      `{"token_type":"Bearer","expires_in":60}`,
		"line break":    `{"access_token":"a\r\nX-User: admin","token_type":"Bearer","expires_in":60}`,
		"DPoP token":    `{"access_token":"a","token_type":"DPoP","expires_in":60}`,
		"no token type": `{"access_token":"a","expires_in":60}`,
		"wider scope":   `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"stock:read admin:write"}`,
		"too long":      `{"access_token":"` + strings.Repeat("a", maxAnswer) + `","token_type":"Bearer","expires_in":60}`,
	} {
		i := &issuer{answer: func(context.Context, url.Values, int) (int, string, error) { return 200, body, nil }}
		token, _, err := newClient(t, i, nil).Token(t.Context(), stock)
		if e, ok := errors.AsType[*Error](err); !ok || token != "" || strings.Contains(e.Error(), "admin") {
			t.Errorf("%s: token %q, error %v, want *Error that does not quote the answer", name, token, err)
		}
	}
}

func TestErrorSaysWhatTheIssuerSaid(t *testing.T) {
	i := &issuer{answer: func(context.Context, url.Values, int) (int, string, error) {
		return 400, `{"error":"invalid_target","error_description":"not\nfor you` + strings.Repeat(".", 500) + `"}`, nil
	}}
	_, _, err := newClient(t, i, nil).Token(t.Context(), stock)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error = %v, want *Error", err)
	}
	if e.Code != "invalid_target" || e.Status != 400 || e.Unavailable() {
		t.Errorf("error = %+v, want invalid_target 400, not unavailable", e)
	}
	if len(e.Description) != 200 || !strings.HasPrefix(e.Description, "not?for you") {
		t.Errorf("description = %q, want 200 printable characters", e.Description)
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	cfg := Config{Issuer: issuerURL, ClientID: "c", Secret: secret, HTTPClient: &http.Client{Transport: &issuer{answer: good(time.Hour)}}}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Token(t.Context(), stock); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, cfg, &cfg, c)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("relay", "config", cfg, "client", c)
	}
	for _, word := range []string{secret, "s3cr", "token-1"} {
		if strings.Contains(out.String(), word) {
			t.Errorf("%q is printed:\n%s", word, out.String())
		}
	}
}
