package grant_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// change writes a client as an operator would, without word of it to the memory
// of this replica.
func (w *world) change(t *testing.T, id string, f func(*store.Client)) {
	t.Helper()
	w.update(t, func(tx *store.Tx) error {
		c, err := tx.Client(id)
		if err != nil {
			return err
		}
		f(c)
		return tx.PutClient(c)
	})
}

func (w *world) order(kind revoke.Kind, value string) revoke.Order {
	now := w.clock.now()
	return revoke.Order{Kind: kind, Value: value, Reason: "test", By: "system", Now: now, Until: grant.RuleUntil(now)}
}

func (w *world) end(t *testing.T, kind revoke.Kind, value string) {
	t.Helper()
	w.update(t, func(tx *store.Tx) error { return revoke.Write(tx, w.order(kind, value)) })
}

// rules counts the rules on a value.
func (w *world) rules(t *testing.T, kind revoke.Kind, value string) int {
	t.Helper()
	n := 0
	err := w.db.View(t.Context(), func(tx *store.Tx) error {
		rules, err := tx.Rules(string(kind), value)
		n = len(rules)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCodeOfEndedClient: the end of a client takes the codes that are under way,
// or a stolen one would open a grant that the rule does not hit.
func TestCodeOfEndedClient(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		code, others := w.code(t, "web"), w.code(t, "other")
		w.end(t, revoke.Client, "web")
		_, err := w.redeem(t.Context(), "web", code)
		refused(t, "a code from before the end", oauth.InvalidGrant, err)
		must(w.redeem(t.Context(), "web", w.code(t, "web")))(t)
		must(w.redeem(t.Context(), "other", others))(t)
	})
}

// TestChangedClient: what memory says of a client may be old. A code opens no
// grant, and an exchange makes no token, beyond what the store says at that moment.
func TestChangedClient(t *testing.T) {
	for name, f := range map[string]func(*store.Client){
		"disabled":     func(c *store.Client) { c.Disabled = true },
		"less scope":   func(c *store.Client) { c.Scope = []string{"offline_access", "read"} },
		"no resource":  func(c *store.Client) { c.Resources = nil },
		"other secret": func(c *store.Client) { c.SecretHash = client.HashSecret("new") },
	} {
		t.Run("code, "+name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, w *world) {
				w.open(t, "web") // memory knows the client
				code := w.code(t, "web")
				w.change(t, "web", f)
				if _, err := w.redeem(t.Context(), "web", code); err == nil {
					t.Error("the code opened a grant")
				}
			})
		})
	}
	for name, f := range map[string]func(*store.Client){
		"disabled":     func(c *store.Client) { c.Disabled = true },
		"guards other": func(c *store.Client) { c.Guards = []string{inner} },
		"no resource":  func(c *store.Client) { c.Resources = nil },
	} {
		t.Run("exchange, "+name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, w *world) {
				must(w.exchange(t.Context(), w.open(t, "web").AccessToken))(t) // memory knows the client
				w.change(t, "gateway", f)
				w.end(t, revoke.Client, "gateway")
				later := w.open(t, "web") // its rev is beyond that rule
				if _, err := w.exchange(t.Context(), later.AccessToken); err == nil {
					t.Error("the exchange gave a token that the rule on its actor does not hit")
				}
			})
		})
	}
}

// TestExchangeWithinClientScope: scope is the most a client may ever be given, by
// exchange too.
func TestExchangeWithinClientScope(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		w.change(t, "gateway", func(c *store.Client) { c.Scope = []string{"read"} })
		subject := w.open(t, "web").AccessToken
		answer := must(w.exchange(t.Context(), subject))(t)
		if answer.Scope != "read" {
			t.Errorf("scope = %q, want what the client may have: read", answer.Scope)
		}
		_, err := w.ask(t.Context(), "gateway", "grant_type", oauth.GrantExchange, "subject_token", subject,
			"subject_token_type", oauth.TypeAccess, "resource", inner, "scope", "write")
		refused(t, "a scope of token and target that is not the client's", oauth.InvalidScope, err)
	})
}

