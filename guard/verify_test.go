package guard

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// A credential counts in one place only.
func TestCredential(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	good := i.token(t, i.claims())
	inQuery := httptest.NewRequest(http.MethodGet, audience+"?access_token="+good, nil)
	inBody := httptest.NewRequest(http.MethodPost, audience, strings.NewReader("access_token="+good))
	inBody.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	inCookie := request()
	inCookie.AddCookie(&http.Cookie{Name: "access_token", Value: good})
	for _, c := range []struct {
		name string
		r    *http.Request
		want string
	}{
		{"Bearer", request("Bearer " + good), ""},
		{"lower case", request("bearer " + good), ""},
		{"upper case", request("BEARER " + good), ""},
		{"two spaces", request("Bearer  " + good), ""},
		{"nothing", request(), ReasonMissing},
		{"empty", request(""), ReasonMissing},
		{"another scheme", request("Basic dTpw"), ReasonMissing},
		{"no scheme", request(good), ReasonMissing},
		{"scheme as a prefix", request("Bearers " + good), ReasonMissing},
		{"query", inQuery, ReasonMissing},
		{"body", inBody, ReasonMissing},
		{"cookie", inCookie, ReasonMissing},
		{"two headers", request("Bearer "+good, "Bearer "+good), ReasonCredentials},
		{"two schemes", request("Basic dTpw", "Bearer "+good), ReasonCredentials},
		{"two in one header", request("Bearer " + good + ", Bearer " + good), ReasonForm},
		{"scheme alone", request("Bearer"), ReasonForm},
		{"no token", request("Bearer "), ReasonForm},
		{"as DPoP", request("DPoP " + good), ReasonBinding},
		{"too long", request("Bearer " + strings.Repeat("a", maxToken+1)), ReasonSize},
		{"just not too long", request("Bearer " + strings.Repeat("a", maxToken)), ReasonForm},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, g, c.r, Need{}, c.want)
			expect(t, g, c.r, Need{}, c.want) // with a warm cache
		})
	}
}

