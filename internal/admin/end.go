package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// Revocation says what to end, or for which tokens somebody has to authenticate again.
type Revocation struct {
	Kind     string    `json:"kind"`                // as Kinds lists them
	Value    string    `json:"value,omitempty"`     // none for everything and issued-before
	ClientID string    `json:"client_id,omitempty"` // of subject+client: at which client
	Effect   string    `json:"effect,omitempty"`    // end, which is what "" means, or step-up
	Before   time.Time `json:"before,omitzero"`     // of issued-before: tokens with an earlier iat
	Reason   string    `json:"reason,omitempty"`
	DryRun   bool      `json:"dry_run,omitempty"` // say what it would hit, and do nothing
}

// Kinds lists what can be ended.
func Kinds() []string {
	var kinds []string
	for _, k := range revoke.Kinds() {
		kinds = append(kinds, string(k))
	}
	return kinds
}

// Ended says what became of a revocation.
type Ended struct {
	Hit
	DryRun    bool    `json:"dry_run"`
	Uncounted bool    `json:"uncounted,omitempty"` // it stands, but what it hit could not be counted
	Position  uint64  `json:"position"`            // of the rule in the feed; 0 after a dry run
	Confirmed int     `json:"confirmed"`           // guards that said they obey it
	After     float64 `json:"confirmed_after_ms"`  // milliseconds until the last of them did
	Unreached []Guard `json:"unreached"`           // guards that did not say so in time
}

const maxReason = 200 // characters

// End ends every token that r names, and waits up to a second for the guards
// that are connected to say that they obey. A dry run says what would be hit.
func (a *Admin) End(ctx context.Context, by By, r Revocation) (*Ended, error) {
	act := a.act(by, "", r.Value)
	o, err := a.order(act, r)
	if err != nil {
		return nil, err
	}
	out := &Ended{DryRun: r.DryRun, Unreached: []Guard{}}
	counting, cancel := context.WithCancel(ctx)
	defer cancel()
	counted := a.count(counting, o, r.DryRun)
	if r.DryRun {
		out.Hit, err = counted(nil)
		return out, err
	}
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		if o.Kind == revoke.SigningKey {
			if err := act.withdraw(tx, o.Value); err != nil {
				return err
			}
		}
		return revoke.Write(tx, o)
	})
	if err != nil {
		return nil, err
	}
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		rules, err := tx.Rules(string(o.Kind), o.Value)
		if err == nil && len(rules) > 0 {
			out.Position = rules[0].Position
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	limit := time.After(countFor)
	heard := a.await(ctx, out.Position)
	if out.Hit, err = counted(limit); err != nil { // the order stands whatever comes of it
		a.cfg.Logger.Warn("what a revocation hit was not counted", "kind", o.Kind, "position", out.Position, "error", err)
		out.Uncounted = true
	}
	out.Confirmed, out.Unreached, out.After = heard.confirmed, heard.unreached, milliseconds(heard.after)
	return out, nil
}

// countFor is how long the answer to an order waits for the count, at most.
const countFor = 2 * time.Second

var errLate = errors.New("not counted in time")

