package grpcguard_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/writ-auth/writ/grpcguard"
	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const (
	audience = "https://orders.example"
	prefix   = "/grpc.testing.TestService/"
)

// service is four kinds of method; a nil one answers with nothing.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
	unary  func(context.Context) error
	output func(grpc.ServerStream) error // a server stream
	input  func(grpc.ServerStream) error // a client stream
	duplex func(grpc.ServerStream) error // both ways
}

func (s *service) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	if s.unary == nil {
		return &grpc_testing.SimpleResponse{}, nil
	}
	if err := s.unary(ctx); err != nil {
		return nil, err
	}
	return &grpc_testing.SimpleResponse{Username: guard.From(ctx).Subject}, nil
}

func (s *service) EmptyCall(context.Context, *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	return &grpc_testing.Empty{}, nil
}

func (s *service) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, ss grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	return handle(s.output, ss)
}

func (s *service) StreamingInputCall(ss grpc.ClientStreamingServer[grpc_testing.StreamingInputCallRequest, grpc_testing.StreamingInputCallResponse]) error {
	return handle(s.input, ss)
}

func (s *service) FullDuplexCall(ss grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	return handle(s.duplex, ss)
}

func handle(f func(grpc.ServerStream) error, ss grpc.ServerStream) error {
	if f == nil {
		return nil
	}
	return f(ss)
}

// A house is an issuer, a guarded server and a client.
type house struct {
	grpc_testing.TestServiceClient
	issuer *guardtest.Issuer
	guard  *guard.Guard
	conn   *grpc.ClientConn
}

// settings are what a test changes of a house; zero is none.
type settings struct {
	guard  func(*guard.Config)
	server []grpc.ServerOption
	client grpc.DialOption // credentials of the transport
	down   bool            // the issuer is down from the start
}

// newHouse serves s behind needs.
func newHouse(t *testing.T, cfg grpcguard.Config, s *service, with settings) *house {
	t.Helper()
	h := &house{issuer: guardtest.NewIssuer(t)}
	h.issuer.SetDown(with.down)
	h.guard = newGuard(t, h.issuer, with)
	g, err := grpcguard.New(h.guard, cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(append(with.server, g.Options()...)...)
	grpc_testing.RegisterTestServiceServer(srv, s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(listener) // returns when it is stopped
	t.Cleanup(srv.Stop)
	if with.client == nil {
		with.client = grpc.WithTransportCredentials(insecure.NewCredentials())
	}
	h.conn, err = grpc.NewClient(listener.Addr().String(), with.client, grpc.WithAuthority("orders.example"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.conn.Close() })
	h.TestServiceClient = grpc_testing.NewTestServiceClient(h.conn)
	return h
}

func newGuard(t *testing.T, issuer *guardtest.Issuer, with settings) *guard.Guard {
	t.Helper()
	cfg := guard.Config{
		Issuer: issuer.URL(), Audience: audience, Credential: issuer.Credential, Logger: slog.New(slog.DiscardHandler),
	}
	if with.guard != nil {
		with.guard(&cfg)
	}
	g, err := guard.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if with.down {
		return g
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return g
}

// every admits calls of all methods with any valid token.
func every() grpcguard.Config {
	return grpcguard.Config{Needs: map[string]guard.Need{prefix: {}}}
}

func claims(subject string, scopes ...string) token.Claims {
	return token.Claims{Subject: subject, ID: "id-of-" + subject, Audience: []string{audience}, Scope: scope.Set(scopes)}
}

// as is a context for calls with metadata, which no test outwaits.
func as(t *testing.T, md ...string) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, md...)
}

// bearer is as for a token of these claims.
func (h *house) bearer(t *testing.T, c token.Claims) context.Context {
	return as(t, "authorization", "Bearer "+h.issuer.Token(c))
}

// wantCode compares the code of an answer.
func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code = %v (%v), want %v", got, err, want)
	}
}

// eventually polls until ok, for ten seconds at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// running reports whether a goroutine has a function on its stack.
func running(t *testing.T, function string) bool {
	t.Helper()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(stacks.String(), function)
}

// nothingLeft waits until no goroutine of the package is there any more.
func nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "every goroutine of grpcguard has ended", func() bool { return !running(t, "/grpcguard.(*") })
}
