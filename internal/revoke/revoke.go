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
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/store"
)

// Kind is what can be ended.
type Kind = feed.Kind

// The kinds. Ending a session, subject or client also ends the grants under it.
const (
	Token   = feed.KindToken
	Grant   = feed.KindGrant
	Session = feed.KindSession
	Subject = feed.KindSubject
	Client  = feed.KindClient
)

// Kinds lists what can be ended.
func Kinds() []Kind { return []Kind{Token, Grant, Session, Subject, Client} }

// Hits reports whether a stored rule hits a token of this rev: one on a single
// token always, any other only what was decided before it.
func Hits(rule store.Entry, rev uint64) bool {
	return feed.Rule{Position: rule.Position, Kind: Kind(rule.Kind)}.Hits(rev)
}

// Order says what to end and on whose word.
type Order struct {
	Kind    Kind
	Value   string
	Reason  string // a word for people and logs, e.g. "signed out"
	By      string // sub or client_id of who asked; "system" for the server itself
	Address string // where they asked from, if known
	Now     time.Time
	Until   time.Time // when no token the rule hits can be alive any more
}

// ErrKind is an order for something that cannot be ended.
var ErrKind = errors.New("revoke: not one of jti, grant, session, subject, client")

// End ends every token that o names, and the grants and sessions they came from.
func End(tx *store.Tx, o Order) error {
	if o.Value == "" {
		return errors.New("revoke: nothing named")
	}
	var err error
	switch o.Kind {
	case Token:
	case Grant:
		err = endGrant(tx, o)
	case Session:
		err = endSession(tx, o)
	case Subject:
		err = endSubject(tx, o)
	case Client:
		err = endClient(tx, o)
	default:
		return ErrKind
	}
	if err != nil {
		return fmt.Errorf("end %s: %w", o.Kind, err)
	}
	err = tx.Append(store.Entry{
		Kind: string(o.Kind), Value: o.Value, Effect: string(feed.End), Reason: o.Reason,
		At: o.Now, Until: o.Until,
	})
	if err != nil {
		return fmt.Errorf("end %s: %w", o.Kind, err)
	}
	return tx.Audit(store.Audit{
		At: o.Now, Actor: o.By, Action: string(o.Kind) + ".end", Target: o.Value, Detail: o.Reason, Address: o.Address,
	})
}

func endGrant(tx *store.Tx, o Order) error {
	g, err := tx.Grant(o.Value)
	if errors.Is(err, store.ErrNotFound) {
		return nil // a standing grant has no record, and an old one may be gone: the rule is what counts
	}
	if err != nil {
		return err
	}
	return mark(tx, o, g)
}

func mark(tx *store.Tx, o Order, grants ...*store.Grant) error {
	for _, g := range grants {
		if !g.Ended.IsZero() {
			continue
		}
		g.Ended, g.EndReason = o.Now, o.Reason
		if err := tx.PutGrant(g); err != nil {
			return err
		}
	}
	return nil
}

// endSession ends the session and the grants that end with it. Grants with
// offline_access carry no session and live on.
func endSession(tx *store.Tx, o Order) error {
	grants, err := tx.GrantsOfSession(o.Value)
	if err != nil {
		return err
	}
	if err := mark(tx, o, grants...); err != nil {
		return err
	}
	err = tx.DeleteSession(o.Value)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// endSubject ends a person's sessions and grants, those that go on offline too.
func endSubject(tx *store.Tx, o Order) error {
	grants, err := tx.GrantsOf(o.Value)
	if err != nil {
		return err
	}
	if err := mark(tx, o, grants...); err != nil {
		return err
	}
	sessions, err := tx.SessionsOf(o.Value)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if err := tx.DeleteSession(s.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// endClient marks the client's grants page by page; the list is read in the same
// transaction, so none opened meanwhile is missed. Codes on their way to it go
// too: redeemed later, one would open a grant that the rule does not hit.
func endClient(tx *store.Tx, o Order) error {
	if err := tx.DeleteCodesOf(o.Value); err != nil {
		return err
	}
	const batch = 500
	after := ""
	for {
		grants, err := tx.GrantsOfClient(o.Value, after, batch)
		if err != nil {
			return err
		}
		if err := mark(tx, o, grants...); err != nil {
			return err
		}
		if len(grants) < batch {
			return nil
		}
		after = grants[len(grants)-1].ID
	}
}
