// Package demo is what `writ dev` shows: sample clients and people, two sample
// services in one trust domain of which orders calls inventory as the same user, and
// a small browser app. The services are ordinary resource servers: they use the public packages
// guard and relay and nothing else of Writ.
//
// It owns no rule. Its invariant: every sample secret can be computed again from
// the sealing key, so it can be printed after any restart and is stored nowhere.
package demo

import (
	"encoding/base32"
	"strings"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/oauth"
)

// TrustDomain is what the sample services stand in: between them goes the transaction
// token that the gateway minted.
const TrustDomain = "inside.writ.example"

// Names of the inner resources. They are names, not addresses: where the
// services listen is for relay's Origins to say.
const (
	OrdersInternal    = "http://orders.internal"
	InventoryInternal = "http://inventory.internal"
)

// Client ids of the parts themselves.
const (
	GatewayClient   = "demo-gateway"
	OrdersClient    = "demo-orders"
	InventoryClient = "demo-inventory"
)

// Place says where the parts of the demonstration answer.
type Place struct {
	Issuer  string // http://localhost:8400
	Gateway string // http://localhost:8401
	App     string // http://localhost:PORT
}

// Orders is the resource identifier of the orders API as the outside knows it.
func (p Place) Orders() string { return p.Gateway + "/orders" }

// Client is a sample client as the card and dev.json show it.
type Client struct {
	ID         string   `json:"client_id"`
	Secret     string   `json:"client_secret,omitempty"`
	GrantTypes []string `json:"grant_types"`
	Scope      string   `json:"scope"`
	Resource   string   `json:"resource"`
}

// User is a sample person.
type User struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Derive returns bytes that depend on the sealing key and the label alone.
type Derive func(label string) []byte

// Secret derives the secret of a sample client.
func Secret(derive Derive, id string) string {
	return client.FormSecret(client.DevPrefix, derive("demo client "+id))
}

// password derives the password of a sample person.
func password(derive Derive, username string) string {
	text := strings.ToLower(base32.StdEncoding.EncodeToString(derive("demo user " + username)[:10]))
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}

const both = "orders:read orders:write"

// Clients lists the sample clients for people to use.
func Clients(p Place, derive Derive) []Client {
	return []Client{
		{"demo-service", Secret(derive, "demo-service"), []string{oauth.GrantClient, oauth.GrantExchange}, both, p.Orders()},
		{"demo-reader", Secret(derive, "demo-reader"), []string{oauth.GrantClient}, "orders:read", p.Orders()},
		{"demo-app", "", []string{oauth.GrantCode, oauth.GrantRefresh}, "openid profile offline_access " + both, p.Orders()},
		{"demo-operator", Secret(derive, "demo-operator"), []string{oauth.GrantClient}, "admin:read admin:revoke admin:write", p.Issuer + "/admin"},
	}
}

// Users lists the sample people.
func Users(derive Derive) []User {
	return []User{{"alice", password(derive, "alice")}, {"bob", password(derive, "bob")}}
}

// Plan is what the authorization server must know for the demonstration.
func Plan(p Place, derive Derive) admin.Plan {
	scopes := []admin.Scope{{Name: "orders:read", Text: "See your orders"}, {Name: "orders:write", Text: "Place and change orders"}}
	plan := admin.Plan{Resources: []admin.Resource{
		{URI: p.Orders(), Name: "Orders", Scopes: scopes},
		{URI: OrdersInternal, Name: "Orders, inside", Scopes: scopes},
		{URI: InventoryInternal, Name: "Inventory, inside", Scopes: scopes},
	}}
	for _, c := range Clients(p, derive) {
		plan.Clients = append(plan.Clients, registration(c, p))
	}
	part := func(id, guards string, calls ...string) {
		r := registration(Client{id, Secret(derive, id), []string{oauth.GrantClient, oauth.GrantExchange}, both, ""}, p)
		r.Guards, r.Resources = []string{guards}, calls
		plan.Clients = append(plan.Clients, r)
	}
	part(GatewayClient, p.Orders(), OrdersInternal, InventoryInternal)
	plan.Clients[len(plan.Clients)-1].TrustDomain = TrustDomain
	part(OrdersClient, OrdersInternal, InventoryInternal)
	part(InventoryClient, InventoryInternal, InventoryInternal)
	for _, u := range Users(derive) {
		name := strings.ToUpper(u.Username[:1]) + u.Username[1:]
		plan.Users = append(plan.Users, admin.NewUser{
			User:     admin.User{Username: u.Username, Name: name + " Sample", Email: u.Username + "@example.com"},
			Password: login.Secret(u.Password),
		})
	}
	return plan
}

// registration is a sample client as an operator would register it.
func registration(c Client, p Place) admin.Registration {
	r := admin.Registration{Secret: login.Secret(c.Secret), Client: admin.Client{
		ID: c.ID, Name: names[c.ID], Application: "web", AuthMethod: oauth.AuthNone,
		GrantTypes: c.GrantTypes, Scope: c.Scope, Resources: []string{c.Resource},
	}}
	if c.Secret != "" {
		r.AuthMethod = oauth.AuthBasic
	}
	switch c.ID {
	case "demo-service":
		// It may trade its own tokens, to show an exchange without the gateway.
		r.Guards, r.Resources = []string{p.Orders()}, []string{p.Orders(), OrdersInternal}
	case "demo-app":
		r.RedirectURIs = []string{p.App + "/callback"}
	case "demo-operator":
		r.Admin = true
	}
	return r
}

// names is how the consent and account pages call the clients.
var names = map[string]string{
	"demo-service": "Sample service", "demo-reader": "Sample reader", "demo-app": "Sample app",
	"demo-operator": "Sample operator", GatewayClient: "Sample gateway", OrdersClient: "Orders service",
	InventoryClient: "Inventory service",
}
