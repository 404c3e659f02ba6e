package grant

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/scope"
)

// ReplayWindow is how long a spent refresh token may be presented again without
// ending the grant: a response that was lost must not log anybody out.
const ReplayWindow = 30 * time.Second

// A refreshVerdict is what presenting a refresh token leads to.
type refreshVerdict int

const (
	refreshRotate refreshVerdict = iota // the newest token: spend it, give the next
	refreshReplay                       // the answer was lost: give the same successor again
	refreshStale                        // too late to replay, too early to call it theft
	refreshReused                       // somebody else has it: end the grant
	refreshRefused
)

// presented is everything the rule about refresh tokens looks at.
type presented struct {
	record    *store.Refresh
	successor *store.Refresh // nil while record is the newest
	grant     *store.Grant
	clientID  string
	public    bool   // the client has no secret
	keyID     string // thumbprint of the proof, "" without
	signedOut bool   // the grant ends with a session, and that is over
}

// judgeRefresh decides. A spent token may be replayed
//   - by a public client without a key for ReplayWindow,
//   - by a client that proved who it is, or the key, until the successor is used:
//     nobody else could have replayed it.
//
// Once the successor was used, both ends have seen it. A replay within
// ReplayWindow of that is a late retry; anything later is theft.
func judgeRefresh(p presented, now time.Time) (refreshVerdict, string) {
	r, g := p.record, p.grant
	switch {
	case r.ClientID != p.clientID:
		return refreshRefused, "the refresh token was issued to another client"
	case !g.Ended.IsZero():
		return refreshRefused, "the grant has ended"
	case !now.Before(g.Expires):
		return refreshRefused, "the grant has expired"
	case p.signedOut:
		return refreshRefused, "the person has signed out, or was away for too long"
	case g.KeyID != "" && g.KeyID != p.keyID:
		return refreshRefused, "the refresh token is bound to another key"
	case r.Spent.IsZero() && !now.Before(r.Expires):
		return refreshRefused, "the refresh token was not used for too long"
	case r.Spent.IsZero():
		return refreshRotate, ""
	case p.successor == nil:
		return refreshReused, "refresh token used again"
	}
	if used := p.successor.Spent; !used.IsZero() {
		if now.Sub(used) <= ReplayWindow {
			return refreshStale, "the refresh token was replaced and its successor used"
		}
		return refreshReused, "refresh token used again"
	}
	if !now.Before(p.successor.Expires) {
		return refreshRefused, "the refresh token was not used for too long"
	}
	if !p.public || g.KeyID != "" || now.Sub(r.Spent) <= ReplayWindow {
		return refreshReplay, ""
	}
	return refreshReused, "refresh token used again"
}

// refresh answers grant_type=refresh_token (RFC 6749 §6, RFC 9700 §4.14).
func (a *Authority) refresh(ctx context.Context, q asked) (*TokenResponse, error) {
	secret := q.params.Get(oauth.ParamRefreshToken)
	if secret == "" {
		return nil, refuse(oauth.InvalidRequest, "refresh_token is missing")
	}
	if !client.WellFormed(client.RefreshPrefix, secret) {
		return nil, refuse(oauth.InvalidGrant, "unknown refresh token")
	}
	narrowed, err := askedScope(q.params)
	if err != nil {
		return nil, err
	}
	next, err := client.NewSecret(client.RefreshPrefix, a.cfg.Rand)
	if err != nil {
		return nil, err
	}
	sealed, err := sealSuccessor(secret, next)
	if err != nil {
		return nil, err
	}
	var out opened
	var refused error
	err = a.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		out, refused, err = a.turn(tx, q, rotation{secret, next, sealed, narrowed})
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return a.issue(q, out)
}

// rotation is what a refresh prepares before its transaction.
type rotation struct {
	secret, next string
	sealed       []byte // next, sealed for whoever has secret
	narrowed     scope.Set
}

