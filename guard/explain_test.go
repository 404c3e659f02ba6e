package guard

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/token"
)

// TestEveryReasonIsExplained: each reason to refuse belongs to exactly one check.
func TestEveryReasonIsExplained(t *testing.T) {
	for _, reason := range reasons() {
		n := 0
		for _, c := range checks {
			for _, r := range c.reasons {
				if r == reason {
					n++
				}
			}
		}
		if n != 1 {
			t.Errorf("%s belongs to %d checks, want one", reason, n)
		}
	}
}

// TestExplain: what passed, what did not and why, and the same verdict as Verify's.
func TestExplain(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	compact := i.token(t, i.claims())
	x := g.Explain(bearer(compact), Need{Scopes: []string{"orders:read"}})
	if x.Refusal != nil || len(x.Checks) != len(checks) || x.KeyID != "key-1" || x.Claims.Subject != "user-1" {
		t.Errorf("a good token: %+v, want all %d checks passed", x, len(checks))
	}
	for _, c := range x.Checks {
		if !c.Passed {
			t.Errorf("a good token: %q failed", c.Check)
		}
	}
	x = g.Explain(bearer(compact), Need{Scopes: []string{"orders:write"}})
	if last := x.Checks[len(x.Checks)-1]; x.Refusal == nil || last.Check != "scope" || last.Passed {
		t.Errorf("without the scope: %+v", x)
	}
	for _, row := range []struct {
		change func(*token.Claims)
		need   Need
		want   string
	}{
		{func(*token.Claims) {}, Need{Scopes: []string{"orders:read", "orders:write"}}, "needs orders:read orders:write, has orders:read"},
		{func(c *token.Claims) { c.Scope = nil }, Need{Scopes: []string{"orders:read"}}, "needs orders:read, has none"},
		{func(c *token.Claims) { c.Audience = []string{"https://else.example"} }, Need{}, "needs " + audience + ", has https://else.example"},
		{func(c *token.Claims) { c.Expiry = i.in(-time.Hour) }, Need{}, "expired at " + i.in(-time.Hour).UTC().Format(time.RFC3339)},
		{func(c *token.Claims) { c.NotBefore = i.in(time.Minute) }, Need{}, "not good before " + i.in(time.Minute).UTC().Format(time.RFC3339)},
		{func(c *token.Claims) { c.IssuedAt = i.in(time.Minute) }, Need{}, "issued at " + i.in(time.Minute).UTC().Format(time.RFC3339) + ", which is still to come"},
		{func(c *token.Claims) { c.ACR = "1" }, Need{ACR: []string{"2", "3"}}, "needs one of 2 3, has 1"},
		{func(*token.Claims) {}, Need{MaxAge: time.Minute}, "needs an authentication of the last 1m0s, does not say when it was"},
		{func(c *token.Claims) { c.AuthTime = i.in(-time.Hour) }, Need{MaxAge: time.Minute}, "needs an authentication of the last 1m0s, was at " + i.in(-time.Hour).UTC().Format(time.RFC3339)},
	} {
		c := i.claims()
		row.change(&c)
		x := g.Explain(bearer(i.token(t, c)), row.need)
		if last := x.Checks[len(x.Checks)-1]; last.Passed || last.Detail != row.want {
			t.Errorf("%s: %q, want %q", last.Check, last.Detail, row.want)
		}
	}
	i.rule(feed.KindGrant, "grant-1", feed.End)
	settled(t, g, i)
	x = g.Explain(bearer(compact), Need{})
	last := x.Checks[len(x.Checks)-1]
	if last.Check != "not revoked" || !strings.Contains(last.Detail, "rule on grant at position 1") || x.Rules != 1 || x.Staleness > time.Minute {
		t.Errorf("ended: %+v, want the rule and its position", x)
	}
	x = g.Explain(bearer(compact[:len(compact)-8]+"AAAAAAAA"), Need{})
	if last := x.Checks[len(x.Checks)-1]; last.Check != "signature" || x.Claims != nil {
		t.Errorf("forged: %+v, want no claims", x)
	}
}

// TestReceiptFindsTheDecision in the guard's log: which check, which key, which token,
// how stale, which rule. The caller is told the receipt and none of that.
func TestReceiptFindsTheDecision(t *testing.T) {
	i := newIssuer(t)
	var log bytes.Buffer
	g := i.guard(t, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	c := i.claims()
	i.rule(feed.KindGrant, "grant-1", feed.End)
	settled(t, g, i)
	c.Rev = 0
	w := httptest.NewRecorder()
	g.Require()(http.NotFoundHandler()).ServeHTTP(w, bearer(i.token(t, c)))
	var told struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told.ID == "" {
		t.Fatalf("answer %s, %v", w.Body, err)
	}
	if strings.Contains(w.Body.String(), "grant") || strings.Contains(w.Body.String(), "key-1") {
		t.Errorf("the caller is told %s", w.Body)
	}
	var line map[string]any
	for _, text := range strings.Split(log.String(), "\n") {
		if strings.Contains(text, told.ID) {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if line["reason"] != ReasonRevoked || line["kid"] != "key-1" || line["jti"] != c.ID || line["stale"] == nil ||
		!strings.Contains(line["error"].(string), "position 1") {
		t.Errorf("log line %v, want reason, kid, jti, staleness and rule", line)
	}
}
