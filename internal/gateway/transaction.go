package gateway

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const (
	errandLife = 2 * time.Minute // of a transaction token; the caller's may end earlier
	maxErrands = 16384           // kept
)

// An unmintable is a caller whose token cannot go on as a transaction token.
type unmintable struct {
	code string // of the answer; "" for none
	text string
}

// Error says why.
func (u *unmintable) Error() string { return "mint transaction token: " + u.text }

// unmintable is the answer to it.
func (c *call) unmintable(u *unmintable) problem {
	p := problem{status: http.StatusForbidden, reason: "transaction", code: u.code, detail: "The token cannot be passed on to the service behind this route."}
	if u.code != "" {
		p.auth = c.challenge(u.code, strings.Join(c.route.UpstreamScopes, " "))
		p.detail = "The token has no scope that the service behind this route knows."
	}
	return p
}

// An errand names a transaction token that is kept. The caller is the whole outer
// token: nobody is served what was minted for somebody else.
type errand struct{ outer, scope, ip string }

// A minted token serves for the first half of its life, and as long as its key is the
// one in use, with the scopes it was registered for then.
type minted struct {
	token string
	key   *innerKey
	until time.Time
}

// errands are the tokens that are kept.
type errands struct {
	mu    sync.Mutex
	byKey map[errand]minted // guarded by mu
}

func (e *errands) get(k errand, key *innerKey, now time.Time) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, ok := e.byKey[k]
	return m.token, ok && m.key == key && now.Before(m.until)
}

// put keeps a token. A few others are looked at, in the map's random order: those whose
// time is over go, and when the map is full the one that would go first does.
func (e *errands) put(k errand, m minted, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var first errand
	var end time.Time
	seen := 0
	for other, held := range e.byKey {
		if !now.Before(held.until) {
			delete(e.byKey, other)
		} else if end.IsZero() || held.until.Before(end) {
			first, end = other, held.until
		}
		if seen++; seen == 8 {
			break
		}
	}
	if len(e.byKey) >= maxErrands {
		delete(e.byKey, first)
	}
	e.byKey[k] = m
}

// token returns the transaction token for an errand, minted now if none is kept.
func (m *minter) token(k errand, outer *token.Claims, asked scope.Set) (string, error) {
	now, key := m.cfg.Now(), m.key.Load()
	if held, ok := m.kept.get(k, key, now); ok {
		return held, nil
	}
	claims, err := m.claims(k, key, outer, asked, now)
	if err != nil {
		return "", err
	}
	payload, err := claims.EncodeTransaction()
	if err != nil { // too many actors, or too much it depends on: refused, not cut off
		return "", &unmintable{text: err.Error()}
	}
	compact, err := jose.Sign(key.private, key.public.Alg, key.header, payload)
	if err != nil {
		return "", fmt.Errorf("mint transaction token: %w", err)
	}
	if life := claims.Expiry.Sub(now); life > 0 {
		m.kept.put(k, minted{compact, key, now.Add(life / 2)}, now)
	}
	return compact, nil
}

// claims is what goes on of the caller's token: all that a revocation may name it by,
// and nothing that could be used as it. It lives no longer, has no more scopes, and is
// as old in the order of the feed.
func (m *minter) claims(k errand, key *innerKey, outer *token.Claims, asked scope.Set, now time.Time) (*token.Claims, error) {
	scopes := outer.Scope
	if asked != nil {
		scopes = asked.Intersect(scopes)
	}
	if key.bounded && len(scopes) > 0 {
		if scopes = key.scope.Intersect(scopes); len(scopes) == 0 {
			m.again() // an operator may have given the gateway more
		}
	}
	if len(scopes) == 0 {
		return nil, &unmintable{oauth.InsufficientScope, "no scope is left"}
	}
	end := now.Add(errandLife)
	if outer.Expiry.Before(end) {
		end = outer.Expiry
	}
	var id [18]byte
	rand.Read(id[:]) // never fails
	return &token.Claims{
		Issuer: outer.Issuer, Subject: outer.Subject, ClientID: outer.ClientID, ID: base64.RawURLEncoding.EncodeToString(id[:]),
		Audience: []string{m.cfg.TrustDomain}, Scope: scopes, IssuedAt: now, Expiry: end,
		GrantID: outer.GrantID, SessionID: outer.SessionID, Rev: outer.Rev,
		Via:      append(slices.Clone(outer.Via), outer.ID),
		AuthTime: outer.AuthTime, ACR: outer.ACR,
		Actor:    &token.Actor{Issuer: outer.Issuer, Subject: m.cfg.ClientID, Actor: outer.Actor},
		Workload: m.cfg.ClientID, RequestIP: k.ip,
	}, nil
}

// callerOf is the address that the call came from, "" when it is not known: that at the
// other end of the connection, or the last one in X-Forwarded-For that is no trusted
// proxy's, as far as trusted proxies wrote it.
func callerOf(in *http.Request, trusted []netip.Prefix) string {
	addr := remoteOf(in)
	for line := strings.Join(in.Header["X-Forwarded-For"], ","); line != "" && within(addr, trusted); {
		at := strings.LastIndexByte(line, ',')
		var err error
		if addr, err = netip.ParseAddr(strings.TrimSpace(line[at+1:])); err != nil {
			return ""
		}
		line = line[:max(0, at)]
	}
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
