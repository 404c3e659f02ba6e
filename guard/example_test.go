package guard_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/writ-auth/writ/guard"
)

// A service with one protected route.
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
	list := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "orders of", guard.From(r.Context()).Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET "+g.MetadataPath(), g.Metadata())
	mux.Handle("GET /orders", g.Require("orders:read")(list))
	fmt.Println(g.MetadataPath())
	// Output: /.well-known/oauth-protected-resource/orders
}

// A route that wants the person to have signed in lately, with a second
// factor, and a token that only its holder can use.
func ExampleGuard_With() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	g, err := guard.New(ctx, guard.Config{Issuer: "https://as.example", Audience: "https://api.example/orders"})
	if err != nil {
		log.Fatal(err)
	}
	pay := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Work that outlasts the token stops: the context ends with it.
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
		}
	})
	mux := http.NewServeMux()
	mux.Handle("POST /orders/{id}/payment", g.With(guard.Need{
		Scopes:     []string{"orders:pay"},
		ACR:        []string{"urn:example:mfa"},
		MaxAge:     5 * time.Minute,
		ProofBound: true,
	})(pay))
}
