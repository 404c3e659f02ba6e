package grpcguard_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/writ-auth/writ/guard"
)

// A handler that waits when its token ends, by what it does.
var waits = map[string]func(grpc.ServerStream) error{
	"RecvMsg": func(ss grpc.ServerStream) error {
		for {
			if err := ss.RecvMsg(new(grpc_testing.StreamingInputCallRequest)); err != nil {
				return err
			}
		}
	},
	"SendMsg": func(ss grpc.ServerStream) error {
		payload := &grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: make([]byte, 16<<10)}}
		for range 10000 { // far more than fits between the two
			if err := ss.SendMsg(payload); err != nil {
				return err
			}
		}
		return nil
	},
	"context": func(ss grpc.ServerStream) error {
		<-ss.Context().Done()
		return nil
	},
}

// blocked is a function that is on the stack of a handler while it waits.
var blocked = map[string]string{
	"RecvMsg": "transport.(*recvBufferReader)",
	"SendMsg": "transport.(*writeQuota).get",
	"context": "grpcguard_test.init.func", // the handler itself
}

// begin starts a stream of the kind and returns a function that waits for its
// end, as the client sees it.
func (h *house) begin(t *testing.T, kind string, ctx context.Context) (end func() error) {
	t.Helper()
	var s interface{ RecvMsg(any) error }
	var err error
	switch kind {
	case "server stream":
		s, err = h.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
	case "client stream":
		s, err = h.StreamingInputCall(ctx)
	case "both ways":
		s, err = h.FullDuplexCall(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		for {
			if err := s.RecvMsg(new(grpc_testing.StreamingOutputCallResponse)); err != nil {
				return err
			}
		}
	}
}

// TestStreamsEnd: a stream whose token ends is over for its caller, and for its
// handler, whatever the handler is waiting in.
func TestStreamsEnd(t *testing.T) {
	for kind, doing := range map[string][]string{
		"server stream": {"SendMsg", "context"},
		"client stream": {"RecvMsg", "context"},
		"both ways":     {"RecvMsg", "SendMsg", "context"},
	} {
		for _, what := range doing {
			t.Run(kind+" in "+what, func(t *testing.T) {
				handled, causes := make(chan error, 1), make(chan error, 1)
				handler := func(ss grpc.ServerStream) error {
					err := waits[what](ss)
					causes <- context.Cause(ss.Context())
					if what == "context" { // and goes on
						err = ss.SendMsg(&grpc_testing.StreamingOutputCallResponse{})
					}
					handled <- err
					return nil
				}
				h := newHouse(t, every(), &service{output: handler, input: handler, duplex: handler}, settings{})
				end := h.begin(t, kind, h.bearer(t, claims("alice")))
				eventually(t, "the handler waits", func() bool { return running(t, blocked[what]) && running(t, "grpcguard_test.handle") })
				h.issuer.Revoke(claims("alice"))
				from := time.Now()
				wantCode(t, end(), codes.Unauthenticated)
				t.Logf("over %v after the guard had the rule", time.Since(from))
				wantCode(t, <-handled, codes.Unauthenticated)
				if got := <-causes; !errors.Is(got, guard.ErrEnded) {
					t.Errorf("cause = %v, want %v", got, guard.ErrEnded)
				}
				nothingLeft(t)
			})
		}
	}
}

// TestStreamExpires: time ends a stream as well.
func TestStreamExpires(t *testing.T) {
	var ahead atomic.Int64
	h := newHouse(t, every(), &service{duplex: waits["RecvMsg"]}, settings{guard: func(c *guard.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	end := h.begin(t, "both ways", h.bearer(t, claims("alice")))
	eventually(t, "the handler waits", func() bool { return running(t, "grpcguard_test.handle") })
	ahead.Store(int64(10 * time.Minute))
	err := end()
	wantCode(t, err, codes.Unauthenticated)
	if got := status.Convert(err).Message(); got != "invalid_token" {
		t.Errorf("message = %q, want invalid_token", got)
	}
	nothingLeft(t)
}

// TestOthersGoOn: a rule on one caller leaves the streams of another alone.
func TestOthersGoOn(t *testing.T) {
	h := newHouse(t, every(), &service{duplex: func(ss grpc.ServerStream) error {
		for {
			in := new(grpc_testing.StreamingOutputCallRequest)
			if err := ss.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := ss.SendMsg(&grpc_testing.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
				return err
			}
		}
	}}, settings{})
	s, err := h.FullDuplexCall(h.bearer(t, claims("alice")))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		body := []byte{byte(i)}
		if err := s.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: body}}); err != nil {
			t.Fatal(err)
		}
		out, err := s.Recv()
		if err != nil || string(out.Payload.Body) != string(body) {
			t.Fatalf("echo %d = %v, %v", i, out, err)
		}
		h.issuer.Revoke(claims("mallory"))
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end = %v, want EOF", err)
	}
	nothingLeft(t)
}

