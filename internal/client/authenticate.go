package client

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

// Credentials is what a request says of its client.
type Credentials struct {
	ID     string
	Secret string
	Method string // oauth.AuthNone, AuthBasic or AuthPost
}

// String hides the secret.
func (c Credentials) String() string { return c.ID + " [redacted]" }

// Read takes the client's credentials from a request whose form was parsed.
// Two methods in one request are invalid_request (RFC 6749 §2.3).
func Read(r *http.Request, form url.Values) (Credentials, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return Credentials{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "more than one Authorization header"}
	}
	posted := form.Get("client_secret")
	if len(headers) == 0 {
		c := Credentials{ID: form.Get("client_id"), Secret: posted, Method: oauth.AuthNone}
		if form.Has("client_secret") {
			c.Method = oauth.AuthPost
		}
		if c.ID == "" {
			return c, &oauth.Error{Code: oauth.InvalidClient, Description: "no client credentials"}
		}
		return c, nil
	}
	c, err := basic(headers[0])
	if err != nil {
		return c, err
	}
	if form.Has("client_secret") {
		return c, &oauth.Error{Code: oauth.InvalidRequest, Description: "two client authentication methods in one request"}
	}
	if id := form.Get("client_id"); id != "" && id != c.ID {
		return c, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id differs from the Authorization header"}
	}
	return c, nil
}

// basic decodes HTTP Basic. Both parts are form-urlencoded before they are
// joined (RFC 6749 §2.3.1), so they are decoded before they are compared.
func basic(header string) (Credentials, error) {
	bad := &oauth.Error{Code: oauth.InvalidClient, Description: "the Authorization header is not HTTP Basic with form-urlencoded parts"}
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return Credentials{}, bad
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return Credentials{}, bad
	}
	user, pass, ok := strings.Cut(string(raw), ":")
	if !ok {
		return Credentials{}, bad
	}
	id, err := url.QueryUnescape(user)
	if err != nil {
		return Credentials{}, bad
	}
	secret, err := url.QueryUnescape(pass)
	if err != nil || id == "" {
		return Credentials{}, bad
	}
	return Credentials{ID: id, Secret: secret, Method: oauth.AuthBasic}, nil
}

// Authenticate finds the client and checks its secret. Every way to be wrong is
// the same invalid_client.
func (d *Directory) Authenticate(ctx context.Context, c Credentials) (*store.Client, error) {
	refused := &oauth.Error{Code: oauth.InvalidClient, Description: "client authentication was refused"}
	known, err := d.Client(ctx, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	if known.Disabled {
		return nil, refused
	}
	if known.AuthMethod == oauth.AuthNone {
		// A public client that sends a secret believes it is another kind of client.
		if c.Method != oauth.AuthNone {
			return nil, refused
		}
		return known, nil
	}
	if c.Method == oauth.AuthNone || len(known.SecretHash) == 0 {
		return nil, refused
	}
	if strings.HasPrefix(c.Secret, DevPrefix) && !d.sample {
		return nil, refused
	}
	if subtle.ConstantTimeCompare(HashSecret(c.Secret), known.SecretHash) != 1 {
		return nil, refused
	}
	return known, nil
}
