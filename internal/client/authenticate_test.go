package client

import (
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/writ-auth/writ/internal/oauth"
)

// TestReadScheme: the name of a scheme has no case (RFC 9110 §11.1), and is a name,
// not the beginning of one.
func TestReadScheme(t *testing.T) {
	pair := base64.StdEncoding.EncodeToString([]byte("orders+service:s%3Acret"))
	for _, tt := range []struct {
		name, header string
		want         bool
	}{
		{"as it is registered", "Basic " + pair, true},
		{"in lower case", "basic " + pair, true},
		{"in upper case", "BASIC " + pair, true},
		{"with two spaces", "Basic  " + pair, true},
		{"a longer name", "Basically " + pair, false},
		{"a shorter name", "Basi " + pair, false},
		{"another scheme", "Bearer " + pair, false},
		{"no scheme", pair, false},
		{"a tab for the space", "Basic\t" + pair, false},
		{"nothing behind the scheme", "Basic", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/token", nil)
			r.Header.Set("Authorization", tt.header)
			got, err := Read(r, url.Values{})
			if !tt.want {
				var refused *oauth.Error
				if !errors.As(err, &refused) || refused.Code != oauth.InvalidClient {
					t.Errorf("Read = %v, %v, want invalid_client", got, err)
				}
				return
			}
			want := Credentials{ID: "orders service", Secret: "s:cret", Method: oauth.AuthBasic}
			if err != nil || got != want {
				t.Errorf("Read = %+v, %v, want the client and its secret", got, err)
			}
		})
	}
}
