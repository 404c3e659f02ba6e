package grpcguard

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/writ-auth/writ/guard"
)

// Metadata of a refusal, for gRPC a trailer. A call is refused before anything
// is sent, and then gRPC sends the trailer in the place of the header; so RFC
// 9110 §6.5.1, which wants no challenge in a trailer section, is obeyed. By way
// of grpc.Server.ServeHTTP both are sent, and net/http leaves the challenges out.
const (
	challengeKey = "www-authenticate" // one value a challenge
	receiptKey   = "writ-receipt"     // Refusal.ID
	retryKey     = "retry-after"      // seconds; with Unavailable only
)

var (
	errUnnamed = status.Error(codes.PermissionDenied, "no need is configured for this method")
	errEnded   = status.Error(codes.Unauthenticated, "invalid_token")
)

// refuse puts a refusal's metadata into the trailer of the call and returns its
// status.
func refuse(ctx context.Context, err error) error {
	refusal, ok := errors.AsType[*guard.Refusal](err)
	if !ok { // guard has no other errors
		return status.Error(codes.Internal, "no verdict")
	}
	trailer, err := answer(refusal)
	_ = grpc.SetTrailer(ctx, trailer) // fails outside a server only; the refusal stands
	return err
}

// answer is Refusal.ServeHTTP for gRPC (RFC 6750 §3): as there, the caller is told the RFC's
// code, the challenges, and under which id the log has the reason.
func answer(r *guard.Refusal) (trailer metadata.MD, err error) {
	trailer = metadata.MD{receiptKey: {r.ID}}
	message := "receipt " + r.ID
	if r.Code != "" {
		message = r.Code + ", " + message
	}
	if len(r.Challenges) > 0 {
		trailer[challengeKey] = r.Challenges
	}
	if r.Status == http.StatusServiceUnavailable {
		trailer[retryKey] = []string{"1"}
	}
	return trailer, status.Error(code(r.Status), message)
}

// code is the gRPC code for a refusal's HTTP status.
func code(status int) codes.Code {
	switch status {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	}
	return codes.Unauthenticated
}

// over returns what a call is answered whose context is done, nil before.
func over(ctx context.Context) error {
	switch {
	case ctx.Err() == nil:
		return nil
	case errors.Is(context.Cause(ctx), guard.ErrEnded):
		return errEnded
	}
	return status.FromContextError(ctx.Err()).Err()
}
