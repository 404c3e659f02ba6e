package main_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestEverythingEnded: ending everything, or the gateway's client, also takes the key by
// which the gateway mints for the services. It makes another by itself, and does not wait
// for a caller to find out: new tokens go through soon afterwards, whenever they come.
func TestEverythingEnded(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	orders := d.url + "/orders"
	serves := func(token string) error {
		if r := d.call(t, http.MethodGet, orders, token); r.status != http.StatusOK {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	}
	eventually(t, "the domain serves", func() error { return serves(d.token(t, "robot")) })
	for _, order := range [][]string{{"everything"}, {"client", "edge"}} {
		before := d.token(t, "robot")
		d.admin(t, append([]string{"revoke"}, order...)...)
		if order[0] == "everything" {
			d.ends(t, time.Second, orders, before)
		}
		time.Sleep(2 * time.Second) // nobody calls meanwhile
		for n := range 5 {
			if err := serves(d.token(t, "robot")); err != nil {
				t.Errorf("%v: call %d afterwards: %v", order, n, err)
			}
		}
	}
}
