package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/demo"
	"github.com/writ-auth/writ/internal/gateway"
	"github.com/writ-auth/writ/internal/mint"
)

// devFlags are the flags of `writ dev`.
type devFlags struct {
	data          string
	issuerListen  string
	gatewayListen string
	appListen     string
	logs          logFlags
}

func devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, with sample services, clients and people",
		Long: `Starts an authorization server, a gateway, two sample services and a sample
browser app on loopback addresses, with an embedded database, and prints lines
to try. Nothing is installed and nothing leaves the machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.data, "data", "", "directory for keys, database and secrets (default: writ/dev under the user's state home)")
	cmd.Flags().StringVar(&f.issuerListen, "issuer-listen", "127.0.0.1:8400", "loopback address of the authorization server")
	cmd.Flags().StringVar(&f.gatewayListen, "gateway-listen", "127.0.0.1:8401", "loopback address of the gateway")
	cmd.Flags().StringVar(&f.appListen, "app-listen", "", "loopback address of the sample app (default: a free port, kept in the data directory)")
	f.logs.add(cmd)
	return cmd
}

// dev is `writ dev` while it starts.
type dev struct {
	devFlags
	log    *slog.Logger
	seal   *mint.Sealer
	place  demo.Place
	faces  []*face
	loops  []func(context.Context) error
	checks []string // URLs that must answer 200 before dev is ready
}

func runDev(parent context.Context, f devFlags) (err error) {
	ctx, stop := untilSignal(parent)
	defer stop()
	log, _, err := f.logs.logger(config.Log{}, slog.LevelWarn)
	if err != nil {
		return err
	}
	d := &dev{devFlags: f, log: log}
	if d.data == "" {
		if d.data, err = defaultData(); err != nil {
			return err
		}
	}
	release, err := d.claim()
	if err != nil {
		return err
	}
	defer release()
	if d.seal, err = d.sealer(); err != nil {
		return err
	}
	a, err := d.start(ctx)
	if err != nil {
		d.close()
		return err
	}
	defer func() {
		if cerr := a.close(); err == nil {
			err = cerr
		}
	}()
	defer func() { _ = os.Remove(d.file("dev.json")) }()
	ready := func(ctx context.Context) error { return d.announce(ctx) }
	return serve(ctx, d.faces, append(d.loops, ready)...)
}

// start opens every listener, then builds every part.
func (d *dev) start(ctx context.Context) (*authority, error) {
	for _, addr := range []string{d.issuerListen, d.gatewayListen, d.appListen} {
		if err := loopbackOnly(addr); err != nil {
			return nil, err
		}
	}
	issuer, err := listen(d.issuerListen, "--issuer-listen")
	if err != nil {
		return nil, err
	}
	d.add("issuer", issuer)
	gate, err := listen(d.gatewayListen, "--gateway-listen")
	if err != nil {
		return nil, err
	}
	d.add("gateway", gate)
	app, err := d.listenApp()
	if err != nil {
		return nil, err
	}
	d.add("app", app)
	d.place = demo.Place{Issuer: origin(issuer), Gateway: origin(gate), App: origin(app)}

	a, err := openAuthority(ctx, setup{
		issuer: d.place.Issuer, database: "sqlite:" + d.file("writ.db"), kind: "dev", seal: d.seal, publicFeed: true,
		plan: demo.Plan(d.place, d.seal.Derive), log: d.log,
	})
	if err != nil {
		return nil, err
	}
	if err := d.parts(ctx, a); err != nil {
		_ = a.close()
		return nil, err
	}
	return a, nil
}

// parts builds what stands in front of and behind the gateway. They reach the
// authorization server over HTTP, as anyone would.
func (d *dev) parts(ctx context.Context, a *authority) error {
	d.handle("issuer", a.handler, d.place.Issuer)
	d.loops = append(d.loops, a.loops...)

	service := func(id string) demo.Service {
		return demo.Service{Issuer: d.place.Issuer, ClientID: id, Secret: demo.Secret(d.seal.Derive, id), Logger: d.log}
	}
	inventory, err := demo.Inventory(ctx, service(demo.InventoryClient))
	if err != nil {
		return err
	}
	inventoryURL, err := d.inner("inventory", inventory)
	if err != nil {
		return err
	}
	s := service(demo.OrdersClient)
	s.Inventory = inventoryURL
	orders, err := demo.Orders(ctx, s)
	if err != nil {
		return err
	}
	ordersURL, err := d.inner("orders", orders)
	if err != nil {
		return err
	}
	gate, err := gateway.New(ctx, gateway.Config{
		Issuer: d.place.Issuer, URL: d.place.Gateway, ClientID: demo.GatewayClient,
		ClientSecret: demo.Secret(d.seal.Derive, demo.GatewayClient), Routes: demo.Routes(d.place, ordersURL, inventoryURL), Logger: d.log,
		TrustDomain: demo.TrustDomain, StateDir: d.data,
	})
	if err != nil {
		return err
	}
	d.handle("gateway", gate, d.place.Gateway)
	d.handle("app", demo.App(d.place), d.place.App)
	d.checks = []string{d.place.Issuer + "/readyz", inventoryURL + "/readyz", ordersURL + "/readyz", d.place.Gateway + "/readyz", d.place.App + "/"}
	return nil
}

// add remembers listeners under a name; handle gives them something to do.
func (d *dev) add(name string, listeners []net.Listener) {
	d.faces = append(d.faces, newFace(name, listeners, nil, d.log))
}

func (d *dev) handle(name string, h http.Handler, origin string) {
	for _, f := range d.faces {
		if f.name == name {
			f.server.Handler = localHost(h, origin)
		}
	}
}

// inner starts a part on a free port that only other parts know.
func (d *dev) inner(name string, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for %s: %w", name, err)
	}
	d.add(name, []net.Listener{l})
	url := "http://" + l.Addr().String()
	d.handle(name, h, url)
	return url, nil
}

func (d *dev) close() {
	for _, f := range d.faces {
		closeAll(f.listeners)
	}
}

// announce waits until every part answers, then writes dev.json and prints the card.
func (d *dev) announce(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, url := range d.checks {
		if err := answers(limit, url); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s does not answer: %w", url, err)
		}
	}
	if err := d.writeFile(); err != nil {
		return err
	}
	fmt.Print(card(d.place, demo.Users(d.seal.Derive), d.data, d.data == mustDefault()))
	<-ctx.Done()
	return nil
}

func mustDefault() string {
	dir, err := defaultData()
	if err != nil {
		return ""
	}
	return dir
}

// answers polls url until it says 200.
func answers(ctx context.Context, url string) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func loopbackOnly(addr string) error {
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return usage(fmt.Errorf("%q is not HOST:PORT: %w", addr, err))
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return usage(fmt.Errorf("%s is not a loopback address: writ dev listens nowhere else; use writ serve", addr))
	}
	return nil
}

// origin is how the parts name themselves. A name and not an address, because
// passkeys refuse an address as their domain.
func origin(listeners []net.Listener) string {
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	return "http://localhost:" + port
}

// localHost answers only requests that name this machine: a page elsewhere whose
// name was made to point here (DNS rebinding) gets nothing.
func localHost(next http.Handler, origin string) http.Handler {
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(origin, "http://"))
	names := []string{"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(names, strings.ToLower(r.Host)) {
			http.Error(w, "this is a sample on one machine: call it by "+origin, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
