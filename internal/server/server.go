// Package server is the HTTP face of the authorization server: OAuth and OpenID
// Connect endpoints, the revocation feed and the admin API. Handlers parse, call
// once and render; what may be issued is decided in package grant, what pages
// look like in package web.
//
// Invariant: routes.go is the only list of what answers, and error.go the only
// place where an error becomes a status.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
)

// Config is what the server is made of. All fields without a default are required.
type Config struct {
	Issuer     string // no path, no slash at the end
	DB         *store.DB
	Keys       *mint.Mint
	Clients    *client.Directory
	Authority  *grant.Authority
	Admin      *admin.Admin
	Log        *feed.Log
	Pages      http.Handler // /login /consent /account /logout and what they need
	PagePaths  []string     // the patterns Pages answers
	Page       func(w http.ResponseWriter, r *http.Request, status int, message, requestID string)
	Proxies    []netip.Prefix   // whose X-Forwarded-For is believed
	PublicFeed bool             // serve the public snapshot to guards without a credential
	Now        func() time.Time // nil: time.Now
	Logger     *slog.Logger     // nil: slog.Default
}

// Server answers for one issuer.
type Server struct {
	cfg      Config
	handler  http.Handler
	userinfo *guard.Guard
	admin    *guard.Guard
	origins  origins
	streams  streams
	refusals quota         // that guards tell of
	again    time.Duration // after which a guard that follows is checked again
	slow     time.Duration // a request may take no longer, its answer twice that
}

// New builds the server. ctx bounds the life of its guards.
func New(ctx context.Context, cfg Config) (*Server, error) {
	switch {
	case cfg.Issuer == "" || strings.HasSuffix(cfg.Issuer, "/"):
		return nil, errors.New("server: Issuer is required, without a slash at the end")
	case cfg.DB == nil || cfg.Keys == nil || cfg.Clients == nil || cfg.Authority == nil || cfg.Log == nil || cfg.Admin == nil:
		return nil, errors.New("server: DB, Keys, Clients, Authority, Admin and Log are required")
	case cfg.Pages == nil || cfg.Page == nil:
		return nil, errors.New("server: Pages and Page are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Server{cfg: cfg, again: 10 * time.Second, slow: 30 * time.Second}
	s.origins.server, s.streams.open = s, map[string]int{}
	if err := s.guards(ctx); err != nil {
		return nil, err
	}
	s.handler = s.wrap(s.routes())
	return s, nil
}

// guards makes the guards of the issuer's own resources. They reach keys and
// revocation snapshot through the server's own handlers, without a network.
func (s *Server) guards(ctx context.Context) error {
	userinfo, operators, _ := grant.Own(s.cfg.Issuer)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks", s.jwks)
	mux.HandleFunc("GET /feed/jwks", s.feedKeys)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.metadata)
	mux.Handle("GET /feed/snapshot", s.cfg.Log.Snapshot())
	var err error
	s.userinfo, err = guard.New(ctx, guard.Config{
		Issuer: s.cfg.Issuer, Audience: userinfo.URI, Metadata: describe(userinfo, false), HTTPClient: &http.Client{Transport: inward{mux}},
		Proxies: s.cfg.Proxies, Logger: s.cfg.Logger, Now: s.cfg.Now, InsecureHTTP: true,
	})
	if err != nil {
		return err
	}
	s.admin, err = s.userinfo.For(operators.URI, describe(operators, true))
	return err
}

// describe is what the RFC 9728 document of one of the issuer's own resources says.
func describe(r *store.Resource, bound bool) guard.ResourceMetadata {
	m := guard.ResourceMetadata{Name: r.Name, ProofRequired: bound}
	for _, s := range r.Scopes {
		m.Scopes = append(m.Scopes, s.Name)
	}
	return m
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }
