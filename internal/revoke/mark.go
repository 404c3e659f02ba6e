package revoke

import (
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// mark ends in the store what tokens of the order would be issued from again:
// grants, sessions, and codes on their way. A code redeemed later would open a
// grant that the rule does not hit. What may be a million rows the rule itself ends,
// see sweeping.
func mark(tx *store.Tx, o Order) error {
	switch o.Kind {
	case Grant:
		return markGrants(tx, o)
	case Pair:
		subject, client, _ := strings.Cut(o.Value, "\n")
		return errors.Join(tx.DeleteCodesAt(subject, client), markGrants(tx, o))
	case Session, Subject:
		return errors.Join(markGrants(tx, o), dropSessions(tx, o))
	}
	return nil
}

// sweeping reports whether the order's entry in the feed also ends grants, sessions and
// codes: an order about a client, a key or everything has to be short however many there
// are, or it would fail beside all who refresh meanwhile.
func (o *Order) sweeping() bool {
	return o.Effect == End && (o.Kind == Client || o.Kind == ProofKey || o.Kind == Everything)
}

// afterInnerKey is how long after the end it was published with a key is remembered that
// was taken back: longer than any guard's copy of it, and any token it signed.
const afterInnerKey = time.Hour

// dropInnerKeys takes keys back by which whoever is ended could go on minting, with
// a rev of his choice. They leave the set that guards hold, who are told; and a rule on
// each, which has no cut-off, keeps them out: for guards that do not get the set, and
// when their owner, or a thief, registers them again.
func dropInnerKeys(tx *store.Tx, o Order) error {
	var theirs func(store.InnerKey) bool
	switch o.Kind {
	case Client, Actor, Subject:
		theirs = func(k store.InnerKey) bool { return k.ClientID == o.Value }
	case SigningKey:
		theirs = func(k store.InnerKey) bool { return k.ID == o.Value }
	case Everything:
		theirs = func(store.InnerKey) bool { return true }
	default:
		return nil
	}
	keys, err := tx.InnerKeys(o.Now)
	if err != nil {
		return err
	}
	dropped := false
	for _, k := range keys {
		if !theirs(k) {
			continue
		}
		dropped = true
		err := errors.Join(
			tx.DeleteInnerKey(k.ClientID, k.ID),
			tx.Append(store.Entry{
				Kind: string(SigningKey), Value: k.ID, Effect: string(End), Reason: o.Reason, At: o.Now, Until: k.Expires.Add(afterInnerKey),
			}))
		if err != nil {
			return err
		}
	}
	if !dropped {
		return nil
	}
	return tx.Append(store.Entry{Kind: "key", Value: o.Value, Reason: string(o.Kind) + ".end", At: o.Now})
}

func markGrants(tx *store.Tx, o Order) error {
	for g, err := range grantsOf(tx, o) {
		if err != nil {
			return err
		}
		g.Ended, g.EndReason = o.Now, o.Reason
		if err := tx.PutGrant(g); err != nil {
			return err
		}
	}
	return nil
}

// dropSessions signs browsers out; a code they were given needs their session.
func dropSessions(tx *store.Tx, o Order) error {
	sessions, err := sessionsOf(tx, o)
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

// sessionsOf lists the sessions of a subject, or the one session.
func sessionsOf(tx *store.Tx, o Order) ([]*store.Session, error) {
	switch o.Kind {
	case Subject:
		return tx.SessionsOf(o.Value)
	case Session:
		s, err := tx.Session(o.Value)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return []*store.Session{s}, err
	}
	return nil, nil
}

// batch is how many grants are read at a time.
const batch = 500

// grantsOf yields the living grants that an order names. Grants with
// offline_access carry no session: ending a session leaves them alone. The list is
// read in the transaction that marks it, so none opened meanwhile is missed.
func grantsOf(tx *store.Tx, o Order) iter.Seq2[*store.Grant, error] {
	switch o.Kind {
	case Client:
		return paged(func(after string) ([]*store.Grant, error) { return tx.GrantsOfClient(o.Value, after, batch) })
	case ProofKey:
		return paged(func(after string) ([]*store.Grant, error) { return tx.GrantsOfKey(o.Value, after, batch) })
	}
	var all []*store.Grant
	var err error
	switch o.Kind {
	case Grant:
		g, found := tx.Grant(o.Value)
		// A standing grant has no record, and an old one may be gone: the rule is what counts.
		if err = found; err == nil && g.Ended.IsZero() {
			all = append(all, g)
		}
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
	case Session:
		all, err = tx.GrantsOfSession(o.Value)
	case Subject:
		all, err = tx.GrantsOf(o.Value)
	case Pair:
		subject, client, _ := strings.Cut(o.Value, "\n")
		var own []*store.Grant
		own, err = tx.GrantsOf(subject)
		for _, g := range own {
			if g.ClientID == client {
				all = append(all, g)
			}
		}
	}
	return func(yield func(*store.Grant, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		for _, g := range all {
			if !yield(g, nil) {
				return
			}
		}
	}
}

// paged yields the grants of a list that is read by id.
func paged(read func(after string) ([]*store.Grant, error)) iter.Seq2[*store.Grant, error] {
	return func(yield func(*store.Grant, error) bool) {
		for after := ""; ; {
			page, err := read(after)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, g := range page {
				after = g.ID
				if !yield(g, nil) {
					return
				}
			}
			if len(page) < batch {
				return
			}
		}
	}
}
