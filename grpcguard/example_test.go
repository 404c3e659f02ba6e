package grpcguard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/writ-auth/writ/grpcguard"
	"github.com/writ-auth/writ/guard"
)

// orders is the service of the examples.
type orders struct {
	grpc_testing.UnimplementedTestServiceServer
}

// UnaryCall knows its caller as a handler behind guard.Require does.
func (orders) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{Username: guard.From(ctx).Subject}, nil
}

// A server whose methods need scopes, and whose health anybody may ask for.
func ExampleNew() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop() // ends the guard
	g, err := guard.New(ctx, guard.Config{
		Issuer:   "https://as.example",
		Audience: "https://api.example/orders",
	})
	if err != nil {
		log.Fatal(err)
	}
	guarded, err := grpcguard.New(g, grpcguard.Config{
		Needs: map[string]guard.Need{
			"/grpc.testing.TestService/":               {Scopes: []string{"orders:read"}},
			"/grpc.testing.TestService/FullDuplexCall": {Scopes: []string{"orders:write"}, MaxAge: time.Hour},
		},
		Open: []string{"/grpc.health.v1.Health/"},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := grpc.NewServer(guarded.Options()...)
	grpc_testing.RegisterTestServiceServer(srv, orders{})
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	fmt.Println(len(srv.GetServiceInfo()), "services")
	// Output: 2 services
}

// Interceptors set by hand run in the order in which they are chained. Set
// Stream as well, or streams are open to everybody.
func ExampleGuard_Unary() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	g, err := guard.New(ctx, guard.Config{Issuer: "https://as.example", Audience: "https://api.example/orders"})
	if err != nil {
		log.Fatal(err)
	}
	guarded, err := grpcguard.New(g, grpcguard.Config{Needs: map[string]guard.Need{"/orders.Orders/": {}}})
	if err != nil {
		log.Fatal(err)
	}
	timed := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		from := time.Now()
		defer func() { log.Print(info.FullMethod, " took ", time.Since(from)) }()
		return handler(ctx, req)
	}
	srv := grpc.NewServer(
		grpc.ChainUnaryInterceptor(timed, guarded.Unary),
		grpc.ChainStreamInterceptor(guarded.Stream),
	)
	defer srv.Stop()
	fmt.Println(len(srv.GetServiceInfo()), "services")
	// Output: 0 services
}

// A handler of a stream works while its context lives: that ends with the
// caller's token.
func ExampleGuard_Stream() {
	watch := func(_ any, ss grpc.ServerStream) error {
		news := time.NewTicker(time.Second)
		defer news.Stop()
		for {
			select {
			case <-ss.Context().Done():
				return context.Cause(ss.Context()) // guard.ErrEnded, perhaps
			case at := <-news.C:
				reply := &grpc_testing.SimpleResponse{Username: guard.From(ss.Context()).Subject + at.String()}
				if err := ss.SendMsg(reply); err != nil {
					return err
				}
			}
		}
	}
	desc := grpc.StreamDesc{StreamName: "Watch", Handler: watch, ServerStreams: true}
	fmt.Println(desc.StreamName)
	// Output: Watch
}
