package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// figures reads the metrics at an address.
func (d *domain) figures(t *testing.T, address string) string {
	t.Helper()
	r := d.call(t, http.MethodGet, "http://"+address+"/metrics", "")
	if r.status != http.StatusOK || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
		t.Fatalf("metrics: status %d, %s", r.status, r.header.Get("Content-Type"))
	}
	return string(r.body)
}

// wantFigures checks that each pattern is a line of the metrics.
func wantFigures(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !regexp.MustCompile("(?m)^" + line + "$").MatchString(text) {
			t.Errorf("no line %s in the metrics", line)
		}
	}
	if t.Failed() {
		t.Logf("metrics:\n%s", text)
	}
}

// TestRestartWithoutTheServer stops the gateway, then the server, and starts the
// gateway alone: it goes on with what it kept, and its metrics say how old that is.
func TestRestartWithoutTheServer(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	served, fronted := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	front := strings.TrimPrefix(d.url, "http://")
	if err := d.gateway.stop(); err != nil {
		t.Fatal(err)
	}
	d.write(t, "kept.yaml", fmt.Sprintf("gateway:\n  issuer: %s\n  url: %s\n  client_id: edge\n  client_secret_file: %s\n"+
		"  state_dir: %s\n  metrics: {listen: '%s'}\n  routes:\n"+
		"    - {path: /orders, upstream: '%s', propagate: none, rules: [{scopes: [orders:read]}]}\n",
		d.issuer, d.url, d.file("edge.secret"), d.dir, fronted, d.orders.url))
	start := func() *process {
		p := run(t, "gateway", "--config", d.file("kept.yaml"), "--listen", front)
		p.answers(t, d.http, d.url+"/readyz")
		return p
	}
	orders := d.url + "/orders"
	check := func(name, token, code string) { // of two refusals only the gateway's has a code
		t.Helper()
		if r := d.call(t, http.MethodGet, orders, token); r.status != http.StatusUnauthorized || r.code() != code {
			t.Errorf("%s: status %d, %s, want 401 %q", name, r.status, r.body, code)
		}
	}

	first := start()
	living, ended := d.token(t, "robot"), d.token(t, "robot")
	if r := d.send(t, d.as(t, "/revoke", "robot", url.Values{"token": {ended}})); r.status != http.StatusOK {
		t.Fatalf("revocation: status %d, %s", r.status, r.body)
	}
	within(t, time.Second, "the gateway itself refuses the ended token", func() error {
		if r := d.call(t, http.MethodGet, orders, ended); r.code() != "invalid_token" {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if list := d.writ(t, "", "admin", "guard", "list", "--config", d.file("serve.yaml")); strings.Contains(list, "edge") || !strings.Contains(list, "stock") {
		t.Errorf("guards = %s, want those that run and not the gateways that were stopped", list)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	second := start()
	check("a living token", living, "")
	check("an ended token", ended, "invalid_token")
	wantFigures(t, d.figures(t, fronted), `writ_guard_staleness_seconds [0-9.]+`, `writ_guard_rules 1`, `writ_guard_clock_behind_seconds -?[0-9.e-]+`, `writ_guard_position [1-9]\d*`,
		`writ_guard_keys [1-9]`, `writ_guard_refusals_total{reason="revoked"} 1`, `writ_guard_refusals_total{reason="stale"} 0`, `go_goroutines \d+`)
	if r := d.call(t, http.MethodGet, d.url+"/metrics", ""); r.status != http.StatusNotFound {
		t.Errorf("the gateway itself answers /metrics with %d, want 404", r.status)
	}

	d.write(t, "serve.yaml", serveFile(t, d)+"  metrics: {listen: '"+served+"'}\n")
	d.begin()
	eventually(t, "the gateway follows again", func() error {
		if text := d.figures(t, served); !strings.Contains(text, "writ_feed_subscribers 3\n") {
			return fmt.Errorf("guards connected: %s", regexp.MustCompile("writ_feed_subscribers .*").FindString(text))
		}
		return nil
	})
	wantFigures(t, d.figures(t, served), `writ_feed_position [1-9]\d*`, `writ_feed_asof_age_seconds [0-9.e-]+`,
		`writ_store_retries_total \d+`, `writ_store_unavailable_total 0`, `writ_mint_clock_ok 1`)
	if r := d.call(t, http.MethodGet, d.issuer+"/metrics", ""); r.status != http.StatusNotFound {
		t.Errorf("the server itself answers /metrics with %d, want 404", r.status)
	}
	check("after all, a living token", living, "")
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
}

func serveFile(t *testing.T, d *domain) string {
	t.Helper()
	text, err := os.ReadFile(d.file("serve.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
