package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const needsBasic = `Basic realm="` + adminIssuer + `"`

// unbound is a client's own token of one scope, bound to no key, whether the token
// endpoint would give it or not.
func (w *world) unbound(t *testing.T, id, resource, name string) string {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	compact, err := w.cfg.Keys.Access(&token.Claims{
		Issuer: adminIssuer, Subject: id, ClientID: id, Audience: []string{resource}, Scope: scope.Set{name},
		IssuedAt: now, Expiry: now.Add(time.Minute), Rev: w.cfg.Clients.Position(),
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// wantChallenge checks the one challenge of a refusal: its scheme, its error code
// ("" for none), and that it is the error the body names.
func wantChallenge(t *testing.T, header http.Header, scheme, code string) {
	t.Helper()
	got := header.Values("WWW-Authenticate")
	if len(got) != 1 || !strings.HasPrefix(got[0]+" ", scheme+" ") {
		t.Errorf("WWW-Authenticate = %q, want one of %s", got, scheme)
		return
	}
	if code == "" && strings.Contains(got[0], "error") || code != "" && !strings.Contains(got[0], `error="`+code+`"`) {
		t.Errorf("WWW-Authenticate = %q, want error %q", got[0], code)
	}
}

// TestFeedChallenges: the feed says which scheme it takes, what was wrong with what
// it was shown, and no error where it was shown nothing (RFC 6750 §3, §3.1).
func TestFeedChallenges(t *testing.T) {
	w := newWorld(t)
	secret := w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}})
	key, feed := newKey(t), adminIssuer+"/feed"
	right := w.token(t, "guard", secret, feed, nil)
	bound := w.token(t, "guard", secret, feed, key)
	elsewhere := w.token(t, "operator", w.client(t, operator), adminIssuer+"/admin", key)
	ended := w.token(t, "guard", secret, feed, nil)
	if answer := w.do(request("POST", "/revoke", url.Values{"client_id": {"guard"}, "client_secret": {secret}, "token": {ended}})); answer.Code != http.StatusOK {
		t.Fatalf("revocation: %d %s", answer.Code, answer.Body)
	}
	for _, tt := range []struct {
		name, authorization string
		status              int
		code                string
	}{
		{"nothing presented", "", http.StatusUnauthorized, ""},
		{"no token", "Bearer nothing", http.StatusUnauthorized, "invalid_token"},
		{"a changed token", "Bearer " + right[:len(right)-4] + "AAAA", http.StatusUnauthorized, "invalid_token"},
		{"a token for another resource", "Bearer " + elsewhere, http.StatusUnauthorized, "invalid_token"},
		{"a bound token", "Bearer " + bound, http.StatusUnauthorized, "invalid_token"},
		{"an ended token", "Bearer " + ended, http.StatusUnauthorized, "invalid_token"},
		{"another scheme", "DPoP " + right, http.StatusUnauthorized, "invalid_token"},
		{"another scope", "Bearer " + w.unbound(t, "guard", feed, "usage:write"), http.StatusForbidden, "insufficient_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for method, path := range map[string]string{"GET": "/feed/events", "POST": "/feed/state"} {
				r := request(method, path, nil)
				if tt.authorization != "" {
					r.Header.Set("Authorization", tt.authorization)
				}
				answer := w.do(r)
				if answer.Code != tt.status {
					t.Errorf("%s = %d %s, want %d", path, answer.Code, answer.Body, tt.status)
				}
				wantChallenge(t, answer.Header(), "Bearer", tt.code)
			}
		})
	}
	t.Run("a good token", func(t *testing.T) {
		r := request("POST", "/feed/state", nil)
		r.Body = http.NoBody
		r.Header.Set("Authorization", "Bearer "+right)
		if answer := w.do(r); answer.Code != http.StatusBadRequest || answer.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("without a report: %d, WWW-Authenticate %q, want 400 and no challenge", answer.Code, answer.Header())
		}
	})
}