// TestEndedOnce: whoever holds a dead token or a used code cannot fill the feed
// and the audit trail with it.
func TestEndedOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		code := w.code(t, "web")
		first := must(w.redeem(t.Context(), "web", code))(t)
		id := w.grantOf(t, first.RefreshToken).ID
		for range 3 {
			_, err := w.redeem(t.Context(), "web", code)
			refused(t, "the code again", oauth.InvalidGrant, err)
		}
		if got := w.rules(t, revoke.Grant, id); got != 1 {
			t.Errorf("rules on the grant = %d, want 1", got)
		}
		access := w.open(t, "web").AccessToken
		answer, err := w.Introspect(t.Context(), credentials("gateway"), access)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := w.Revoke(t.Context(), credentials("web"), access, ""); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.rules(t, revoke.Token, answer.ID); got != 1 {
			t.Errorf("rules on the token = %d, want 1", got)
		}
	})
}

const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // of verifier

// visit is a request to the authorization endpoint as web makes it.
func visit(pairs ...string) grant.Visit {
	v := grant.Visit{Params: url.Values{
		"client_id": {"web"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"read write"},
		"resource": {api}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}, "state": {"s"},
	}}
	for i := 0; i < len(pairs); i += 2 {
		v.Params.Set(pairs[i], pairs[i+1])
	}
	return v
}

// begin is a flow that waits for a page.
func (w *world) begin(t *testing.T, v grant.Visit) grant.Step {
	t.Helper()
	step, err := w.Authorize(t.Context(), v)
	if err != nil || step.Page == "" {
		t.Fatalf("authorize = %+v, %v, want a page", step, err)
	}
	return step
}

// signedIn puts a session and returns the value of its cookie.
func (w *world) signedIn(t *testing.T) string {
	t.Helper()
	raw := strings.Repeat("A", 43)
	w.update(t, func(tx *store.Tx) error {
		now := w.clock.now()
		return tx.PutSession(&store.Session{
			ID: "s", SecretHash: hashCookie(t, raw), UserID: "u_alice", AuthTime: now, Created: now, Seen: now, Expires: now.AddDate(0, 1, 0),
		})
	})
	return raw
}

// TestFlowOfChangedClient: a person may take half an hour to answer. What was
// taken from the client meanwhile is not given.
func TestFlowOfChangedClient(t *testing.T) {
	for name, f := range map[string]func(*store.Client){
		"redirect URI": func(c *store.Client) { c.RedirectURIs = []string{"https://app.example/other"} },
		"scope":        func(c *store.Client) { c.Scope = []string{"read"} },
		"resource":     func(c *store.Client) { c.Resources = []string{inner} },
		"grant type":   func(c *store.Client) { c.GrantTypes = []string{oauth.GrantClient} },
	} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, w *world) {
				cookie := w.signedIn(t)
				v := visit()
				v.Session = cookie
				step := w.begin(t, v)
				if err := w.Decide(t.Context(), step.FlowID, step.Browser, "s", true); err != nil {
					t.Fatal(err)
				}
				w.change(t, "web", f)
				w.clients.Changed(nil)
				got, err := w.Authorize(t.Context(), grant.Visit{
					Params: url.Values{"flow": {step.FlowID}}, Browser: step.Browser, Session: cookie,
				})
				var page *grant.PageError
				if !errors.As(err, &page) {
					t.Errorf("step = %+v, error = %v, want a page that says no", got, err)
				}
			})
		})
	}
}

