package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/revoke"
	"github.com/writ-auth/writ/internal/server"
	"github.com/writ-auth/writ/internal/store"
	webpages "github.com/writ-auth/writ/internal/web"
)

// setup is what an authorization server is started with.
type setup struct {
	issuer      string
	database    string
	kind        string // dev or serve
	seal        *mint.Sealer
	tokenLife   time.Duration
	refreshIdle time.Duration
	grantLife   time.Duration
	sessions    config.Sessions
	keys        config.Keys
	proxies     []netip.Prefix
	publicFeed  bool
	plan        admin.Plan // what must be there besides the built-in client
	log         *slog.Logger
}

// authority is a running authorization server, put together from its parts.
type authority struct {
	db      *store.DB
	keys    *mint.Mint
	vault   vault // nil: all keys are sealed in the store
	log     *feed.Log
	admin   *admin.Admin
	handler http.Handler
	loops   []func(context.Context) error
}

// openAuthority wires the parts in one straight line. ctx bounds their life.
func openAuthority(ctx context.Context, in setup) (*authority, error) {
	db, err := store.Open(ctx, store.Config{URL: in.database, Issuer: in.issuer, Kind: in.kind, Logger: in.log})
	if err != nil {
		return nil, err
	}
	a := &authority{db: db}
	if err := a.build(ctx, in); err != nil {
		_ = a.close()
		return nil, err
	}
	return a, nil
}

// close ends what the parts share, when nothing serves any more.
func (a *authority) close() error {
	err := a.db.Close()
	if a.vault != nil {
		err = errors.Join(err, a.vault.Close())
	}
	return err
}

func (a *authority) build(ctx context.Context, in setup) (err error) {
	if a.vault, err = openVault(in.keys.PKCS11); err != nil {
		return err
	}
	if a.keys, err = openKeys(ctx, mint.Config{Issuer: in.issuer, DB: a.db, Seal: in.seal, Logger: in.log}, in.keys, a.vault); err != nil {
		return err
	}
	a.keys.CheckClock(ctx)
	epoch, err := a.epoch(ctx)
	if err != nil {
		return err
	}
	log, err := feed.NewLog(feed.LogConfig{
		Issuer: in.issuer, Epoch: epoch, Key: a.keys.FeedKey(epoch), Sign: a.keys.Feed, Logger: in.log, Public: true,
	})
	if err != nil {
		return err
	}
	clients := client.NewDirectory(a.db, in.kind == "dev")
	follower := &revoke.Follower{DB: a.db, Log: log, Now: time.Now, Fit: a.keys.Fit, Logger: in.log, Changed: a.changed(ctx, clients, in.log)}
	if err := follower.Load(ctx); err != nil {
		return err
	}
	clients.Start(log.Applied())

	people, err := login.New(login.Config{
		DB: a.db, Key: in.seal.Derive("login " + in.issuer), TokenLife: mint.LongestLife, Logger: in.log,
		Idle: in.sessions.Idle, Absolute: in.sessions.Life,
	})
	if err != nil {
		return err
	}
	grants, err := grant.New(grant.Config{
		Issuer: in.issuer, DB: a.db, Keys: a.keys, Clients: clients, Login: people,
		TokenLife: in.tokenLife, RefreshIdle: in.refreshIdle, GrantLife: in.grantLife, Logger: in.log,
	})
	if err != nil {
		return err
	}
	if a.admin, err = admin.New(admin.Config{Issuer: in.issuer, DB: a.db, Keys: a.keys}); err != nil {
		return err
	}
	if err := a.admin.Provision(ctx, in.plan); err != nil {
		return err
	}
	pages, err := webpages.New(webpages.Config{
		Issuer: in.issuer, Authority: grants, Login: people, FormKey: in.seal.Derive("forms " + in.issuer),
		Dev: in.kind == "dev", Logger: in.log, RequestID: server.RequestID,
		Address: func(r *http.Request) string { return server.Address(r, in.proxies) }, Invite: a.invite,
	})
	if err != nil {
		return err
	}
	a.handler, err = server.New(ctx, server.Config{
		Issuer: in.issuer, DB: a.db, Keys: a.keys, Clients: clients, Authority: grants, Admin: a.admin, Log: log,
		Pages: pages.Handler(), PagePaths: pages.Paths(), Page: pages.ErrorPage,
		Proxies: in.proxies, PublicFeed: in.publicFeed, Logger: in.log,
	})
	a.log = log
	a.loops = []func(context.Context) error{a.db.Run, a.keys.Run, log.Run, follower.Run}
	return err
}

// invite makes the account of whoever was invited.
func (a *authority) invite(ctx context.Context, in webpages.Invited) error {
	who := admin.NewUser{User: admin.User{Username: in.Username, Name: in.Name}, Password: in.Password}
	_, err := a.admin.Redeem(ctx, in.Code, who, in.Address)
	var wrong *admin.Error
	var taken *admin.Taken
	switch {
	case errors.Is(err, admin.ErrInvite):
		return webpages.Rejection("This code is not good: it was used, is older than 15 minutes, or is mistyped.")
	case errors.As(err, &wrong):
		return webpages.Rejection(wrong.Message)
	case errors.As(err, &taken):
		return webpages.Rejection("There is an account with this user name already.")
	}
	return err
}

func (a *authority) epoch(ctx context.Context) (epoch string, err error) {
	err = a.db.View(ctx, func(tx *store.Tx) (err error) {
		epoch, err = tx.Meta("feed.epoch")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the feed's epoch: %w", err)
	}
	return epoch, nil
}

// changed is what this replica does with each change, its own and others',
// before it counts as applied.
func (a *authority) changed(ctx context.Context, clients *client.Directory, log *slog.Logger) func([]store.Entry) {
	return func(entries []store.Entry) {
		keys := entries == nil
		for _, e := range entries {
			keys = keys || e.Kind == "key"
		}
		if keys {
			if err := a.keys.Reload(ctx); err != nil {
				log.Error("reload keys", "error", err)
			}
		}
		clients.Changed(entries)
	}
}