// TestDeafHandler: a handler that heeds nothing keeps no stream open, and what
// it sends and reads later reaches nobody.
func TestDeafHandler(t *testing.T) {
	hear, heard := make(chan struct{}), make(chan error, 2)
	h := newHouse(t, every(), &service{duplex: func(ss grpc.ServerStream) error {
		<-hear
		heard <- ss.SendMsg(&grpc_testing.StreamingOutputCallResponse{})
		heard <- ss.RecvMsg(new(grpc_testing.StreamingOutputCallRequest))
		return nil
	}}, settings{})
	s, err := h.FullDuplexCall(h.bearer(t, claims("alice")))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&grpc_testing.StreamingOutputCallRequest{}); err != nil { // is there to be read
		t.Fatal(err)
	}
	eventually(t, "the handler runs", func() bool { return running(t, "grpcguard_test.handle") })
	h.issuer.Revoke(claims("alice"))
	_, err = s.Recv()
	wantCode(t, err, codes.Unauthenticated)
	close(hear)
	for range 2 {
		wantCode(t, <-heard, codes.Unauthenticated)
	}
	nothingLeft(t)
}

// TestUnaryEnds: the context of a unary handler ends, and its answer is not
// given.
func TestUnaryEnds(t *testing.T) {
	begun, causes := make(chan struct{}), make(chan error, 1)
	h := newHouse(t, every(), &service{unary: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil
	}}, settings{})
	answers := make(chan error, 1)
	ctx := h.bearer(t, claims("alice"))
	go func() {
		res, err := h.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
		if res != nil {
			t.Errorf("answer = %v, want none", res)
		}
		answers <- err
	}()
	<-begun
	h.issuer.Revoke(claims("alice"))
	wantCode(t, <-answers, codes.Unauthenticated)
	if got := <-causes; !errors.Is(got, guard.ErrEnded) {
		t.Errorf("cause = %v, want %v", got, guard.ErrEnded)
	}
}

// TestCallerLeaves: the end of a call that is not its token's is told as what it
// is, whatever the handler makes of it.
func TestCallerLeaves(t *testing.T) {
	handled, told := make(chan error, 1), make(chan error, 1)
	outer := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		err := handler(srv, ss)
		told <- err
		return err
	}
	h := newHouse(t, every(), &service{duplex: func(ss grpc.ServerStream) error {
		err := waits["RecvMsg"](ss)
		handled <- err
		return err // it may be told before the guard has seen the caller go
	}}, settings{server: []grpc.ServerOption{grpc.ChainStreamInterceptor(outer)}})
	ctx, cancel := context.WithCancel(h.bearer(t, claims("alice")))
	end := h.begin(t, "both ways", ctx)
	eventually(t, "the handler waits", func() bool { return running(t, "grpcguard_test.handle") })
	cancel()
	wantCode(t, end(), codes.Canceled)
	wantCode(t, <-handled, codes.Canceled)
	wantCode(t, <-told, codes.Canceled)
	nothingLeft(t)
}

// TestCallsAreReleased: the guard keeps no call that is over.
func TestCallsAreReleased(t *testing.T) {
	inner := make(chan context.Context, 2)
	released := make(chan bool, 2)
	h := newHouse(t, every(), &service{
		unary:  func(ctx context.Context) error { inner <- ctx; return nil },
		duplex: func(ss grpc.ServerStream) error { inner <- ss.Context(); return nil },
	}, settings{server: []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			res, err := handler(ctx, req)
			released <- (<-inner).Err() != nil && ctx.Err() == nil
			return res, err
		}),
		grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			err := handler(srv, ss)
			released <- (<-inner).Err() != nil && ss.Context().Err() == nil
			return err
		}),
	}})
	for method, call := range kinds {
		if _, err := call(h, h.bearer(t, claims("alice"))); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if !<-released {
			t.Errorf("%s: the context of the guard lives on after the call", method)
		}
	}
}

// TestHandlersAnswers: what a handler says is what the caller gets.
func TestHandlersAnswers(t *testing.T) {
	own := status.Error(codes.DataLoss, "own")
	h := newHouse(t, every(), &service{
		unary:  func(context.Context) error { return own },
		output: func(grpc.ServerStream) error { return own },
		duplex: func(grpc.ServerStream) error { runtime.Goexit(); return nil },
	}, settings{})
	ctx := h.bearer(t, claims("alice"))
	_, err := h.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	wantCode(t, err, codes.DataLoss)
	wantCode(t, h.begin(t, "server stream", ctx)(), codes.DataLoss)
	wantCode(t, h.begin(t, "both ways", ctx)(), codes.Internal)
	nothingLeft(t)
}

// TestPanics: an interceptor before ours recovers a handler's panic as ever,
// and one after the end ends nothing but its handler.
func TestPanics(t *testing.T) {
	late := make(chan struct{})
	recovering := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = status.Errorf(codes.Aborted, "%.5s", p)
			}
		}()
		return handler(srv, ss)
	}
	h := newHouse(t, every(), &service{
		output: func(grpc.ServerStream) error { panic("early") },
		duplex: func(grpc.ServerStream) error { <-late; panic("late") },
	}, settings{server: []grpc.ServerOption{grpc.ChainStreamInterceptor(recovering)}})
	err := h.begin(t, "server stream", h.bearer(t, claims("alice")))()
	wantCode(t, err, codes.Aborted)
	if got := status.Convert(err).Message(); got != "early" {
		t.Errorf("message = %q, want what the handler panicked with", got)
	}
	end := h.begin(t, "both ways", h.bearer(t, claims("bob")))
	eventually(t, "the handler waits", func() bool { return running(t, "grpcguard_test.handle") })
	h.issuer.Revoke(claims("bob"))
	wantCode(t, end(), codes.Unauthenticated)
	close(late)
	nothingLeft(t)
}