// turn reads, judges and writes in one transaction. A refusal is returned apart
// from an error, because it must commit what it found out.
func (a *Authority) turn(tx *store.Tx, q asked, in rotation) (out opened, refused, err error) {
	p := presented{clientID: q.client.ID, public: q.client.AuthMethod == oauth.AuthNone, keyID: q.keyID}
	if p.record, err = tx.Refresh(client.HashSecret(in.secret)); err == nil {
		p.grant, err = tx.Grant(p.record.GrantID)
	}
	if errors.Is(err, store.ErrNotFound) {
		return out, refuse(oauth.InvalidGrant, "unknown refresh token"), nil
	}
	if err != nil {
		return out, nil, err
	}
	if len(p.record.SuccessorHash) > 0 {
		if p.successor, err = tx.Refresh(p.record.SuccessorHash); err != nil && !errors.Is(err, store.ErrNotFound) {
			return out, nil, err
		}
	}
	if p.signedOut, err = a.signedOut(tx, p.grant, q.now); err != nil {
		return out, nil, err
	}
	verdict, why := judgeRefresh(p, q.now)
	if verdict == refreshReused { // committed: a verdict is not an error
		return out, refuse(oauth.InvalidGrant, why), a.endGrant(tx, q, p.grant.ID, why)
	}
	if verdict == refreshRefused || verdict == refreshStale {
		return out, refuse(oauth.InvalidGrant, why), nil
	}
	out = opened{grant: p.grant}
	out.resource, out.scope, err = a.target(tx, q.params, p.grant.Resources, p.grant.Scope, in.narrowed)
	if refusal(err) {
		return out, err, nil // nothing is spent
	}
	if err != nil {
		return out, nil, err
	}
	if verdict == refreshReplay {
		out.refresh, err = openSuccessor(in.secret, p.record.Successor)
	} else {
		out.refresh, err = in.next, a.spend(tx, q, p, in)
	}
	if err != nil {
		return out, nil, err
	}
	out.rev, err = tx.Head()
	return out, nil, err
}

// signedOut reports whether the session that the grant ends with is over.
// Refreshing counts as using the session.
func (a *Authority) signedOut(tx *store.Tx, g *store.Grant, now time.Time) (bool, error) {
	if g.SessionID == "" {
		return false, nil
	}
	_, err := a.cfg.Login.Use(tx, g.SessionID, now)
	if errors.Is(err, login.ErrNoSession) {
		return true, nil
	}
	return false, err
}

// spend replaces the presented token by the next one.
func (a *Authority) spend(tx *store.Tx, q asked, p presented, in rotation) error {
	fresh := a.newRefresh(p.grant, in.next, q.now)
	p.record.Spent, p.record.SuccessorHash, p.record.Successor = q.now, fresh.Hash, in.sealed
	// The spent record stays as long as the grant, so that reuse is noticed.
	p.record.Expires = p.grant.Expires
	if err := tx.PutRefresh(p.record); err != nil {
		return err
	}
	if err := tx.PutRefresh(fresh); err != nil {
		return err
	}
	p.grant.Used = q.now
	return tx.PutGrant(p.grant)
}

// newRefresh is the record of a new refresh token. Rotation never moves the
// grant's own end.
func (a *Authority) newRefresh(g *store.Grant, secret string, now time.Time) *store.Refresh {
	expires := now.Add(a.cfg.RefreshIdle)
	if expires.After(g.Expires) {
		expires = g.Expires
	}
	return &store.Refresh{Hash: client.HashSecret(secret), GrantID: g.ID, ClientID: g.ClientID, Created: now, Expires: expires}
}

// sealSuccessor encrypts the next token under a key derived from the presented
// one, so the database alone opens nothing.
func sealSuccessor(presented, next string) ([]byte, error) {
	aead, err := successorCipher(presented)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, []byte(next), nil), nil
}

func openSuccessor(presented string, sealed []byte) (string, error) {
	aead, err := successorCipher(presented)
	if err != nil {
		return "", err
	}
	next, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", fmt.Errorf("open successor of a refresh token: %w", err)
	}
	return string(next), nil
}

func successorCipher(presented string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(presented), nil, "writ refresh successor", 32)
	if err != nil {
		return nil, fmt.Errorf("derive successor key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("open cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
