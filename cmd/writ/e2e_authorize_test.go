package main_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// TestAuthorizeAnswers walks through what the authorization endpoint sends back
// to the client. Every answer says who gives it (RFC 9207) and echoes state.
func TestAuthorizeAnswers(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	alice.allow(t, "web", "openid") // signed in from here on

	set := func(pairs ...string) func(url.Values) {
		return func(v url.Values) {
			for i := 0; i < len(pairs); i += 2 {
				v.Set(pairs[i], pairs[i+1])
			}
		}
	}
	repeat := func(name string) func(url.Values) {
		return func(v url.Values) { v.Add(name, v.Get(name)) }
	}
	for _, tt := range []struct {
		name, client, scope string
		change              func(url.Values)
		want                string // error code; "" for a code
	}{
		{"as it should be", "web", "openid orders:read", set(), ""},
		{"parameters we do not know", "web", "openid", set("display", "page", "ui_locales", "de", "claims_locales", "de", "login_hint", "alice", "acr_values", "1", "extra", "foobar"), ""},
		{"the endpoint's one response mode", "web", "openid", set("response_mode", "query"), ""},
		{"another response mode", "web", "openid", set("response_mode", "fragment"), "invalid_request"},
		{"a long state and nonce", "web", "openid", set("state", strings.Repeat("s", 512), "nonce", strings.Repeat("n", 64)), ""},
		{"no response type", "web", "openid", func(v url.Values) { v.Del("response_type") }, "invalid_request"},
		{"implicit", "web", "openid", set("response_type", "token"), "unsupported_response_type"},
		{"hybrid", "web", "openid", set("response_type", "code id_token"), "unsupported_response_type"},
		{"a request object", "web", "openid", set("request", "e30.e30."), "request_not_supported"},
		{"a request URI", "web", "openid", set("request_uri", "https://web.example/r"), "request_uri_not_supported"},
		{"scope twice", "web", "openid", repeat("scope"), "invalid_request"},
		{"challenge twice", "web", "openid", repeat("code_challenge"), "invalid_request"},
		{"state twice", "web", "openid", repeat("state"), "invalid_request"},
		{"an unknown parameter twice", "web", "openid", func(v url.Values) { v["x"] = []string{"1", "2"} }, "invalid_request"},
		{"no challenge", "web", "openid", func(v url.Values) { v.Del("code_challenge") }, "invalid_request"},
		{"no challenge, public", "spa", "openid", func(v url.Values) { v.Del("code_challenge") }, "invalid_request"},
		{"challenge by plain", "web", "openid", set("code_challenge_method", "plain"), "invalid_request"},
		{"challenge without a method", "web", "openid", func(v url.Values) { v.Del("code_challenge_method") }, "invalid_request"},
		{"a scope of another client", "first", "openid orders:write", set(), "invalid_scope"},
		{"a scope nobody knows", "web", "openid nothing", set(), "invalid_scope"},
		{"an administrator's scope", "web", "admin:read", set(), "invalid_scope"},
		{"a malformed scope", "web", "openid  profile", set(), "invalid_scope"},
		{"an unknown resource", "web", "orders:read", set("resource", "https://nowhere.example"), "invalid_target"},
		{"a resource of another client", "web", "orders:read", set("resource", inner), "invalid_target"},
		{"the admin API", "web", "openid", set("resource", a.issuer+"/admin"), "invalid_target"},
		{"prompt none and more", "web", "openid", set("prompt", "none login"), "invalid_request"},
		{"prompt none, consent to be asked", "web", "openid", set("prompt", "none"), "consent_required"},
		{"prompt none, nothing to be asked", "first", "openid", set("prompt", "none"), ""},
		{"prompt none, too long ago", "first", "openid", set("prompt", "none", "max_age", "0"), "login_required"},
		{"max_age is no number", "web", "openid", set("max_age", "soon"), "invalid_request"},
		{"max_age below zero", "web", "openid", set("max_age", "-1"), "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			params, _ := request(tt.client, tt.scope)
			tt.change(params)
			to, r := alice.visit(t, alice.authorize(params))
			if to == nil {
				t.Fatalf("a page (status %d), want an answer to the client", r.status)
			}
			checkAnswer(t, a, to, params, tt.want)
			checkPrivate(t, r)
		})
	}
	t.Run("prompt none, nobody signed in", func(t *testing.T) {
		params, _ := request("first", "openid")
		params.Set("prompt", "none")
		to, _ := a.person(t, "alice").visit(t, alice.authorize(params))
		checkAnswer(t, a, to, params, "login_required")
	})
	t.Run("consent is denied", func(t *testing.T) {
		bob := a.person(t, "bob")
		bob.deny = true
		params, _ := request("web", "openid orders:write")
		to, _ := bob.visit(t, bob.authorize(params))
		checkAnswer(t, a, to, params, "access_denied")
	})
	t.Run("by POST", func(t *testing.T) {
		params, _ := request("first", "openid")
		res, err := alice.browser.PostForm(a.issuer+"/authorize", params)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		to, err := res.Location()
		if err != nil {
			t.Fatalf("status %d: %v", res.StatusCode, err)
		}
		checkAnswer(t, a, to, params, "")
	})
}

