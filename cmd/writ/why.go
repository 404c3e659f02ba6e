package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/demo"
	"github.com/writ-auth/writ/internal/gateway"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

func tokenWhy(at *where, out *output) *cobra.Command {
	var route, file string
	cmd := &cobra.Command{
		Use: "why [TOKEN|-] --route 'GET /orders'", Short: "Say how a gateway judges a token on a route, check by check", Args: upTo("TOKEN"),
		Long: `Judges a token as the gateway would on this route, with the issuer's keys and
revocations as they are now, and says how each check went. Nothing is sent to the
service behind. For writ dev the sample gateway's routes are known; else give the
gateway's configuration file. The exit code is 1 for a request that is refused.`,
		Example: "  writ token why $TOKEN --route 'GET /orders'\n  writ token why - --route 'POST /orders' --config gateway.yaml <token",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			compact, err := readToken(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			r, err := asked(route, compact)
			if err != nil {
				return err
			}
			cfg, err := judged(at, file)
			if err != nil {
				return err
			}
			why, err := ask(cmd.Context(), cfg, r)
			if err != nil {
				return err
			}
			if why.Refusal != nil && why.Refusal.Reason == guard.ReasonKey {
				why.Checks[len(why.Checks)-1].Detail = missing(cmd.Context(), at, cfg.Issuer, compact)
			}
			return printWhy(cmd.OutOrStdout(), out, r, why)
		},
	}
	cmd.Flags().StringVar(&route, "route", "", "method and path, such as 'GET /orders'")
	cmd.Flags().StringVar(&file, "config", "", "the gateway's configuration file")
	return cmd
}

// asked is the request that a client with this token would send.
func asked(route, compact string) (*http.Request, error) {
	method, target, ok := strings.Cut(strings.TrimSpace(route), " ")
	if !ok || !strings.HasPrefix(target, "/") {
		return nil, usage(errors.New("which route? Give method and path: --route 'GET /orders'"))
	}
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		return nil, usage(fmt.Errorf("--route %q: %w", route, err))
	}
	scheme := oauth.Bearer
	if read, err := readClaims(compact); err == nil && read.claims.Confirmation != nil && read.claims.Confirmation.KeyThumbprint != "" {
		scheme = oauth.DPoP
	}
	r.Header.Set("Authorization", scheme+" "+compact)
	return r, nil
}

// judged is the gateway that would get it.
func judged(at *where, file string) (gateway.Config, error) {
	if file != "" {
		f, err := config.Load(file)
		if err != nil {
			return gateway.Config{}, err
		}
		if f.Gateway == nil {
			return gateway.Config{}, usage(fmt.Errorf("%s has no gateway in it", file))
		}
		return f.Gateway.Config()
	}
	p, err := at.resolve()
	if err != nil {
		return gateway.Config{}, err
	}
	if p.dev == nil {
		return gateway.Config{}, usage(errors.New("whose routes? Give the gateway's configuration file with --config"))
	}
	seal, err := mint.ReadSealKey(filepath.Join(p.dir, "seal.key"))
	if err != nil {
		return gateway.Config{}, err
	}
	return gateway.Config{
		Issuer: p.dev.Issuer, URL: p.dev.Gateway, ClientID: demo.GatewayClient, ClientSecret: demo.Secret(seal.Derive, demo.GatewayClient),
		Routes:      demo.Routes(demo.Place{Issuer: p.dev.Issuer, Gateway: p.dev.Gateway, App: p.dev.App}, p.dev.Gateway, p.dev.Gateway), // nothing is sent on
		TrustDomain: demo.TrustDomain,
	}, nil
}

// ask has the gateway judge the request, once it knows keys and revocations.
func ask(ctx context.Context, cfg gateway.Config, r *http.Request) (gateway.Why, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cfg.Logger, cfg.Judging, cfg.StateDir = slog.New(slog.DiscardHandler), true, ""
	g, err := gateway.New(ctx, cfg)
	if err != nil {
		return gateway.Why{}, err
	}
	defer settle(cancel, g)
	if err := g.Ready(ctx); err != nil {
		return gateway.Why{}, unreachable(fmt.Errorf("keys and revocations of %s did not come: %w", cfg.Issuer, err))
	}
	return g.Why(r.WithContext(ctx)), nil
}

// missing says why the issuer does not publish the token's key, as far as can be learned.
func missing(ctx context.Context, at *where, issuer, compact string) string {
	read, err := readClaims(compact)
	if err != nil {
		return err.Error()
	}
	p, err := at.resolve()
	if err != nil || p.issuer != issuer { // the routes are another server's, of a file
		p = &place{issuer: issuer}
	}
	v := &verdict{read: read, now: time.Now()}
	if err := v.ended(ctx, p, []token.Name{v.key()}); err == nil && v.state == "ended" {
		return v.why
	}
	return "no key has the id " + visible(read.message.Header.KeyID)
}

func printWhy(w io.Writer, out *output, r *http.Request, why gateway.Why) error {
	refused := why.Detail != "" || why.Refusal != nil
	view := map[string]any{
		"method": r.Method, "path": r.URL.Path, "route": why.Route, "open": why.Open, "audience": why.Audience, "scopes": why.Scopes,
		"admitted": !refused, "detail": why.Detail, "kid": why.KeyID, "staleness_ms": why.Staleness.Milliseconds(), "rules": why.Rules,
	}
	checks := []map[string]any{}
	for _, c := range why.Checks {
		checks = append(checks, map[string]any{"check": c.Check, "passed": c.Passed, "detail": c.Detail})
	}
	view["checks"] = checks
	if why.Refusal != nil {
		view["status"], view["error"], view["reason"] = why.Refusal.Status, why.Refusal.Code, why.Refusal.Reason
	}
	err := out.print(w, view, func(w io.Writer) error { return whyText(w, r, why) })
	if err == nil && refused {
		err = &failure{exitRefused, errors.New("")}
	}
	return err
}

func whyText(w io.Writer, r *http.Request, why gateway.Why) error {
	switch {
	case why.Detail != "":
		_, err := fmt.Fprintf(w, "%s: %s %s: %s.\n", paint(w, red, "Refused"), visible(r.Method), visible(r.URL.Path), why.Detail)
		return err
	case why.Open:
		_, err := fmt.Fprintf(w, "%s: route %s is open and looks at no token.\n", paint(w, green, "Admitted"), why.Route)
		return err
	}
	needs := "any valid token"
	if len(why.Scopes) > 0 {
		needs = strings.Join(why.Scopes, " ")
	}
	fmt.Fprintf(w, "Route %s, for %s, needs %s.\n\n", why.Route, why.Audience, needs)
	var lines [][]string
	for _, c := range why.Checks {
		result := "yes"
		if !c.Passed {
			result = "no: " + c.Detail
		}
		lines = append(lines, []string{c.Check, result})
	}
	if err := rows(w, []string{"CHECK", "PASSED"}, lines); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if why.Refusal == nil {
		fmt.Fprintf(w, "%s: key %s, %d revocations known, as of %s ago.\n", paint(w, green, "Admitted"), why.KeyID, why.Rules, why.Staleness.Round(time.Millisecond))
		return nil
	}
	code := why.Refusal.Code
	if code == "" {
		code = "no error code"
	}
	fmt.Fprintf(w, "%s: %d %s; %d revocations known, as of %s ago.\n", paint(w, red, "Refused"), why.Refusal.Status, code, why.Rules, why.Staleness.Round(time.Millisecond))
	return nil
}
