package guardtest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

const (
	patience  = 5 * time.Second      // for guards that follow the feed
	pollTime  = 8 * time.Second      // for guards that poll: up to three polls, two seconds apart
	pollGone  = 3 * time.Second      // a poller not seen for so long has left
	ruleLife  = 365 * 24 * time.Hour // beyond any token of a test
	reportMax = 64 << 10
)

// poll is what is known of a guard that polls the public snapshot.
type poll struct {
	served uint64 // position it was last sent
	held   uint64 // position it had been sent when it came again: that one is applied
	seen   time.Time
}

// Revoke ends what c names most closely: the token, if ID is set; else the grant, the session,
// the subject or the client, whichever is set first. It returns when every connected guard
// holds the rule, and fails the test when one does not within seconds.
//
// Guards without Credential poll the public feed. They take seconds, and as in production they
// learn of tokens, grants and sessions only.
func (i *Issuer) Revoke(c token.Claims) {
	i.tb.Helper()
	rule := feed.Plain{Effect: feed.End, Until: time.Now().Add(ruleLife)}
	switch {
	case c.ID != "":
		rule.Kind, rule.Value = feed.KindToken, c.ID
	case c.GrantID != "":
		rule.Kind, rule.Value = feed.KindGrant, c.GrantID
	case c.SessionID != "":
		rule.Kind, rule.Value = feed.KindSession, c.SessionID
	case c.Subject != "":
		rule.Kind, rule.Value = feed.KindSubject, c.Subject
	case c.ClientID != "":
		rule.Kind, rule.Value = feed.KindClient, c.ClientID
	default:
		i.tb.Fatal("guardtest: Revoke: the claims name nothing: set ID, GrantID, SessionID, Subject or ClientID")
	}
	i.mu.Lock()
	rule.Position = i.log.Applied() + 1
	i.rules = append(i.rules, rule)
	i.log.Append([]feed.Plain{rule}, rule.Position, false)
	pollers := make([]*poll, 0, len(i.polls))
	for address, p := range i.polls {
		if time.Since(p.seen) > pollGone {
			delete(i.polls, address)
			continue
		}
		pollers = append(pollers, p)
	}
	i.mu.Unlock()
	held := func(r report) bool { return r.Position >= rule.Position }
	if !i.await(patience, func() bool { return i.reporting(held) >= i.log.Subscribers() }) {
		i.tb.Errorf("guardtest: Revoke: not all of %d connected guards report to hold the rule after %s", i.log.Subscribers(), patience)
	}
	if !i.await(pollTime, func() bool {
		return !slices.ContainsFunc(pollers, func(p *poll) bool { return p.lacks(rule.Position) })
	}) {
		i.tb.Errorf("guardtest: Revoke: not all of %d polling guards hold the rule after %s", len(pollers), pollTime)
	}
}

// instance is a process of a client.
type instance struct{ client, id string }

// report is what a guard says it holds.
type report struct {
	Instance string   `json:"instance"`
	Epoch    string   `json:"epoch"`
	Position uint64   `json:"position"`
	KeyIDs   []string `json:"kids"`
	Gone     bool     `json:"gone"`
}

// reporting counts the guards whose latest report is as wanted. Called under mu.
func (i *Issuer) reporting(wanted func(report) bool) int {
	n := 0
	for _, r := range i.held {
		if wanted(r) {
			n++
		}
	}
	return n
}

// lacks reports whether a poller that is still there may not hold the rule at position.
func (p *poll) lacks(position uint64) bool {
	return p.held < position && time.Since(p.seen) <= pollGone
}

// await waits until ok, which is called under mu, but no longer than limit.
func (i *Issuer) await(limit time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		i.mu.Lock()
		done, news := ok(), i.news
		i.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-news:
		case <-time.After(10 * time.Millisecond): // guards leave without a word
		case <-deadline.C:
			return false
		}
	}
}

// tell wakes those who wait. Called under mu.
func (i *Issuer) tell() {
	close(i.news)
	i.news = make(chan struct{})
}

// ended reports whether a rule hits c.
func ended(rules []feed.Plain, c *token.Claims) bool {
	facts := feed.TokenOf(c.Rev, c.IssuedAt, c.AuthTime, c.Subject == c.ClientID)
	return slices.ContainsFunc(rules, func(r feed.Plain) bool {
		if !r.Hits(facts) {
			return false
		}
		for n := range c.Names() {
			if feed.Kind(n.Kind) == r.Kind && n.Value == r.Value {
				return true
			}
		}
		return false
	})
}

// guard admits requests with a token for the feed, and says whose it is.
func (i *Issuer) guard(w http.ResponseWriter, r *http.Request) (client string, ok bool) {
	scheme, compact, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	c, ok := i.check(compact, i.url+"/feed")
	if ok && strings.EqualFold(scheme, "Bearer") && c.Has("feed:read") {
		return c.ClientID, true
	}
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	http.Error(w, "no token for the feed", http.StatusUnauthorized)
	return "", false
}

func (i *Issuer) events(w http.ResponseWriter, r *http.Request) {
	if _, ok := i.guard(w, r); !ok {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(i.running(), cancel)()
	i.log.Events().ServeHTTP(w, r.WithContext(ctx))
}

// state takes a guard's report of what it holds.
func (i *Issuer) state(w http.ResponseWriter, r *http.Request) {
	client, ok := i.guard(w, r)
	if !ok {
		return
	}
	var news report
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, reportMax)).Decode(&news)
	if err != nil || news.Instance == "" {
		http.Error(w, "want a report: {instance, epoch, position, kids}", http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	who := instance{client, news.Instance}
	switch {
	case news.Gone: // only a client's own
		delete(i.held, who)
		i.tell()
	case news.Epoch == epoch:
		i.held[who] = news
		i.tell()
	}
	w.WriteHeader(http.StatusNoContent)
}

// usage takes a guard's report of what it saw of tokens. All of them were made for the
// test: none is suspicious.
func (i *Issuer) usage(w http.ResponseWriter, r *http.Request) {
	if _, ok := i.guard(w, r); ok {
		answer(w, http.StatusOK, struct{}{})
	}
}

// snapshot serves the public feed and remembers to whom it gave what.
func (i *Issuer) snapshot(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	p := i.polls[r.RemoteAddr]
	if p == nil {
		p = new(poll)
		i.polls[r.RemoteAddr] = p
	}
	p.held, p.seen = p.served, time.Now()
	i.tell()
	i.mu.Unlock()
	t := &tee{ResponseWriter: w}
	i.log.Snapshot().ServeHTTP(t, r)
	m, err := jose.Parse(t.written.String())
	if err != nil {
		return // an error page
	}
	if b, err := feed.Decode(m.Payload); err == nil {
		i.mu.Lock()
		p.served = b.Position
		i.mu.Unlock()
	}
}

// tee keeps what is written.
type tee struct {
	http.ResponseWriter
	written bytes.Buffer
}

func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tee) Write(p []byte) (int, error) {
	t.written.Write(p)
	return t.ResponseWriter.Write(p)
}
