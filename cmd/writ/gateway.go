package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/gateway"
)

// gatewayFlags are the flags of `writ gateway`; routes stand in the file only.
type gatewayFlags struct {
	config  string
	listen  string
	tlsCert string
	tlsKey  string
	proxies []string
	logs    logFlags
}

func gatewayCommand() *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run the gateway in front of your services",
		Long: `Runs the gateway: it verifies access tokens locally, refuses ended ones, and
gives the services behind it tokens of their own. SIGHUP reads routes,
certificates and log level again without dropping a request.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runGateway(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", os.Getenv("WRIT_CONFIG"), "configuration file with the routes (WRIT_CONFIG)")
	flags.StringVar(&f.listen, "listen", "", "address to listen on (default 127.0.0.1:8401)")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "certificate chain, PEM")
	flags.StringVar(&f.tlsKey, "tls-key", "", "its private key, PEM")
	flags.StringSliceVar(&f.proxies, "trusted-proxy", nil, "CIDR whose X-Forwarded-* are believed; may repeat")
	f.logs.add(cmd)
	return cmd
}

// read is the configuration file with the flags in place of its values.
func (f gatewayFlags) read() (*config.File, error) {
	if f.config == "" {
		return nil, usage(errors.New("which routes? Give the configuration file with --config"))
	}
	file, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	if file.Gateway == nil {
		return nil, config.Problems{{File: f.config, Key: "gateway", Message: "is missing: the routes stand there"}}
	}
	g := file.Gateway
	g.Listen = cmp.Or(f.listen, g.Listen, "127.0.0.1:8401")
	g.TLS.Cert, g.TLS.Key = cmp.Or(f.tlsCert, g.TLS.Cert), cmp.Or(f.tlsKey, g.TLS.Key)
	if len(f.proxies) == 0 {
		return file, nil
	}
	g.TrustedProxies, err = prefixes(f.proxies)
	return file, err
}

func runGateway(parent context.Context, f gatewayFlags) error {
	signal.Ignore(syscall.SIGHUP) // until there is something to read again
	ctx, stop := untilSignal(parent)
	defer stop()
	file, err := f.read()
	if err != nil {
		return err
	}
	log, level, err := f.logs.logger(file.Log, slog.LevelInfo)
	if err != nil {
		return err
	}
	cfg, err := file.Gateway.Config()
	if err != nil {
		return err
	}
	cfg.Logger = log
	certs, err := loadChains(file.Gateway)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // until the last request is done
	defer end()
	gate, err := gateway.New(life, cfg)
	if err != nil {
		return err
	}
	defer settle(end, gate)
	faces, err := certs.faces(file.Gateway, gate, log)
	if err != nil {
		return err
	}
	log.Info("gateway is up", "url", cfg.URL, "issuer", cfg.Issuer, "routes", len(cfg.Routes), "listen", faces[0].listeners[0].Addr().String())
	hangup := func(ctx context.Context) error {
		return onHangup(ctx, func() { reloaded(log, f.reload(gate, level, certs)) })
	}
	return serve(ctx, faces, hangup)
}

// settle ends a gateway and lets it write what outlives it.
func settle(end func(), gate *gateway.Gateway) {
	end()
	select {
	case <-gate.Done():
	case <-time.After(5 * time.Second):
	}
}

// chains are the certificates of a gateway's faces; nil where one speaks plain HTTP.
type chains struct{ own, check *certificates }

func loadChains(g *config.Gateway) (chains, error) {
	own, err := loadCertificates(g.TLS.Cert, g.TLS.Key)
	if err != nil {
		return chains{}, err
	}
	check, err := loadCertificates(g.Check.TLS.Cert, g.Check.TLS.Key)
	return chains{own, check}, err
}

// faces is the gateway, and beside it, where they are asked for, what proxies ask
// and what Prometheus reads.
func (c chains) faces(g *config.Gateway, gate *gateway.Gateway, log *slog.Logger) (faces []*face, err error) {
	defer func() {
		if err != nil {
			for _, f := range faces {
				closeAll(f.listeners)
			}
		}
	}()
	listeners, err := listen(g.Listen, "--listen")
	if err != nil {
		return nil, err
	}
	own := newFace("gateway", listeners, gate, log)
	own.certs = c.own
	faces = append(faces, own)
	if g.Check.Listen != "" {
		asked, err := listen(g.Check.Listen, "gateway.check.listen")
		if err != nil {
			return faces, err
		}
		check := newFace("check", asked, gate.Checker(g.Check.TrustedProxies), log)
		check.certs = c.check
		faces = append(faces, check)
		log.Info("proxies may ask", "listen", asked[0].Addr().String())
	}
	figures, err := metricsFace(g.Metrics.Listen, "gateway.metrics.listen", guardFigures(gate.State), log)
	return append(faces, figures...), err
}

func (c chains) reload() error {
	if err := c.own.reload(); err != nil {
		return err
	}
	return c.check.reload()
}

// reload reads the file again: all of it is put to use, or none.
func (f gatewayFlags) reload(gate *gateway.Gateway, level *slog.LevelVar, certs chains) error {
	file, err := f.read()
	if err != nil {
		return err
	}
	cfg, err := file.Gateway.Config()
	if err != nil {
		return err
	}
	if err := certs.reload(); err != nil {
		return err
	}
	if err := gate.Reload(cfg.Routes); err != nil {
		return err
	}
	return f.logs.move(level, file.Log, slog.LevelInfo)
}
