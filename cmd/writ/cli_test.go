package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// stand is a server that answers just what a test says.
type stand struct {
	*httptest.Server
	mux  *http.ServeMux
	meta oauth.Metadata
	key  *ecdsa.PrivateKey
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{mux: http.NewServeMux()}
	s.Server = httptest.NewServer(s.mux)
	t.Cleanup(s.Close)
	s.meta = oauth.Metadata{
		Issuer: s.URL, TokenEndpoint: s.URL + "/token", AuthorizationEndpoint: s.URL + "/authorize",
		RevocationEndpoint: s.URL + "/revoke", JWKSURI: s.URL + "/jwks",
	}
	var err error
	if s.key, err = newKey(); err != nil {
		t.Fatal(err)
	}
	s.mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(s.meta)
	})
	s.mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, r *http.Request) {
		set, err := jose.EncodeSet([]jose.Key{{ID: "k1", Alg: jose.ES256, Public: s.key.Public()}})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(set)
	})
	return s
}

// mint signs a token; change spoils it.
func (s *stand) mint(t *testing.T, kid, typ string, key *ecdsa.PrivateKey, change func(*token.Claims)) string {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	c := &token.Claims{
		Issuer: s.URL, Subject: "robot", ClientID: "robot", ID: "t1", Audience: []string{"https://api.example"},
		Scope: scope.Set{"orders:read"}, IssuedAt: now, Expiry: now.Add(time.Minute),
	}
	change(c)
	payload, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jose.Sign(key, jose.ES256, jose.Header{Alg: jose.ES256, Typ: typ, KeyID: kid}.Encode(), payload)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// writ runs the command and returns its exit code and what it wrote.
func writ(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func TestShowTellsGoodFromBad(t *testing.T) {
	s := newStand(t)
	other, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	same := func(*token.Claims) {}
	tests := []struct {
		name, token, want string
		code              int
	}{
		{"good", s.mint(t, "k1", "at+jwt", s.key, same), "Good: signed by", 0},
		{"expired", s.mint(t, "k1", "at+jwt", s.key, func(c *token.Claims) { c.Expiry = c.IssuedAt.Add(-time.Hour) }), "Not good, expired: 1 h", 1},
		{"forged", s.mint(t, "k1", "at+jwt", other, same), "Not good, forged: the signature", 1},
		{"unknown key", s.mint(t, "k2", "at+jwt", s.key, same), "Not good, unknown: no key", 1},
		{"ID token", s.mint(t, "k1", "JWT", s.key, same), "Not good, wrong: its type is \"JWT\"", 1},
		{"foreign", s.mint(t, "k1", "at+jwt", s.key, func(c *token.Claims) { c.Issuer = "https://evil.example" }), "Not good, foreign: it is from https://evil.example", 1},
		{"not yet", s.mint(t, "k1", "at+jwt", s.key, func(c *token.Claims) { c.NotBefore = c.IssuedAt.Add(time.Hour); c.Expiry = c.NotBefore.Add(time.Hour) }), "Not good, wrong:", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := writ(t, tt.token, "token", "show", "--server", s.URL)
			if code != tt.code || !strings.Contains(out, tt.want) || errs != "" {
				t.Errorf("code %d, %q, %q; want %d and %q", code, out, errs, tt.code, tt.want)
			}
		})
	}
	// This server has neither snapshot nor operator: that is said.
	_, out, _ := writ(t, tests[0].token, "token", "show", "--server", s.URL)
	if !strings.Contains(out, "Not checked: revocations") {
		t.Errorf("output %q does not say that revocations were not checked", out)
	}
}

// TestOutputCannotMoveTheCursor shows a token whose claims hold terminal escapes.
func TestOutputCannotMoveTheCursor(t *testing.T) {
	payload := `{"iss":"https://x.example","sub":"s","aud":"a","client_id":"c","exp":2000000000,"iat":1,"jti":"j","note":"\u001b[2Jhidden\u009b"}`
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jose.Sign(key, jose.ES256, jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: "k\x1b[2J"}.Encode(), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	s := newStand(t)
	for _, args := range [][]string{{"token", "show", "--server", s.URL}, {"token", "show", "--claim", "note"}} {
		_, out, errs := writ(t, compact, args...)
		if strings.ContainsAny(out+errs, "\x1b\u009b") {
			t.Errorf("%v wrote an escape: %q %q", args, out, errs)
		}
	}
}

func TestDiscoverRefuses(t *testing.T) {
	tests := map[string]func(*stand){
		"calls itself": func(s *stand) { s.meta.Issuer = "https://evil.example" },
		"not https":    func(s *stand) { s.meta.TokenEndpoint = "http://evil.example/token" },
		"answers 302": func(s *stand) {
			s.Config.Handler = http.RedirectHandler("https://evil.example/", http.StatusFound)
		},
	}
	for want, spoil := range tests {
		s := newStand(t)
		spoil(s)
		if _, err := discover(t.Context(), s.URL); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want it to say %q", err, want)
		}
	}
}

