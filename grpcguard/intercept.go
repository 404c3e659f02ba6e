package grpcguard

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/status"

	"github.com/writ-auth/writ/guard"
)

// Unary is a grpc.UnaryServerInterceptor. When the token ends, the context of
// the handler is cancelled with cause guard.ErrEnded, and whatever the handler
// returns, the answer is Unauthenticated. It is given when the handler returns.
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, release, err := g.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer release()
	res, err := handler(ctx, req)
	if gone := over(ctx); gone != nil {
		return nil, gone
	}
	return res, err
}

// Stream is a grpc.StreamServerInterceptor. When the token ends, the caller's
// stream ends with Unauthenticated at once, whatever the handler does; RecvMsg
// and SendMsg in which the handler waits return the same, and so does each
// later one.
//
// The handler runs in a goroutine of its own, because only the interceptor's
// return makes gRPC finish a stream: it cancels the stream, and that is what
// gets a handler out of RecvMsg and SendMsg. So no RecvMsg is ever abandoned: it
// runs in the handler's goroutine, the handler is in it as long as it may write
// to the message, and a second one cannot begin before. What a handler does
// after the end reaches nobody; it should return when its context is done.
// Until it does, it may call into the streams of interceptors before this one,
// as gRPC's own allows.
//
// A panic of the handler goes on in the interceptor, for interceptors before
// this one to recover. After the end nobody waits for it any more, and it is
// logged by grpclog.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, release, err := g.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer release()
	c := call{done: make(chan outcome), left: make(chan struct{})}
	defer close(c.left)
	go c.run(handler, srv, &stream{ss, ctx})

	var out outcome
	select {
	case out = <-c.done:
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), guard.ErrEnded) {
			return errEnded
		}
		// The caller has gone, or its deadline: gRPC has let go of the stream
		// and waits for the handler.
		out = <-c.done
	}
	if out.panicked != "" {
		panic(out.panicked)
	}
	if gone := over(ctx); gone != nil {
		return gone
	}
	return out.err
}

// A call is the handler of one stream under way.
type call struct {
	done chan outcome
	left chan struct{} // closed when nobody receives from done any more
}

// An outcome is how a handler ended.
type outcome struct {
	err      error
	panicked string // what it panicked with, and where; "" if it did not
}

// run calls the handler and hands its outcome to whoever waits.
func (c *call) run(handler grpc.StreamHandler, srv any, ss grpc.ServerStream) {
	// The error stays when the handler ends its goroutine instead of returning.
	out := outcome{err: status.Error(codes.Internal, "the handler did not return")}
	defer func() {
		if p := recover(); p != nil {
			out.panicked = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
		}
		select {
		case c.done <- out:
		case <-c.left:
			if out.panicked != "" {
				grpclog.Errorf("grpcguard: panic in a handler whose stream has ended: %s", out.panicked)
			}
		}
	}()
	out.err = handler(srv, ss)
}

// A stream is what the handler sees of its stream: it ends with ctx.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context with the caller in it.
func (s *stream) Context() context.Context { return s.ctx }

// RecvMsg looks at the end twice: a message that came after it, or waited while
// it came, is not handed out.
func (s *stream) RecvMsg(m any) error {
	if gone := over(s.ctx); gone != nil {
		return gone
	}
	err := s.ServerStream.RecvMsg(m)
	if gone := over(s.ctx); gone != nil {
		return gone
	}
	return err
}

// SendMsg sends nothing after the end.
func (s *stream) SendMsg(m any) error {
	if gone := over(s.ctx); gone != nil {
		return gone
	}
	err := s.ServerStream.SendMsg(m)
	if gone := over(s.ctx); gone != nil {
		return gone
	}
	return err
}
