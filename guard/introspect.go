package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

const (
	askTime   = 2 * time.Second // for one call
	askKeep   = 5 * time.Second // a good answer is believed for so long
	askRate   = 50              // calls a second, so that an issuer in trouble gets no more of it
	askAnswer = 64 << 10        // bytes
)

var (
	errBusy     = errors.New("introspection: too many calls")
	errInactive = errors.New("introspection: not active")
)

// An asker introspects tokens: at most one call for each at a time, which all
// who want to know of it share.
type asker struct {
	mu    sync.Mutex
	calls map[string]*call // guarded by mu; by the whole token
	spare float64          // guarded by mu; calls that may be made now
	at    time.Time        // guarded by mu; when spare was counted
}

// A call is under way until done is closed, and good until then.
type call struct {
	begun time.Time
	done  chan struct{}
	err   error     // nil: active. Written before done is closed
	good  time.Time // guarded by asker.mu; zero while under way
}

// ask returns nil when the issuer says that the token is active, errInactive
// when it says that it is not, and another error when it says neither.
func (e *engine) ask(ctx context.Context, t *entry) error {
	c, mine, err := e.asker.join(t.compact, time.Now())
	if err != nil {
		return err
	}
	if mine {
		// Others wait for it too, so it does not end with this request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		err := errors.New("introspection: given up")
		defer func() { e.asker.leave(t.compact, c, err, min(askKeep, t.claims.Expiry.Sub(e.cfg.Now()))) }()
		err = e.introspect(ctx, t)
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join finds the call for a token, or begins one if there is room.
func (a *asker) join(compact string, now time.Time) (c *call, mine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.calls[compact]; c != nil && (c.good.IsZero() || now.Before(c.good)) {
		return c, false, nil
	}
	a.spare = min(askRate, a.spare+now.Sub(a.at).Seconds()*askRate)
	a.at = now
	if a.spare < 1 {
		return nil, false, errBusy
	}
	a.spare--
	if a.calls == nil {
		a.calls = make(map[string]*call)
	}
	for other, c := range a.calls { // few: those of the last five seconds
		if !c.good.IsZero() && !now.Before(c.good) {
			delete(a.calls, other)
		}
	}
	c = &call{begun: now, done: make(chan struct{})}
	a.calls[compact] = c
	return c, true, nil
}

// leave ends a call. Only a good answer is kept: a bad one counts for those who
// waited for it.
func (a *asker) leave(compact string, c *call, err error, keep time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.err = err
	c.good = c.begun.Add(keep)
	if err != nil || keep <= 0 {
		delete(a.calls, compact)
	}
	close(c.done)
}

// introspect makes one call (RFC 7662 §2).
func (e *engine) introspect(ctx context.Context, t *entry) error {
	endpoint := e.keys.Endpoint()
	if endpoint == "" {
		return errors.New("introspection: the issuer's metadata names no endpoint")
	}
	credential, err := e.cfg.Credential(ctx)
	if err != nil {
		return fmt.Errorf("introspection: credential: %w", err)
	}
	form := url.Values{oauth.ParamToken: {t.compact}, oauth.ParamTokenHint: {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", oauth.Bearer+" "+credential)
	client := *e.cfg.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, askAnswer+1))
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	if res.StatusCode == http.StatusUnauthorized {
		e.cfg.Refused(credential)
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("introspection: %s answered %s", endpoint, res.Status)
	case media != "application/json":
		return fmt.Errorf("introspection: content type %.64q", media)
	case len(body) > askAnswer:
		return fmt.Errorf("introspection: more than %d bytes", askAnswer)
	}
	return judge(string(body), t.claims)
}

// judge reads an answer (RFC 7662 §2.2). One that does not say that it is about
// this very token says nothing.
func judge(body string, c *token.Claims) error {
	var active string
	var audience []string
	said := make(map[string]string)
	err := jose.Members(body, func(name, value string) (err error) {
		switch name {
		case "active":
			active = value
		case "aud":
			if strings.HasPrefix(value, `"`) {
				var one string
				one, err = jose.String(value)
				audience = []string{one}
				break
			}
			audience, err = jose.Strings(value)
		case "iss", "sub", "client_id", "jti":
			said[name], err = jose.String(value)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("introspection: %w", err)
	case active == "false":
		return errInactive
	case active != "true":
		return errors.New("introspection: active is neither true nor false")
	}
	for name, want := range map[string]string{"iss": c.Issuer, "sub": c.Subject, "client_id": c.ClientID, "jti": c.ID} {
		if said[name] != want {
			return fmt.Errorf("introspection: the answer is about another token: its %s differs", name)
		}
	}
	if !slices.Equal(audience, c.Audience) {
		return errors.New("introspection: the answer is about another token: its aud differs")
	}
	return nil
}
