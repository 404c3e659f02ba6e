package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/token"
)

// Service is what both sample services need to know.
type Service struct {
	Issuer    string
	ClientID  string
	Secret    string
	Inventory string // where inventory listens; for orders
	Logger    *slog.Logger
}

// guarded makes the service's guard, which follows the revocation feed with the
// service's own token. It takes access tokens for the service, and transaction tokens
// of the trust domain.
func (s Service) guarded(ctx context.Context, audience, name string) (*guard.Guard, error) {
	client, err := relay.New(relay.Config{Issuer: s.Issuer, ClientID: s.ClientID, Secret: s.Secret})
	if err != nil {
		return nil, err
	}
	return guard.New(ctx, client.Follow(guard.Config{
		Issuer: s.Issuer, Audience: audience, TrustDomain: TrustDomain, Logger: s.Logger,
		Metadata: guard.ResourceMetadata{Name: name, Scopes: []string{"orders:read", "orders:write"}},
	}))
}

// order is one order of the sample.
type order struct {
	ID    int    `json:"id"`
	Item  string `json:"item"`
	Count int    `json:"count"`
	By    string `json:"by"`
}

// orders keeps the sample's orders in memory: it shows tokens, not storage.
type orders struct {
	mu    sync.Mutex
	list  []order // guarded by mu
	stock *http.Client
	url   string
}

// Orders is the orders service: GET lists, for which it asks inventory as the same
// user, and POST places.
func Orders(ctx context.Context, s Service) (http.Handler, error) {
	g, err := s.guarded(ctx, OrdersInternal, "Orders (inside)")
	if err != nil {
		return nil, fmt.Errorf("start orders: %w", err)
	}
	o := &orders{
		list:  []order{{1, "lamp", 2, "u_sample"}, {2, "chair", 4, "u_sample"}},
		stock: &http.Client{Transport: relay.Forward([]string{s.Inventory}, nil), Timeout: 5 * time.Second},
		url:   s.Inventory,
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+g.MetadataPath(), g.Metadata())
	mux.Handle("GET /orders", g.Require("orders:read")(http.HandlerFunc(o.get)))
	mux.Handle("POST /orders", g.Require("orders:write")(http.HandlerFunc(o.post)))
	mux.HandleFunc("GET /readyz", readyz(g))
	return mux, nil
}

func (o *orders) get(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	list := append([]order{}, o.list...)
	o.mu.Unlock()
	stock, err := o.ask(r.Context())
	if err != nil {
		problem(w, http.StatusBadGateway, "inventory: "+err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"orders": list, "stock": stock["stock"],
		"chain": []any{chain("orders", guard.From(r.Context())), stock["caller"]},
	})
}

func (o *orders) post(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&in); err != nil || in.Item == "" || in.Count < 1 {
		problem(w, http.StatusBadRequest, `send {"item":"lamp","count":1}`)
		return
	}
	caller := guard.From(r.Context())
	o.mu.Lock()
	next := order{len(o.list) + 1, in.Item, in.Count, caller.Subject}
	if len(o.list) < 1000 {
		o.list = append(o.list, next)
	}
	o.mu.Unlock()
	answer(w, http.StatusCreated, map[string]any{"order": next, "chain": []any{chain("orders", caller)}})
}

// ask calls inventory on behalf of the caller of this request.
func (o *orders) ask(ctx context.Context) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url+"/stock", nil)
	if err != nil {
		return nil, err
	}
	res, err := o.stock.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", res.Status)
	}
	var out map[string]any
	return out, json.Unmarshal(body, &out)
}

// Inventory is the inventory service, which only other services call.
func Inventory(ctx context.Context, s Service) (http.Handler, error) {
	g, err := s.guarded(ctx, InventoryInternal, "Inventory (inside)")
	if err != nil {
		return nil, fmt.Errorf("start inventory: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+g.MetadataPath(), g.Metadata())
	mux.Handle("GET /stock", g.Require("orders:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"stock":  map[string]int{"lamp": 12, "chair": 7},
			"caller": chain("inventory", guard.From(r.Context())),
		})
	})))
	mux.HandleFunc("GET /readyz", readyz(g))
	return mux, nil
}

// chain says who called whom: what a service knows of its caller.
func chain(at string, c *token.Claims) map[string]any {
	var through []string
	for a := c.Actor; a != nil; a = a.Actor {
		through = append([]string{a.Subject}, through...)
	}
	hop := map[string]any{
		"at": at, "sub": c.Subject, "client_id": c.ClientID, "aud": c.Audience[0], "scope": c.Scope.String(),
		"through": through, "expires_in": strconv.Itoa(int(time.Until(c.Expiry)/time.Second)) + "s",
	}
	if c.Workload != "" {
		hop["txn"] = c.ID // the same all the way
	}
	return hop
}

func readyz(g *guard.Guard) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := g.Ready(ctx); err != nil {
			problem(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the caller may have gone
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
