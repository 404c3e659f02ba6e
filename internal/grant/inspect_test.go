package grant_test

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
)

// answer is what introspection says to the guard, as it is sent.
func (w *world) answer(t *testing.T, token string) string {
	t.Helper()
	answer, err := w.Introspect(t.Context(), credentials("gateway"), token)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestIntrospectExpired: at exp a token is over, and nothing is told of it any more
// (RFC 7662 §2.2).
func TestIntrospectExpired(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		issued := w.open(t, "web")
		c := parse(t, issued.AccessToken)
		w.clock.pass(c.Expiry.Sub(w.clock.now()) - time.Microsecond)
		if !w.active(t, issued.AccessToken) {
			t.Error("a moment before exp it is not active")
		}
		w.clock.pass(time.Microsecond)
		if got := w.answer(t, issued.AccessToken); got != `{"active":false}` {
			t.Errorf("at exp: %s, want inactive and nothing else", got)
		}
	})
}

// TestIntrospectBound: the guard learns which key a token is bound to (RFC 9449
// §6.2), and of one that is bound to none no key.
func TestIntrospectBound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		const key = challenge // any thumbprint
		bound, err := w.Token(t.Context(), grant.TokenRequest{
			Credentials: credentials("web"),
			Params: url.Values{
				"grant_type": {oauth.GrantCode}, "code": {w.code(t, "web")}, "redirect_uri": {callback}, "code_verifier": {verifier},
			},
			Proof: &dpop.Proof{Thumbprint: key, ID: "1", IssuedAt: w.clock.now()},
		})
		for name, tt := range map[string]struct {
			token     string
			kind, key string
		}{
			"bound":     {must(bound, err)(t).AccessToken, oauth.DPoP, key},
			"not bound": {w.open(t, "web").AccessToken, oauth.Bearer, ""},
		} {
			var got struct {
				Active bool              `json:"active"`
				Type   string            `json:"token_type"`
				Cnf    map[string]string `json:"cnf"`
			}
			text := w.answer(t, tt.token)
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			if !got.Active || got.Type != tt.kind || got.Cnf["jkt"] != tt.key || (got.Cnf != nil) != (tt.key != "") {
				t.Errorf("%s: %s, want an active %s token of key %q", name, text, tt.kind, tt.key)
			}
		}
	})
}

func parse(t *testing.T, compact string) *token.Claims {
	t.Helper()
	c, err := token.InsecureParse(compact)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSignInIsNotRenewed: auth_time and acr say how the person signed in when the
// grant was opened. Neither refresh and exchange nor another sign-in meanwhile makes
// them younger or stronger (RFC 9068 §2.2.1).
func TestSignInIsNotRenewed(t *testing.T) {
	const acr = "1"
	eachDatabase(t, func(t *testing.T, w *world) {
		opened := func() *grant.TokenResponse {
			code := w.code(t, "web")
			w.update(t, func(tx *store.Tx) error {
				c, err := tx.Code(client.HashSecret(code))
				if err != nil {
					return err
				}
				c.ACR = acr
				return tx.PutCode(c)
			})
			return must(w.redeem(t.Context(), "web", code))(t)
		}
		first := opened()
		began := w.clock.now().Truncate(time.Second)

		w.clock.pass(3 * time.Minute)
		w.update(t, func(tx *store.Tx) error { // the same person signs in again, more strongly
			s, err := tx.Session("s")
			if err != nil {
				return err
			}
			s.AuthTime, s.ACR = w.clock.now(), "2"
			return tx.PutSession(s)
		})
		next := must(w.refresh(t.Context(), "web", first.RefreshToken))(t)
		for name, compact := range map[string]string{
			"the code":                     first.AccessToken,
			"refresh":                      next.AccessToken,
			"exchange":                     must(w.exchange(t.Context(), first.AccessToken))(t).AccessToken,
			"exchange of what refresh got": must(w.exchange(t.Context(), next.AccessToken))(t).AccessToken,
		} {
			if c := parse(t, compact); !c.AuthTime.Equal(began) || c.ACR != acr {
				t.Errorf("%s: auth_time %v, acr %q, want %v and %q", name, c.AuthTime, c.ACR, began, acr)
			}
		}
		if c := parse(t, opened().AccessToken); !c.AuthTime.After(began) {
			t.Errorf("a grant opened later: auth_time %v, want it after %v", c.AuthTime, began)
		}
	})
}
