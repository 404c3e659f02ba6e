package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/admin"
)

// A guard asks with its token for the feed (RFC 7662 §2.1), and learns of the
// tokens of what it guards and of no others.
func TestGuardIntrospects(t *testing.T) {
	w := newWorld(t)
	const api, feed = "https://api.example", adminIssuer + "/feed"
	_, err := w.admin.AddResource(t.Context(), admin.System, admin.Resource{URI: api, Name: "API", Scopes: []admin.Scope{{Name: "read", Text: "Read"}}})
	if err != nil {
		t.Fatal(err)
	}
	secret := w.client(t, admin.Client{ID: "caller", Scope: "read", Resources: []string{api}})
	own := w.client(t, admin.Client{ID: "guard", Guards: []string{api}})
	right := w.token(t, "guard", own, feed, nil)
	other := w.token(t, "other", w.client(t, admin.Client{ID: "other", Guards: []string{"https://other.example"}}), feed, nil)
	alive := w.token(t, "caller", secret, api, nil)
	ask := func(credential, token string, more url.Values) (int, http.Header, string) {
		t.Helper()
		form := url.Values{"token": {token}}
		for k, v := range more {
			form[k] = v
		}
		r := request("POST", "/introspect", form)
		r.Header.Set("Authorization", "Bearer "+credential)
		answer := w.do(r)
		return answer.Code, answer.Header(), strings.TrimSpace(answer.Body.String())
	}
	status, header, body := ask(right, alive, nil)
	var got struct {
		Active                        bool
		Iss, Sub, Aud, Jti, Client_ID string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || !got.Active ||
		got.Iss != adminIssuer || got.Sub != "caller" || got.Client_ID != "caller" || got.Aud != api || got.Jti == "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("the guard of the resource: %d %s", status, body)
	}
	const inactive = `{"active":false}`
	for _, tt := range []struct {
		name, credential, token string
		more                    url.Values
		status                  int
		body                    string
	}{
		{"another guard", other, alive, nil, 200, inactive},
		{"its own credential", right, right, nil, 200, inactive},
		{"no token of ours", right, "nothing", nil, 200, inactive},
		{"a refresh token", right, "writ_rt_nothing", nil, 200, inactive},
		{"about nothing", right, "", nil, 400, "invalid_request"},
		{"a secret besides", right, alive, url.Values{"client_id": {"guard"}, "client_secret": {"x"}}, 400, "invalid_request"},
		{"the caller's token", alive, alive, nil, 401, "invalid_token"},
		{"a token for usage alone", w.unbound(t, "guard", feed, "usage:write"), alive, nil, 403, "insufficient_scope"},
		{"a bound token", w.token(t, "guard", own, feed, newKey(t)), alive, nil, 401, "invalid_token"},
		{"nothing", "nothing", alive, nil, 401, "invalid_token"},
	} {
		status, header, body := ask(tt.credential, tt.token, tt.more)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, body, tt.status, tt.body)
		}
		if status == 401 || status == 403 {
			wantChallenge(t, header, "Bearer", tt.body)
		}
	}
	end := url.Values{"client_id": {"caller"}, "client_secret": {secret}, "token": {alive}}
	if answer := w.do(request("POST", "/revoke", end)); answer.Code != http.StatusOK {
		t.Fatalf("revocation: %d %s", answer.Code, answer.Body)
	}
	if status, _, body := ask(right, alive, nil); status != http.StatusOK || body != inactive {
		t.Errorf("an ended token: %d %s, want inactive", status, body)
	}
}
