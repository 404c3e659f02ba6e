package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/token"
)

// TestTwoProcesses is the life of a token with the authorization server and the
// gateway as two processes that share only URLs.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	orders := d.url + "/orders"

	t.Run("a token and who called whom", func(t *testing.T) {
		outer := d.token(t, "robot")
		got := d.hear(t, orders, outer)
		if got.Subject != "robot" || !slices.Equal(got.Through, []string{"edge"}) ||
			got.Next == nil || got.Next.Subject != "robot" || !slices.Equal(got.Next.Through, []string{"edge"}) {
			t.Errorf("the services heard %+v, want robot through edge at both", got)
		}
		first, second := d.orders.calledWith(), d.stock.calledWith()
		if first == outer || first != second {
			t.Error("the outer token crossed the gateway, or orders did not pass on the inner one")
		}
		c, err := token.InsecureParse(first)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Audience, []string{domainName}) || c.Workload != "edge" || c.Scope.String() != "orders:read" {
			t.Errorf("inner claims = %+v, want a transaction token of edge for %s with the rule's scope", c, domainName)
		}
	})
	t.Run("an exchanged token and who called whom", func(t *testing.T) {
		outer := d.token(t, "robot")
		got := d.hear(t, d.url+"/swap", outer)
		if got.Subject != "robot" || !slices.Equal(got.Through, []string{"edge"}) ||
			got.Next == nil || got.Next.Subject != "robot" || !slices.Equal(got.Next.Through, []string{"orders", "edge"}) {
			t.Errorf("the services heard %+v, want robot through edge, then through orders and edge", got)
		}
		for _, s := range []*service{d.orders, d.stock} {
			if s.calledWith() == outer {
				t.Error("the outer token crossed the gateway")
			}
			c, err := token.InsecureParse(s.calledWith())
			if err != nil {
				t.Fatal(err)
			}
			if want := map[*service]string{d.orders: ordersName, d.stock: stockName}[s]; !slices.Equal(c.Audience, []string{want}) {
				t.Errorf("aud = %q, want %q", c.Audience, want)
			}
		}
		t.Run("an inner token one further", func(t *testing.T) {
			r := d.call(t, http.MethodGet, d.stock.url+"/orders", d.orders.calledWith())
			if r.status != http.StatusUnauthorized || r.code() != "invalid_token" {
				t.Errorf("status %d, %s, want 401 invalid_token", r.status, r.body)
			}
		})
	})
	t.Run("a person", func(t *testing.T) {
		r := d.call(t, http.MethodGet, orders, d.signIn(t))
		var got heard
		r.decode(t, &got)
		if r.status != http.StatusOK || !strings.HasPrefix(got.Subject, "u_") || got.Next == nil || got.Next.Subject != got.Subject {
			t.Errorf("status %d, the services heard %s, want the same person at both", r.status, r.body)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		robot, reader := d.token(t, "robot"), d.token(t, "reader")
		d.call(t, http.MethodGet, orders, robot)
		for _, tt := range []struct {
			name, method, address, token string
			status                       int
			code                         string
		}{
			{"no token", http.MethodGet, orders, "", http.StatusUnauthorized, ""},
			{"no token inside", http.MethodGet, d.orders.url + "/orders", "", http.StatusUnauthorized, ""},
			{"wrong scope", http.MethodPost, orders, reader, http.StatusForbidden, "insufficient_scope"},
			{"a method without a rule", http.MethodDelete, orders, robot, http.StatusMethodNotAllowed, ""},
			{"the outer token inside", http.MethodGet, d.orders.url + "/orders", robot, http.StatusUnauthorized, "invalid_token"},
			{"an inner token outside", http.MethodGet, orders, d.orders.calledWith(), http.StatusUnauthorized, "invalid_token"},
			{"an inner token as a bearer token", http.MethodGet, d.orders.url + "/orders", d.orders.calledWith(), http.StatusUnauthorized, "invalid_token"},
			{"another token's signature", http.MethodGet, orders, swapSignature(robot, reader), http.StatusUnauthorized, "invalid_token"},
			{"no route", http.MethodGet, d.url + "/again", robot, http.StatusNotFound, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := d.call(t, tt.method, tt.address, tt.token)
				if r.status != tt.status || r.code() != tt.code {
					t.Errorf("status %d, %s, want %d %q", r.status, r.body, tt.status, tt.code)
				}
				challenge := r.header.Get("WWW-Authenticate")
				if want := tt.status == http.StatusUnauthorized || tt.status == http.StatusForbidden; want != strings.HasPrefix(challenge, "Bearer ") {
					t.Errorf("WWW-Authenticate = %q", challenge)
				}
				if tt.code != "" && !strings.Contains(challenge, `error="`+tt.code+`"`) {
					t.Errorf("WWW-Authenticate = %q, want the error in it", challenge)
				}
			})
		}
	})
	t.Run("an inner token in its own header, outside", func(t *testing.T) {
		d.call(t, http.MethodGet, orders, d.token(t, "robot"))
		if r := d.carry(t, http.MethodGet, d.orders.url+"/orders", "Txn-Token", d.orders.calledWith()); r.status != http.StatusOK {
			t.Errorf("inside: status %d, %s, want 200", r.status, r.body)
		}
		if r := d.carry(t, http.MethodGet, orders, "Txn-Token", d.orders.calledWith()); r.status != http.StatusUnauthorized {
			t.Errorf("at the gateway: status %d, %s, want 401", r.status, r.body)
		}
		if r := d.carry(t, http.MethodPost, d.orders.url+"/orders", "Txn-Token", d.orders.calledWith()); r.status != http.StatusForbidden {
			t.Errorf("beyond its scope: status %d, %s, want 403", r.status, r.body)
		}
	})
	t.Run("a gateway that is ended, or switched off", func(t *testing.T) { d.checkGatewayEnded(t) })
	t.Run("an ended token is refused everywhere within a second", func(t *testing.T) {
		for _, end := range []struct {
			name string
			do   func(t *testing.T, outer string)
		}{
			{"given up by its client", func(t *testing.T, outer string) {
				if r := d.send(t, d.as(t, "/revoke", "robot", url.Values{"token": {outer}})); r.status != http.StatusOK {
					t.Fatalf("status %d, %s", r.status, r.body)
				}
			}},
			{"ended by an operator", func(t *testing.T, outer string) {
				c, err := token.InsecureParse(outer)
				if err != nil {
					t.Fatal(err)
				}
				d.admin(t, "revoke", "jti", c.ID)
			}},
			{"all of the client's", func(t *testing.T, _ string) { d.admin(t, "revoke", "client", "robot") }},
		} {
			t.Run(end.name, func(t *testing.T) {
				outer := d.token(t, "robot")
				if r := d.call(t, http.MethodGet, orders, outer); r.status != http.StatusOK {
					t.Fatalf("before: status %d, %s", r.status, r.body)
				}
				first, second := d.orders.calledWith(), d.stock.calledWith()
				end.do(t, outer)
				began := time.Now()
				d.ends(t, time.Second, orders, outer)
				d.over(t, time.Second, d.orders.url+"/orders", "Txn-Token", first)
				d.over(t, time.Second, d.stock.url+"/orders", "Txn-Token", second)
				t.Logf("refused at all three places after %v", time.Since(began))
				if r := d.call(t, http.MethodGet, orders, d.token(t, "robot")); r.status != http.StatusOK {
					t.Errorf("a token issued afterwards: status %d, %s, want 200", r.status, r.body)
				}
			})
		}
	})
	t.Run("a receipt finds the decision in both logs", func(t *testing.T) {
		r := d.call(t, http.MethodPost, orders, d.token(t, "reader"))
		var told struct{ ID string }
		r.decode(t, &told)
		if r.status != http.StatusForbidden || told.ID == "" {
			t.Fatalf("status %d, %s, want 403 with a receipt", r.status, r.body)
		}
		for name, p := range map[string]*process{"gateway": d.gateway, "authorization server": d.process} {
			within(t, patience, "the "+name+"'s log has the receipt", func() error {
				for line := range strings.Lines(p.out.String()) {
					if strings.Contains(line, told.ID) && strings.Contains(line, "reason=scope") {
						return nil
					}
				}
				return errors.New("not yet")
			})
		}
	})
	t.Run("routes change without a restart", func(t *testing.T) { d.checkReload(t) })
	t.Run("the authorization server stops and comes back", func(t *testing.T) {
		d.checkRestart(t, func() {
			began := time.Now()
			if err := d.stop(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 4*time.Second { // open feeds keep nobody waiting
				t.Errorf("it took %v to stop, want less than 4 s", took)
			}
		})
	})
	t.Run("the authorization server is killed and comes back", func(t *testing.T) { d.checkRestart(t, d.kill) })
}

