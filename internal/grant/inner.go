package grant

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const (
	innerLife  = 48 * time.Hour // of a key from when it was last registered
	innerPause = time.Minute    // within which asking again writes nothing, and no key makes room for another
	innerKeys  = 8              // that live, of one client: one more makes the one go that ends first
	allInner   = 96             // that live at all: verifiers take sets of a hundred
)

// A Registered key is what the AS publishes of it.
type Registered struct {
	KeyID       string `json:"kid"`
	TrustDomain string `json:"trust_domain"`
	Scope       string `json:"scope"` // the most it may mint
	ExpiresIn   int64  `json:"expires_in"`
}

// RegisterKey takes a public key by which the client of c will mint transaction
// tokens, or prolongs the one it has. Everything it rests on is read again in the
// transaction: what ends the client also takes its keys, and must not be outrun.
func (a *Authority) RegisterKey(ctx context.Context, c *token.Claims, raw []byte, address string) (*Registered, error) {
	id, jwk, err := client.InnerKey(raw)
	if err != nil {
		return nil, err
	}
	now := a.cfg.Now().UTC().Truncate(time.Second)
	key := store.InnerKey{ClientID: c.ClientID, ID: id, Public: jwk, Created: now, Expires: now.Add(innerLife)}
	var owner *store.Client
	var refused error
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		dead, err := a.ended(tx, c)
		if err != nil {
			return err
		}
		if owner, err = tx.Client(c.ClientID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		switch {
		case err != nil || dead || owner.Disabled:
			refused = errEnded
		case owner.TrustDomain == "":
			refused = refuse(oauth.UnauthorizedClient, "the client is not marked with a trust domain")
		default:
			refused, err = registerKey(tx, key, address)
			return err
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return &Registered{
		KeyID: id, TrustDomain: owner.TrustDomain, Scope: scope.Set(owner.Scope).String(), ExpiresIn: int64(innerLife / time.Second),
	}, nil
}

// registerKey writes the key. Guards are told of new ones; that one lives on they
// learn when they look the next time.
func registerKey(tx *store.Tx, key store.InnerKey, address string) (refused, err error) {
	rules, err := tx.RulesOn(key.Created, []store.Named{{Kind: string(revoke.SigningKey), Value: key.ID}})
	if err != nil {
		return nil, err
	}
	if len(rules) > 0 {
		return refuse(oauth.InvalidRequest, "this key was ended: make another"), nil
	}
	all, err := tx.InnerKeys(key.Created)
	if err != nil {
		return nil, err
	}
	verdict, old := judgeKey(all, key)
	switch verdict {
	case keyTaken:
		return refuse(oauth.InvalidRequest, "another client registered this key"), nil
	case keyCrowded:
		return refuse(oauth.InvalidRequest, "too many keys are registered"), nil
	case keyProlonged:
		if key.Expires.Sub(old.Expires) < innerPause {
			return nil, nil
		}
		key.Created = old.Created
		return nil, tx.PutInnerKey(key)
	case keyReplaces:
		if err := tx.DeleteInnerKey(old.ClientID, old.ID); err != nil {
			return nil, err
		}
	}
	return nil, errors.Join(
		tx.PutInnerKey(key),
		tx.Append(store.Entry{Kind: "key", Value: key.ID, Reason: "inner-key.add", At: key.Created}),
		tx.Audit(store.Audit{At: key.Created, Actor: key.ClientID, Action: "inner-key.add", Target: key.ID, Address: address}))
}

// A keyVerdict says what becomes of a key that a client wants to register.
type keyVerdict int

const (
	keyNew       keyVerdict = iota
	keyProlonged            // it is there, and lives on
	keyReplaces             // it is taken in the place of another of the same client
	keyTaken                // it is another client's
	keyCrowded              // there is no room
)

// judgeKey judges a key among those that live. A client that starts anew with each
// crash must not lock itself out, so its own key that ends first makes room, unless all
// are new: guards look at the set with each. What other clients have is never touched.
func judgeKey(all []store.InnerKey, key store.InnerKey) (keyVerdict, store.InnerKey) {
	var own []store.InnerKey
	for _, k := range all {
		switch {
		case k.ID == key.ID && k.ClientID == key.ClientID:
			return keyProlonged, k
		case k.ID == key.ID:
			return keyTaken, k
		case k.ClientID == key.ClientID:
			own = append(own, k)
		}
	}
	young := func(k store.InnerKey) bool { return key.Created.Sub(k.Created) < innerPause }
	switch {
	case len(own) >= innerKeys && !slices.ContainsFunc(own, func(k store.InnerKey) bool { return !young(k) }):
		return keyCrowded, store.InnerKey{}
	case len(own) >= innerKeys:
		return keyReplaces, slices.MinFunc(own, func(a, b store.InnerKey) int { return a.Expires.Compare(b.Expires) })
	case len(all) >= allInner:
		return keyCrowded, store.InnerKey{}
	}
	return keyNew, store.InnerKey{}
}

// InnerSet is the JWK set of the keys that mint transaction tokens, with what each
// may mint. It is read from the store each time: a client that is switched off or
// unmarked has none in it.
func (a *Authority) InnerSet(ctx context.Context) (set []byte, err error) {
	err = a.cfg.DB.View(ctx, func(tx *store.Tx) error {
		keys, err := tx.InnerKeys(a.cfg.Now())
		if err != nil {
			return err
		}
		clients := map[string]*store.Client{}
		for _, k := range keys {
			if _, known := clients[k.ClientID]; known {
				continue
			}
			c, err := tx.Client(k.ClientID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err != nil || c.Disabled || c.TrustDomain == "" {
				c = nil
			}
			clients[k.ClientID] = c
		}
		set = client.InnerSet(keys, func(id string) *store.Client { return clients[id] })
		return nil
	})
	return set, err
}
