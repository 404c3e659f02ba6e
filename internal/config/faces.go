package config

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/gateway"
	"github.com/writ-auth/writ/internal/mint"
)

// Config is what the gateway is made with, secret and all.
func (g *Gateway) Config() (gateway.Config, error) {
	c := gateway.Config{
		Issuer: g.Issuer, URL: g.URL, ClientID: g.ClientID, MaxStaleness: g.MaxStaleness,
		TrustDomain:    g.TrustDomain,
		TrustedProxies: g.TrustedProxies, MaxHeader: int(g.MaxHeader), MaxBody: int64(g.MaxBody),
		DialTimeout: g.DialTimeout, ResponseTimeout: g.ResponseTimeout, IdleConns: g.IdleConns,
		InsecureHTTP: g.InsecureHTTP, StateDir: g.StateDir,
	}
	if g.ClientSecretFile != "" {
		secret, err := os.ReadFile(g.ClientSecretFile)
		if err != nil {
			return c, fmt.Errorf("read client secret: %w", err)
		}
		if c.ClientSecret = string(bytes.TrimSpace(secret)); c.ClientSecret == "" {
			return c, fmt.Errorf("read client secret: %s is empty", g.ClientSecretFile)
		}
	}
	if g.UpstreamCAFile != "" {
		roots, err := authorities(g.UpstreamCAFile)
		if err != nil {
			return c, err
		}
		c.UpstreamTLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	for _, r := range g.Routes {
		route, err := r.config()
		if err != nil {
			return c, err
		}
		c.Routes = append(c.Routes, route)
	}
	return c, nil
}

// authorities is the system's roots and those in a PEM file.
func authorities(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read certificate authorities: %s has no certificate in PEM", name)
	}
	return roots, nil
}

// actions by their name; without one, deny.
var actions = map[string]guard.Action{"deny": guard.Deny, "allow": guard.Allow, "introspect": guard.Introspect}

func (r Route) config() (gateway.Route, error) {
	out := gateway.Route{
		Host: r.Host, Path: r.Path, Name: r.Name, Open: r.Open, Audience: r.Audience,
		Upstream: r.Upstream, UpstreamAudience: r.UpstreamAudience, UpstreamScopes: r.UpstreamScopes,
		Propagate: gateway.Propagate(r.Propagate), MaxBody: int64(r.MaxBody),
	}
	for _, rule := range r.Rules {
		out.Rules = append(out.Rules, gateway.Rule{Methods: rule.Methods, Scopes: rule.Scopes})
	}
	if r.AllowStale > 0 {
		out.WhenStale = &guard.Stale{Do: guard.Allow, For: r.AllowStale}
	}
	if w := r.WhenStale; w != nil {
		out.WhenStale = &guard.Stale{Do: actions[w.Do], For: w.For, Else: actions[w.Else]}
	}
	if r.CORS != nil {
		out.CORS = &gateway.CORS{Origins: r.CORS.Origins, Methods: r.CORS.Methods, Headers: r.CORS.Headers}
	}
	return out, nil
}

// Secret reads the PIN. Where it is kept, others may not read it, but for a group: a
// container that does not run as root gets its secrets that way.
func (p *PKCS11) Secret() (string, error) {
	info, err := os.Stat(p.PINFile)
	if err != nil {
		return "", fmt.Errorf("read PIN: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o037 != 0 {
		return "", fmt.Errorf("read PIN: %s has mode %04o, want 0600, or 0640 at most", p.PINFile, mode)
	}
	text, err := os.ReadFile(p.PINFile)
	if err != nil {
		return "", fmt.Errorf("read PIN: %w", err)
	}
	pin := strings.TrimRight(string(text), "\r\n")
	if pin == "" {
		return "", fmt.Errorf("read PIN: %s is empty", p.PINFile)
	}
	return pin, nil
}

// Check is everything that would stop a start and can be found without starting:
// the files the configuration names, and the routes.
func (f *File) Check() error {
	c := &checker{file: f}
	if s := f.Serve; s != nil {
		c.required("serve.issuer", s.Issuer)
		if s.SealKeyFile != "" {
			_, err := mint.ReadSealKey(s.SealKeyFile)
			c.note("serve.seal_key_file", err)
		}
		c.certificate("serve.tls", s.TLS)
		if p := s.Keys.PKCS11; p != nil {
			_, err := os.Stat(p.Module)
			c.note("serve.keys.pkcs11.module", err)
			_, err = p.Secret()
			c.note("serve.keys.pkcs11.pin_file", err)
		}
	}
	if g := f.Gateway; g != nil {
		c.required("gateway.issuer", g.Issuer)
		c.required("gateway.url", g.URL)
		c.certificate("gateway.tls", g.TLS)
		c.certificate("gateway.check.tls", g.Check.TLS)
		c.certificate("gateway.envoy.tls", g.Envoy.TLS)
		c.build(g)
	}
	if f.Serve == nil && f.Gateway == nil {
		c.wrong("", "has neither serve nor gateway in it")
	}
	if len(c.problems) > 0 {
		return c.problems
	}
	return nil
}

func (c *checker) note(path string, err error) {
	if err != nil {
		c.wrong(path, "does not work: %v", err)
	}
}

func (c *checker) required(path, value string) {
	if value == "" {
		c.wrong(path, "is missing")
	}
}

func (c *checker) certificate(path string, t TLS) {
	if t.Cert == "" {
		return
	}
	_, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	c.note(path, err)
}

var routeNumber = regexp.MustCompile(`^gateway: route (\d+) `)

// build makes a gateway that ends before it does anything, for what it has to
// say about its configuration.
func (c *checker) build(g *Gateway) {
	cfg, err := g.Config()
	if err != nil {
		c.note("gateway", err)
		return
	}
	if g.Issuer == "" || g.URL == "" {
		return // said already
	}
	over, stop := context.WithCancel(context.Background())
	stop()
	cfg.Logger = slog.New(slog.DiscardHandler)
	_, err = gateway.New(over, cfg)
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	path, text := "gateway", strings.TrimPrefix(err.Error(), "gateway: ")
	if m := routeNumber.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1]) // digits, by the pattern
		path = "gateway.routes[" + strconv.Itoa(n-1) + "]"
	}
	if strings.HasPrefix(text, "state directory ") {
		path = "gateway.state_dir"
	}
	c.wrong(path, "does not work: %s", text)
}
