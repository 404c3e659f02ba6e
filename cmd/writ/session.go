package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
)

// credentials are those of a client; without a secret it is a public one.
type credentials struct {
	id     string
	secret login.Secret
}

// tokens is the answer of a token endpoint.
type tokens struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Scope     string `json:"scope,omitempty"`
	Refresh   string `json:"refresh_token,omitempty"`
}

// String hides the tokens.
func (*tokens) String() string { return "[redacted]" }

// session is an http.RoundTripper that signs every request with an access token
// and a proof of possession (RFC 9449). It is for one goroutine.
type session struct {
	meta  *oauth.Metadata
	key   crypto.Signer // nil: ask makes no proofs
	renew func(context.Context) (*tokens, error)

	held    *tokens
	expires time.Time
}

// ask asks the token endpoint, with a proof when there is a key.
func (s *session) ask(ctx context.Context, c credentials, form url.Values) (*tokens, error) {
	if c.secret == "" {
		form.Set("client_id", c.id)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.meta.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.secret != "" { // RFC 6749 §2.3.1: both form-urlencoded first
		req.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(string(c.secret)))
	}
	if s.key != nil {
		if err := s.prove(req, ""); err != nil {
			return nil, err
		}
	}
	status, body, err := do(httpClient(), req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, refused(status, body)
	}
	var t tokens
	if err := json.Unmarshal(body, &t); err != nil || t.Access == "" {
		return nil, errors.New("the server answered without an access token")
	}
	return &t, nil
}

// prove adds the proof for one request (RFC 9449 §4.2).
func (s *session) prove(req *http.Request, access string) error {
	target := *req.URL
	target.RawQuery, target.Fragment = "", ""
	proof, err := dpop.New(s.key, jose.ES256, req.Method, target.String(), access, time.Now(), rand.Text())
	if err != nil {
		return fmt.Errorf("make proof of possession: %w", err)
	}
	req.Header.Set("DPoP", proof)
	return nil
}

// RoundTrip signs req and sends it. Where the server does not take the token, although its
// time is not up, it does so once more with another: the key that signed it may have been
// ended, by the very command before.
func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	used := s.held
	res, err := s.send(req)
	if err != nil || res.StatusCode != http.StatusUnauthorized || used == nil || s.held != used || req.Body != nil && req.GetBody == nil {
		return res, err
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return res, nil
		}
	}
	s.held = nil
	next, err := s.send(again)
	if err != nil { // there is no other: the sign-in is over, and the first answer says it best
		return res, nil
	}
	res.Body.Close()
	return next, nil
}

// send signs req with a token that lives, and sends it.
func (s *session) send(req *http.Request) (*http.Response, error) {
	const margin = 10 * time.Second
	if s.held == nil || time.Until(s.expires) < margin {
		held, err := s.renew(req.Context())
		if err != nil {
			return nil, asFailure(err)
		}
		s.held, s.expires = held, time.Now().Add(time.Duration(held.ExpiresIn)*time.Second)
	}
	signed := req.Clone(req.Context())
	signed.Header.Set("Authorization", oauth.DPoP+" "+s.held.Access)
	if err := s.prove(signed, s.held.Access); err != nil {
		return nil, asFailure(err)
	}
	return http.DefaultTransport.RoundTrip(signed)
}

// asFailure keeps http.Client from making err one of the network.
func asFailure(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	return &failure{exitRefused, err}
}