// count begins to count what o would hit as things stand when it returns, until ctx ends, and
// returns how to wait for the outcome. Counting a million grants takes seconds, and neither
// the order itself nor, for long, its answer must wait for it. Only a dry run may begin the
// count again: after the order there is nothing left to count.
func (a *Admin) count(ctx context.Context, o revoke.Order, dry bool) (outcome func(limit <-chan time.Time) (Hit, error)) {
	begun, done := make(chan struct{}), make(chan struct{})
	var hit Hit
	var err error
	go func() {
		defer close(done)
		begin := sync.OnceFunc(func() { close(begun) })
		defer begin()
		defer func() { // nothing here is worth the whole process
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		seen := false
		err = a.cfg.DB.View(ctx, func(tx *store.Tx) error {
			if seen && !dry {
				return errLate
			}
			if _, err := tx.Head(); err != nil { // the first thing read decides what is seen
				return err
			}
			seen = true
			begin()
			if o.Kind == revoke.SigningKey {
				if err := endable(tx, o.Value); err != nil {
					return err
				}
			}
			there, err := known(tx, o)
			if err != nil {
				return err
			}
			reach := &revoke.Reach{}
			if there || o.Kind != revoke.SigningKey { // no client has tokens of a key that is not there
				if reach, err = revoke.Measure(tx, o); err != nil {
					return err
				}
			}
			hit = viewReach(reach)
			hit.Unknown = !there
			return nil
		})
	}()
	<-begun
	return func(limit <-chan time.Time) (Hit, error) {
		select {
		case <-done:
			return hit, err
		case <-limit:
			return viewReach(&revoke.Reach{}), errLate
		}
	}
}

// known reports whether a grant, session or key that an order names is there or was;
// of other kinds, and of standing grants, there is nothing to find.
func known(tx *store.Tx, o revoke.Order) (bool, error) {
	var err error
	switch o.Kind {
	case revoke.Grant:
		if strings.HasPrefix(o.Value, mint.StandingPrefix) {
			return true, nil
		}
		_, err = tx.Grant(o.Value)
	case revoke.Session:
		_, err = tx.Session(o.Value)
	case revoke.SigningKey:
		keys, err := tx.Keys()
		if err != nil {
			return false, err
		}
		inner, err := tx.InnerKeys(o.Now)
		return slices.ContainsFunc(keys, func(k *store.Key) bool { return k.ID == o.Value }) ||
			slices.ContainsFunc(inner, func(k store.InnerKey) bool { return k.ID == o.Value }), err
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(100*time.Microsecond)) / 1e6 }

// order checks what was asked for and turns it into an order.
func (a *Admin) order(act act, r Revocation) (revoke.Order, error) {
	o := revoke.Order{
		Kind: revoke.Kind(r.Kind), Value: r.Value, Effect: revoke.Effect(r.Effect), Before: r.Before, Reason: r.Reason,
		By: act.by.Actor, Address: act.by.Address, Now: act.now, Until: act.now.Add(mint.LongestLife + 2*mint.Skew),
	}
	broad := o.Kind == revoke.Everything || o.Kind == revoke.IssuedBefore
	switch {
	case !slices.Contains(Kinds(), r.Kind):
		return o, wrong("kind", "must be one of %s", strings.Join(Kinds(), ", "))
	case r.Effect != "" && o.Effect != revoke.End && o.Effect != revoke.StepUp:
		return o, wrong("effect", "must be %s or %s", revoke.End, revoke.StepUp)
	case o.Effect == revoke.StepUp && (o.Kind == revoke.SigningKey || o.Kind == revoke.IssuedBefore):
		return o, wrong("effect", "must be %s for %s", revoke.End, r.Kind)
	case broad && r.Value != "" && r.Value != revoke.Any:
		return o, wrong("value", "is not for %s", r.Kind)
	case !broad && (r.Value == "" || len(r.Value) > maxURI):
		return o, wrong("value", "must be there, and at most %d bytes", maxURI)
	case (o.Kind == revoke.Pair) != (r.ClientID != ""):
		return o, wrong("client_id", "must be there for %s and for nothing else", revoke.Pair)
	case (o.Kind == revoke.IssuedBefore) != !r.Before.IsZero():
		return o, wrong("before", "must be there for %s and for nothing else", revoke.IssuedBefore)
	case r.Before.After(act.now):
		return o, wrong("before", "must not lie ahead: tokens would be issued that are ended already")
	}
	for field, text := range map[string]string{"value": r.Value, "client_id": r.ClientID} {
		if err := plain(field, text, maxURI); err != nil {
			return o, err
		}
	}
	if err := plain("reason", r.Reason, maxReason); err != nil {
		return o, err
	}
	if broad {
		o.Value = revoke.Any
	}
	if o.Kind == revoke.Resource { // as it was registered: another spelling would hit nothing
		var err error
		if o.Value, err = canonicalURI(o.Value); err != nil {
			return o, wrong("value", "%v", err)
		}
	}
	if o.Kind == revoke.Pair {
		o.Value = revoke.PairOf(r.Value, r.ClientID)
	}
	if o.Effect == revoke.StepUp {
		// Tokens that rest on an old authentication are issued as long as a grant lives.
		o.Until = o.Until.Add(a.cfg.AuthLife)
	}
	if o.Reason == "" {
		o.Reason = "by an operator"
	}
	return o, nil
}

// Hit is how much of what the store knows a revocation is about, with samples.
// Tokens are not counted: nothing is written for them.
type Hit struct {
	Unknown   bool    `json:"unknown,omitempty"` // no grant, session or key of this id is stored; the rule stands all the same
	Sessions  int     `json:"sessions"`
	Grants    int     `json:"grants"`
	Clients   int     `json:"clients"`
	Resources int     `json:"resources"`
	Samples   Samples `json:"samples"`
}

// Samples are some of what is hit.
type Samples struct {
	Sessions  []SampleSession `json:"sessions"`
	Grants    []SampleGrant   `json:"grants"`
	Clients   []string        `json:"clients"`
	Resources []string        `json:"resources"`
}

// SampleSession is a browser that is signed in.
type SampleSession struct {
	ID      string    `json:"sid"`
	Subject string    `json:"sub"`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
}

// SampleGrant is what a person allowed a client.
type SampleGrant struct {
	ID       string    `json:"grant_id"`
	Subject  string    `json:"sub"`
	ClientID string    `json:"client_id"`
	Since    time.Time `json:"since"`
}

func viewReach(r *revoke.Reach) Hit {
	first := func(all []string) []string { return append([]string{}, all[:min(len(all), revoke.Samples)]...) }
	h := Hit{
		Sessions: r.SessionCount, Grants: r.GrantCount, Clients: len(r.Clients), Resources: len(r.Resources),
		Samples: Samples{[]SampleSession{}, []SampleGrant{}, first(r.Clients), first(r.Resources)},
	}
	for _, s := range r.Sessions {
		h.Samples.Sessions = append(h.Samples.Sessions, SampleSession{s.ID, s.UserID, s.Address, s.Created})
	}
	for _, g := range r.Grants {
		h.Samples.Grants = append(h.Samples.Grants, SampleGrant{g.ID, g.UserID, g.ClientID, g.Created})
	}
	return h
}

// Rule is a revocation that stands.
type Rule struct {
	Position uint64    `json:"position"`
	Kind     string    `json:"kind"`
	Value    string    `json:"value"`
	Effect   string    `json:"effect"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	Before   time.Time `json:"before,omitzero"` // of a step-up and of issued-before: the time it is about
	Until    time.Time `json:"until"`           // no token it hits is alive then
}

// Rules lists the revocations of exactly this value, newest first.
func (a *Admin) Rules(ctx context.Context, kind, value string) ([]Rule, error) {
	if kind == "" || value == "" {
		return nil, wrong("value", "must be there, and kind too")
	}
	var rules []Rule
	err := a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		rules = []Rule{}
		entries, err := tx.Rules(kind, value)
		for _, e := range entries {
			rules = append(rules, Rule{e.Position, e.Kind, e.Value, e.Effect, e.Reason, e.At, e.Before, e.Until})
		}
		return err
	})
	return rules, err
}
