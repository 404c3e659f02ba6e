package grant_test

import (
	"crypto/rand"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/token"
)

// between is a source of randomness that does something first, once, when it is armed.
type between struct {
	armed atomic.Bool
	do    func()
}

func (b *between) Read(p []byte) (int, error) {
	if b.armed.CompareAndSwap(true, false) {
		b.do()
	}
	return io.ReadFull(rand.Reader, p)
}

// TestDecidedBeforeSignedAfter: a rule that is written between the decision and the
// signature hits the token, because rev is the position of the decision.
func TestDecidedBeforeSignedAfter(t *testing.T) {
	for _, kind := range []revoke.Kind{revoke.Subject, revoke.Client, revoke.Pair, revoke.Resource, revoke.Everything} {
		t.Run(string(kind), func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, first *world) {
				hook := &between{}
				w := newReplica(t, first.db, first.clock, hook)
				value := map[revoke.Kind]string{
					revoke.Subject: "u_alice", revoke.Client: "web", revoke.Pair: revoke.PairOf("u_alice", "web"),
					revoke.Resource: api, revoke.Everything: revoke.Any,
				}[kind]
				hook.do = func() { w.end(t, kind, value) }
				opened := w.open(t, "web")
				hook.armed.Store(true)
				answer := must(w.refresh(t.Context(), "web", opened.RefreshToken))(t)
				if hook.armed.Load() {
					t.Fatal("nothing happened between")
				}
				if w.active(t, answer.AccessToken) {
					t.Error("a token that was decided on before the rule is good")
				}
			})
		})
	}
}

// TestClocksDoNotDecide: replicas whose clocks are as wrong as is tolerated, in opposite
// directions, end what was issued before a rule and spare what was issued after it.
func TestClocksDoNotDecide(t *testing.T) {
	try := func(ahead, behind time.Duration) {
		eachDatabase(t, func(t *testing.T, w *world) {
			now := w.clock.now()
			issuing := newReplica(t, w.db, &clock{at: now.Add(ahead)}, nil)
			ending := newReplica(t, w.db, &clock{at: now.Add(behind)}, nil)
			before := issuing.open(t, "web")
			ending.end(t, revoke.Subject, "u_alice")
			after := issuing.open(t, "web")
			if w.active(t, before.AccessToken) {
				t.Error("a token issued before the rule is good")
			}
			if !w.active(t, after.AccessToken) {
				t.Error("a token issued after the rule is not good")
			}
		})
	}
	try(time.Second, -time.Second) // tokens seem newer than the rule
	try(-time.Second, time.Second) // and older
}

// TestSignInAfterEverything: in the same microsecond as the rule, a fresh sign-in is good,
// and nothing from before is.
func TestSignInAfterEverything(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		before, pending := w.open(t, "web"), w.code(t, "web")
		w.end(t, revoke.Everything, revoke.Any)
		after := w.open(t, "web")
		if w.active(t, before.AccessToken) {
			t.Error("a token from before is good")
		}
		_, err := w.refresh(t.Context(), "web", before.RefreshToken)
		refused(t, "a refresh token from before", oauth.InvalidGrant, err)
		_, err = w.redeem(t.Context(), "web", pending)
		refused(t, "a code from before", oauth.InvalidGrant, err)
		if !w.active(t, after.AccessToken) {
			t.Error("the token of a fresh sign-in is not good")
		}
		if !w.active(t, must(w.refresh(t.Context(), "web", after.RefreshToken))(t).AccessToken) {
			t.Error("the refreshed token of a fresh sign-in is not good")
		}
	})
}

// TestExchangedTokenDependsOnItsParents: ending what it was made from, or what its actor
// holds, ends an exchanged token.
func TestExchangedTokenDependsOnItsParents(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		// The inner resource is guarded by the gateway too, so that it may ask about its tokens.
		w.update(t, func(tx *store.Tx) error {
			c, err := tx.Client("gateway")
			if err != nil {
				return err
			}
			c.Guards = append(c.Guards, inner)
			return tx.PutClient(c)
		})
		w.clients.Changed(nil)
		for name, order := range map[string]func(parent, made *token.Claims) revoke.Order{
			"parent":           func(parent, _ *token.Claims) revoke.Order { return w.order(revoke.Token, parent.ID) },
			"parent's grant":   func(parent, _ *token.Claims) revoke.Order { return w.order(revoke.Grant, parent.GrantID) },
			"parent's subject": func(*token.Claims, *token.Claims) revoke.Order { return w.order(revoke.Subject, "u_alice") },
			"actor's grant":    func(_, made *token.Claims) revoke.Order { return w.order(revoke.Grant, made.Via[len(made.Via)-1]) },
			"actor":            func(*token.Claims, *token.Claims) revoke.Order { return w.order(revoke.Actor, "gateway") },
			"actor as client":  func(*token.Claims, *token.Claims) revoke.Order { return w.order(revoke.Client, "gateway") },
		} {
			parent := w.open(t, "web").AccessToken
			made := must(w.exchange(t.Context(), parent))(t).AccessToken
			if !w.active(t, made) {
				t.Fatalf("%s: the exchanged token is not good from the start", name)
			}
			o := order(parse(t, parent), parse(t, made))
			w.end(t, o.Kind, o.Value)
			if w.active(t, made) {
				t.Errorf("%s was ended, and the exchanged token is good", name)
			}
		}
	})
}
