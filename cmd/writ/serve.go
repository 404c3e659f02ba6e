package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/mint"
)

// serveFlags are the flags of `writ serve`; each overrides the configuration file.
type serveFlags struct {
	config     string
	issuer     string
	listen     string
	database   string
	sealKey    string
	tlsCert    string
	tlsKey     string
	proxies    []string
	publicFeed bool
	feedGiven  bool // publicFeed was given, as true or as false
	tokenLife  time.Duration
	logs       logFlags
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the authorization server",
		Long: `Runs the authorization server over SQLite, or over PostgreSQL where one machine
is not enough. The sealing key comes from outside the data directory: make one
with "writ key seal FILE" and keep it apart from the backups.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.feedGiven = cmd.Flags().Changed("public-feed")
			return runServe(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", os.Getenv("WRIT_CONFIG"), "configuration file (WRIT_CONFIG)")
	flags.StringVar(&f.issuer, "issuer", "", "the issuer's URL, as it stands in every token")
	flags.StringVar(&f.listen, "listen", "", "address to listen on (default 127.0.0.1:8400)")
	flags.StringVar(&f.database, "database", os.Getenv("WRIT_DATABASE"), "sqlite:FILE or postgres://… (WRIT_DATABASE; default sqlite:writ.db)")
	flags.StringVar(&f.sealKey, "seal-key-file", os.Getenv("WRIT_SEAL_KEY_FILE"), "file with the sealing key (WRIT_SEAL_KEY_FILE)")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "certificate chain, PEM")
	flags.StringVar(&f.tlsKey, "tls-key", "", "its private key, PEM")
	flags.StringSliceVar(&f.proxies, "trusted-proxy", nil, "CIDR whose X-Forwarded-For is believed; may repeat")
	flags.BoolVar(&f.publicFeed, "public-feed", false, "serve the public snapshot to guards without a credential")
	flags.DurationVar(&f.tokenLife, "token-life", 0, "life of an access token (default 5m)")
	f.logs.add(cmd)
	return cmd
}

func runServe(parent context.Context, f serveFlags) (err error) {
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
	in, err := newSetup(*file.Serve, log)
	if err != nil {
		return err
	}
	certs, err := loadCertificates(file.Serve.TLS.Cert, file.Serve.TLS.Key)
	if err != nil {
		return err
	}
	if err := issuerFits(in.issuer, file.Serve.Listen, certs != nil); err != nil {
		return err
	}
	listeners, err := listen(file.Serve.Listen, "--listen")
	if err != nil {
		return err
	}
	a, err := openAuthority(ctx, in)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer func() {
		if cerr := a.close(); err == nil {
			err = cerr
		}
	}()
	extra, err := metricsFace(file.Serve.Metrics.Listen, "serve.metrics.listen", a.figures, log)
	if err != nil {
		closeAll(listeners)
		return err
	}
	issuer := newFace("issuer", listeners, a.handler, log)
	issuer.certs = certs
	log.Info("authorization server is up", "issuer", in.issuer, "listen", listeners[0].Addr().String())
	hangup := func(ctx context.Context) error {
		return onHangup(ctx, func() {
			fresh, err := f.read()
			if err == nil {
				err = f.logs.move(level, fresh.Log, slog.LevelInfo)
			}
			if err == nil {
				err = certs.reload()
			}
			reloaded(log, err)
		})
	}
	return serve(ctx, append(extra, issuer), append(a.loops, hangup)...)
}

// reloaded tells what became of a SIGHUP. What is wrong changes nothing.
func reloaded(log *slog.Logger, err error) {
	if err != nil {
		log.Error("configuration not read again: the old one stays", "error", err)
		return
	}
	log.Info("configuration read again")
}

// read is the configuration file with the flags in place of its values.
func (f serveFlags) read() (*config.File, error) {
	file := &config.File{}
	if f.config != "" {
		var err error
		if file, err = config.Load(f.config); err != nil {
			return nil, err
		}
	}
	if file.Serve == nil {
		file.Serve = &config.Serve{}
	}
	s := file.Serve
	s.Issuer = strings.TrimSuffix(cmp.Or(f.issuer, s.Issuer), "/")
	s.Listen = cmp.Or(f.listen, s.Listen, "127.0.0.1:8400")
	s.Database = cmp.Or(f.database, s.Database, "sqlite:writ.db")
	s.SealKeyFile = cmp.Or(f.sealKey, s.SealKeyFile)
	s.TLS.Cert, s.TLS.Key = cmp.Or(f.tlsCert, s.TLS.Cert), cmp.Or(f.tlsKey, s.TLS.Key)
	if f.feedGiven {
		s.PublicFeed = f.publicFeed
	}
	s.TokenLife = cmp.Or(f.tokenLife, s.TokenLife)
	if len(f.proxies) == 0 {
		return file, nil
	}
	var err error
	s.TrustedProxies, err = prefixes(f.proxies)
	return file, err
}

// newSetup checks what the authorization server is started with.
func newSetup(s config.Serve, log *slog.Logger) (setup, error) {
	in := setup{
		issuer: s.Issuer, database: s.Database, kind: "serve", proxies: s.TrustedProxies, publicFeed: s.PublicFeed,
		tokenLife: s.TokenLife, refreshIdle: s.RefreshIdle, grantLife: s.GrantLife, sessions: s.Sessions, keys: s.Keys, log: log,
	}
	if in.issuer == "" {
		return in, usage(errors.New("which issuer? Give its URL with --issuer, e.g. https://id.example.com"))
	}
	if s.SealKeyFile == "" {
		return in, usage(errors.New(`which sealing key? Make one with "writ key seal FILE" and give it with --seal-key-file`))
	}
	var err error
	in.seal, err = mint.ReadSealKey(s.SealKeyFile)
	return in, err
}

// issuerFits refuses an issuer that would send tokens in the clear: http only on
// loopback. Behind a proxy that ends TLS the issuer is https and we listen plain.
func issuerFits(issuer, listen string, tls bool) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("issuer %q must be scheme and host alone, e.g. https://id.example.com", issuer)
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if !loopbackHost(u.Hostname()) {
			return fmt.Errorf("issuer %q is http and not on this machine: use https", issuer)
		}
		if tls {
			return fmt.Errorf("issuer %q is http but a certificate is given: name it https", issuer)
		}
		host, _, err := net.SplitHostPort(listen)
		if err != nil || !loopbackHost(host) {
			return fmt.Errorf("an http issuer listens on loopback only, not on %s", listen)
		}
		return nil
	}
	return fmt.Errorf("issuer %q must be https, or http on loopback", issuer)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q is not a CIDR such as 10.0.0.0/8: %w", text, err)
		}
		out = append(out, p)
	}
	return out, nil
}