func TestServerURL(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://id.example.com": true, "https://id.example.com/": true, "http://localhost:8400": true, "http://127.0.0.1:8400": true,
		"http://[::1]:8400": true, "http://id.example.com": false, "http://localhost.evil.example": false, "https://id.example.com/x": false,
		"https://u@id.example.com": false, "https://id.example.com?x": false, "id.example.com": false, "file:///etc": false, "": false,
	} {
		if _, err := serverURL(text); (err == nil) != ok {
			t.Errorf("serverURL(%q): %v, want ok = %v", text, err, ok)
		}
	}
}

// TestSessionProvesEveryRequest checks the proofs as the server's guard does.
func TestSessionProvesEveryRequest(t *testing.T) {
	s := newStand(t)
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	s.mux.HandleFunc("GET /admin/v1/clients", func(w http.ResponseWriter, r *http.Request) {
		p, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Expect{Method: "GET", URL: s.URL + "/admin/v1/clients", AccessToken: "secret", Now: time.Now()})
		if err != nil || seen[p.ID] {
			t.Errorf("proof: %v, seen before %v", err, seen[p.ID])
		}
		seen[p.ID] = true
		if got := r.Header.Get("Authorization"); got != "DPoP secret" {
			t.Errorf("Authorization = %q, want the token as DPoP", got)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	s.mux.HandleFunc("GET /elsewhere", func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed with the token") })
	renewed := 0
	through := &session{meta: &s.meta, key: key, renew: func(context.Context) (*tokens, error) {
		renewed++
		return &tokens{Access: "secret", ExpiresIn: 300}, nil
	}}
	a := newAPI(s.URL, through)
	for range 2 {
		err := a.call(t.Context(), "GET", "clients?limit=3", nil, nil)
		var said *refusal
		if !errors.As(err, &said) || said.status != http.StatusFound {
			t.Errorf("error = %v, want the redirect refused", err)
		}
	}
	if renewed != 1 || len(seen) != 2 {
		t.Errorf("%d tokens, %d proofs, want 1 and 2", renewed, len(seen))
	}
}

// TestRefusedTokenIsReplaced, once: its key may have been ended by the command before.
func TestRefusedTokenIsReplaced(t *testing.T) {
	s := newStand(t)
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	s.mux.HandleFunc("POST /admin/v1/revocations", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Header.Get("Authorization")+" "+strings.TrimSpace(string(body)))
		if r.Header.Get("Authorization") != "DPoP good" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	next := "good"
	renewed := 0
	through := &session{
		meta: &s.meta, key: key, held: &tokens{Access: "ended"}, expires: time.Now().Add(time.Hour),
		renew: func(context.Context) (*tokens, error) { renewed++; return &tokens{Access: next, ExpiresIn: 300}, nil },
	}
	a := newAPI(s.URL, through)
	if err := a.call(t.Context(), "POST", "revocations", map[string]int{"n": 1}, nil); err != nil {
		t.Errorf("after a renewal: %v, want none", err)
	}
	next = "bad, too"
	through.held = &tokens{Access: "ended"}
	if err := a.call(t.Context(), "POST", "revocations", map[string]int{"n": 2}, nil); err == nil {
		t.Error("a token that is never taken gave no error")
	}
	want := []string{`DPoP ended {"n":1}`, `DPoP good {"n":1}`, `DPoP ended {"n":2}`, `DPoP bad, too {"n":2}`}
	if !slices.Equal(got, want) || renewed != 2 {
		t.Errorf("requests = %q with %d renewals, want %q and 2", got, renewed, want)
	}
}

// TestBrowserAnswer plays the browser, and the pages that try to be it.
func TestBrowserAnswer(t *testing.T) {
	s := newStand(t)
	var challenge, back string
	s.mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != challenge || r.PostFormValue("redirect_uri") != back || r.PostFormValue("code") != "good" {
			t.Errorf("token request = %v", r.PostForm)
		}
		_, _ = io.WriteString(w, `{"access_token":"secret","token_type":"DPoP","expires_in":300}`)
	})
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	shown, show := io.Pipe()
	in := &signIn{session: &session{meta: &s.meta, key: key}, client: credentials{id: "app"}, resource: "https://api.example", show: show, stay: true}
	type result struct {
		t   *tokens
		err error
	}
	done := make(chan result, 1)
	go func() {
		t, err := in.run(t.Context())
		done <- result{t, err}
	}()
	buf := make([]byte, 4096)
	n, err := shown.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(strings.Fields(string(buf[:n]))[5])
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	challenge, back = q.Get("code_challenge"), q.Get("redirect_uri")
	thumb := (&jose.Key{Alg: jose.ES256, Public: key.Public()}).Thumbprint()
	if q.Get("code_challenge_method") != "S256" || q.Get("dpop_jkt") != thumb || !strings.HasPrefix(back, "http://127.0.0.1:") {
		t.Errorf("authorization request = %v", q)
	}
	visit := func(path string, q url.Values) int {
		res, err := http.Get(strings.TrimSuffix(back, callback) + path + "?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	good := url.Values{"state": {q.Get("state")}, "iss": {s.URL}, "code": {"good"}}
	for name, attack := range map[string]url.Values{
		"no state":    {"iss": {s.URL}, "code": {"evil"}},
		"wrong state": {"state": {"x"}, "iss": {s.URL}, "code": {"evil"}},
		"error":       {"state": {"x"}, "error": {"access_denied"}},
	} {
		if got := visit(callback, attack); got != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", name, got)
		}
	}
	if got := visit("/other", good); got != http.StatusBadRequest {
		t.Errorf("another path: status %d, want 400", got)
	}
	if got := visit(callback, good); got != http.StatusOK {
		t.Errorf("the answer: status %d, want 200", got)
	}
	if r := <-done; r.err != nil || r.t.Access != "secret" {
		t.Errorf("tokens = %v, %v", r.t, r.err)
	}
}

func TestAnswerOfAnotherServer(t *testing.T) {
	in := &signIn{session: &session{meta: &oauth.Metadata{Issuer: "https://id.example.com"}}}
	for _, q := range []url.Values{
		{"code": {"x"}}, {"code": {"x"}, "iss": {"https://evil.example"}}, {"iss": {"https://id.example.com"}},
		{"iss": {"https://id.example.com"}, "error": {"access_denied"}, "code": {"x"}},
	} {
		if code, err := in.answer(q); err == nil || code != "" {
			t.Errorf("answer(%v) = %q, %v, want an error", q, code, err)
		}
	}
}

// TestKeyFileRaced makes one key file from many sides.
func TestKeyFileRaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	type result struct {
		key *ecdsa.PrivateKey
		err error
	}
	made := make(chan result, 8)
	for range cap(made) {
		go func() {
			key, err := keyFile(path)
			made <- result{key, err}
		}()
	}
	var first *ecdsa.PrivateKey
	for range cap(made) {
		r := <-made
		if r.err != nil {
			t.Fatal(r.err)
		}
		if first == nil {
			first = r.key
		}
		if !first.Equal(r.key) {
			t.Error("two commands have two keys")
		}
	}
	wantPrivate(t, path)
	left, err := filepath.Glob(path + ".*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error = %v, want it to name the file", err)
	}
}

