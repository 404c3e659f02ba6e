package relay

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestExchangedAnswersThatDoNotFit: what an exchange gives must say that it is an
// access token, and one that needs no proof (RFC 8693 §2.2.1). Anything else is not
// for a header, even though it came with status 200.
func TestExchangedAnswersThatDoNotFit(t *testing.T) {
	const token, kind = `"access_token":"inner","expires_in":60,`, "urn:ietf:params:oauth:token-type:"
	for _, tt := range []struct {
		name, answer string
		want         bool
	}{
		{"an access token", token + `"token_type":"Bearer","issued_token_type":"` + kind + `access_token"`, true},
		{"an access token, in lower case", token + `"token_type":"bearer","issued_token_type":"` + kind + `access_token"`, true},
		{"an ID token", token + `"token_type":"Bearer","issued_token_type":"` + kind + `id_token"`, false},
		{"a refresh token", token + `"token_type":"Bearer","issued_token_type":"` + kind + `refresh_token"`, false},
		{"a JWT of no said use", token + `"token_type":"Bearer","issued_token_type":"` + kind + `jwt"`, false},
		{"a type in capitals", token + `"token_type":"Bearer","issued_token_type":"` + strings.ToUpper(kind) + `ACCESS_TOKEN"`, false},
		{"no type", token + `"token_type":"Bearer"`, false},
		{"an empty type", token + `"token_type":"Bearer","issued_token_type":""`, false},
		{"a type that is no string", token + `"token_type":"Bearer","issued_token_type":1`, false},
		{"a token of another use", token + `"token_type":"N_A","issued_token_type":"` + kind + `access_token"`, false},
		{"a token that needs a proof", token + `"token_type":"DPoP","issued_token_type":"` + kind + `access_token"`, false},
		{"no use said", token + `"issued_token_type":"` + kind + `access_token"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := &issuer{answer: func(context.Context, url.Values, int) (int, string, error) { return 200, "{" + tt.answer + "}", nil }}
			to, err := stock.check()
			if err != nil {
				t.Fatal(err)
			}
			l, err := newClient(t, i, nil).exchange(t.Context(), "outer", time.Now().Add(time.Hour), to)
			if tt.want {
				if err != nil || l.token != "inner" || l.header != "Bearer inner" {
					t.Errorf("exchange = %q, %v, want the token", l.header, err)
				}
				return
			}
			if _, ok := errors.AsType[*Error](err); !ok || l.token != "" || strings.Contains(err.Error(), "inner") {
				t.Errorf("exchange = %q, %v, want *Error that does not quote the token", l.token, err)
			}
		})
	}
}
