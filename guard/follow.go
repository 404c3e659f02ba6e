package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/keyset"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/usage"
)

const feedType = "writ-feed+jwt"

// innerLife is how long keys of gateways are kept while the issuer does not answer:
// until each reaches its own end, which is nearer.
const innerLife = 72 * time.Hour

// sources prepares what the guard follows: the issuer's keys, the keys of its
// feed, and the feed.
func (e *engine) sources() (err error) {
	base := strings.TrimSuffix(e.cfg.Issuer, "/") + "/feed"
	common := keyset.Config{
		Issuer:       e.cfg.Issuer,
		InsecureHTTP: e.cfg.InsecureHTTP,
		Client:       e.cfg.HTTPClient,
		Now:          e.cfg.Now,
		Logger:       e.cfg.Logger,
	}
	keys, signers := common, common
	keys.Metadata = oauth.WellKnown(e.cfg.Issuer, oauth.ServerDocument)
	keys.Member = "introspection_endpoint"
	keys.Algorithms = e.cfg.Algorithms
	keys.Changed = e.keysChanged
	if e.keys, err = keyset.New(keys); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if e.cfg.TrustDomain != "" {
		inner := common
		inner.URL = strings.TrimSuffix(e.cfg.Issuer, "/") + "/inner/jwks"
		inner.Algorithms, inner.Terms, inner.MaxAge = e.cfg.Algorithms, true, innerLife
		inner.Credential, inner.Refused = e.cfg.Credential, e.cfg.Refused
		inner.Changed = func() { nudge(e.sweep) }
		if e.inner, err = keyset.New(inner); err != nil {
			return fmt.Errorf("guard: keys of gateways: %w", err)
		}
	}
	signers.URL = base + "/jwks"
	if e.signers, err = keyset.New(signers); err != nil {
		return fmt.Errorf("guard: keys of the feed: %w", err)
	}
	e.feed, err = feed.NewReader(feed.ReaderConfig{
		Issuer:     e.cfg.Issuer,
		URL:        base + "/events",
		PublicURL:  base + "/snapshot",
		Client:     e.cfg.HTTPClient,
		Credential: e.cfg.Credential,
		Refused:    e.cfg.Refused,
		Verify:     e.verifyFeed,
		Applied:    e.applied,
		Keep:       e.cfg.StateFile != "",
		Now:        e.cfg.Now,
		Logger:     e.cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}

// follow reads the feed from when the first keys came, from the issuer or from
// disk. No token can be verified before, and with the issuer down the reader
// would only learn to wait longer; so its first attempt falls together with the
// issuer's return.
func (e *engine) follow(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-e.came:
		_ = e.feed.Run(ctx) // ctx's error
	}
}

// verifyFeed checks one message of the feed and returns its payload. Only keys
// that sign nothing else count.
func (e *engine) verifyFeed(ctx context.Context, compact string) ([]byte, error) {
	return openFeed(compact, func(kid string) (*jose.Key, error) { return e.signers.Key(ctx, kid) })
}

// openFeed is verifyFeed with keys from anywhere.
func openFeed(compact string, find func(kid string) (*jose.Key, error)) ([]byte, error) {
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	if !m.Header.Is(feedType) {
		return nil, fmt.Errorf("typ %.32q is not %s", m.Header.Typ, feedType)
	}
	key, err := find(m.Header.KeyID)
	if err != nil {
		return nil, fmt.Errorf("key %.64q of the feed: %w", m.Header.KeyID, err)
	}
	if err := m.Verify(key); err != nil {
		return nil, err
	}
	return m.Payload, nil
}

// applied is told by the feed's reader that revocations or word of keys came.
func (e *engine) applied(b feed.Batch) {
	e.rules.Add(1)
	if b.KeysChanged {
		e.keys.Refresh()
		e.signers.Refresh()
		if e.inner != nil {
			e.inner.Refresh()
		}
	}
	nudge(e.sweep)
	nudge(e.report)
}

// keysChanged is told by the key set that keys came or went.
func (e *engine) keysChanged() {
	e.begun()
	nudge(e.sweep)
	nudge(e.report)
}

// begun notes that there are keys.
func (e *engine) begun() {
	if e.cameAt.CompareAndSwap(0, time.Now().UnixNano()) {
		close(e.came)
	}
}

// nudge leaves word on a channel of capacity 1.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

const (
	coalesce    = 50 * time.Millisecond  // in which news are told of together
	reportGap   = 500 * time.Millisecond // on average at least, where news come all the time: people sign out all day
	reportQuick = 4                      // that need not wait for it, so that an operator's few orders are confirmed at once
	reportEvery = 30 * time.Second       // without news
	retryAfter  = time.Second            // after a report that did not arrive
)

// reports tells the issuer what this guard holds, so that whoever ends a token
// learns where it is refused already. A report that is under way when ctx ends
// may arrive until last does.
func (e *engine) reports(ctx, last context.Context) {
	failing := false
	due := time.Now() // when the next report would come if all kept their distance
	for timer := time.NewTimer(reportEvery); ; {
		select {
		case <-ctx.Done():
			return
		case <-e.report:
			// Not at once, and not all guards together: what they say must not keep the
			// issuer, or the processor that several share, from telling the others.
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(coalesce/2, time.Until(due)-(reportQuick-1)*reportGap) + rand.N(coalesce/2)):
			}
		case <-timer.C:
		}
		if !e.feed.View().Ready {
			timer.Reset(reportEvery)
			continue
		}
		if now := time.Now(); due.Before(now) {
			due = now
		}
		due = due.Add(reportGap)
		err := e.tell(last, false)
		if errors.Is(err, errCredential) {
			err = e.tell(last, false) // with another: the key that signed this one may just have been ended
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			e.cfg.Logger.Warn("guard state not reported", "issuer", e.cfg.Issuer, "error", err)
		case err == nil && failing:
			e.cfg.Logger.Info("guard state reported again", "issuer", e.cfg.Issuer)
		}
		failing = err != nil
		timer.Reset(reportEvery)
		if failing {
			timer.Reset(retryAfter)
		}
	}
}

