package grpcguard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/writ-auth/writ/grpcguard"
	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/token"
)

// TestMethods: what is not named is refused, and of two entries the method's
// own counts.
func TestMethods(t *testing.T) {
	write := guard.Need{Scopes: []string{"orders:write"}}
	for _, row := range []struct {
		name         string
		cfg          grpcguard.Config
		with, naked  codes.Code // the answer with a token and without
		stream, bare codes.Code
	}{
		{"nothing", grpcguard.Config{}, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied},
		{"service", every(), codes.OK, codes.Unauthenticated, codes.OK, codes.Unauthenticated},
		{"another service", grpcguard.Config{Needs: map[string]guard.Need{"/grpc.testing.Test/": {}, "/grpc.testing.TestService2/": {}}, Open: []string{"/grpc.testing.TestServic/"}},
			codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied},
		{"one method", grpcguard.Config{Needs: map[string]guard.Need{prefix + "UnaryCall": {}}}, codes.OK, codes.Unauthenticated, codes.PermissionDenied, codes.PermissionDenied},
		{"another case", grpcguard.Config{Needs: map[string]guard.Need{prefix + "unarycall": {}}}, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied},
		{"method before service", grpcguard.Config{Needs: map[string]guard.Need{prefix: {}, prefix + "UnaryCall": write}}, codes.PermissionDenied, codes.Unauthenticated, codes.OK, codes.Unauthenticated},
		{"open service", grpcguard.Config{Open: []string{prefix}}, codes.OK, codes.OK, codes.OK, codes.OK},
		{"open but for one", grpcguard.Config{Needs: map[string]guard.Need{prefix + "FullDuplexCall": write}, Open: []string{prefix}}, codes.OK, codes.OK, codes.PermissionDenied, codes.Unauthenticated},
		{"one open", grpcguard.Config{Needs: map[string]guard.Need{prefix: {}}, Open: []string{prefix + "FullDuplexCall"}}, codes.OK, codes.Unauthenticated, codes.OK, codes.OK},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t, row.cfg, &service{}, settings{})
			with := h.bearer(t, claims("alice"))
			_, err := h.UnaryCall(with, &grpc_testing.SimpleRequest{})
			wantCode(t, err, row.with)
			_, err = h.UnaryCall(as(t), &grpc_testing.SimpleRequest{})
			wantCode(t, err, row.naked)
			for ctx, want := range map[context.Context]codes.Code{with: row.stream, as(t): row.bare} {
				err := h.begin(t, "both ways", ctx)()
				if want == codes.OK && errors.Is(err, io.EOF) {
					continue
				}
				wantCode(t, err, want)
			}
		})
	}
}

// TestHealthIsNotSpecial: a health check needs an entry like any method.
func TestHealthIsNotSpecial(t *testing.T) {
	h := newHouse(t, every(), &service{}, settings{server: []grpc.ServerOption{
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { t.Error("a handler ran"); return nil }),
	}})
	_, err := grpc_health_v1.NewHealthClient(h.conn).Check(as(t), &grpc_health_v1.HealthCheckRequest{})
	wantCode(t, err, codes.PermissionDenied)
}

func TestNewRefuses(t *testing.T) {
	h := newHouse(t, every(), &service{}, settings{})
	for _, name := range []string{"", "/", "//", "//List", "orders.Orders/List", "orders.Orders", "/orders.Orders", "/*"} {
		if _, err := grpcguard.New(h.guard, grpcguard.Config{Needs: map[string]guard.Need{name: {}}}); err == nil {
			t.Errorf("New takes a need for %q", name)
		}
		if _, err := grpcguard.New(h.guard, grpcguard.Config{Open: []string{name}}); err == nil {
			t.Errorf("New takes %q as open", name)
		}
	}
	both := grpcguard.Config{Needs: map[string]guard.Need{prefix: {}}, Open: []string{prefix}}
	if _, err := grpcguard.New(h.guard, both); err == nil {
		t.Error("New takes a service that is open and has a need")
	}
	if _, err := grpcguard.New(nil, every()); err == nil {
		t.Error("New takes no guard")
	}
}

// TestRelay: a handler calls on behalf of its caller, as behind net/http.
func TestRelay(t *testing.T) {
	const stock = "https://stock.example"
	var call *http.Client
	var backend *httptest.Server
	answers := make(chan string, 2)
	ask := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, backend.URL, nil)
		if err != nil {
			return err
		}
		res, err := call.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answers <- string(body)
		return err
	}
	h := newHouse(t, every(), &service{unary: ask, duplex: func(ss grpc.ServerStream) error { return ask(ss.Context()) }}, settings{})
	inner, err := h.guard.For(stock, guard.ResourceMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	backend = httptest.NewServer(inner.Require("stock:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := guard.From(r.Context())
		fmt.Fprintf(w, "%s via %s", who.Subject, who.Actor.Subject)
	})))
	t.Cleanup(backend.Close)
	client, err := relay.New(relay.Config{Issuer: h.issuer.URL(), ClientID: "orders", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	call = &http.Client{Transport: client.OnBehalf(relay.Target{Resource: stock, Origins: []string{backend.URL}}, nil)}
	ctx := h.bearer(t, claims("alice", "stock:read"))
	res, err := h.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	if err != nil || res.Username != "alice" {
		t.Fatalf("answer = %v, %v, want alice", res, err)
	}
	if err := h.begin(t, "both ways", ctx)(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for range 2 {
		if got, want := <-answers, "alice via orders"; got != want {
			t.Errorf("stock = %q, want %q", got, want)
		}
	}
}

// TestManyAtOnce: callers whose tokens end and others, calls and streams.
func TestManyAtOnce(t *testing.T) {
	var callers []context.Context
	h := newHouse(t, every(), &service{unary: func(context.Context) error { return nil }, duplex: waits["RecvMsg"], output: waits["SendMsg"]}, settings{})
	var open, calling sync.WaitGroup
	for i := range 16 {
		c := claims(fmt.Sprintf("caller-%d", i))
		c.GrantID = []string{"even", "odd"}[i%2]
		ctx := h.bearer(t, c)
		callers = append(callers, ctx)
		for _, kind := range []string{"both ways", "server stream"} {
			end := h.begin(t, kind, ctx)
			open.Go(func() {
				err := end()
				if c.GrantID == "odd" {
					wantCode(t, err, codes.Unauthenticated)
				} else if kind == "both ways" {
					wantCode(t, err, codes.Canceled)
				}
			})
		}
		calling.Go(func() {
			for range 50 {
				res, err := h.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
				if err == nil && res.Username != c.Subject {
					t.Errorf("answer to %s = %s", c.Subject, res.Username)
				}
				if err != nil && c.GrantID == "even" {
					t.Errorf("%s: %v", c.Subject, err)
				}
			}
		})
	}
	h.issuer.Revoke(token.Claims{GrantID: "odd"})
	for i, ctx := range callers {
		_, err := h.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
		wantCode(t, err, []codes.Code{codes.OK, codes.Unauthenticated}[i%2])
	}
	calling.Wait()
	h.conn.Close()
	open.Wait()
	nothingLeft(t)
}