// Each row changes one thing of a good token's text, header or payload.
func TestForgeries(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	c := i.claims()
	encoded, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	payload, header := string(encoded), i.header()
	expect(t, g, bearer(i.key.sign(t, header, payload)), Need{}, "")

	b64 := base64.RawURLEncoding.EncodeToString
	good := i.key.sign(t, header, payload)
	head, body, signature, err := jose.Split(good)
	if err != nil {
		t.Fatal(err)
	}
	thief := newSigner(t, i.key.ID, jose.ES256)
	jwk, err := thief.Encode()
	if err != nil {
		t.Fatal(err)
	}
	sign := func(header, payload string) string { return i.key.sign(t, header, payload) }
	without := func(member string) string {
		start := strings.Index(payload, `"`+member+`":`)
		if start < 0 {
			t.Fatalf("no member %s in %s", member, payload)
		}
		return payload[:start] + `"x_` + payload[start+1:]
	}
	with := func(members string) string { return payload[:len(payload)-1] + "," + members + "}" }
	replace := func(old, new string) string {
		if !strings.Contains(payload, old) {
			t.Fatalf("no %s in %s", old, payload)
		}
		return strings.Replace(payload, old, new, 1)
	}
	exp := fmt.Sprintf(`"exp":%d`, c.Expiry.Unix())
	for _, row := range []struct{ name, compact, want string }{
		{"application/at+jwt", sign(strings.Replace(header, "at+jwt", "application/at+jwt", 1), payload), ""},
		{"AT+JWT", sign(strings.Replace(header, "at+jwt", "AT+JWT", 1), payload), ""},

		{"two segments", head + "." + body, ReasonForm},
		{"four segments", good + ".AA", ReasonForm},
		{"five segments", good + ".AA.AA", ReasonForm},
		{"padded signature", good + "==", ReasonForm},
		{"padded payload", head + "." + body + "=." + signature, ReasonForm},
		{"line break", head + "." + body + ".\n" + signature, ReasonForm},
		{"space", head + "." + body + " ." + signature, ReasonForm},
		{"quoted", `"` + good + `"`, ReasonHeader},
		{"JSON serialization", `{"payload":"` + body + `"}`, ReasonForm},
		{"standard base64", head + "." + body + "." + "+/" + signature[2:], ReasonForm},

		{"header no JSON", b64([]byte("alg")) + "." + body + "." + signature, ReasonHeader},
		{"header no object", sign(`["ES256"]`, payload), ReasonHeader},
		{"alg twice", sign(`{"alg":"none",`+header[1:], payload), ReasonHeader},
		{"alg missing", sign(strings.Replace(header, `"alg"`, `"ALG"`, 1), payload), ReasonHeader},
		{"crit", sign(header[:len(header)-1]+`,"crit":["exp"],"exp":1}`, payload), ReasonHeader},
		{"crit empty", sign(header[:len(header)-1]+`,"crit":[]}`, payload), ReasonHeader},
		{"b64 false", sign(header[:len(header)-1]+`,"b64":false}`, payload), ReasonHeader},
		{"header not UTF-8", sign(header[:len(header)-1]+",\"x\":\"\xff\"}", payload), ReasonHeader},

		{"typ missing", sign(strings.Replace(header, `"typ"`, `"tip"`, 1), payload), ReasonType},
		{"ID token", sign(strings.Replace(header, "at+jwt", "JWT", 1), payload), ReasonType},
		{"logout token", sign(strings.Replace(header, "at+jwt", "logout+jwt", 1), payload), ReasonType},
		{"transaction token", sign(strings.Replace(header, "at+jwt", "txntoken+jwt", 1), payload), ReasonType},
		{"typ with a prefix", sign(strings.Replace(header, "at+jwt", "xat+jwt", 1), payload), ReasonType},

		{"alg none, no signature", b64([]byte(strings.Replace(header, "ES256", "none", 1))) + "." + body + ".", ReasonForm},
		{"alg none", b64([]byte(strings.Replace(header, "ES256", "none", 1))) + "." + body + "." + signature, ReasonAlgorithm},
		{"alg None", sign(strings.Replace(header, "ES256", "None", 1), payload), ReasonAlgorithm},
		{"alg HS256", sign(strings.Replace(header, "ES256", "HS256", 1), payload), ReasonAlgorithm},
		{"alg in lower case", sign(strings.Replace(header, "ES256", "es256", 1), payload), ReasonAlgorithm},
		{"another algorithm than the key's", sign(strings.Replace(header, "ES256", "RS256", 1), payload), ReasonAlgorithm},

		{"not JSON", sign(header, "claims"), ReasonClaims},
		{"exp missing", sign(header, without("exp")), ReasonClaims},
		{"exp a string", sign(header, replace(exp, fmt.Sprintf(`"exp":"%d"`, c.Expiry.Unix()))), ReasonClaims},
		{"exp null", sign(header, replace(exp, `"exp":null`)), ReasonClaims},
		{"exp twice", sign(header, with(exp)), ReasonClaims},
		{"exp twice, escaped", sign(header, with(strings.Replace(exp, "exp", `\u0065xp`, 1))), ReasonClaims},
		{"iat missing", sign(header, without("iat")), ReasonClaims},
		{"sub missing", sign(header, without("sub")), ReasonClaims},
		{"client_id missing", sign(header, without("client_id")), ReasonClaims},
		{"jti missing", sign(header, without("jti")), ReasonClaims},
		{"aud missing", sign(header, without("aud")), ReasonClaims},
		{"iss missing", sign(header, without("iss")), ReasonClaims},
		{"scope a list", sign(header, replace(`"scope":"orders:read"`, `"scope":["orders:read"]`)), ReasonClaims},
		{"ID token's nonce", sign(header, with(`"nonce":"n"`)), ReasonClaims},
		{"logout token's events", sign(header, with(`"events":{}`)), ReasonClaims},
		{"unknown cnf member", sign(header, with(`"cnf":{"jwk":{}}`)), ReasonClaims},
		{"cnf empty", sign(header, with(`"cnf":{}`)), ReasonClaims},
		{"control character in sub", sign(header, replace(`"user-1"`, `"user-1\r\nX-Admin: 1"`)), ReasonClaims},

		{"another issuer", sign(header, replace(`"iss":"http`, `"iss":"https`)), ReasonIssuer},
		{"issuer with a slash", sign(header, replace(i.URL, i.URL+"/")), ReasonIssuer},

		{"unknown key", sign(strings.Replace(header, "key-1", "key-2", 1), payload), ReasonKey},
		{"kid missing", sign(strings.Replace(header, `"kid"`, `"kit"`, 1), payload), ReasonKey},
		{"kid a path", sign(strings.Replace(header, "key-1", "../feed/jwks", 1), payload), ReasonKey},
		{"signed by the feed's key", i.feeder.Load().sign(t, `{"alg":"Ed25519","typ":"at+jwt","kid":"feed-1"}`, payload), ReasonKey},

		{"another payload", head + "." + b64([]byte(replace("user-1", "user-2"))) + "." + signature, ReasonSignature},
		{"another header", b64([]byte(header+" ")) + "." + body + "." + signature, ReasonSignature},
		{"another key", thief.sign(t, header, payload), ReasonSignature},
		{"key in the header", thief.sign(t, header[:len(header)-1]+`,"jwk":`+string(jwk)+"}", payload), ReasonSignature},
		{"key by URL", thief.sign(t, header[:len(header)-1]+`,"jku":"https://evil.example/jwks"}`, payload), ReasonSignature},
		{"signature of zeros", head + "." + body + "." + b64(make([]byte, 64)), ReasonSignature},
		{"short signature", head + "." + body + "." + b64(make([]byte, 8)), ReasonSignature},
	} {
		t.Run(row.name, func(t *testing.T) {
			expect(t, g, bearer(row.compact), Need{}, row.want)
			expect(t, g, bearer(row.compact), Need{}, row.want)
		})
	}
	expect(t, g, bearer(good), Need{}, "")
}

