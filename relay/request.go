package relay

import (
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
	"github.com/writ-auth/writ/scope"
)

const (
	maxAnswer   = 64 << 10  // bytes of a token response
	maxDocument = 256 << 10 // bytes of a metadata document
	maxLife     = 24 * time.Hour
)

// answer is a token response (RFC 6749 §5.1, §5.2, RFC 8693 §2.2.1).
type answer struct {
	AccessToken     string  `json:"access_token"`
	TokenType       string  `json:"token_type"`
	IssuedTokenType string  `json:"issued_token_type"`
	ExpiresIn       int64   `json:"expires_in"`
	Scope           *string `json:"scope"`
	Error           string  `json:"error"`
	Description     string  `json:"error_description"`
}

// lease turns the answer to a request begun at start into a lease that ends
// with until at the latest, where that is set. Without a lifetime it serves
// the requests that wait for it and is not kept.
func (a *answer) lease(start, until time.Time) lease {
	l := lease{token: a.AccessToken, header: oauth.Bearer + " " + a.AccessToken}
	if a.ExpiresIn <= 0 {
		return l
	}
	life := maxLife
	if a.ExpiresIn < int64(maxLife/time.Second) {
		life = time.Duration(a.ExpiresIn) * time.Second
	}
	if left := until.Sub(start); !until.IsZero() && left < life {
		life = left
	}
	l.expiry = start.Add(life)
	l.until = l.expiry.Add(-min(maxMargin, life/10))
	return l
}

// request asks the token endpoint. Its error is an *Error, or the context's.
func (c *Client) request(ctx context.Context, form url.Values) (*answer, error) {
	if err := c.outage.begin(c.cfg.Now()); err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, form)
	if errors.Is(ctx.Err(), context.Canceled) {
		err = context.Canceled // nobody waits any more, which says nothing of the issuer
	}
	c.outage.end(c.cfg.Now(), err)
	return a, err
}

func (c *Client) ask(ctx context.Context, form url.Values) (*answer, error) {
	endpoint, err := c.tokenEndpoint(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &Error{cause: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
	req.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(c.cfg.Secret))
	// Asking twice is harmless, so the transport may repeat the request when a
	// kept connection turns out dead. The empty value is not sent.
	req.Header["Idempotency-Key"] = nil
	status, body, err := c.do(req, maxAnswer)
	if err != nil || status != http.StatusOK && status != http.StatusBadRequest && status != http.StatusUnauthorized {
		c.forget(endpoint)
	}
	if err != nil {
		return nil, &Error{Status: status, cause: err}
	}
	return read(status, body, form.Get(oauth.ParamScope))
}

// read judges a token response to a request for the scopes asked.
func read(status int, body []byte, asked string) (*answer, error) {
	var a answer
	err := json.Unmarshal(body, &a)
	switch {
	case status != http.StatusOK && err != nil:
		return nil, &Error{Status: status}
	case status != http.StatusOK:
		return nil, &Error{Status: status, Code: plain(a.Error), Description: plain(a.Description)}
	case err != nil:
		return nil, unfit("no JSON object of RFC 6749 §5.1") // the cause might quote a token
	case !printable(a.AccessToken):
		return nil, unfit("no token that fits a header")
	case !strings.EqualFold(a.TokenType, oauth.Bearer): // RFC 6749 §5.1: case insensitive
		return nil, unfit("a token that is not a bearer token")
	}
	// RFC 6749 §5.1: without the parameter, what was asked is what was given.
	if a.Scope != nil && asked != "" {
		given, err := scope.Parse(*a.Scope)
		want, _ := scope.Parse(asked) // parsed before, in Target.check
		if err != nil || !want.Contains(given) {
			return nil, unfit("scopes that were not asked for")
		}
	}
	return &a, nil
}

// tokenEndpoint returns the URL from the issuer's metadata, read once and read
// again after a failure. Calls that miss at once share one reading.
func (c *Client) tokenEndpoint(ctx context.Context) (string, error) {
	if known := c.known(); known != "" {
		return known, nil
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return "", &Error{cause: ctx.Err()}
	}
	if known := c.known(); known != "" { // read by the one before
		return known, nil
	}
	endpoint, err := c.discover(ctx)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoint = endpoint
	return endpoint, nil
}

func (c *Client) known() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoint
}

// forget makes the next request read the metadata again, unless that was done.
func (c *Client) forget(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoint == endpoint {
		c.endpoint = ""
	}
}

// discover reads the issuer's metadata (RFC 8414).
func (c *Client) discover(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, oauth.WellKnown(c.cfg.Issuer, oauth.ServerDocument), nil)
	if err != nil {
		return "", &Error{cause: err}
	}
	status, body, err := c.do(req, maxDocument)
	if err != nil {
		return "", &Error{Status: status, cause: err}
	}
	var doc struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
	}
	if status != http.StatusOK {
		return "", &Error{Status: status, cause: errors.New("no metadata")}
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return "", unfit("metadata that is not JSON")
	}
	// RFC 8414 §3.3: the issuer "MUST be identical", or the document is not used.
	if doc.Issuer != c.cfg.Issuer {
		return "", unfit(fmt.Sprintf("metadata of another issuer, %q", plain(doc.Issuer)))
	}
	u, err := url.Parse(doc.TokenEndpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" ||
		!confidential(u, c.cfg.InsecureHTTP) || u.Scheme == "http" && !strings.HasPrefix(c.cfg.Issuer, "http:") {
		return "", unfit("metadata without a safe token endpoint")
	}
	return doc.TokenEndpoint, nil
}

// do sends req and reads at most limit bytes of the answer.
func (c *Client) do(req *http.Request, limit int64) (status int, body []byte, err error) {
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("answer longer than %d bytes", limit)
	}
	return res.StatusCode, body, err
}

// printable reports whether token is made of RFC 6749 §A.12's VSCHAR alone.
func printable(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}
