package mint

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/store"
)

const macAlgorithm = "HMAC-SHA-256"

// Rotate does what is due: it makes, promotes and drops keys, each in its own
// transaction, so that several replicas doing it at once agree.
func (m *Mint) Rotate(ctx context.Context) error {
	type kind struct{ use, alg string }
	kinds := []kind{{useMAC, macAlgorithm}, {useTag, macAlgorithm}, {useFeed, jose.Ed25519}}
	for _, alg := range m.cfg.Algorithms {
		kinds = append(kinds, kind{useSign, alg})
	}
	changed := false
	for _, k := range kinds {
		// A family needs at most a drop, a promotion and a new key at a time.
		for range 8 {
			did, err := m.rotateOne(ctx, k.use, k.alg, false)
			if err != nil {
				return fmt.Errorf("rotate %s %s keys: %w", k.use, k.alg, err)
			}
			if did == stepNone {
				break
			}
			changed = true
		}
	}
	if changed || m.state.Load() == nil {
		return m.Reload(ctx)
	}
	return nil
}

// Advance publishes the next signing key of alg at once, ahead of the schedule.
// Signing moves to it as by schedule: when it has been public long enough.
// It returns the kid that waits, and whether it is new: one may have been waiting
// already. One whose time has come signs from now on.
func (m *Mint) Advance(ctx context.Context, alg string) (kid string, fresh bool, err error) {
	if !slices.Contains(m.cfg.Algorithms, alg) {
		return "", false, fmt.Errorf("no keys of algorithm %q are kept here", alg)
	}
	did, err := m.rotateOne(ctx, useSign, alg, true)
	if err != nil {
		return "", false, fmt.Errorf("publish next %s key: %w", alg, err)
	}
	if err := m.Reload(ctx); err != nil {
		return "", false, err
	}
	f := familyOf(m.state.Load().keys, useSign, alg)
	if f.waiting != nil {
		return f.waiting.ID, did == stepNext, nil
	}
	return f.signing.ID, false, nil
}

// rotateOne makes the fresh key outside the transaction and decides inside it. It
// returns what it did.
func (m *Mint) rotateOne(ctx context.Context, use, alg string, ahead bool) (step, error) {
	now := m.cfg.Now()
	var seen family
	var due step
	err := m.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		seen, due, err = m.due(tx, use, alg, ahead, now)
		return err
	})
	if err != nil || due == stepNone {
		return stepNone, err
	}
	if due == stepDrop {
		m.forget(seen.retired[0]) // before: its row is what an interrupted drop is taken up from
	}
	var fresh *store.Key
	if due == stepFirst || due == stepNext {
		if fresh, err = m.generate(use, alg); err != nil {
			return stepNone, err
		}
	}
	did := false
	err = m.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		did = false
		f, s, err := m.due(tx, use, alg, ahead, now)
		if err != nil || s != due { // another replica was first
			return err
		}
		did = true
		return m.apply(tx, f, s, fresh, now)
	})
	if fresh != nil && !did && err == nil { // after an error it may have been committed
		m.forget(fresh)
	}
	if err != nil || !did {
		return stepNone, err
	}
	return due, nil
}

// due reads a family of keys and says what it needs. ahead asks for the next key
// before its time.
func (m *Mint) due(tx *store.Tx, use, alg string, ahead bool, now time.Time) (family, step, error) {
	keys, err := tx.Keys()
	if err != nil {
		return family{}, stepNone, err
	}
	guards, err := tx.GuardStates(now.Add(-time.Hour))
	if err != nil {
		return family{}, stepNone, err
	}
	f := familyOf(keys, use, alg)
	if use == useMAC && f.signing != nil {
		return f, stepNone, nil
	}
	plan := m.plan
	if use == useTag { // other replicas must have read it first, guards need not
		plan.deadline = 0
	}
	s := plan.judge(f, f.waiting != nil && use == useSign && held(guards, f.waiting.ID), now)
	if ahead && f.signing != nil && f.waiting == nil { // whatever else is due can wait
		s = stepNext
	}
	return f, s, nil
}

func (m *Mint) apply(tx *store.Tx, f family, s step, fresh *store.Key, now time.Time) error {
	line := store.Audit{At: now, Actor: "system"}
	switch s {
	case stepFirst, stepNext:
		fresh.Created = now
		fresh.Active = time.Time{}
		if s == stepFirst {
			fresh.Active = now
		}
		if err := tx.PutKey(fresh); err != nil {
			return err
		}
		line.Action, line.Target = "key.add", fresh.ID
	case stepPromote:
		f.waiting.Active = now
		if err := tx.PutKey(f.waiting); err != nil {
			return err
		}
		if f.signing != nil {
			f.signing.Retired, f.signing.Expires = now, now.Add(m.plan.retain)
			if err := tx.PutKey(f.signing); err != nil {
				return err
			}
		}
		line.Action, line.Target = "key.promote", f.waiting.ID
	case stepDrop:
		if err := tx.DeleteKey(f.retired[0].ID); err != nil {
			return err
		}
		line.Action, line.Target = "key.remove", f.retired[0].ID
	}
	if err := tx.Append(store.Entry{Kind: "key", Value: line.Target, Reason: line.Action, At: now}); err != nil {
		return err
	}
	return tx.Audit(line)
}

