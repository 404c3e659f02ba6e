package demo

import "github.com/writ-auth/writ/internal/gateway"

// Routes is what the sample gateway lets through: the orders API, which answers at
// the URL orders, and the stock at the URL inventory. Reading and writing need a scope
// each; scripts of the sample app may call orders. Inside goes a transaction token, but
// to the stock: that route shows an exchange at the authorization server, as between
// trust domains.
func Routes(p Place, orders, inventory string) []gateway.Route {
	read := gateway.Rule{Methods: []string{"GET"}, Scopes: []string{"orders:read"}}
	return []gateway.Route{{
		Path:      "/orders",
		Name:      "Orders",
		Rules:     []gateway.Rule{read, {Methods: []string{"POST"}, Scopes: []string{"orders:write"}}},
		Upstream:  orders,
		Propagate: gateway.Transaction,
		CORS: &gateway.CORS{
			Origins: []string{p.App},
			Methods: []string{"GET", "POST"},
			Headers: []string{"Authorization", "Content-Type", "DPoP"},
		},
	}, {
		Path:             "/stock",
		Rules:            []gateway.Rule{read},
		Audience:         p.Orders(),
		Upstream:         inventory,
		UpstreamAudience: InventoryInternal,
		Propagate:        gateway.Exchange,
	}}
}
