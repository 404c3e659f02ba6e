package relay

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/writ-auth/writ/guard"
)

// Forward returns a RoundTripper for calls to other services of the same trust
// domain, on behalf of guard.From of the request's context. It passes on, unchanged,
// the transaction token that the caller came with, in the header Txn-Token and with no
// other credential beside. It asks no issuer and so works through an outage of it.
//
// The token goes to these origins, e.g. "http://127.0.0.1:8403", and nowhere else:
// anything else, redirects included, is an error. A caller who did not come with a
// transaction token is ErrNoCaller; an access token is good at one service, and passing
// it on would let that service act as the caller elsewhere. A nil base is a transport
// without proxy.
func Forward(origins []string, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = newTransport()
	}
	f := &forward{base: base}
	if len(origins) == 0 {
		f.err = errors.New("relay: no origin to forward to")
	}
	for _, text := range origins {
		o, err := parseOrigin(text)
		if err != nil {
			f.err = fmt.Errorf("relay: origin %q: %w", text, err)
		}
		f.origins = append(f.origins, o)
	}
	return f
}

type forward struct {
	origins []origin
	err     error // why they are unusable
	base    http.RoundTripper
}

// RoundTrip is called by http.Client anew for every redirect, so each hop's origin is
// checked.
func (f *forward) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := f.token(req)
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // a RoundTripper always does; err says more than its error could
		}
		return nil, err
	}
	return f.base.RoundTrip(only(req, "Txn-Token", token))
}

func (f *forward) token(req *http.Request) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	if to := originOf(req.URL); !to.in(f.origins) {
		return "", fmt.Errorf("relay: a transaction token may not be sent to %s", to)
	}
	caller, presented := guard.From(req.Context()), guard.Presented(req.Context())
	switch {
	case caller == nil || presented == "":
		return "", ErrNoCaller
	case caller.Workload == "":
		return "", fmt.Errorf("%w who came with a transaction token: access tokens are not passed on", ErrNoCaller)
	}
	return presented, nil
}
