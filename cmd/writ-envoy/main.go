// Command writ-envoy is the gateway for Envoy, which asks it about each request
// (ext_authz) and sends on itself what may pass. It stands alone because gRPC
// would make every writ larger.
//
// It owns wiring; the verdict is package gateway's, and the configuration file is
// that of `writ gateway`.
//
// Invariant: it serves no question before it knows the issuer's keys and
// revocations.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/envoy"
	"github.com/writ-auth/writ/internal/gateway"
)

// version is set when a release is built.
var version = "devel"

func main() {
	flags := flag.NewFlagSet("writ-envoy", flag.ExitOnError)
	name := flags.String("config", os.Getenv("WRIT_CONFIG"), "configuration file with the routes (WRIT_CONFIG)")
	listen := flags.String("listen", "", "address to listen on (default gateway.envoy.listen, or 127.0.0.1:8403)")
	level := flags.String("log-level", os.Getenv("WRIT_LOG"), "debug, info, warn or error (WRIT_LOG)")
	_ = flags.Parse(os.Args[1:])  // ExitOnError
	signal.Ignore(syscall.SIGHUP) // until there is something to read again
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *listen, *level); err != nil {
		fmt.Fprintln(os.Stderr, "writ-envoy: "+err.Error())
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, name, listen, level string) error {
	file, err := read(name)
	if err != nil {
		return err
	}
	log, err := logger(cmp.Or(level, file.Log.Level), file.Log.Format)
	if err != nil {
		return err
	}
	cfg, err := file.Gateway.Config()
	if err != nil {
		return err
	}
	if cfg.StateDir, err = own(cfg.StateDir); err != nil {
		return err
	}
	cfg.Logger = log
	gate, err := gateway.New(ctx, cfg)
	if err != nil {
		return err
	}
	var options []grpc.ServerOption
	if served := file.Gateway.Envoy.TLS; served.Cert != "" {
		creds, err := credentials.NewServerTLSFromFile(served.Cert, served.Key)
		if err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
		options = append(options, grpc.Creds(creds))
	}
	server := grpc.NewServer(options...)
	envoy.New(gate, file.Gateway.Envoy.TrustedProxies, log).Register(server)
	if err := gate.Ready(ctx); err != nil {
		return nil // told to stop before anything began
	}
	on, err := net.Listen("tcp", cmp.Or(listen, file.Gateway.Envoy.Listen, "127.0.0.1:8403"))
	if err != nil {
		return err
	}
	log.Info("writ-envoy is up", "version", version, "url", cfg.URL, "issuer", cfg.Issuer, "routes", len(cfg.Routes), "listen", on.Addr().String())
	go reloads(ctx, name, gate, log)
	go func() {
		<-ctx.Done()
		defer time.AfterFunc(10*time.Second, server.Stop).Stop() // what is under way may end
		server.GracefulStop()
	}()
	err = server.Serve(on)
	if ctx.Err() == nil {
		return err
	}
	select { // what outlives it is being written
	case <-gate.Done():
	case <-time.After(5 * time.Second):
	}
	return err
}

// own is the part of the state directory that is not `writ gateway`'s, which may run
// beside with the same file: each has a key and a copy of the feed of its own.
func own(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	dir = filepath.Join(dir, "envoy")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return dir, nil
}

func read(name string) (*config.File, error) {
	if name == "" {
		return nil, errors.New("which routes? Give the configuration file with --config")
	}
	file, err := config.Load(name)
	if err == nil && file.Gateway == nil {
		err = config.Problems{{File: name, Key: "gateway", Message: "is missing: the routes stand there"}}
	}
	return file, err
}

// reloads reads the routes again at every SIGHUP, until ctx ends.
func reloads(ctx context.Context, name string, gate *gateway.Gateway, log *slog.Logger) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		file, err := read(name)
		if err == nil {
			var cfg gateway.Config
			if cfg, err = file.Gateway.Config(); err == nil {
				err = gate.Reload(cfg.Routes)
			}
		}
		if err != nil {
			log.Error("configuration is not read again", "error", err)
			continue
		}
		log.Info("configuration is read again")
	}
}

func logger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(cmp.Or(level, "info")))); err != nil {
		return nil, fmt.Errorf("log level %q is not debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
}
