package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// TestDatabaseGone takes PostgreSQL away and gives it back. Meanwhile the server
// says so in the protocol's words, and afterwards it goes on by itself.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	database, admin := newPostgres(t)
	a := serve(t, database)
	alice := a.person(t, "alice")
	issued := a.grant(t, alice.allow(t, "web", "openid offline_access orders:read"))
	a.grant(t, own("service", api, "")) // the client is known from here on
	online := a.grant(t, alice.allow(t, "web", "openid"))

	name := databaseName(t, database)
	admin("ALTER DATABASE " + name + " WITH ALLOW_CONNECTIONS false")
	admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + name + "'")
	t.Run("refusals", func(t *testing.T) {
		for _, q := range []ask{
			refreshing("web", issued.Refresh),
			post("/introspect", "gateway", url.Values{"token": {issued.Access}}), // and not "inactive"
			post("/revoke", "web", url.Values{"token": {issued.Access}}),
			exchanging("gateway", issued.Access, inner, ""),
		} {
			began := time.Now()
			r := a.send(t, q)
			checkUnavailable(t, r)
			checkRefusal(t, q, r)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: the answer took %v", q.path, took)
			}
		}
	})
	t.Run("pages", func(t *testing.T) {
		params, _ := request("web", "openid")
		to, r := alice.visit(t, alice.authorize(params))
		if to != nil || r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
			t.Errorf("authorize: sent to %v, status %d, Retry-After %q, want a page with 503", to, r.status, r.header.Get("Retry-After"))
		}
	})
	t.Run("probes", func(t *testing.T) {
		for path, want := range map[string]int{"/readyz": http.StatusServiceUnavailable, "/livez": http.StatusOK, "/jwks": http.StatusOK} {
			if got := a.send(t, ask{method: http.MethodGet, path: path}).status; got != want {
				t.Errorf("%s = %d, want %d", path, got, want)
			}
		}
	})
	t.Run("a token decided from memory", func(t *testing.T) {
		a.grant(t, own("service", api, ""))
	})
	if got := a.userinfo(t, online.Access); got != http.StatusServiceUnavailable {
		t.Errorf("userinfo = %d, want 503", got)
	}

	admin("ALTER DATABASE " + name + " WITH ALLOW_CONNECTIONS true")
	eventually(t, "the server is ready again", func() error {
		if got := a.send(t, ask{method: http.MethodGet, path: "/readyz"}).status; got != http.StatusOK {
			return errors.New(http.StatusText(got))
		}
		return nil
	})
	// What was refused has changed nothing.
	if !a.active(t, "gateway", issued.Access) {
		t.Error("the access token did not live through the outage")
	}
	next := a.grant(t, refreshing("web", issued.Refresh))
	if !a.active(t, "gateway", next.Access) {
		t.Error("the refreshed token is not good")
	}
	if got := a.userinfo(t, online.Access); got != http.StatusOK {
		t.Errorf("userinfo = %d, want 200", got)
	}
	a.revoke(t, "web", next.Access)
	if a.active(t, "gateway", next.Access) {
		t.Error("a revocation after the outage has no effect")
	}
}

func checkUnavailable(t *testing.T, r reply) {
	t.Helper()
	if r.status != http.StatusServiceUnavailable || r.code() != "temporarily_unavailable" || r.header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q, body %s, want 503 temporarily_unavailable", r.status, r.header.Get("Retry-After"), r.body)
	}
}

// disk is a place that can be made full.
type disk struct {
	full  func()
	empty func()
}

// checkDiskFull fills the disk under a SQLite database. Writes are refused in the
// protocol's words, reads go on, room cures it without a restart, and a restart
// finds all that was acknowledged.
func checkDiskFull(t *testing.T, a *authority, d disk) {
	alice := a.person(t, "alice")
	issued := a.grant(t, alice.allow(t, "web", "openid offline_access orders:read"))
	held := issued.Refresh
	fill := func() (first reply) {
		d.full()
		eventually(t, "a write is refused", func() error {
			r := a.send(t, refreshing("web", held))
			if r.status != http.StatusOK {
				first = r
				return nil
			}
			var got tokens
			r.decode(t, &got)
			held = got.Refresh
			return fmt.Errorf("it goes on: %s", r.body)
		})
		return first
	}
	checkUnavailable(t, fill())
	checkUnavailable(t, a.send(t, post("/revoke", "web", url.Values{"token": {issued.Access}})))
	if !a.active(t, "gateway", issued.Access) {
		t.Error("introspection: a token that nobody could end is not active")
	}
	if r := a.send(t, ask{method: http.MethodGet, path: "/jwks"}); r.status != http.StatusOK {
		t.Errorf("jwks = %d, want 200", r.status)
	}
	a.grant(t, own("service", api, "")) // needs no disk

	d.empty()
	next := a.grant(t, refreshing("web", held))
	held = next.Refresh

	checkUnavailable(t, fill())
	a.kill()
	d.empty()
	a.start(t)
	last := a.grant(t, refreshing("web", held))
	if !a.active(t, "gateway", last.Access) {
		t.Error("the token after the restart is not good")
	}
}
