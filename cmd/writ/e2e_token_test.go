package main_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
)

// A spoiled ask is one change to a good one, and what the endpoint says to it.
// Afterwards the good ask must still go through: a refusal costs nothing.
type spoiled struct {
	name   string
	good   func(t *testing.T) ask
	change func(*ask)
	status int
	code   string
}

func (s spoiled) run(t *testing.T, a *authority) {
	t.Run(s.name, func(t *testing.T) {
		good := s.good(t)
		bad := good
		bad.form, bad.header = clone(good.form), http.Header(clone(url.Values(good.header)))
		s.change(&bad)
		r := a.send(t, bad)
		if r.status != s.status || r.code() != s.code {
			t.Errorf("status %d, body %s, want %d %s", r.status, r.body, s.status, s.code)
		}
		checkRefusal(t, bad, r)
		if r := a.send(t, good); r.status != http.StatusOK {
			t.Errorf("its good twin: status %d, body %s, want 200", r.status, r.body)
		} else if got := r.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("its good twin: Cache-Control = %q, want no-store", got)
		}
	})
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for name, values := range v {
		out[name] = append([]string{}, values...)
	}
	return out
}

// checkRefusal checks what every refusal has in common (RFC 6749 §5.2).
func checkRefusal(t *testing.T, q ask, r reply) {
	t.Helper()
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
	if got := r.header.Get("Pragma"); got != "no-cache" {
		t.Errorf("Pragma = %q, want no-cache", got)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q, want application/json", got)
	}
	var body map[string]string
	if err := json.Unmarshal(r.body, &body); err != nil {
		t.Errorf("body %q: %v", r.body, err)
	}
	if d := body["error_description"]; d == "" || strings.ContainsFunc(d, outsideDescription) {
		t.Errorf("error_description = %q, want text within RFC 6749 §5.2", d)
	}
	for _, name := range []string{"code", "code_verifier", "refresh_token", "subject_token", "token", "client_secret"} {
		if sent := q.form.Get(name); len(sent) > 20 && strings.Contains(string(r.body), sent) {
			t.Errorf("the answer repeats the %s that was sent: %s", name, r.body)
		}
	}
	// RFC 9110 §15.5.2: a 401 names a way to authenticate.
	basic := r.status == http.StatusUnauthorized
	if got := r.header.Get("WWW-Authenticate"); strings.HasPrefix(got, "Basic ") != basic {
		t.Errorf("WWW-Authenticate = %q with status %d", got, r.status)
	}
}

// Ways to spoil an ask.
func setParam(name string, values ...string) func(*ask) {
	return func(q *ask) { q.form[name] = values }
}

func dropParam(name string) func(*ask) { return func(q *ask) { q.form.Del(name) } }

func setHeader(name string, values ...string) func(*ask) {
	return func(q *ask) { q.header[http.CanonicalHeaderKey(name)] = values }
}

func setMethod(method string) func(*ask) { return func(q *ask) { q.method = method } }

// as sends the ask with another client's credentials, good ones.
func as(id string) func(*ask) {
	return func(q *ask) {
		q.form.Del("client_id")
		other := post(q.path, id, q.form)
		q.id, q.secret = other.id, other.secret
	}
}

// authorization puts a header of the caller's own in place of HTTP Basic.
func authorization(values ...string) func(*ask) {
	return func(q *ask) { q.id = ""; q.header["Authorization"] = values }
}