// TestDeniedOnce: one request, one answer. After "no" the flow is gone.
func TestDeniedOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		cookie := w.signedIn(t)
		v := visit()
		v.Session = cookie
		step := w.begin(t, v)
		if err := w.Decide(t.Context(), step.FlowID, step.Browser, "s", false); err != nil {
			t.Fatal(err)
		}
		again := grant.Visit{Params: url.Values{"flow": {step.FlowID}}, Browser: step.Browser, Session: cookie}
		got, err := w.Authorize(t.Context(), again)
		if err != nil || !strings.Contains(got.Location, "error=access_denied") {
			t.Errorf("step = %+v, error = %v, want access_denied at the client", got, err)
		}
		err = w.Decide(t.Context(), step.FlowID, step.Browser, "s", true)
		if !errors.Is(err, grant.ErrNoFlow) {
			t.Errorf("a change of mind: %v, want ErrNoFlow", err)
		}
	})
}

// TestLargeRequest: anybody can begin a flow, and it is kept for half an hour.
func TestLargeRequest(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		for _, name := range []string{"state", "nonce", "login_hint", "unknown", strings.Repeat("x", 10<<10)} {
			v := visit(name, strings.Repeat("x", 10<<10))
			_, err := w.Authorize(t.Context(), v)
			var page *grant.PageError
			if !errors.As(err, &page) {
				t.Errorf("large %.10s: %v, want a page", name, err)
			}
		}
		w.begin(t, visit("state", strings.Repeat("x", 4<<10)))
	})
}

// TestBadThumbprint: dpop_jkt is a SHA-256 thumbprint or a mistake.
func TestBadThumbprint(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		for _, jkt := range []string{"x", challenge[1:], challenge + "A", challenge[:42] + "+"} {
			step, err := w.Authorize(t.Context(), visit("dpop_jkt", jkt))
			if err != nil || !strings.Contains(step.Location, "error=invalid_request") {
				t.Errorf("dpop_jkt=%s: %+v, %v, want invalid_request", jkt, step, err)
			}
		}
		w.begin(t, visit("dpop_jkt", challenge))
	})
}

// TestOperatorRestsOn: the admin API asks the store for all that an operator's
// token rests on, not only for rules.
func TestOperatorRestsOn(t *testing.T) {
	const resource = issuer + "/admin"
	for name, f := range map[string]func(*testing.T, *world){
		"nothing changed": func(*testing.T, *world) {},
		"mark of the client": func(t *testing.T, w *world) {
			w.change(t, "web", func(c *store.Client) { c.Admin = false })
			w.clients.Changed(nil)
		},
		"mark of the person": func(t *testing.T, w *world) { w.person(t, func(u *store.User) { u.Admin = false }) },
		"account":            func(t *testing.T, w *world) { w.person(t, func(u *store.User) { u.Disabled = true }) },
		"session, by its end": func(t *testing.T, w *world) {
			w.clock.pass(2 * time.Minute) // the record stays until it is purged
		},
		"session, by sign-out": func(t *testing.T, w *world) {
			w.update(t, func(tx *store.Tx) error { return tx.DeleteSession("s") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, w *world) {
				w.person(t, func(u *store.User) { u.Admin = true })
				w.change(t, "web", func(c *store.Client) {
					c.Admin, c.Scope = true, append(c.Scope, grant.ScopeAdminRead)
				})
				code := w.code(t, "web")
				w.update(t, func(tx *store.Tx) error {
					s, err := tx.Session("s")
					if err != nil {
						return err
					}
					s.Expires = w.clock.now().Add(time.Minute)
					c, err := tx.Code(client.HashSecret(code))
					if err != nil {
						return err
					}
					c.Scope, c.Resources = []string{grant.ScopeAdminRead}, []string{resource}
					return errors.Join(tx.PutSession(s), tx.PutCode(c))
				})
				token := must(w.redeem(t.Context(), "web", code))(t).AccessToken
				f(t, w)
				err := w.Operator(t.Context(), token, resource)
				if good := err == nil; good != (name == "nothing changed") {
					t.Errorf("operator: %v", err)
				}
			})
		})
	}
}

// person changes alice without a rule.
func (w *world) person(t *testing.T, f func(*store.User)) {
	t.Helper()
	w.update(t, func(tx *store.Tx) error {
		u, err := tx.User("u_alice")
		if err != nil {
			return err
		}
		f(u)
		return tx.PutUser(u)
	})
}
