package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
)

// patience is how long a server may take to answer.
const patience = 20 * time.Second

// httpClient is how commands reach servers. Redirects are not followed: they would
// carry secrets elsewhere.
func httpClient() *http.Client {
	return &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// discover reads the metadata of a server (RFC 8414) and holds it to its name.
func discover(ctx context.Context, issuer string) (*oauth.Metadata, error) {
	var meta oauth.Metadata
	if err := fetch(ctx, oauth.WellKnown(issuer, oauth.ServerDocument), &meta); err != nil {
		return nil, err
	}
	if meta.Issuer != issuer { // RFC 8414 §3.3
		return nil, fmt.Errorf("the server at %s calls itself %q: use that name", issuer, visible(meta.Issuer))
	}
	for _, address := range []string{meta.TokenEndpoint, meta.AuthorizationEndpoint, meta.RevocationEndpoint, meta.JWKSURI} {
		if u, err := url.Parse(address); err != nil || !private(u) {
			return nil, fmt.Errorf("the server at %s names an address that is not https: %q", issuer, visible(address))
		}
	}
	return &meta, nil
}

// private reports whether what is sent to u stays between the two ends.
func private(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && loopbackHost(u.Hostname()))
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// fetch reads a JSON document.
func fetch(ctx context.Context, address string, v any) error {
	body, err := get(ctx, address)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read %s: %w", address, err)
	}
	return nil
}

func get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	status, body, err := do(httpClient(), req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d %s", address, status, http.StatusText(status))
	}
	return body, nil
}

// do sends a request and reads the whole answer.
func do(client *http.Client, req *http.Request) (int, []byte, error) {
	res, err := client.Do(req)
	if err != nil {
		var known *failure
		if errors.As(err, &known) { // of our own RoundTripper
			return 0, nil, known
		}
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return 0, nil, unreachable(fmt.Errorf("cannot reach %s://%s: %w", req.URL.Scheme, req.URL.Host, err))
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, nil, unreachable(fmt.Errorf("the answer of %s broke off: %w", req.URL.Host, err))
	}
	return res.StatusCode, body, nil
}

// refusal is what a server said no with.
type refusal struct {
	status int
	code   string // OAuth error code, "" without
	text   string
}

func (r *refusal) Error() string {
	return "the server refused: " + cmp.Or(visible(strings.TrimSpace(r.code+" "+r.text)), http.StatusText(r.status))
}

// refused reads the error of RFC 6749 §5.2 or RFC 9457.
func refused(status int, body []byte) error {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
		Title       string `json:"title"`
		Detail      string `json:"detail"`
	}
	_ = json.Unmarshal(body, &said) // what is no JSON says nothing
	r := &refusal{status: status, code: said.Code, text: cmp.Or(said.Description, said.Detail, said.Title)}
	if r.code != "" && r.text != "" {
		r.code += ":"
	}
	if r.code == "" && r.text == "" {
		r.text = fmt.Sprintf("%d %s", status, http.StatusText(status))
	}
	return &failure{exitRefused, r}
}

// post sends a form and wants a 200 for it.
func post(ctx context.Context, address string, form url.Values) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := do(httpClient(), req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return refused(status, body)
	}
	return nil
}
