package demo

import "github.com/writ-auth/writ/internal/gateway"

// Routes is what the sample gateway lets through: the orders API, which answers
// at the URL orders. Reading and writing need a scope each; scripts of the sample
// app may call it.
func Routes(p Place, orders string) []gateway.Route {
	return []gateway.Route{{
		Path: "/orders",
		Name: "Orders",
		Rules: []gateway.Rule{
			{Methods: []string{"GET"}, Scopes: []string{"orders:read"}},
			{Methods: []string{"POST"}, Scopes: []string{"orders:write"}},
		},
		Upstream:         orders,
		UpstreamAudience: OrdersInternal,
		Propagate:        gateway.Exchange,
		CORS: &gateway.CORS{
			Origins: []string{p.App},
			Methods: []string{"GET", "POST"},
			Headers: []string{"Authorization", "Content-Type", "DPoP"},
		},
	}}
}
