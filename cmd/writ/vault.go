package main

import (
	"context"
	"io"

	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/mint"
)

// vault is where signing keys are that are not sealed in the store.
type vault interface {
	mint.Vault
	io.Closer
}

// openVault opens the token that the configuration names; nil without one.
func openVault(c *config.PKCS11) (vault, error) {
	if c == nil {
		return nil, nil
	}
	pin, err := c.Secret()
	if err != nil {
		return nil, err
	}
	return openToken(c.Module, c.Token, pin)
}

// openKeys opens the issuer's keys in the way that the configuration says. v may be nil.
func openKeys(ctx context.Context, cfg mint.Config, c config.Keys, v vault) (*mint.Mint, error) {
	cfg.Algorithms, cfg.KeyLife, cfg.Publish = c.Algorithms, c.Life, c.Publish
	if v != nil {
		cfg.Vault, cfg.Leave = v, c.PKCS11.Leave
	}
	return mint.Open(ctx, cfg)
}
