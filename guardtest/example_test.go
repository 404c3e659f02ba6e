package guardtest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// orders is the service under test.
func orders(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "orders of %s", guard.From(r.Context()).Subject)
}

// tb stands in for the *testing.T that a test function has.
type tb struct {
	testing.TB
	ctx     context.Context
	cleanup []func()
}

func (t *tb) Helper()                  {}
func (t *tb) Context() context.Context { return t.ctx }
func (t *tb) Cleanup(f func())         { t.cleanup = append(t.cleanup, f) }
func (t *tb) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	t := &tb{ctx: ctx}
	defer func() {
		cancel()
		for _, f := range t.cleanup {
			f()
		}
	}()

	issuer := guardtest.NewIssuer(t)
	g, err := guard.New(ctx, guard.Config{
		Issuer:     issuer.URL(),
		Audience:   "https://api.example/orders",
		Credential: issuer.Credential,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	service := g.Require("orders:read")(http.HandlerFunc(orders))

	alice := token.Claims{
		Subject:  "alice",
		Audience: []string{"https://api.example/orders"},
		Scope:    scope.Set{"orders:read"},
	}
	request := issuer.Request(http.MethodGet, "https://api.example/orders", alice)
	call := func() {
		w := httptest.NewRecorder()
		service.ServeHTTP(w, request)
		fmt.Println(w.Code)
	}
	call()
	issuer.Revoke(alice)
	call()
	request = issuer.Request(http.MethodGet, "https://api.example/orders", alice) // signed in again
	call()
	// Output:
	// 200
	// 401
	// 200
}