// hear is what the services heard of a call.
func (d *domain) hear(t *testing.T, address, token string) heard {
	t.Helper()
	r := d.call(t, http.MethodGet, address, token)
	if r.status != http.StatusOK {
		t.Fatalf("status %d, %s", r.status, r.body)
	}
	var got heard
	r.decode(t, &got)
	return got
}

// checkGatewayEnded: what an ended gateway minted is refused at once, and its key is
// not taken any more; when it may, it goes on by itself with a key that is registered
// anew.
func (d *domain) checkGatewayEnded(t *testing.T) {
	orders := d.url + "/orders"
	for _, end := range [][]string{{"revoke", "client", "edge"}, {"client", "set", "edge", "--disabled"}} {
		outer := d.token(t, "robot")
		if r := d.call(t, http.MethodGet, orders, outer); r.status != http.StatusOK {
			t.Fatalf("before: status %d, %s", r.status, r.body)
		}
		inner := d.orders.calledWith()
		d.admin(t, end...)
		d.over(t, time.Second, d.orders.url+"/orders", "Txn-Token", inner)
		d.over(t, time.Second, d.stock.url+"/orders", "Txn-Token", inner)
		if end[0] == "client" {
			d.admin(t, "client", "set", "edge", "--disabled=false")
		}
		eventually(t, "it goes on by itself", func() error {
			if r := d.call(t, http.MethodGet, orders, d.token(t, "robot")); r.status != http.StatusOK {
				return fmt.Errorf("%d %s", r.status, r.body)
			}
			return nil
		})
		if head := func(compact string) string { h, _, _ := strings.Cut(compact, "."); return h }; head(d.orders.calledWith()) == head(inner) {
			t.Errorf("%q: it goes on with the key that was ended", end)
		}
	}
}

