package main_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/client"
)

// TestStoreHoldsNoSecrets: whoever gets hold of the database, or of a backup of it,
// can act as nobody. After all that people and clients do, no byte of it is a code,
// a token, a cookie, a secret or a password (RFC 6749 §10.4, §10.5).
func TestStoreHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	secrets := map[string]string{"password": password}
	for _, id := range []string{"web", "first", "service", "gateway"} {
		secrets["secret of "+id] = secret(id)
	}

	abandoned, _ := request("web", "openid orders:read") // a sign-in that nobody goes on with
	flow := a.flow(t, abandoned)
	redeem := alice.allow(t, "web", "openid offline_access orders:read")
	code := redeem.form.Get("code")
	secrets["code"], secrets["verifier"] = code, redeem.form.Get("code_verifier")
	first := a.grant(t, redeem)
	next := a.grant(t, refreshing("web", first.Refresh))
	again := a.grant(t, refreshing("web", first.Refresh)) // the successor is kept, sealed, for this
	waiting := alice.allow(t, "spa", "openid orders:read")
	secrets["code that nobody redeemed"] = waiting.form.Get("code")
	for name, issued := range map[string]tokens{"first ": first, "next ": next, "again ": again} {
		secrets[name+"access token"], secrets[name+"refresh token"] = issued.Access, issued.Refresh
	}
	secrets["ID token"] = first.ID
	secrets["exchanged token"] = a.grant(t, exchanging("gateway", next.Access, inner, "")).Access
	home, err := url.Parse(a.issuer)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(alice.browser.Jar.Cookies(home), flow) {
		secrets["cookie "+c.Name+" "+c.Value[:4]] = c.Value
	}
	if len(code) != 43 || len(flow.Value) != 43 { // 256 bits in base64url
		t.Errorf("code of %d letters, cookie of %d, want 43", len(code), len(flow.Value))
	}

	a.search(t, "while it runs", secrets, code)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	a.search(t, "after its end", secrets, code)
}

// flow begins a sign-in in a browser of its own and returns the cookie that binds it.
func (a *authority) flow(t *testing.T, params url.Values) *http.Cookie {
	t.Helper()
	res, err := a.http.Get(a.issuer + "/authorize?" + params.Encode())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	at, err := res.Location()
	if err != nil || len(res.Cookies()) != 1 {
		t.Fatalf("status %d, cookies %v, %v, want a page and one cookie", res.StatusCode, res.Cookies(), err)
	}
	if id := at.Query().Get("flow"); len(id) != 22 { // 128 bits in base64url
		t.Errorf("flow id %q, want 22 letters", id)
	}
	return res.Cookies()[0]
}

// search looks for each secret in the files of the database: as it is written, and
// as the bytes behind that. What should be there, must: else nothing was searched.
func (a *authority) search(t *testing.T, when string, secrets map[string]string, code string) {
	t.Helper()
	files, err := filepath.Glob(strings.TrimPrefix(a.database, "sqlite:") + "*")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	for name, value := range secrets {
		if len(value) < 16 {
			t.Errorf("%s, %s: %q is too short to search for", name, when, value)
		}
		forms := [][]byte{[]byte(value)}
		for _, prefix := range []string{client.SecretPrefix, client.RefreshPrefix, ""} {
			rest, ok := strings.CutPrefix(value, prefix)
			if raw, err := base64.RawURLEncoding.DecodeString(rest[:min(43, len(rest))]); ok && err == nil {
				forms = append(forms, raw)
			}
		}
		for _, form := range forms {
			if bytes.Contains(all, form) {
				t.Errorf("%s: the store holds the %s", when, name)
			}
		}
	}
	for name, want := range map[string][]byte{
		"alice": []byte("u_alice"), "hash of the code": client.HashSecret(code), "hash of a client's secret": client.HashSecret(secret("web")),
	} {
		if !bytes.Contains(all, want) {
			t.Errorf("%s: the %s is not in what was searched, %d bytes in %v", when, name, len(all), files)
		}
	}
}
