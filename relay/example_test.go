package relay_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

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

// Inside a trust domain a handler passes on the transaction token that its gateway
// minted: the next service sees the same caller.
func ExampleForward() {
	stock := &http.Client{Transport: relay.Forward([]string{"https://stock.example"}, nil)}

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

// A guard follows the issuer's revocation feed as the service's own client.
func ExampleClient_Follow() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop() // ends the guard
	secret := []byte("what the file holds\n")
	client, err := relay.New(relay.Config{
		Issuer: "https://as.example", ClientID: "orders", Secret: strings.TrimSpace(string(secret)),
	})
	if err != nil {
		log.Fatal(err)
	}
	g, err := guard.New(ctx, client.Follow(guard.Config{
		Issuer:   "https://as.example",
		Audience: "https://orders.example",
	}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.MetadataPath())
	// Output: /.well-known/oauth-protected-resource
}

// A token for a call that no RoundTripper makes.
func ExampleClient_Token() {
	client, err := relay.New(relay.Config{Issuer: "https://as.example", ClientID: "orders", Secret: "from a file"})
	if err != nil {
		log.Fatal(err)
	}
	token, expiry, err := client.Token(context.Background(), relay.Target{Resource: "https://stock.example"})
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(len(token), "bytes, good until", expiry)
}

// A proxy asks which credential a request may go on with; the request's context
// says who calls.
func ExampleClient_Exchange() {
	client, err := relay.New(relay.Config{Issuer: "https://as.example", ClientID: "orders", Secret: "from a file"})
	if err != nil {
		log.Fatal(err)
	}
	stock, err := client.Exchange(relay.Target{Resource: "https://stock.example"})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /check", func(w http.ResponseWriter, r *http.Request) { // behind guard.Require
		inner, err := stock.Authorization(r.Context())
		if err != nil {
			http.Error(w, "stock", http.StatusBadGateway)
			return
		}
		w.Header().Set("Authorization", inner)
	})
}