var errCredential = errors.New("the issuer does not take the credential")

// report is the body of POST <issuer>/feed/state.
type report struct {
	Instance string   `json:"instance"`
	Epoch    string   `json:"epoch"`
	Position uint64   `json:"position"`
	KeyIDs   []string `json:"kids"`
	Gone     bool     `json:"gone,omitempty"` // this guard ends
}

// tell makes one report.
func (e *engine) tell(ctx context.Context, gone bool) error {
	e.told = true
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	credential, err := e.cfg.Credential(ctx)
	if err != nil {
		return fmt.Errorf("credential: %w", err)
	}
	v := e.feed.View()
	news := report{Instance: e.instance, Epoch: v.Epoch, Position: v.Position, KeyIDs: []string{}, Gone: gone}
	for _, k := range e.keys.State().Keys {
		news.KeyIDs = append(news.KeyIDs, k.ID)
	}
	body, err := json.Marshal(news)
	if err != nil {
		return err
	}
	_, err = e.post(ctx, credential, "/feed/state", body)
	return err
}

// sendUsage posts what was seen of tokens.
func (e *engine) sendUsage(ctx context.Context, path string, body []byte) ([]byte, error) {
	for again := true; ; again = false {
		credential, err := e.cfg.Credential(ctx)
		if err != nil {
			return nil, fmt.Errorf("credential: %w", err)
		}
		answer, err := e.post(ctx, credential, path, body)
		if !again || !errors.Is(err, errCredential) {
			return answer, err
		}
	}
}

const maxAnswer = 256 << 10

// post sends JSON to a path below the issuer with the credential, and returns the
// body of the answer.
func (e *engine) post(ctx context.Context, credential, path string, body []byte) ([]byte, error) {
	url := strings.TrimSuffix(e.cfg.Issuer, "/") + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", oauth.Bearer+" "+credential)
	client := *e.cfg.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // to its end, so that the connection is used again
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		e.cfg.Refused(credential)
		return nil, fmt.Errorf("%s: %w", url, errCredential)
	case res.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, usage.ErrAbsent)
	case res.StatusCode/100 == 4 && res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s answered %s: %w", url, res.Status, usage.ErrRefused)
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	return answer, err
}

// farewell is how long the end of a guard may take to tell of itself.
const farewell = time.Second

// leave makes the reports of a guard, and when ctx ends tells the issuer that
// there will be none: so that whoever ends a token does not wait for a guard
// that was stopped, nor takes it for one that is cut off.
func (e *engine) leave(ctx context.Context) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cancel) })()
	e.reports(ctx, last)
	if !e.told {
		return
	}
	if err := e.tell(last, true); err != nil {
		e.cfg.Logger.Debug("guard left without a word", "issuer", e.cfg.Issuer, "error", err)
	}
}
