// Package envoy answers Envoy's question whether a request may pass (ext_authz
// over gRPC) with the gateway's verdict.
//
// It owns what Envoy's messages mean: the request in the question, the verdict
// in the answer. It does not judge; package gateway does, by the steps of its
// own requests.
//
// Invariant: a question that does not say all that the gateway judges by is
// answered no.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/writ-auth/writ/internal/gateway"
)

// Server answers checks. It believes what is asked, so it is for Envoys alone.
type Server struct {
	authv3.UnimplementedAuthorizationServer
	gate  *gateway.Gateway
	peers []netip.Prefix
	log   *slog.Logger
}

// New returns a server for the questions of peers; nil is this machine alone.
func New(gate *gateway.Gateway, peers []netip.Prefix, log *slog.Logger) *Server {
	if peers == nil {
		peers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return &Server{gate: gate, peers: peers, log: log}
}

// Register adds the server to a gRPC server.
func (s *Server) Register(to grpc.ServiceRegistrar) { authv3.RegisterAuthorizationServer(to, s) }

// Check is the one call of the service. An error is a refusal too: Envoy must not
// be told to let requests pass when it gets none (failure_mode_allow).
func (s *Server) Check(ctx context.Context, asked *authv3.CheckRequest) (answer *authv3.CheckResponse, err error) {
	defer func() { // gRPC would end the process, where net/http ends the request
		if p := recover(); p != nil {
			s.log.LogAttrs(ctx, slog.LevelError, "check broke off", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			answer, err = nil, status.Error(codes.Internal, "the check broke off")
		}
	}()
	if !s.trusts(ctx) {
		s.log.LogAttrs(ctx, slog.LevelInfo, "check refused", slog.String("reason", "peer"))
		return nil, status.Error(codes.PermissionDenied, "only proxies may ask here")
	}
	r, err := request(ctx, asked)
	if errors.Is(err, errClient) {
		return refused(&gateway.Verdict{Status: 400}), nil
	}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelInfo, "check refused", slog.String("reason", "description"), slog.Any("error", err))
		return refused(&gateway.Verdict{Status: 503}), nil
	}
	v := s.gate.Check(r)
	if !v.Allowed {
		return refused(v), nil
	}
	return allowed(v, r.RequestURI), nil
}

// trusts reports whether the peer may ask.
func (s *Server) trusts(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return false
	}
	for _, prefix := range s.peers {
		if prefix.Contains(at.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// allowed tells how the request goes on.
func allowed(v *gateway.Verdict, uri string) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	for name, values := range v.Header {
		ok.Headers = append(ok.Headers, header(name, strings.Join(values, ", ")))
	}
	for _, name := range v.Remove {
		ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
	}
	if v.URI != uri {
		ok.Headers = append(ok.Headers, header(":path", v.URI))
	}
	return &authv3.CheckResponse{
		Status:       &rpc.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// refused is the gateway's answer to the client.
func refused(v *gateway.Verdict) *authv3.CheckResponse {
	code := typev3.StatusCode(v.Status)
	if _, known := typev3.StatusCode_name[int32(code)]; !known || code < 400 {
		code = typev3.StatusCode_ServiceUnavailable // the client has gone
	}
	no := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: code}, Body: string(v.Body)}
	for name, values := range v.Refusal {
		no.Headers = append(no.Headers, header(name, strings.Join(values, ", "))) // RFC 9110 §5.3
	}
	return &authv3.CheckResponse{
		Status:       &rpc.Status{Code: int32(codes.PermissionDenied), Message: fmt.Sprint(v.Status)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: no},
	}
}

// header is one that takes the place of what is there.
func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: strings.ToLower(name), Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
