package admin

import (
	"slices"
	"testing"

	"github.com/writ-auth/writ/internal/login"
)

func TestProvisionIsRepeatable(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	plan := Plan{
		Resources: []Resource{{URI: "https://api.example/orders", Scopes: []Scope{{Name: "orders:read"}}}},
		Clients:   []Registration{{Client: service("robot"), Secret: "writ_dev_one"}},
		Users:     []NewUser{{User: User{Username: "alice"}, Password: goodPassword}},
	}
	if err := b.Provision(ctx, plan); err != nil {
		t.Fatal(err)
	}
	if got := len(b.trail(t)); got != 4 { // with the built-in client
		t.Errorf("%d audit lines, want 4: %q", got, b.trail(t))
	}
	feed := b.feed(t)
	if err := b.Provision(ctx, plan); err != nil {
		t.Fatal(err)
	}
	if got := b.feed(t); !slices.Equal(got, feed) || len(b.trail(t)) != 4 {
		t.Errorf("the second time wrote %q after %q", got[len(feed):], feed)
	}

	// An operator switched the client off; the plan changes the rest.
	if _, err := b.SetClient(ctx, tester, "robot", func(c *Client) error { c.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	plan.Clients[0].Name, plan.Clients[0].Secret = "Robot", login.Secret("writ_dev_two")
	if err := b.Provision(ctx, plan); err != nil {
		t.Fatal(err)
	}
	c, err := b.Client(ctx, "robot")
	if err != nil || !c.Disabled || c.Name != "Robot" {
		t.Errorf("client = %+v, %v, want it renamed and still disabled", c, err)
	}
}

func TestProvisionRefusesAWrongPlan(t *testing.T) {
	b := newBench(t)
	plan := Plan{
		Resources: []Resource{{URI: "https://api.example/orders", Scopes: []Scope{{Name: "orders:read"}}}},
		Clients:   []Registration{{Client: Client{ID: "robot", Scope: "orders:write", Resources: []string{"https://api.example/orders"}}}},
	}
	if err := b.Provision(t.Context(), plan); err == nil {
		t.Error("a plan with an unknown scope was taken")
	}
	if got := b.trail(t); got != nil {
		t.Errorf("audit trail = %q, want nothing written", got)
	}
}