func wantPrivate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("%s has mode %o, want 600", path, got)
	}
}

func TestSavedSignIn(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := &saved{Issuer: "https://id.example.com", Key: "k", Refresh: "r1"}
	if err := s.keep(&tokens{Access: "a1", ExpiresIn: 60, Refresh: "r2"}); err != nil {
		t.Fatal(err)
	}
	if err := s.keep(&tokens{Access: "a2", ExpiresIn: 60}); err != nil {
		t.Fatal(err)
	}
	got, err := readSaved("https://id.example.com")
	if err != nil || got.Access != "a2" || got.Refresh != "r2" || got.Key != "k" {
		t.Errorf("read back %+v, %v", *got, err)
	}
	path, err := savedPath("https://id.example.com")
	if err != nil {
		t.Fatal(err)
	}
	wantPrivate(t, path)
	if _, err := readSaved("https://other.example"); exitCode(err) != exitRefused || !strings.Contains(err.Error(), "writ login --server https://other.example") {
		t.Errorf("another server: %v, want word of writ login", err)
	}
	// A file that says it is of another server is not used for this one.
	wrong, err := savedPath("https://other.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, wrong); err != nil {
		t.Fatal(err)
	}
	if _, err := readSaved("https://other.example"); err == nil {
		t.Error("the sign-in of one server was taken for another's")
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", time.Hour: "1 h", 90 * time.Minute: "1 h 30 min",
		25 * time.Hour: "1 d 1 h", 24*time.Hour + time.Minute: "1 d", -5 * time.Minute: "5 min",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", -900 * time.Millisecond: "just now", 900 * time.Millisecond: "now", -time.Minute: "1 min ago", time.Hour: "in 1 h",
	} {
		if got := ago(now.Add(d), now); got != want {
			t.Errorf("ago(%v) = %q, want %q", d, got, want)
		}
	}
}
