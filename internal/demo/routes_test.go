package demo

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/writ-auth/writ/internal/gateway"
)

// TestRoutes asks a gateway with the sample's routes what needs no issuer to answer.
func TestRoutes(t *testing.T) {
	gate, err := gateway.New(t.Context(), gateway.Config{
		Issuer: "http://127.0.0.1:1", URL: place.Gateway, ClientID: GatewayClient, ClientSecret: "secret",
		TrustDomain: TrustDomain, Routes: Routes(place, "http://127.0.0.1:1", "http://127.0.0.1:1"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method, path, origin string
		status                     int
		allowed                    string
	}{
		{"preflight of the app", "OPTIONS", "/orders", place.App, 204, place.App},
		{"preflight of another", "OPTIONS", "/orders", "http://localhost:9999", 403, ""},
		{"below", "OPTIONS", "/orders/7", place.App, 204, place.App},
		{"other method", "DELETE", "/orders", place.App, 405, place.App},
		{"other path", "GET", "/inventory", place.App, 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, place.Gateway+test.path, nil)
			r.Header.Set("Origin", test.origin)
			if test.method == "OPTIONS" {
				r.Header.Set("Access-Control-Request-Method", "POST")
				r.Header.Set("Access-Control-Request-Headers", "authorization, content-type")
			}
			w := httptest.NewRecorder()
			gate.ServeHTTP(w, r)
			if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != test.status || got != test.allowed {
				t.Errorf("%s %s = %d for origin %q, want %d for %q", test.method, test.path, w.Code, got, test.status, test.allowed)
			}
		})
	}
}

// TestRoutesNeedScopes: reading and writing are told apart, and every method
// that is there needs a scope.
func TestRoutesNeedScopes(t *testing.T) {
	routes := Routes(place, "http://127.0.0.1:9001", "http://127.0.0.1:9002")
	route, stock := routes[0], routes[1]
	want := map[string]string{http.MethodGet: "orders:read", http.MethodPost: "orders:write"}
	for _, rule := range route.Rules {
		for _, method := range rule.Methods {
			if !slices.Equal(rule.Scopes, []string{want[method]}) {
				t.Errorf("%s needs %q, want %q", method, rule.Scopes, want[method])
			}
			delete(want, method)
		}
	}
	if route.Open || len(want) > 0 {
		t.Errorf("open = %t, no rule for %v", route.Open, want)
	}
	if route.Propagate != gateway.Transaction {
		t.Errorf("orders learns of the caller by %q, want a transaction token", route.Propagate)
	}
	if stock.UpstreamAudience != InventoryInternal || stock.Propagate != gateway.Exchange || len(stock.Rules) != 1 || len(stock.Rules[0].Scopes) != 1 {
		t.Errorf("stock = %+v, want a token exchanged for %s, and a scope that is needed", stock, InventoryInternal)
	}
}