// checkAnswer checks an authorization response; code "" means success.
func checkAnswer(t *testing.T, a *authority, to *url.URL, params url.Values, code string) {
	t.Helper()
	if to == nil {
		t.Fatal("a page, want an answer to the client")
	}
	q := to.Query()
	if back := params.Get("redirect_uri"); !strings.HasPrefix(to.String(), back) {
		t.Errorf("redirect to %s, want %s", to, back)
	}
	if params.Get("client_id") == "web" && q.Get("from") != "writ" {
		t.Errorf("the query of the registered URI is gone: %s", to)
	}
	if got := q.Get("error"); got != code {
		t.Errorf("error = %q (%s), want %q", got, q.Get("error_description"), code)
	}
	if (q.Get("code") == "") != (code != "") {
		t.Errorf("code = %q beside error %q", q.Get("code"), q.Get("error"))
	}
	if !slices.Equal(q["iss"], []string{a.issuer}) {
		t.Errorf("iss = %q, want %q once (RFC 9207)", q["iss"], a.issuer)
	}
	if !slices.Equal(q["state"], []string{params.Get("state")}) {
		t.Errorf("state = %q, want %q once", q["state"], params.Get("state"))
	}
	if d := q.Get("error_description"); strings.ContainsFunc(d, outsideDescription) {
		t.Errorf("error_description = %q has characters outside RFC 6749 §4.1.2.1", d)
	}
}

// checkPrivate: neither caches nor other sites learn of an answer that holds a code,
// or of a page whose address holds a request (RFC 9700 §4.2.4).
func checkPrivate(t *testing.T, r reply) {
	t.Helper()
	if got := r.header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy = %q, want no-referrer", got)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
}

// TestEmptyParameters: a parameter without a value counts as left out (RFC 6749
// §3.1), be it one that may be or one that may not. Left out, each does the same.
func TestEmptyParameters(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	alice.allow(t, "web", "openid") // signed in from here on
	for name, want := range map[string]string{
		"redirect_uri": "", "scope": "", "state": "", "nonce": "", "prompt": "", "max_age": "", "login_hint": "",
		"resource": "", "audience": "", "response_mode": "", "dpop_jkt": "", "request": "", "request_uri": "",
		"display": "", "acr_values": "", "unknown": "",
		"response_type": "invalid_request", "code_challenge": "invalid_request", "code_challenge_method": "invalid_request",
	} {
		for how, change := range map[string]func(url.Values){
			"empty":    func(v url.Values) { v.Set(name, "") },
			"left out": func(v url.Values) { v.Del(name) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				params, _ := request("web", "openid")
				change(params)
				to, r := alice.visit(t, alice.authorize(params))
				if to == nil {
					t.Fatalf("a page (status %d), want an answer to the client", r.status)
				}
				if q := to.Query(); q.Get("error") != want || (q.Get("code") == "") != (want != "") {
					t.Errorf("error %q (%s), code %q, want error %q", q.Get("error"), q.Get("error_description"), q.Get("code"), want)
				}
				if to.Query().Has("state") != (name != "state") || !strings.HasPrefix(to.String(), webBack) {
					t.Errorf("sent to %s, want %s with the state there was", to, webBack)
				}
			})
		}
	}
	t.Run("client_id empty", func(t *testing.T) {
		params, _ := request("web", "openid")
		params.Set("client_id", "")
		to, r := alice.visit(t, alice.authorize(params))
		checkPage(t, to, r)
	})
}

// outsideDescription: RFC 6749 §5.2 allows %x20-21 / %x23-5B / %x5D-7E.
func outsideDescription(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }

// TestAuthorizePages: where the client or its redirect URI cannot be trusted, the
// person sees a page and the browser is sent nowhere (RFC 6749 §4.1.2.1).
func TestAuthorizePages(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	alice.allow(t, "web", "openid")
	for _, tt := range []struct {
		name   string
		change func(url.Values)
	}{
		{"another redirect URI", func(v url.Values) { v.Set("redirect_uri", "https://thief.example/callback") }},
		{"a longer path", func(v url.Values) { v.Set("redirect_uri", "https://web.example/callback/more?from=writ") }},
		{"without the query", func(v url.Values) { v.Set("redirect_uri", "https://web.example/callback") }},
		{"with more query", func(v url.Values) { v.Set("redirect_uri", webBack+"&x=1") }},
		{"with a fragment", func(v url.Values) { v.Set("redirect_uri", webBack+"#x") }},
		{"another host's name in the user part", func(v url.Values) { v.Set("redirect_uri", "https://web.example@thief.example/callback?from=writ") }},
		{"redirect URI twice", func(v url.Values) { v.Add("redirect_uri", webBack) }},
		{"another client's redirect URI", func(v url.Values) { v.Set("redirect_uri", firstBack) }},
		{"no client", func(v url.Values) { v.Del("client_id") }},
		{"an unknown client", func(v url.Values) { v.Set("client_id", "nobody") }},
		{"client twice", func(v url.Values) { v.Add("client_id", "first") }},
		{"a disabled client", func(v url.Values) { v.Set("client_id", "off") }},
		{"a flow nobody began", func(v url.Values) { clear(v); v.Set("flow", "AAAAAAAAAAAAAAAAAAAAAA") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			params, _ := request("web", "openid")
			tt.change(params)
			to, r := alice.visit(t, alice.authorize(params))
			checkPage(t, to, r)
			checkPrivate(t, r)
		})
	}
	t.Run("another browser's flow", func(t *testing.T) {
		params, _ := request("web", "openid")
		res, err := alice.browser.Get(alice.authorize(params))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		page, err := res.Location()
		if err != nil {
			t.Fatal(err)
		}
		mallory := a.person(t, "bob")
		mallory.allow(t, "web", "openid")
		for _, path := range []string{"/authorize", page.Path} {
			to, r := mallory.visit(t, a.issuer+path+"?"+page.RawQuery)
			checkPage(t, to, r)
		}
	})
}

func checkPage(t *testing.T, to *url.URL, r reply) {
	t.Helper()
	if to != nil || r.header.Get("Location") != "" {
		t.Fatalf("sent to %v, want a page", to)
	}
	if r.status != http.StatusBadRequest || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		t.Errorf("status %d, Content-Type %q, want a page with 400", r.status, r.header.Get("Content-Type"))
	}
}

// TestSignInAgain: max_age and prompt=login ask for the password although there
// is a session, and the ID token says when it was given (OIDC Core §3.1.2.1).
func TestSignInAgain(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	ctx := oidc.ClientContext(t.Context(), newClient(t))
	provider, err := oidc.NewProvider(ctx, a.issuer)
	if err != nil {
		t.Fatal(err)
	}
	authTime := func(t *testing.T, redeem ask) time.Time {
		t.Helper()
		id, err := provider.Verifier(&oidc.Config{ClientID: "web"}).Verify(ctx, a.grant(t, redeem).ID)
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			AuthTime int64 `json:"auth_time"`
		}
		if err := id.Claims(&claims); err != nil || claims.AuthTime == 0 {
			t.Fatalf("auth_time = %d, %v", claims.AuthTime, err)
		}
		return time.Unix(claims.AuthTime, 0)
	}
	alice := a.person(t, "alice")
	first := authTime(t, alice.allow(t, "web", "openid"))
	for _, tt := range []struct {
		name   string
		params []string
		pages  string
	}{
		{"nothing asked", nil, "consent"},
		{"max_age not reached", []string{"max_age", "3600"}, "consent"},
		{"max_age 0", []string{"max_age", "0"}, "login consent"},
		{"prompt login", []string{"prompt", "login"}, "login consent"},
		{"prompt consent", []string{"prompt", "consent"}, "consent"},
		{"prompt select_account", []string{"prompt", "select_account"}, "login consent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := time.Now().Truncate(time.Second)
			redeem := alice.allow(t, "web", "openid", func(v url.Values) {
				for i := 0; i < len(tt.params); i += 2 {
					v.Set(tt.params[i], tt.params[i+1])
				}
			})
			if got := strings.Join(alice.pages, " "); got != tt.pages {
				t.Errorf("pages = %q, want %q", got, tt.pages)
			}
			at := authTime(t, redeem)
			if at.Before(first) || strings.Contains(tt.pages, "login") && at.Before(asked) {
				t.Errorf("auth_time = %v, want no earlier than the last sign-in", at)
			}
		})
	}
}