func TestClaims(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	for _, row := range []struct {
		name   string
		change func(*token.Claims)
		want   string
	}{
		{"as it is", func(*token.Claims) {}, ""},
		{"expired within the leeway", func(c *token.Claims) { c.Expiry = i.in(-25 * time.Second) }, ""},
		{"expired", func(c *token.Claims) { c.Expiry = i.in(-35 * time.Second) }, ReasonExpired},
		{"nbf within the leeway", func(c *token.Claims) { c.NotBefore = i.in(25 * time.Second) }, ""},
		{"nbf ahead", func(c *token.Claims) { c.NotBefore = i.in(35 * time.Second) }, ReasonEarly},
		{"iat ahead", func(c *token.Claims) { c.IssuedAt = i.in(35 * time.Second) }, ReasonEarly},
		{"one of several audiences", func(c *token.Claims) { c.Audience = []string{"https://x.example", audience} }, ""},
		{"another audience", func(c *token.Claims) { c.Audience = []string{"https://api.example/other"} }, ReasonAudience},
		{"audience a prefix", func(c *token.Claims) { c.Audience = []string{"https://api.example"} }, ReasonAudience},
		{"audience with a slash", func(c *token.Claims) { c.Audience = []string{audience + "/"} }, ReasonAudience},
		{"audience re-cased", func(c *token.Claims) { c.Audience = []string{"https://API.example/orders"} }, ReasonAudience},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := i.claims()
			row.change(&c)
			r := bearer(i.token(t, c))
			expect(t, g, r, Need{}, row.want)
			expect(t, g, r, Need{}, row.want)
		})
	}
}

func TestNeed(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	c := i.claims()
	c.Scope = []string{"orders:read", "orders:write"}
	c.ACR, c.AuthTime = "urn:example:mfa", i.in(-time.Minute)
	full := bearer(i.token(t, c))
	plain := bearer(i.token(t, i.claims()))
	for _, row := range []struct {
		name string
		r    *http.Request
		n    Need
		want string
	}{
		{"nothing", plain, Need{}, ""},
		{"one scope", full, Need{Scopes: []string{"orders:write"}}, ""},
		{"two scopes", full, Need{Scopes: []string{"orders:write", "orders:read"}}, ""},
		{"one of two scopes", plain, Need{Scopes: []string{"orders:read", "orders:write"}}, ReasonScope},
		{"part of a scope", full, Need{Scopes: []string{"orders"}}, ReasonScope},
		{"two scopes as one", full, Need{Scopes: []string{"orders:read orders:write"}}, ReasonScope},
		{"scope re-cased", full, Need{Scopes: []string{"Orders:read"}}, ReasonScope},
		{"acr", full, Need{ACR: []string{"urn:example:key", "urn:example:mfa"}}, ""},
		{"another acr", full, Need{ACR: []string{"urn:example:key"}}, ReasonACR},
		{"no acr", plain, Need{ACR: []string{"urn:example:mfa"}}, ReasonACR},
		{"young enough", full, Need{MaxAge: 2 * time.Minute}, ""},
		{"too old", full, Need{MaxAge: 50 * time.Second}, ReasonAge},
		{"no auth_time", plain, Need{MaxAge: time.Hour}, ReasonAge},
		{"bearer where a proof is needed", full, Need{ProofBound: true}, ReasonUnbound},
	} {
		t.Run(row.name, func(t *testing.T) { expect(t, g, row.r, row.n, row.want) })
	}
}

func TestAlgorithms(t *testing.T) {
	i := newIssuer(t)
	ec := i.key
	keys := []signer{newSigner(t, "ed", jose.Ed25519), newSigner(t, "ps", jose.PS256), newSigner(t, "rs", jose.RS256), ec}
	var public []jose.Key
	for _, k := range keys {
		public = append(public, k.Key)
	}
	i.publish(t, public...)
	all := i.guard(t, nil)
	narrow := i.guard(t, func(c *Config) { c.Algorithms = []string{jose.Ed25519} })
	for _, k := range keys {
		i.key = k
		r := bearer(i.token(t, i.claims()))
		expect(t, all, r, Need{}, "")
		want := ReasonAlgorithm
		if k.Alg == jose.Ed25519 {
			want = ""
		}
		expect(t, narrow, r, Need{}, want)
	}
	i.key = ec
}

// A token that names another issuer must not make the guard fetch anything.
func TestForeignIssuerCausesNoFetch(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	settled(t, g, i)
	eventually(t, "the first fetches' cool-down is over, without which the test shows nothing", func() bool {
		return i.now().Sub(g.State().KeysFetched) > time.Second
	})
	i.change(func() { i.fetches = make(map[string]int) })
	i.key.ID = "key-of-another"
	c := i.claims()
	c.Issuer = "https://evil.example"
	expect(t, g, bearer(i.token(t, c)), Need{}, ReasonIssuer)
	i.change(func() {
		if got := i.fetches["/jwks"]; got != 0 {
			t.Errorf("fetches = %d, want 0", got)
		}
	})
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, ReasonKey)
	i.change(func() {
		if got := i.fetches["/jwks"]; got != 1 {
			t.Errorf("fetches for an unknown key = %d, want 1", got)
		}
	})
}
