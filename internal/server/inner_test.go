package server

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

const domain = "inside.example"

// gate registers a client marked with the trust domain, and returns its secret.
func (w *world) gate(t *testing.T, id string) string {
	t.Helper()
	_, err := w.admin.AddResource(t.Context(), admin.System, admin.Resource{URI: "https://" + id + ".example", Scopes: []admin.Scope{{Name: "read", Text: "Read"}, {Name: "write", Text: "Write"}}})
	if err != nil {
		t.Fatal(err)
	}
	return w.client(t, admin.Client{
		ID: id, Guards: []string{"https://" + id + ".example"}, Resources: []string{"https://" + id + ".example"},
		Scope: "read", TrustDomain: domain,
	})
}

// jwk is a new public key.
func jwk(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jose.Key{Alg: jose.Ed25519, Public: public}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (w *world) inner(method, path, token, body string) *httptest.ResponseRecorder {
	r := request(method, path, nil)
	if body != "" {
		r = httptest.NewRequest(method, adminIssuer+path, strings.NewReader(body))
		r.TLS = nil
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(r)
}

// published lists the inner key set by client, domain, scope.
func (w *world) published(t *testing.T, token string) []string {
	t.Helper()
	answer := w.inner("GET", "/inner/jwks", token, "")
	if answer.Code != http.StatusOK {
		t.Fatalf("GET /inner/jwks: %d %s", answer.Code, answer.Body)
	}
	if _, skipped, err := jose.ParseSet(answer.Body.Bytes()); err != nil || len(skipped) > 0 {
		t.Errorf("the set cannot be read: %v, %v", skipped, err)
	}
	var set struct {
		Keys []struct {
			KeyID  string `json:"kid"`
			Client string `json:"client_id"`
			Domain string `json:"trust_domain"`
			Scope  string `json:"scope"`
			Expiry int64  `json:"exp"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, k := range set.Keys {
		if left := time.Until(time.Unix(k.Expiry, 0)); left < 47*time.Hour || left > 48*time.Hour {
			t.Errorf("key %s of %s ends in %v, want two days", k.KeyID, k.Client, left)
		}
		list = append(list, k.Client+" "+k.Domain+" "+k.Scope)
	}
	return list
}

func TestInnerKeyIsPublishedWithWhatItMayMint(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "gate", w.gate(t, "gate"), adminIssuer+"/feed", nil)
	service := w.token(t, "guard", w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}}), adminIssuer+"/feed", nil)
	key := `{"jwk":` + jwk(t) + `}`
	for range 2 { // the second time it lives on
		answer := w.inner("POST", "/inner/keys", token, key)
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `"scope":"read"`) {
			t.Fatalf("register: %d %s, want 200 with the scope", answer.Code, answer.Body)
		}
	}
	if got, want := w.published(t, service), []string{"gate inside.example read"}; !slices.Equal(got, want) {
		t.Errorf("the set has %q, want %q", got, want)
	}
	var audits []store.Audit
	if err := w.db.View(t.Context(), func(tx *store.Tx) (err error) { audits, err = tx.Audits(10, time.Time{}); return err }); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, a := range audits {
		if a.Action == "inner-key.add" && a.Actor == "gate" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d audit lines, want one for one key", n)
	}
}

func TestInnerKeysAreRefused(t *testing.T) {
	w := newWorld(t)
	secret := w.gate(t, "gate")
	gate, follows := w.token(t, "gate", secret, adminIssuer+"/feed", nil), w.scoped(t, "gate", secret, "feed:read usage:write")
	other := w.token(t, "other", w.gate(t, "other"), adminIssuer+"/feed", nil)
	unmarked := w.token(t, "guard", w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}}), adminIssuer+"/feed", nil)
	taken := jwk(t)
	if answer := w.inner("POST", "/inner/keys", other, `{"jwk":`+taken+`}`); answer.Code != http.StatusOK {
		t.Fatalf("register: %d %s", answer.Code, answer.Body)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := jose.Key{Alg: jose.RS256, Public: weak.Public()}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := jwk(t)
	for _, test := range []struct {
		name, token, body string
		status            int
	}{
		{"no token", "", `{"jwk":` + good + `}`, 401},
		{"a token that is none", "x", `{"jwk":` + good + `}`, 401},
		{"a guard that is no gateway", unmarked, `{"jwk":` + good + `}`, 403},
		{"a gateway's token that only follows", follows, `{"jwk":` + good + `}`, 403},
		{"another client's key", gate, `{"jwk":` + taken + `}`, 400},
		{"a private key", gate, `{"jwk":` + strings.Replace(good, `{`, `{"d":"AAAA",`, 1) + `}`, 400},
		{"an RSA key", gate, `{"jwk":` + string(rsaKey) + `}`, 400},
		{"a key without alg", gate, `{"jwk":` + strings.Replace(good, `,"use":"sig","alg":"Ed25519"`, ``, 1) + `}`, 400},
		{"a key to encrypt with", gate, `{"jwk":` + strings.Replace(good, `"sig"`, `"enc"`, 1) + `}`, 400},
		{"a symmetric key", gate, `{"jwk":{"kty":"oct","k":"AAAA","alg":"HS256"}}`, 400},
		{"no key", gate, `{}`, 400},
		{"no JSON", gate, `jwk`, 400},
	} {
		if answer := w.inner("POST", "/inner/keys", test.token, test.body); answer.Code != test.status {
			t.Errorf("%s: %d %s, want %d", test.name, answer.Code, answer.Body, test.status)
		}
	}
	if answer := w.inner("GET", "/inner/jwks", "", ""); answer.Code != http.StatusUnauthorized {
		t.Errorf("the set without a token: %d, want 401", answer.Code)
	}
	if got := w.published(t, unmarked); len(got) != 1 {
		t.Errorf("the set has %q, want the one key that was taken", got)
	}
}

// TestInnerKeysLeaveWithTheirClient: whatever takes a gateway's rights away takes its
// keys out of the set, and they do not come back with the rights.
func TestInnerKeysLeaveWithTheirClient(t *testing.T) {
	set := func(change func(*admin.Client)) func(*testing.T, *world) error {
		return func(t *testing.T, w *world) error {
			_, err := w.admin.SetClient(t.Context(), admin.System, "gate", func(c *admin.Client) error { change(c); return nil })
			return err
		}
	}
	end := func(kind revoke.Kind, value string) func(*testing.T, *world) error {
		return func(t *testing.T, w *world) error {
			_, err := w.admin.End(t.Context(), admin.System, admin.Revocation{Kind: string(kind), Value: value})
			return err
		}
	}
	for name, test := range map[string]struct {
		away, back func(*testing.T, *world) error
	}{
		"disabled":       {set(func(c *admin.Client) { c.Disabled = true }), set(func(c *admin.Client) { c.Disabled = false })},
		"unmarked":       {set(func(c *admin.Client) { c.TrustDomain = "" }), set(func(c *admin.Client) { c.TrustDomain = domain })},
		"another domain": {set(func(c *admin.Client) { c.TrustDomain = "other.example" }), nil},
		"ended":          {end(revoke.Client, "gate"), nil},
		"ended as actor": {end(revoke.Actor, "gate"), nil},
		"as a subject":   {end(revoke.Subject, "gate"), nil},
		"one by one": {func(t *testing.T, w *world) error {
			var keys []store.InnerKey
			err := w.db.View(t.Context(), func(tx *store.Tx) (err error) {
				keys, err = tx.InnerKeys(time.Now())
				return err
			})
			for _, k := range keys {
				err = errors.Join(err, end(revoke.SigningKey, k.ID)(t, w))
			}
			return err
		}, nil},
		"everything": {end(revoke.Everything, revoke.Any), nil},
		"removed":    {func(t *testing.T, w *world) error { return w.admin.RemoveClient(t.Context(), admin.System, "gate") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			own := w.gate(t, "gate")
			token := w.token(t, "gate", own, adminIssuer+"/feed", nil)
			secret := w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}})
			key := jwk(t)
			if answer := w.inner("POST", "/inner/keys", token, `{"jwk":`+key+`}`); answer.Code != http.StatusOK {
				t.Fatalf("register: %d %s", answer.Code, answer.Body)
			}
			for _, step := range []func(*testing.T, *world) error{test.away, test.back} {
				if step == nil {
					continue
				}
				if err := step(t, w); err != nil {
					t.Fatal(err)
				}
				if got := w.published(t, w.living(t, "guard", secret)); len(got) > 0 {
					t.Errorf("the set has %q, want none", got)
				}
			}
			if !w.told(t) {
				t.Error("the feed does not tell guards that keys changed")
			}
			switch name { // its own next token is good, and so is the next key, but never the same
			case "ended", "ended as actor", "as a subject", "one by one", "everything", "disabled", "unmarked":
				again := w.living(t, "gate", own)
				for body, want := range map[string]int{key: http.StatusBadRequest, jwk(t): http.StatusOK} {
					if answer := w.inner("POST", "/inner/keys", again, `{"jwk":`+body+`}`); answer.Code != want {
						t.Errorf("register %s afterwards: %d %s, want %d", body, answer.Code, answer.Body, want)
					}
				}
			}
			if name == "ended as actor" || name == "one by one" {
				return
			}
			if answer := w.inner("POST", "/inner/keys", token, `{"jwk":`+jwk(t)+`}`); answer.Code != http.StatusUnauthorized {
				t.Errorf("the token of before registers a key: %d %s, want 401", answer.Code, answer.Body)
			}
		})
	}
}

// scoped gets a token for the feed with these scopes; a marked client gets the one for
// keys only where it asks for it or for nothing.
func (w *world) scoped(t *testing.T, id, secret, scopes string) string {
	t.Helper()
	answer := w.do(request("POST", "/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "resource": {adminIssuer + "/feed"}, "scope": {scopes},
	}))
	var body struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || body.Access == "" {
		t.Fatalf("token for %s: %d %s", id, answer.Code, answer.Body)
	}
	return body.Access
}

func TestOnlyMarkedClientsGetTheScopeForKeys(t *testing.T) {
	w := newWorld(t)
	secret := w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}})
	answer := w.do(request("POST", "/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"guard"}, "client_secret": {secret}, "resource": {adminIssuer + "/feed"}, "scope": {"keys:write"},
	}))
	if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "invalid_scope") {
		t.Errorf("a guard that is no gateway asks for keys:write: %d %s, want 400 invalid_scope", answer.Code, answer.Body)
	}
}

// living gets a guard's own token for the feed. One that this replica decided on before
// it heard of a rule on everything is dead from the start: then there is another.
func (w *world) living(t *testing.T, id, secret string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		token := w.token(t, id, secret, adminIssuer+"/feed", nil)
		if w.inner("GET", "/inner/jwks", token, "").Code == http.StatusOK {
			return token
		}
		if time.Now().After(deadline) {
			t.Fatalf("no living token for %s", id)
		}
	}
}

// told reports whether the newest word on keys is newer than the registration.
func (w *world) told(t *testing.T) bool {
	t.Helper()
	var entries []store.Entry
	if err := w.db.View(t.Context(), func(tx *store.Tx) (err error) { entries, err = tx.Feed(0, 100); return err }); err != nil {
		t.Fatal(err)
	}
	told := false
	for _, e := range entries {
		if e.Kind == "key" {
			told = e.Reason != "inner-key.add"
		}
	}
	return told
}

func TestInnerKeyOfPoint(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "gate", w.gate(t, "gate"), adminIssuer+"/feed", nil)
	key, err := jose.Key{Alg: jose.ES256, Public: newKey(t).Public()}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if answer := w.inner("POST", "/inner/keys", token, `{"jwk":`+string(key)+`}`); answer.Code != http.StatusOK {
		t.Errorf("a key on %s: %d %s, want 200", elliptic.P256().Params().Name, answer.Code, answer.Body)
	}
}
