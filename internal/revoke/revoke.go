// Package revoke ends tokens: it writes the rule that guards will obey, marks
// what the rule ends in the store, and leaves an audit line, all in the
// caller's transaction; its Follow loop carries rules from the store to the feed.
// It does not decide who may end what.
//
// Invariant: a rule is never written without its audit line, nor the other way round.
package revoke

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/store"
)

// Kind is what can be ended.
type Kind = feed.Kind

// The kinds. Ending a session, subject, client, both, a proof key or everything
// also ends the grants under it. The others end tokens alone: what is issued
// afterwards is good, but for a certificate's and a signing key's.
const (
	Token        = feed.KindToken
	Grant        = feed.KindGrant
	Session      = feed.KindSession
	Subject      = feed.KindSubject
	Client       = feed.KindClient
	Pair         = feed.KindPair
	Actor        = feed.KindActor
	ProofKey     = feed.KindProofKey
	Cert         = feed.KindCert
	SigningKey   = feed.KindSigningKey
	Resource     = feed.KindResource
	Everything   = feed.KindEverything
	IssuedBefore = feed.KindIssuedBefore
)

// Kinds lists what can be ended.
func Kinds() []Kind {
	return []Kind{
		Token, Grant, Session, Subject, Client, Pair, Actor, ProofKey, Cert, SigningKey, Resource, Everything, IssuedBefore,
	}
}

// Effect is what becomes of the tokens.
type Effect = feed.Effect

// The effects.
const (
	End    = feed.End
	StepUp = feed.StepUp // refused until somebody authenticates again; nothing is ended in the store
)

// Any is the value of an order about everything or about what was issued before a time.
const Any = feed.Any

// PairOf is the value of an order about a subject at one client.
func PairOf(subject, client string) string { return feed.Pair(subject, client) }

// Hits reports whether a stored rule hits a token with this rev, iat and auth_time;
// self says that its subject is its client.
func Hits(rule store.Entry, rev uint64, issuedAt, authTime time.Time, self bool) bool {
	return plain(rule).Hits(feed.TokenOf(rev, issuedAt, authTime, self))
}

// Order says what to end and on whose word.
type Order struct {
	Kind    Kind
	Value   string
	Effect  Effect    // "": End
	Before  time.Time // of IssuedBefore: tokens with an earlier iat
	Reason  string    // a word for people and logs, e.g. "signed out"
	By      string    // sub or client_id of who asked; "system" for the server itself
	Address string    // where they asked from, if known
	Now     time.Time
	Until   time.Time // when no token the rule hits can be alive any more
}

// ErrKind is an order for something that cannot be ended, or not in this way.
var ErrKind = errors.New("revoke: not something that can be ended")

// check completes an order.
func (o *Order) check() error {
	if o.Effect == "" {
		o.Effect = End
	}
	switch {
	case o.Value == "":
		return errors.New("revoke: nothing named")
	case !slices.Contains(Kinds(), o.Kind), o.Effect != End && o.Effect != StepUp:
		return ErrKind
	case (o.Kind == Everything || o.Kind == IssuedBefore) != (o.Value == Any),
		o.Kind == IssuedBefore && (o.Effect != End || o.Before.IsZero()),
		o.Kind == Pair && !strings.Contains(o.Value, "\n"):
		return ErrKind
	}
	if o.Effect == StepUp {
		o.Before = o.Now
	}
	return nil
}

// Write ends every token that o names, and the grants and sessions they came from;
// or asks for a step-up.
func Write(tx *store.Tx, o Order) error {
	if err := o.check(); err != nil {
		return err
	}
	action := ".step-up"
	if o.Effect == End {
		action = ".end"
		if err := errors.Join(mark(tx, o), dropInnerKeys(tx, o)); err != nil {
			return fmt.Errorf("end %s: %w", o.Kind, err)
		}
	}
	err := tx.Append(store.Entry{
		Kind: string(o.Kind), Value: o.Value, Effect: string(o.Effect), Reason: o.Reason,
		At: o.Now, Before: o.Before, Until: o.Until, Sweep: o.sweeping(),
	})
	if err != nil {
		return fmt.Errorf("end %s: %w", o.Kind, err)
	}
	return tx.Audit(store.Audit{
		At: o.Now, Actor: o.By, Action: string(o.Kind) + action, Target: strings.ReplaceAll(o.Value, "\n", " "),
		Detail: o.Reason, Address: o.Address,
	})
}
