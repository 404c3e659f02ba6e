package relay

import (
	"context"
	"strings"

	"github.com/writ-auth/writ/internal/oauth"
)

// An Exchange is OnBehalf for calls that no RoundTripper makes, such as those of
// a proxy that only asks what to send. It is safe for concurrent use.
type Exchange struct {
	client *Client
	to     destination
}

// Exchange checks t and returns what gets tokens for it on behalf of callers.
func (c *Client) Exchange(t Target) (*Exchange, error) {
	to, err := t.check()
	if err != nil {
		return nil, err
	}
	return &Exchange{c, to}, nil
}

// Authorization returns the value of that header for a call on behalf of
// guard.From(ctx). It fails as a request of OnBehalf does, and shares the tokens
// that are kept. The caller answers for where it goes; Origins is not looked at.
func (e *Exchange) Authorization(ctx context.Context) (string, error) {
	_, l, err := e.client.callerLease(ctx, e.to)
	return l.header, err
}

// Refused is told of a value to which the service answered 401, so that the next
// call on behalf of the same caller exchanges anew.
func (e *Exchange) Refused(ctx context.Context, authorization string) {
	if token, ok := strings.CutPrefix(authorization, oauth.Bearer+" "); ok {
		e.client.leases.drop(callerKey(ctx, e.to), token)
	}
}
