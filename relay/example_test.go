package relay_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
)

// A handler behind package guard calls the stock service on behalf of its
// caller: the request's context says who that is.
func ExampleClient_OnBehalf() {
	client, err := relay.New(relay.Config{Issuer: "https://as.example", ClientID: "orders", Secret: "from a file"})
	if err != nil {
		log.Fatal(err)
	}
	stock := &http.Client{Transport: client.OnBehalf(relay.Target{
		Resource: "https://stock.example",
		Scopes:   []string{"stock:read"},
	}, nil)}

	http.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) { // behind guard.Require
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://stock.example/items", nil)
		if err != nil {
			http.Error(w, "stock", http.StatusInternalServerError)
			return
		}
		res, err := stock.Do(req)
		if err != nil {
			http.Error(w, "stock", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	})
}

// A service that acts for itself, here at night, without a caller.
func ExampleClient_AsSelf() {
	client, err := relay.New(relay.Config{Issuer: "https://as.example", ClientID: "nightly", Secret: "from a file"})
	if err != nil {
		log.Fatal(err)
	}
	stock := &http.Client{Transport: client.AsSelf(relay.Target{Resource: "https://stock.example"}, nil)}
	res, err := stock.Get("https://stock.example/items")
	if err != nil {
		log.Print(err)
		return
	}
	res.Body.Close()
}

// A guard follows the issuer's revocation feed with a token of the service's
// own.
func ExampleClient_Token() {
	const issuer = "https://as.example"
	client, err := relay.New(relay.Config{Issuer: issuer, ClientID: "orders", Secret: "from a file"})
	if err != nil {
		log.Fatal(err)
	}
	feed := relay.Target{Resource: issuer + "/feed", Scopes: []string{"feed:read", "usage:write"}}
	cfg := guard.Config{
		Issuer:   issuer,
		Audience: "https://orders.example",
		Credential: func(ctx context.Context) (string, error) {
			token, _, err := client.Token(ctx, feed)
			return token, err
		},
	}
	fmt.Println(cfg.Audience)
	// Output: https://orders.example
}
