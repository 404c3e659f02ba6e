package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
)

// Key is a key that signs, and the guards that do not say they hold it.
type Key struct {
	mint.KeyState
	ClientID string   `json:"client_id,omitempty"` // of a gateway's key: whose it is
	Late     []string `json:"late_guards"`         // client and instance of connected guards; of tokens' keys in the set only
}

// Inner is the use of a gateway's key for transaction tokens.
const Inner = "inner"

// Keys lists the issuer's signing keys, newest first, and then those by which gateways
// mint transaction tokens, by client.
func (a *Admin) Keys(ctx context.Context) ([]Key, error) {
	if a.cfg.Keys == nil {
		return nil, wrong("", "keys cannot be opened without the sealing key")
	}
	guards, err := a.Guards(ctx)
	if err != nil {
		return nil, err
	}
	keys := []Key{}
	for _, k := range a.cfg.Keys.Keys() {
		keys = append(keys, Key{KeyState: k, Late: late(k, guards)})
	}
	var inner []store.InnerKey
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		inner, err = tx.InnerKeys(a.cfg.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, k := range inner {
		view, err := viewInner(k)
		if err != nil {
			return nil, err
		}
		keys = append(keys, view)
	}
	return keys, nil
}

func viewInner(k store.InnerKey) (Key, error) {
	var jwk struct {
		Algorithm string `json:"alg"`
	}
	if err := json.Unmarshal(k.Public, &jwk); err != nil {
		return Key{}, fmt.Errorf("read key %s of %s: %w", k.ID, k.ClientID, err)
	}
	return Key{
		KeyState: mint.KeyState{ID: k.ID, Algorithm: jwk.Algorithm, Use: Inner, State: "signing", Created: k.Created, Expires: k.Expires},
		ClientID: k.ClientID, Late: []string{},
	}, nil
}

func late(k mint.KeyState, guards []Guard) []string {
	out := []string{}
	if k.Use != "sign" || k.State == "ended" {
		return out
	}
	for _, g := range guards {
		if g.Connected && !slices.Contains(g.KeyIDs, k.ID) {
			out = append(out, g.ClientID+" "+g.Instance)
		}
	}
	return out
}

// Rotated is the key that signs next.
type Rotated struct {
	mint.KeyState
	New bool `json:"new"` // false: it was waiting already, and may sign by now
}

// RotateKey publishes the next signing key of an algorithm ahead of the
// schedule; "" is the issuer's default. It returns the key that waits, perhaps since
// before: signing moves to it when it has been public long enough for every guard.
func (a *Admin) RotateKey(ctx context.Context, by By, alg string) (*Rotated, error) {
	if a.cfg.Keys == nil {
		return nil, wrong("", "keys cannot be opened without the sealing key")
	}
	offered := a.cfg.Keys.Algorithms()
	if alg == "" {
		alg = offered[0]
	}
	if !slices.Contains(offered, alg) {
		return nil, wrong("algorithm", "must be one of %s", strings.Join(offered, ", "))
	}
	id, fresh, err := a.cfg.Keys.Advance(ctx, alg)
	if err != nil {
		return nil, err
	}
	// Advance has written what became of the keys; this line says who asked.
	act := a.act(by, "key.rotate", id)
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		return act.audit(tx, map[string]any{"algorithm": alg})
	})
	if err != nil {
		return nil, err
	}
	keys := a.cfg.Keys.Keys()
	if at := slices.IndexFunc(keys, func(k mint.KeyState) bool { return k.ID == id }); at >= 0 {
		return &Rotated{keys[at], fresh}, nil
	}
	return &Rotated{mint.KeyState{ID: id}, fresh}, nil // ended in the meantime
}

// Compromised says what became of a key that leaked.
type Compromised struct {
	KeyID     string  `json:"kid"`
	Next      string  `json:"next"`     // signs in its place
	Position  uint64  `json:"position"` // of the rule in the feed; 0 for a key of the feed, which signs no tokens
	Steps     []Step  `json:"steps"`
	Confirmed int     `json:"confirmed"` // guards that said they obey the rule
	Unreached []Guard `json:"unreached"` // guards that did not say so in time
}

// Step is a part of it and how long it took.
type Step struct {
	Name string  `json:"name"`
	Took float64 `json:"ms"` // milliseconds
}

// CompromiseKey ends a key that leaked: from the commit on nothing is signed with it
// by a replica that has heard of it, the next key signs, and a rule ends all the
// leaked one ever signed. It waits for no guard to hold the next key: they fetch it.
func (a *Admin) CompromiseKey(ctx context.Context, by By, kid string) (*Compromised, error) {
	if a.cfg.Keys == nil {
		return nil, wrong("", "keys cannot be opened without the sealing key")
	}
	out := &Compromised{KeyID: kid}
	start := time.Now()
	step := func(name string) {
		out.Steps = append(out.Steps, Step{name, milliseconds(time.Since(start))})
		start = time.Now()
	}
	e, err := a.cfg.Keys.Prepare(ctx, kid)
	if err != nil {
		return nil, err
	}
	step("next key made")
	act := a.act(by, "key.compromise", kid)
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if out.Next, err = e.Apply(tx, act.now); err != nil {
			return err
		}
		if e.Signs() {
			if err := act.end(tx, string(revoke.SigningKey), kid, "key compromised"); err != nil {
				return err
			}
		}
		return act.audit(tx, map[string]any{"next": out.Next})
	})
	if mint.IsEnded(err) {
		e.Settle("")
		return nil, wrong("", "key %s was ended before", kid)
	}
	if err != nil {
		return nil, err
	}
	step("key ended, next one signs, rule written")
	e.Settle(out.Next)
	if err := a.cfg.Keys.Reload(ctx); err != nil {
		return nil, err
	}
	step("this process signs with the next key")
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		out.Position, err = tx.Head()
		return err
	})
	if err != nil {
		return nil, err
	}
	heard := a.await(ctx, out.Position)
	out.Confirmed, out.Unreached = heard.confirmed, heard.unreached
	step("guards confirmed")
	return out, nil
}

// endable refuses to end a key that signs: what it signs next would be dead too.
func endable(tx *store.Tx, id string) error {
	keys, err := tx.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id && k.Retired.IsZero() {
			return wrong("value", "is a key in use: compromise it, and the next one takes its place (writ key compromise)")
		}
	}
	return nil
}

// withdraw takes an ended key out of the published set. One that is not here, or not
// any more, can be ended all the same: only the rule counts.
func (c act) withdraw(tx *store.Tx, id string) error {
	if err := endable(tx, id); err != nil {
		return err
	}
	keys, err := tx.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID != id || !k.Ended.IsZero() {
			continue
		}
		k.Ended = c.now
		if err := tx.PutKey(k); err != nil {
			return err
		}
		return tx.Append(store.Entry{Kind: "key", Value: id, Reason: "key.end", At: c.now})
	}
	return nil
}