// generate makes a key in the vault, or makes and seals one. RSA takes a few
// hundred milliseconds, which is why this happens outside the transaction.
func (m *Mint) generate(use, alg string) (*store.Key, error) {
	id, err := randomBytes(m.cfg.Rand, 9)
	if err != nil {
		return nil, err
	}
	k := &store.Key{ID: base64.RawURLEncoding.EncodeToString(undashed(id)), Use: use, Algorithm: alg}
	if m.cfg.entrusts(use) {
		return k, m.entrust(k)
	}
	var secret []byte
	if alg == macAlgorithm {
		if secret, err = randomBytes(m.cfg.Rand, 32); err != nil {
			return nil, err
		}
	} else {
		private, err := newPrivate(alg)
		if err != nil {
			return nil, fmt.Errorf("generate %s key: %w", alg, err)
		}
		if secret, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
			return nil, fmt.Errorf("encode private key: %w", err)
		}
		if k.Public, err = (jose.Key{ID: k.ID, Alg: alg, Public: private.Public()}).Encode(); err != nil {
			return nil, fmt.Errorf("encode public key: %w", err)
		}
	}
	k.Sealed, err = m.cfg.Seal.Seal("key "+use, m.cfg.Issuer, k.ID, secret)
	return k, err
}

// undashed changes random bytes whose base64url would begin with a dash: on a command
// line such an id would read as a flag.
func undashed(b []byte) []byte {
	const dash = 62 // its place in the alphabet
	if b[0]>>2 == dash {
		b[0] &= 0x7f
	}
	return b
}

func newPrivate(alg string) (crypto.Signer, error) {
	switch alg {
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.Ed25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case jose.RS256, jose.PS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("algorithm %q is not one of ours", alg)
}

// Reload reads the keys again; the server calls it when the feed says that
// another replica changed them.
func (m *Mint) Reload(ctx context.Context) error {
	m.loading.Lock() // of two readings at once the newer one counts
	defer m.loading.Unlock()
	var keys []*store.Key
	err := m.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		keys, err = tx.Keys()
		return err
	})
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	r := &ring{signers: map[string]*signer{}, public: map[string]*jose.Key{}, vault: map[string]crypto.Signer{}, keys: keys}
	slices.SortFunc(keys, func(a, b *store.Key) int { return b.Created.Compare(a.Created) })
	for _, k := range keys {
		if err := m.take(r, k); err != nil {
			return fmt.Errorf("open key %s: %w", k.ID, err)
		}
	}
	m.state.Store(r)
	return nil
}

// take puts one stored key where it belongs in r.
func (m *Mint) take(r *ring, k *store.Key) error {
	if m.vouched(k) {
		return m.admit(r, k)
	}
	secret, err := m.cfg.Seal.Open("key "+k.Use, m.cfg.Issuer, k.ID, k.Sealed)
	if err != nil {
		return err
	}
	signing := !k.Active.IsZero() && k.Retired.IsZero()
	switch k.Use {
	case useMAC:
		if m.mac == nil {
			m.mac = secret
		}
		return nil
	case useTag:
		if signing {
			r.tags = append([][]byte{secret}, r.tags...)
		} else {
			r.tags = append(r.tags, secret)
		}
		return nil
	}
	private, err := x509.ParsePKCS8PrivateKey(secret)
	if err != nil {
		return fmt.Errorf("decode private key: %w", err)
	}
	key, ok := private.(crypto.Signer)
	if !ok {
		return fmt.Errorf("private key of type %T cannot sign", private)
	}
	return m.add(r, k, key)
}

// add puts a key that signs where it belongs in r; key is nil for a vouched one that
// only has a public half left.
func (m *Mint) add(r *ring, k *store.Key, key crypto.Signer) error {
	public, err := jose.ParseKey(k.Public)
	if err != nil {
		return err
	}
	if public.ID != k.ID || public.Alg != k.Algorithm || key != nil && !pair(key, public.Public) {
		return ErrSeal
	}
	s := &signer{id: k.ID, alg: k.Algorithm, key: key, latest: m.latestOf(k.ID)}
	s.header = jose.Header{Alg: k.Algorithm, Typ: typAccess, KeyID: k.ID}.Encode()
	s.segment = base64.RawURLEncoding.EncodeToString(s.header)
	if k.Use == useSign && k.Ended.IsZero() {
		r.public[k.ID] = &public
	}
	switch {
	case k.Active.IsZero() || !k.Retired.IsZero():
	case k.Use == useFeed:
		r.feed = s
	default:
		r.signers[k.Algorithm] = s
	}
	return nil
}

// latestOf is the count of a key, kept over reloads.
func (m *Mint) latestOf(id string) *latest {
	if r := m.state.Load(); r != nil {
		for _, s := range r.signers {
			if s.id == id {
				return s.latest
			}
		}
	}
	return new(latest)
}

// pair reports whether public is the key's own. It stands unsealed in the store:
// whoever can write there must not be able to have a key of theirs published.
func pair(key crypto.Signer, public crypto.PublicKey) bool {
	own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(public)
}