func encoded(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

// inBody moves the credentials into the form (client_secret_post).
func inBody(q *ask) {
	q.form.Set("client_id", q.id)
	q.form.Set("client_secret", q.secret)
	q.id = ""
}

// TestTokenRequests is about the form of a request and who sends it. Each row is
// an attack or a mistake, with its good twin.
func TestTokenRequests(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	service := func(*testing.T) ask { return own("service", api, "orders:read") }
	posted := func(*testing.T) ask { q := own("service", api, ""); inBody(&q); return q }
	reader := func(*testing.T) ask { return own("reader", api, "") }
	const bad, unauthorized, method = http.StatusBadRequest, http.StatusUnauthorized, http.StatusMethodNotAllowed
	for _, s := range []spoiled{
		{"grant type twice", service, setParam("grant_type", oauth.GrantClient, oauth.GrantClient), bad, "invalid_request"},
		{"scope twice", service, setParam("scope", "orders:read", "orders:read"), bad, "invalid_request"},
		{"client id twice", posted, setParam("client_id", "service", "service"), bad, "invalid_request"},
		{"client secret twice", posted, setParam("client_secret", secret("service"), secret("service")), bad, "invalid_request"},
		{"an unknown parameter twice", service, setParam("x", "1", "2"), bad, "invalid_request"},
		{"GET", service, setMethod(http.MethodGet), method, "invalid_request"},
		{"PUT", service, setMethod(http.MethodPut), method, "invalid_request"},
		{"DELETE", service, setMethod(http.MethodDelete), method, "invalid_request"},
		{"no content type", service, setHeader("Content-Type"), bad, "invalid_request"},
		{"JSON", service, setHeader("Content-Type", "application/json"), bad, "invalid_request"},
		{"multipart", service, setHeader("Content-Type", "multipart/form-data; boundary=x"), bad, "invalid_request"},
		{"parameters in the query as well", service, func(q *ask) { q.path += "?scope=orders%3Aread" }, bad, "invalid_request"},
		{"parameters in the query alone", service, func(q *ask) { q.path += "?" + q.form.Encode(); q.form = nil }, bad, "invalid_request"},
		{"a body that is too large", service, setParam("x", strings.Repeat("x", 1<<20)), http.StatusRequestEntityTooLarge, "invalid_request"},

		{"not base64", service, authorization("Basic %%%"), unauthorized, "invalid_client"},
		{"base64 without padding", service, authorization("Basic c2VydmljZTp4"[:17]), unauthorized, "invalid_client"},
		{"no colon", service, authorization(encoded("service")), unauthorized, "invalid_client"},
		{"broken escape in the secret", service, authorization(encoded("service:%zz")), unauthorized, "invalid_client"},
		{"broken escape in the id", service, authorization(encoded("%zz:" + secret("service"))), unauthorized, "invalid_client"},
		{"no id", service, authorization(encoded(":" + secret("service"))), unauthorized, "invalid_client"},
		{"another scheme", service, authorization("Bearer " + secret("service")), unauthorized, "invalid_client"},
		{"two Authorization headers", service, authorization(encoded("service:"+secret("service")), encoded("service:"+secret("service"))), bad, "invalid_request"},
		{"two methods", service, setParam("client_secret", secret("service")), bad, "invalid_request"},
		{"client id that is another's", service, setParam("client_id", "reader"), bad, "invalid_request"},
		{"wrong secret", service, func(q *ask) { q.secret = secret("reader") }, unauthorized, "invalid_client"},
		{"empty secret", service, func(q *ask) { q.secret = "" }, unauthorized, "invalid_client"},
		{"wrong secret in the body", posted, setParam("client_secret", secret("reader")), unauthorized, "invalid_client"},
		{"id without a secret", posted, dropParam("client_secret"), unauthorized, "invalid_client"},
		{"no credentials", service, func(q *ask) { q.id = "" }, unauthorized, "invalid_client"},
		{"an unknown client", service, func(q *ask) { q.id = "nobody" }, unauthorized, "invalid_client"},
		{"a disabled client", reader, as("off"), unauthorized, "invalid_client"},
		{"a sample secret", reader, func(q *ask) { q.id, q.secret = "sample", client.DevPrefix+"shown on a card" }, unauthorized, "invalid_client"},
		{"a public client with a secret", service, func(q *ask) { q.id = "spa" }, unauthorized, "invalid_client"},

		{"no grant type", service, dropParam("grant_type"), bad, "invalid_request"},
		{"empty grant type", service, setParam("grant_type", ""), bad, "invalid_request"},
		{"an unknown grant type", service, setParam("grant_type", "password"), bad, "unsupported_grant_type"},
		{"a grant not this client's", service, setParam("grant_type", oauth.GrantCode), bad, "unauthorized_client"},
		{"a public client for itself", reader, func(q *ask) { q.id = ""; q.form.Set("client_id", "spa") }, bad, "unauthorized_client"},

		{"an unknown resource", service, setParam("resource", "https://nowhere.example"), bad, "invalid_target"},
		{"a resource not this client's", reader, setParam("resource", stock), bad, "invalid_target"},
		{"two resources", service, setParam("resource", api, stock), bad, "invalid_target"},
		{"resource and another audience", service, setParam("audience", stock), bad, "invalid_target"},
		{"a relative resource", service, setParam("resource", "/orders"), bad, "invalid_target"},
		{"a resource with a fragment", service, setParam("resource", api+"#x"), bad, "invalid_target"},
		{"the admin API", service, setParam("resource", a.issuer+"/admin"), bad, "invalid_target"},
		{"the feed, guarding nothing", service, setParam("resource", a.issuer+"/feed"), bad, "invalid_target"},
		{"userinfo", service, setParam("resource", a.issuer+"/userinfo"), bad, "invalid_target"},
		{"a scope beyond the client", reader, setParam("scope", "orders:write"), bad, "invalid_scope"},
		{"a scope beyond the resource", service, func(q *ask) { q.form.Set("resource", stock); q.form.Set("scope", "orders:write") }, bad, "invalid_scope"},
		{"an administrator's scope", service, setParam("scope", "admin:read"), bad, "invalid_scope"},
		{"a malformed scope", service, setParam("scope", "orders:read  orders:write"), bad, "invalid_scope"},
	} {
		s.run(t, a)
	}
	t.Run("405 says what is allowed", func(t *testing.T) {
		for _, path := range []string{"/token", "/revoke", "/introspect"} {
			if got := a.send(t, ask{method: http.MethodGet, path: path}).header.Get("Allow"); got != http.MethodPost {
				t.Errorf("Allow of %s = %q, want POST", path, got)
			}
		}
	})
}

// TestTokenAnswers checks what a token says beside the claims that guards check.
func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	for _, tt := range []struct {
		name string
		q    ask
		want tokens
	}{
		{"all the client may have", own("service", api, ""), tokens{Type: "Bearer", Expires: 300, Scope: "orders:read orders:write"}},
		{"less", own("service", api, "orders:read"), tokens{Type: "Bearer", Expires: 300, Scope: "orders:read"}},
		{"a guard for the feed", own("gateway", a.issuer+"/feed", "feed:read"), tokens{Type: "Bearer", Expires: 300, Scope: "feed:read"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := a.send(t, tt.q)
			// RFC 6749 §5.1: both, for caches that know only one of them.
			if store, old := r.header.Get("Cache-Control"), r.header.Get("Pragma"); store != "no-store" || old != "no-cache" {
				t.Errorf("Cache-Control = %q, Pragma = %q, want no-store and no-cache", store, old)
			}
			var got tokens
			r.decode(t, &got)
			if got.Access == "" {
				t.Error("no access token")
			}
			got.Access = ""
			if got != tt.want {
				t.Errorf("answer = %+v, want %+v", got, tt.want)
			}
		})
	}
	if first, second := a.grant(t, own("service", api, "")), a.grant(t, own("service", api, "")); first.Access == second.Access {
		t.Error("two answers carry the same token")
	}
}