// TestAdminChallenges: the admin API takes tokens bound to a key, shown with a proof,
// and nothing less (RFC 9449 §7.1, §7.2).
func TestAdminChallenges(t *testing.T) {
	w := newWorld(t)
	key, secret, resource := newKey(t), w.client(t, operator), adminIssuer+"/admin"
	bound, free, other := w.token(t, "operator", secret, resource, key), w.unbound(t, "operator", resource, "admin:read"), newKey(t)
	good := w.ask(t, "GET", "DPoP "+bound, proof(t, key, "GET", adminIssuer+"/admin/v1/clients", bound))
	if good.status != http.StatusOK {
		t.Fatalf("bound, with its proof: %d %s, want 200", good.status, good.body)
	}
	for _, tt := range []struct {
		name, method, authorization, proof string
		status                             int
		code                               string
	}{
		{"nothing presented", "GET", "", "", http.StatusUnauthorized, ""},
		{"bound, as Bearer", "GET", "Bearer " + bound, "", http.StatusUnauthorized, "invalid_token"},
		{"bound, as Bearer with a proof", "GET", "Bearer " + bound, bound, http.StatusUnauthorized, "invalid_token"},
		{"bound, without a proof", "GET", "DPoP " + bound, "", http.StatusUnauthorized, "invalid_dpop_proof"},
		{"not bound, as Bearer", "GET", "Bearer " + free, "", http.StatusUnauthorized, "invalid_token"},
		{"not bound, as DPoP", "GET", "DPoP " + free, "", http.StatusUnauthorized, "invalid_token"},
		{"not bound, as DPoP with a proof", "GET", "DPoP " + free, free, http.StatusUnauthorized, "invalid_token"},
		{"not bound, as Bearer with a proof", "GET", "Bearer " + free, free, http.StatusUnauthorized, "invalid_token"},
		{"another scope", "POST", "DPoP " + bound, bound, http.StatusForbidden, "insufficient_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shown := ""
			if tt.proof != "" {
				shown = proof(t, key, tt.method, adminIssuer+"/admin/v1/clients", tt.proof)
			}
			got := w.ask(t, tt.method, tt.authorization, shown)
			if got.status != tt.status {
				t.Errorf("%d %s, want %d", got.status, got.body, tt.status)
			}
			wantChallenge(t, got.header, "DPoP", tt.code)
			if challenge := got.header.Get("WWW-Authenticate"); !strings.Contains(challenge, `algs="`) {
				t.Errorf("WWW-Authenticate = %q, want the algorithms of proofs", challenge)
			}
		})
	}
	t.Run("asking for a token without a proof", func(t *testing.T) {
		answer := w.do(request("POST", "/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"operator"}, "client_secret": {secret}, "resource": {resource},
		}))
		if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), `"invalid_dpop_proof"`) {
			t.Errorf("%d %s, want 400 invalid_dpop_proof", answer.Code, answer.Body)
		}
	})
	t.Run("a thief's key", func(t *testing.T) {
		got := w.ask(t, "GET", "DPoP "+bound, proof(t, other, "GET", adminIssuer+"/admin/v1/clients", bound))
		if got.status != http.StatusUnauthorized {
			t.Errorf("%d %s, want 401", got.status, got.body)
		}
		wantChallenge(t, got.header, "DPoP", "invalid_token")
	})
	t.Run("no operator any more", func(t *testing.T) { // past the guard, which knows nothing of marks
		err := w.db.Update(t.Context(), func(tx *store.Tx) error {
			c, err := tx.Client("operator")
			if err != nil {
				return err
			}
			c.Admin = false
			return tx.PutClient(c)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Clients.Changed(nil)
		got := w.ask(t, "GET", "DPoP "+bound, proof(t, key, "GET", adminIssuer+"/admin/v1/clients", bound))
		if got.status != http.StatusUnauthorized {
			t.Errorf("%d %s, want 401", got.status, got.body)
		}
		wantChallenge(t, got.header, "DPoP", "invalid_token")
	})
}

// given is what the admin API answered.
type given struct {
	status int
	header http.Header
	body   string
}

// ask sends what a caller shows to the admin API.
func (w *world) ask(t *testing.T, method, authorization, shown string) given {
	t.Helper()
	r := request(method, "/admin/v1/clients", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if shown != "" {
		r.Header.Set("DPoP", shown)
	}
	answer := w.do(r)
	return given{answer.Code, answer.Header(), answer.Body.String()}
}

// TestClientChallenges: who could not prove to be a client learns how, also who did
// not use the header (RFC 9110 §15.5.2, RFC 6749 §5.2).
func TestClientChallenges(t *testing.T) {
	w := newWorld(t)
	secret := w.client(t, admin.Client{ID: "guard", Guards: []string{"https://api.example"}})
	for _, path := range []string{"/token", "/revoke", "/introspect"} {
		for name, form := range map[string]url.Values{
			"nothing":                  {"token": {"x"}},
			"an unknown client":        {"token": {"x"}, "client_id": {"nobody"}},
			"an id without its secret": {"token": {"x"}, "client_id": {"guard"}},
			"a wrong secret":           {"token": {"x"}, "client_id": {"guard"}, "client_secret": {secret + "x"}},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				answer := w.do(request("POST", path, form))
				got := answer.Header().Values("WWW-Authenticate")
				if answer.Code != http.StatusUnauthorized || len(got) != 1 || got[0] != needsBasic {
					t.Errorf("%d, WWW-Authenticate %q, want 401 and %s", answer.Code, got, needsBasic)
				}
			})
		}
		right := url.Values{"token": {"x"}, "client_id": {"guard"}, "client_secret": {secret}}
		if answer := w.do(request("POST", path, right)); answer.Code == http.StatusUnauthorized || answer.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%s, the client itself: %d, WWW-Authenticate %q, want no challenge", path, answer.Code, answer.Header())
		}
	}
}
