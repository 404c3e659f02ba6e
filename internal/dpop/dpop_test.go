package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

const (
	api   = "https://api.example/orders"
	token = "at.b.c"
)

// clock is the tests' time: a moment inside a second.
func clock() time.Time { return time.Unix(1795430000, 500_000_000) }

func ecKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func expect() Expect {
	return Expect{Method: "GET", URL: api, AccessToken: token, Now: clock()}
}

// A forge is a proof that a test can spoil in one place. Values are raw JSON;
// "" leaves a member out.
type forge struct {
	signer          crypto.Signer
	header, payload map[string]string
	sign            string // algorithm to sign with
}

func newForge(t testing.TB) *forge {
	t.Helper()
	signer := ecKey(t)
	return &forge{
		signer: signer,
		header: map[string]string{"typ": `"dpop+jwt"`, "alg": `"ES256"`, "jwk": jwk(t, signer)},
		payload: map[string]string{
			"jti": `"j1"`, "htm": `"GET"`, "htu": `"` + api + `"`, "iat": fmt.Sprint(clock().Unix()), "ath": `"` + hash(token) + `"`,
		},
		sign: jose.ES256,
	}
}

func jwk(t testing.TB, signer crypto.Signer) string {
	t.Helper()
	encoded, err := jose.Key{Public: signer.Public()}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func (f *forge) proof(t testing.TB) string {
	t.Helper()
	proof, err := jose.Sign(f.signer, f.sign, object(f.header), object(f.payload))
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func object(members map[string]string) []byte {
	var all []string
	for name, value := range members {
		if value != "" {
			all = append(all, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return []byte("{" + strings.Join(all, ",") + "}")
}

// reason is why Verify refuses, "" when it does not.
func reason(t testing.TB, proof string, e Expect) string {
	t.Helper()
	_, err := Verify(proof, e)
	if err == nil {
		return ""
	}
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("error is %T, want *Error", err)
	}
	return refusal.Reason
}

// TestRFC9449Examples: figures 2 and 12 of the RFC.
func TestRFC9449Examples(t *testing.T) {
	const (
		header = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
		first  = header + "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
		second = header + "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
		jkt    = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	)
	got, err := Verify(first, Expect{Method: "POST", URL: "https://server.example.com/token", Now: time.Unix(1562262616, 0)})
	want := Proof{jkt, "-BwC3ESc6acc2lTc", time.Unix(1562262616, 0).UTC(), time.Unix(1562262676, 0).UTC()}
	if err != nil || got != want {
		t.Errorf("proof = %+v, %v, want %+v", got, err, want)
	}
	got, err = Verify(second, Expect{
		Method: "GET", URL: "https://resource.example.org/protectedresource", Now: time.Unix(1562262618, 0),
		AccessToken: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
	})
	if err != nil || got.Thumbprint != jkt || got.ID != "e1j3V_bKic8-LAEB" {
		t.Errorf("proof = %+v, %v, want jkt %s", got, err, jkt)
	}
}

// TestVerifyRefuses spoils one member at a time; the twin is the same proof
// with that member good.
func TestVerifyRefuses(t *testing.T) {
	const keep = "as newForge made it"
	other := jwk(t, ecKey(t))
	for _, c := range []struct {
		where, member, bad, good, want string
	}{
		{"header", "typ", ``, `"dpop+jwt"`, "typ"},
		{"header", "typ", `"JWT"`, `"DPoP+JWT"`, "typ"},
		{"header", "typ", `"at+jwt"`, `"application/dpop+jwt"`, "typ"},
		{"header", "alg", `"none"`, `"ES256"`, "alg"},
		{"header", "alg", `"HS256"`, `"ES256"`, "alg"},
		{"header", "alg", `"RS256"`, `"ES256"`, "alg"},
		{"header", "alg", `"es256"`, `"ES256"`, "alg"},
		{"header", "alg", ``, `"ES256"`, "malformed"},
		{"header", "crit", `["exp"]`, ``, "malformed"},
		{"header", "jwk", ``, keep, "jwk"},
		{"header", "jwk", `null`, keep, "jwk"},
		{"header", "jwk", `{}`, keep, "jwk"},
		{"header", "jwk", `{"kty":"oct","k":"AAAA"}`, keep, "jwk"},
		{"header", "jwk", other, keep, "signature"},
		{"header", "kid", `1`, `"k"`, "malformed"},
		{"payload", "htm", ``, `"GET"`, "htm"},
		{"payload", "htm", `"POST"`, `"GET"`, "htm"},
		{"payload", "htm", `"get"`, `"GET"`, "htm"},
		{"payload", "htm", `["GET"]`, `"GET"`, "malformed"},
		{"payload", "htu", ``, `"https://api.example/orders"`, "htu"},
		{"payload", "htu", `"https://api.example/orders/"`, `"HTTPS://API.example:443/orders?a=b#c"`, "htu"},
		{"payload", "htu", `"https://api.example/Orders"`, `"https://api.example/orders#x"`, "htu"},
		{"payload", "htu", `"https://evil.example/orders"`, `"https://api.example/orders?"`, "htu"},
		{"payload", "iat", ``, `1795430000`, "iat"},
		{"payload", "iat", `"1795430000"`, `1795430000`, "malformed"},
		{"payload", "iat", `1795426400`, `1795429990`, "iat"},
		{"payload", "iat", `1795433600`, `1795430010`, "iat"},
		{"payload", "iat", `1795429940`, `1795429941`, "iat"},
		{"payload", "iat", `1795430016`, `1795430015`, "iat"},
		{"payload", "iat", `-1`, `1795430000.9`, "iat"},
		{"payload", "iat", `1e18`, `1.79543e9`, "iat"},
		{"payload", "jti", ``, `"x"`, "jti"},
		{"payload", "jti", `""`, `"x"`, "jti"},
		{"payload", "jti", `"` + strings.Repeat("j", 129) + `"`, `"` + strings.Repeat("j", 128) + `"`, "jti"},
		{"payload", "jti", `"a\nb"`, `"a~b"`, "jti"},
		{"payload", "jti", `7`, `"7"`, "malformed"},
		{"payload", "ath", ``, `"` + hash(token) + `"`, "ath"},
		{"payload", "ath", `"` + hash("another") + `"`, `"` + hash(token) + `"`, "ath"},
		{"payload", "ath", `"` + hash(token) + `="`, `"` + hash(token) + `"`, "ath"},
		{"payload", "nonce", `"\ud800"`, `"n"`, "malformed"},
	} {
		for _, twin := range []struct{ value, want string }{{c.bad, c.want}, {c.good, ""}} {
			f := newForge(t)
			if twin.value != keep {
				members := map[string]map[string]string{"header": f.header, "payload": f.payload}[c.where]
				members[c.member] = twin.value
			}
			if got := reason(t, f.proof(t), expect()); got != twin.want {
				t.Errorf("%s %s %q: refused for %q, want %q", c.where, c.member, twin.value, got, twin.want)
			}
		}
	}
}

// TestProofOfAnotherRequest moves a good proof to a request it was not made
// for.
func TestProofOfAnotherRequest(t *testing.T) {
	proof := newForge(t).proof(t)
	if got := reason(t, proof, expect()); got != "" {
		t.Fatalf("the good twin is refused for %q", got)
	}
	for i, c := range []struct {
		change func(*Expect)
		want   string
	}{
		{func(e *Expect) { e.Method = "DELETE" }, "htm"},
		{func(e *Expect) { e.Method = "" }, "htm"},
		{func(e *Expect) { e.URL = "https://api.example/users" }, "htu"},
		{func(e *Expect) { e.URL = "http://api.example/orders" }, "htu"},
		{func(e *Expect) { e.URL = "https://api.example:8443/orders" }, "htu"},
		{func(e *Expect) { e.URL = "" }, "htu"},
		{func(e *Expect) { e.URL = "/orders" }, "htu"},
		{func(e *Expect) { e.AccessToken = "at.b.d" }, "ath"},
		{func(e *Expect) { e.Now = e.Now.Add(time.Hour) }, "iat"},
		{func(e *Expect) { e.Now = e.Now.Add(-time.Hour) }, "iat"},
		{func(e *Expect) { e.Now = time.Time{} }, "iat"},
	} {
		e := expect()
		c.change(&e)
		if got := reason(t, proof, e); got != c.want {
			t.Errorf("change %d: refused for %q, want %q", i, got, c.want)
		}
	}
	atTokenEndpoint := expect()
	atTokenEndpoint.AccessToken = ""
	if got := reason(t, proof, atTokenEndpoint); got != "" {
		t.Errorf("with an ath nobody asked for: refused for %q", got)
	}
}

func TestMalformedProofs(t *testing.T) {
	f := newForge(t)
	good := f.proof(t)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	twice := func(b []byte, member string) string {
		return b64([]byte("{" + member + "," + strings.TrimPrefix(string(b), "{")))
	}
	for name, proof := range map[string]string{
		"empty":                "",
		"no JWS":               "proof",
		"two proofs":           good + "," + good,
		"space":                " " + good,
		"padding":              good + "=",
		"too long":             good + strings.Repeat("A", 8<<10),
		"no signature":         parts[0] + "." + parts[1] + ".",
		"duplicate in header":  twice(object(f.header), `"alg":"none"`) + "." + parts[1] + "." + parts[2],
		"duplicate in payload": parts[0] + "." + twice(object(f.payload), `"jti":"j0"`) + "." + parts[2],
		"payload no object":    parts[0] + "." + b64([]byte(`[]`)) + "." + parts[2],
	} {
		if got := reason(t, proof, expect()); got != "malformed" {
			t.Errorf("%s: refused for %q, want malformed", name, got)
		}
	}
	f.payload["jti"] = `"j2"`
	changed := parts[0] + "." + b64(object(f.payload)) + "." + parts[2]
	if got := reason(t, changed, expect()); got != "signature" {
		t.Errorf("changed payload: refused for %q, want signature", got)
	}
}

// TestPrivateKeysInProofsAreRefused: whoever sends its private key has lost it.
func TestPrivateKeysInProofsAreRefused(t *testing.T) {
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		f := newForge(t)
		public := f.header["jwk"]
		f.header["jwk"] = strings.Replace(public, "{", `{"`+member+`":"AAAA",`, 1)
		if got := reason(t, f.proof(t), expect()); got != "jwk" {
			t.Errorf("with %s: refused for %q, want jwk", member, got)
		}
		f.header["jwk"] = strings.Replace(public, "{", `{"x-`+member+`":"AAAA",`, 1)
		if got := reason(t, f.proof(t), expect()); got != "" {
			t.Errorf("the good twin of %s is refused for %q", member, got)
		}
	}
}

func TestWindow(t *testing.T) {
	proof := newForge(t).proof(t)
	issued := clock().Truncate(time.Second)
	for _, c := range []struct {
		window, age time.Duration
		want        string
	}{
		{0, time.Minute, ""}, {0, time.Minute + 1, "iat"}, {0, -15 * time.Second, ""}, {0, -15*time.Second - 1, "iat"},
		{10 * time.Second, 10 * time.Second, ""}, {10 * time.Second, 11 * time.Second, "iat"},
		{5 * time.Minute, 4 * time.Minute, ""}, {-time.Second, 0, "iat"},
	} {
		e := expect()
		e.Window, e.Now = c.window, issued.Add(c.age)
		if got := reason(t, proof, e); got != c.want {
			t.Errorf("window %v, age %v: refused for %q, want %q", c.window, c.age, got, c.want)
		}
	}
}

func TestErrorsDoNotQuoteProofOrToken(t *testing.T) {
	f := newForge(t)
	f.payload["ath"] = `"` + hash("another") + `"`
	proof := f.proof(t)
	for _, bad := range []string{proof, proof + "=", proof + ".x"} {
		_, err := Verify(bad, expect())
		if err == nil {
			t.Fatal("accepted, want an error")
		}
		if strings.Contains(err.Error(), proof[:20]) || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), hash(token)) {
			t.Errorf("error gives away too much: %v", err)
		}
	}
}
