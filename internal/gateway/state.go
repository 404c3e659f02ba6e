package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/writ-auth/writ/internal/disk"
	"github.com/writ-auth/writ/scope"
)

// A keptKey is the key for transaction tokens as it stands in Config.StateDir, for
// gateways that start while the issuer does not answer. It counts only for whom it was
// made.
type keptKey struct {
	Issuer      string `json:"issuer"`
	ClientID    string `json:"client_id"`
	TrustDomain string `json:"trust_domain"`
	Seed        []byte `json:"seed"`
	Made        int64  `json:"made"`
	Taken       int64  `json:"taken"`
	Scope       string `json:"scope"`
}

// keptLife is how long the issuer knows a key that was not registered again.
const keptLife = 48 * time.Hour

func (c *Config) keyFile() string { return filepath.Join(c.StateDir, "inner.key") }

// loadKey returns the key that is kept, nil when there is none for this gateway or the
// issuer has forgotten it.
func (c *Config) loadKey() (*innerKey, error) {
	if c.StateDir == "" {
		return nil, nil
	}
	name := c.keyFile()
	f, err := disk.Open(name, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s, with which tokens are minted: %w: remove it, and the gateway makes another", name, err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read kept key: %w", err)
	}
	var kept keptKey
	if err := json.Unmarshal(text, &kept); err != nil || len(kept.Seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s is no key of a gateway: remove it, and the gateway makes another", name)
	}
	taken := time.Unix(kept.Taken, 0)
	if kept.Issuer != c.Issuer || kept.ClientID != c.ClientID || kept.TrustDomain != c.TrustDomain ||
		c.Now().Sub(taken) > keptLife {
		return nil, nil
	}
	k := newInnerKey(kept.Seed, time.Unix(kept.Made, 0))
	k.taken, k.bounded = taken, true
	if k.scope, err = scope.Parse(kept.Scope); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

// keep writes the key that signs, once the issuer has it. One that cannot be kept is
// used all the same: what is lost is a start in an outage.
func (m *minter) keep() {
	k := m.key.Load()
	if m.cfg.StateDir == "" || k.taken.IsZero() {
		return
	}
	if err := m.cfg.writeKey(k); err != nil {
		m.cfg.Logger.Warn("key for transaction tokens not kept", "error", err)
	}
}

func (c *Config) writeKey(k *innerKey) error {
	text, err := json.Marshal(keptKey{
		Issuer: c.Issuer, ClientID: c.ClientID, TrustDomain: c.TrustDomain, Seed: k.private.Seed(),
		Made: k.made.Unix(), Taken: k.taken.Unix(), Scope: k.scope.String(),
	})
	if err != nil {
		return err
	}
	return disk.Write(c.keyFile(), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}