// signIn is alice's token for the orders API, got through the app.
func (d *domain) signIn(t *testing.T) string {
	t.Helper()
	return d.tokens(t).Access
}

// tokens is what alice's sign-in gives the app.
func (d *domain) tokens(t *testing.T) tokens {
	t.Helper()
	v := verifier()
	alice := d.person(t, "alice")
	to, r := alice.visit(t, alice.authorize(url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {spaBack}, "scope": {"openid orders:read"},
		"code_challenge": {challenge(v)}, "code_challenge_method": {"S256"},
	}))
	if to == nil {
		t.Fatalf("sign-in: status %d, %s", r.status, r.body)
	}
	return d.grant(t, post("/token", "", url.Values{
		"grant_type": {oauth.GrantCode}, "client_id": {"app"}, "code": {to.Query().Get("code")},
		"redirect_uri": {spaBack}, "code_verifier": {v},
	}))
}

// checkReload gives the gateway another file, then a broken one.
func (d *domain) checkReload(t *testing.T) {
	outer := d.token(t, "robot")
	again := func(want int) error {
		if r := d.call(t, http.MethodGet, d.url+"/again", outer); r.status != want {
			return fmt.Errorf("/again = %d, want %d", r.status, want)
		}
		return nil
	}
	hangup := func() {
		t.Helper()
		if err := d.gateway.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if err := again(http.StatusNotFound); err != nil {
		t.Fatal(err)
	}
	d.routes(t, "/orders", "/again")
	hangup()
	eventually(t, "the new route answers", func() error { return again(http.StatusOK) })

	d.write(t, "gateway.yaml", "gateway:\n  routs: []\n")
	hangup()
	eventually(t, "the gateway says what is wrong", func() error {
		if !strings.Contains(d.gateway.out.String(), "routs") {
			return errors.New("nothing about the wrong key yet")
		}
		return nil
	})
	if err := again(http.StatusOK); err != nil {
		t.Errorf("after a broken file: %v", err)
	}
	d.routes(t, "/orders")
	hangup()
	eventually(t, "the route is gone", func() error { return again(http.StatusNotFound) })
}

// checkRestart ends the authorization server and starts it again, while gateway
// and services go on.
func (d *domain) checkRestart(t *testing.T, end func()) {
	t.Helper()
	orders := d.url + "/orders"
	outer := d.token(t, "robot")
	if r := d.call(t, http.MethodGet, orders, outer); r.status != http.StatusOK {
		t.Fatalf("before: status %d, %s", r.status, r.body)
	}
	unseen := d.token(t, "reader")
	end()
	for _, live := range []string{outer, unseen} {
		if r := d.call(t, http.MethodGet, orders, live); r.status != http.StatusOK {
			t.Errorf("a live token while it is down: status %d, %s, want 200", r.status, r.body)
		}
	}
	d.begin()
	if r := d.call(t, http.MethodGet, orders, outer); r.status != http.StatusOK {
		t.Errorf("a live token afterwards: status %d, %s, want 200", r.status, r.body)
	}
	fresh := d.token(t, "robot")
	eventually(t, "the gateway passes on a new token", func() error {
		if r := d.call(t, http.MethodGet, orders, fresh); r.status != http.StatusOK {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
	d.send(t, d.as(t, "/revoke", "robot", url.Values{"token": {fresh}}))
	// The guards may be about to connect again; they wait up to two seconds for that.
	d.ends(t, 4*time.Second, orders, fresh)
}
