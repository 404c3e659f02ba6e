// Package grpcguard is package guard for gRPC servers: a call is verified
// before its handler runs, and ends when its token ends.
//
// It owns what methods need, how a call becomes the request that a guard
// judges, and how a refusal becomes a gRPC status. It does not own the verdict:
// every check is made by guard.Admit, as for net/http, and what a guard is
// configured for (the proxies whose X-Forwarded headers count, say) holds here
// too. The htu of a DPoP proof is scheme://authority/package.Service/Method,
// its htm POST. guard.From, guard.Presented and package relay work in handlers.
//
// Invariant: a handler runs only for methods that Config names, with a token
// that the guard admitted for this very call unless the method is listed as
// open; and once that token has ended, no further message reaches the caller,
// whose answer is Unauthenticated.
//
// Calls are intercepted between the server and its handlers. What the server
// answers by itself (an unknown method is Unimplemented) and other interceptors
// that come before these run without a token.
package grpcguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/writ-auth/writ/guard"
)

// Config says what methods need. A method is named as it is called,
// "/orders.Orders/List"; "/orders.Orders/" stands for all methods of a service
// that are not named themselves. Calls of any other method are refused. No
// service is special: health checks and reflection need an entry as well.
type Config struct {
	Needs map[string]guard.Need // the zero Need is any valid token
	Open  []string              // called without a token, which is not looked at
}

// A Guard intercepts the calls of a server. It is safe for concurrent use.
type Guard struct {
	guard   *guard.Guard
	entries map[string]entry // by method, or by service with the slash behind it
}

// An entry is what one method or service needs.
type entry struct {
	open bool
	need guard.Need
}

// New checks cfg.
func New(g *guard.Guard, cfg Config) (*Guard, error) {
	if g == nil {
		return nil, errors.New("grpcguard: no guard")
	}
	entries := make(map[string]entry)
	for name, need := range cfg.Needs {
		need.Scopes, need.ACR = slices.Clone(need.Scopes), slices.Clone(need.ACR)
		entries[name] = entry{need: need}
	}
	for _, name := range cfg.Open {
		if _, ok := cfg.Needs[name]; ok {
			return nil, fmt.Errorf("grpcguard: %q is open and has a need", name)
		}
		entries[name] = entry{open: true}
	}
	for name := range entries {
		if !strings.HasPrefix(name, "/") || len(service(name)) < len("/x/") {
			return nil, fmt.Errorf("grpcguard: %q is neither /package.Service/Method nor /package.Service/", name)
		}
	}
	return &Guard{guard: g, entries: entries}, nil
}

// Options has a server guarded whole: grpc.NewServer(g.Options()...). Unary or
// Stream alone would leave the other kind of method open. Interceptors of other
// options run in the order in which they are given.
func (g *Guard) Options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.Unary), grpc.ChainStreamInterceptor(g.Stream)}
}

// service returns the part of a method's name that its service has too.
func service(method string) string { return method[:strings.LastIndexByte(method, '/')+1] }

// admit asks the guard about a call. The context it returns ends with the
// token; release must be called when the call is over. An error is the status
// to answer.
func (g *Guard) admit(ctx context.Context, method string) (admitted context.Context, release func(), err error) {
	e, ok := g.entries[method]
	if !ok {
		e, ok = g.entries[service(method)]
	}
	switch {
	case !ok:
		return nil, nil, errUnnamed
	case e.open:
		return ctx, func() {}, nil
	}
	admitted, release, err = g.guard.Admit(request(ctx, method), e.need)
	if err != nil {
		return nil, nil, refuse(ctx, err)
	}
	return admitted, release, nil
}
