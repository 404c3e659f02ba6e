package relay

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
)

// An Error says why the issuer gave no token. It never holds one.
type Error struct {
	Code        string // the issuer's error code (RFC 6749 §5.2, RFC 8693 §2.2.2); "" when it gave none
	Description string // the issuer's error_description, cut to 200 printable characters
	Status      int    // of the issuer's answer; 0 when there was none
	cause       error
}

// Error is one line for logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("relay: token request:")
	if e.Status != 0 {
		b.WriteString(" issuer answered " + strconv.Itoa(e.Status))
	}
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			b.WriteString(" " + s)
		}
	}
	if e.cause != nil {
		b.WriteString(" " + e.cause.Error())
	}
	return b.String()
}

// Unwrap returns what went wrong on the way, nil when the issuer refused.
func (e *Error) Unwrap() error { return e.cause }

// Unavailable reports whether the issuer could not be asked or could not
// answer now, so that the same request may succeed later. Otherwise it said no.
func (e *Error) Unavailable() bool {
	return e.Status == 0 || e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// unfit is an answer that came with 200 and cannot be used.
func unfit(what string) *Error {
	return &Error{Status: http.StatusOK, cause: errors.New("with " + what)}
}

// plain makes text of the issuer's fit for one line of a log or problem.
func plain(s string) string {
	return oauth.Text(s[:min(len(s), 200)])
}

// retryPause is how long an issuer that does not answer is left alone.
const retryPause = 200 * time.Millisecond

// outage remembers that the issuer does not answer. While it lasts, one request
// at a time finds out whether the issuer is back; the others fail at once
// instead of waiting each for a timeout of its own.
type outage struct {
	mu   sync.Mutex
	err  error     // guarded by mu; the last failure, nil while the issuer answers
	next time.Time // guarded by mu; no request before this while err is set
}

// begin returns the error to fail with, or nil: then end must follow.
func (o *outage) begin(now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		return nil
	}
	if now.Before(o.next) {
		return o.err
	}
	o.next = now.Add(requestTimeout) // until this one ends
	return nil
}

func (o *outage) end(now time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e, answered := errors.AsType[*Error](err)
	switch {
	case err == nil || answered && !e.Unavailable():
		o.err = nil
	case answered:
		o.err, o.next = err, now.Add(retryPause)
	default: // the request was abandoned: the next one may try
		o.next = now
	}
}
