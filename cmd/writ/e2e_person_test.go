package main_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/oauth"
)

// person is somebody at a browser: cookies, and hands that fill in forms.
type person struct {
	issuer   string
	username string
	password string
	deny     bool // says no when asked for consent
	browser  *http.Client
	pages    []string // shown since the last call of visit
}

// person opens a new browser for somebody.
func (a *authority) person(t *testing.T, username string) *person {
	t.Helper()
	return newPerson(t, a.issuer, username, password)
}

func newPerson(t *testing.T, issuer, username, password string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := newClient(t)
	browser.Jar = jar
	return &person{issuer: issuer, username: username, password: password, browser: browser}
}

// visit opens a page of the issuer and does what each page asks for, until the
// issuer sends the browser elsewhere or shows something that is no form to answer.
// It returns where to, nil for a page, and the last reply.
func (p *person) visit(t *testing.T, address string) (*url.URL, reply) {
	t.Helper()
	p.pages = nil
	req := p.request(t, http.MethodGet, address, nil)
	for range 12 {
		res, err := p.browser.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		r := reply{res.StatusCode, res.Header, body}
		if res.StatusCode == http.StatusSeeOther {
			to, err := req.URL.Parse(res.Header.Get("Location"))
			if err != nil {
				t.Fatalf("Location: %v", err)
			}
			if !strings.HasPrefix(to.String(), p.issuer+"/") {
				return to, r
			}
			req = p.request(t, http.MethodGet, to.String(), nil)
			continue
		}
		page := strings.TrimPrefix(req.URL.Path, "/")
		form := hidden(body)
		if res.StatusCode != http.StatusOK || form == nil || page != "login" && page != "consent" {
			return nil, r
		}
		p.pages = append(p.pages, page)
		p.fill(page, form)
		req = p.request(t, http.MethodPost, p.issuer+"/"+page, form)
	}
	t.Fatalf("%s does not come to an end; pages so far: %v", address, p.pages)
	return nil, reply{}
}

// fill answers a form.
func (p *person) fill(page string, form url.Values) {
	switch page {
	case "login":
		form.Set("username", p.username)
		form.Set("password", p.password)
	case "consent":
		form.Set("decision", "allow")
		if p.deny {
			form.Set("decision", "deny")
		}
	}
}

func (p *person) request(t *testing.T, method, address string, form url.Values) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", p.issuer)
	}
	return req
}

var inputs = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// hidden reads the hidden fields of a page's form, nil when there are none.
func hidden(page []byte) url.Values {
	var form url.Values
	for _, m := range inputs.FindAllSubmatch(page, -1) {
		if form == nil {
			form = url.Values{}
		}
		form.Set(string(m[1]), html.UnescapeString(string(m[2])))
	}
	return form
}

// verifier is a PKCE verifier (RFC 7636), new each time.
func verifier() string { return rand.Text() + rand.Text() }

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// redirects is where the seeded clients' browsers go back to.
var redirects = map[string]string{"web": webBack, "first": firstBack, "spa": spaBack, "bound": spaBack}

// request is an authorization request of a seeded client. The verifier of its
// challenge is in the ask that redeems the code.
func request(id, scope string) (params url.Values, redeem func(code string) ask) {
	v := verifier()
	params = url.Values{
		"response_type": {"code"}, "client_id": {id}, "redirect_uri": {redirects[id]}, "scope": {scope},
		"state": {rand.Text()}, "code_challenge": {challenge(v)}, "code_challenge_method": {"S256"},
	}
	return params, func(code string) ask {
		return post("/token", id, url.Values{
			"grant_type": {oauth.GrantCode}, "code": {code}, "redirect_uri": {redirects[id]}, "code_verifier": {v},
		})
	}
}

// authorize is the address of the authorization endpoint with these parameters.
func (p *person) authorize(params url.Values) string {
	return p.issuer + "/authorize?" + params.Encode()
}

// allow lets the client in and returns the ask that redeems the code for tokens.
func (p *person) allow(t *testing.T, id, scope string, change ...func(url.Values)) ask {
	t.Helper()
	params, redeem := request(id, scope)
	for _, c := range change {
		c(params)
	}
	to, r := p.visit(t, p.authorize(params))
	if to == nil || to.Query().Get("code") == "" {
		t.Fatalf("no code for %s: %v, status %d, %s", id, to, r.status, r.body)
	}
	return redeem(to.Query().Get("code"))
}
