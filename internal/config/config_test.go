package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/gateway"
)

// whole has every key there is.
const whole = `
log:
  level: debug
  format: json
serve:
  issuer: https://id.example.com
  listen: 127.0.0.1:8400
  database: sqlite:/var/lib/writ/writ.db
  seal_key_file: SEAL
  tls:
    cert: CERT
    key: KEY
  trusted_proxies: [10.0.0.0/8, "::1/128"]
  public_feed: true
  token_life: 10m
  refresh_idle: 14d
  grant_life: 60d
  sessions:
    idle: 12h
    life: 7d
  keys:
    algorithms: [ES256, RS256]
    life: 30d
    publish: 2h
    pkcs11:
      module: /usr/lib/softhsm/libsofthsm2.so
      token: writ
      pin_file: /etc/writ/pin
      leave: true
  metrics:
    listen: 127.0.0.1:8402
gateway:
  issuer: https://id.example.com
  listen: 0.0.0.0:8443
  url: https://api.example.com
  client_id: gateway
  client_secret_file: SECRET
  trust_domain: inside.example
  tls:
    cert: CERT
    key: KEY
  trusted_proxies: [127.0.0.1/32]
  state_dir: /var/lib/writ
  max_staleness: 20s
  max_header: 16KiB
  max_body: 2MiB
  dial_timeout: 3s
  response_timeout: unlimited
  idle_conns: 64
  upstream_ca_file: CERT
  insecure_http: true
  check:
    listen: 127.0.0.1:8402
    tls:
      cert: CERT
      key: KEY
    trusted_proxies: [10.0.0.0/8]
  envoy:
    listen: 127.0.0.1:8403
    tls:
      cert: CERT
      key: KEY
    trusted_proxies: [10.0.0.0/8]
  metrics:
    listen: 127.0.0.1:8403
  routes:
    - host: api.example.com
      path: /orders
      name: Orders
      rules:
        - methods: [GET]
          scopes: [orders:read]
        - scopes: [orders:write]
      audience: https://api.example.com/orders
      upstream: http://127.0.0.1:9001
      upstream_audience: http://orders.internal
      upstream_scopes: [orders:read]
      propagate: exchange
      when_stale:
        do: introspect
        for: 10m
        else: allow
      max_body: unlimited
      cors:
        origins: [https://app.example.com]
        methods: [GET]
        headers: [Authorization]
    - path: /status
      open: true
      upstream: http://127.0.0.1:9002
      propagate: none
    - path: /orders/stale
      rules:
        - scopes: [orders:read]
      upstream: http://127.0.0.1:9001
      propagate: none
      allow_stale: 15m
`

// elsewhere are keys that the first route cannot have together with the others.
var elsewhere = map[string]bool{"gateway.routes[].open": true, "gateway.routes[].allow_stale": true}

func TestWholeFile(t *testing.T) {
	f, err := Parse("writ.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	s, g := f.Serve, f.Gateway
	if s.RefreshIdle != 14*24*time.Hour || s.TrustedProxies[1].String() != "::1/128" || !s.PublicFeed {
		t.Errorf("serve = %+v", s)
	}
	if g.MaxHeader != 16<<10 || g.MaxBody != 2<<20 || g.ResponseTimeout != -1 || g.IdleConns != 64 {
		t.Errorf("gateway = %+v", g)
	}
	unset(t, reflect.ValueOf(*f), "")
	for path := range all(reflect.TypeFor[File](), "") {
		if f.lines[strings.ReplaceAll(path, "[]", "[0]")] == 0 && !elsewhere[path] {
			t.Errorf("the line of %s is not known", path)
		}
	}
}

// unset fails for every key that the whole file did not fill.
func unset(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	names, fields := keys(v.Type())
	for _, name := range names {
		field := v.Field(fields[name])
		if field.IsZero() && !elsewhere[path+name] {
			t.Errorf("%s%s is not filled", path, name)
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		switch {
		case field.Kind() == reflect.Struct:
			unset(t, field, path+name+".")
		case field.Kind() == reflect.Slice && field.Index(0).Kind() == reflect.Struct && field.Type().Elem().NumField() > 0 && field.Type().Elem().Field(0).Tag != "":
			unset(t, field.Index(0), path+name+"[].")
		}
	}
}

// all returns the paths of all keys below t.
func all(t reflect.Type, path string) map[string]bool {
	paths := map[string]bool{}
	names, fields := keys(t)
	for _, name := range names {
		at, field := join(path, name), t.Field(fields[name]).Type
		paths[at] = true
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() == reflect.Slice {
			field, at = field.Elem(), at+"[]"
		}
		if field.Kind() == reflect.Struct {
			for below := range all(field, at) {
				paths[below] = true
			}
		}
	}
	return paths
}

// TestReferenceIsComplete holds doc/config.md to the structs.
func TestReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../doc/config.md")
	if err != nil {
		t.Fatal(err)
	}
	known := all(reflect.TypeFor[File](), "")
	for path := range known {
		if !strings.Contains(string(text), "| `"+path+"` |") {
			t.Errorf("doc/config.md has no row for %s", path)
		}
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			path, _, _ := strings.Cut(rest, "`")
			if !known[path] && !strings.HasPrefix(path, "WRIT_") && !strings.HasPrefix(path, "writ_") {
				t.Errorf("doc/config.md has a row for %s, which is no key", path)
			}
		}
	}
}

func stale(when string) string {
	return "gateway:\n  routes:\n    - path: /x\n      when_stale: " + when + "\n"
}

func TestProblemsNameLineAndWhatIsExpected(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // each in one problem, in order
	}{
		{"unknown key", "serve:\n  isuer: x\n", []string{"writ.yaml:2: serve.isuer is not known; want issuer, listen,"}},
		{"unknown top", "server: {}\n", []string{"writ.yaml:1: server is not known; want log, serve, gateway"}},
		{"key twice", "log:\n  level: info\n  level: debug\n", []string{"writ.yaml:3: log.level is there twice"}},
		{"key in capitals", "Log: {}\n", []string{"writ.yaml:1: Log is not known"}},
		{"no value", "serve:\n  issuer:\n", []string{"writ.yaml:2: serve.issuer has no value"}},
		{"alias", "log: &a\n  level: info\n", []string{"writ.yaml:1: log must not be an anchor or alias"}},
		{"merge", "log:\n  <<: {level: info}\n", []string{"writ.yaml:2: log.<< is not known"}},
		{"two documents", "log: {}\n---\nlog: {}\n", []string{"there is a second document"}},
		{"no YAML", "log: [\n", []string{"is no YAML"}},
		{"tab", "log:\n\tlevel: info\n", []string{"writ.yaml:2: is no YAML"}},
		{"list for a value", "serve:\n  issuer: [a]\n", []string{"writ.yaml:2: serve.issuer must be a single value"}},
		{"value for a list", "serve:\n  trusted_proxies: 10.0.0.0/8\n", []string{"serve.trusted_proxies must be a list"}},
		{"value for keys", "serve: yes\n", []string{"writ.yaml:1: serve must be keys with values: issuer,"}},
		{"truth", "serve:\n  public_feed: yes\n", []string{`serve.public_feed is "yes", want true or false`}},
		{"bool for text", "gateway:\n  client_id: true\n", []string{`gateway.client_id is "true", want text`}},
		{"bare number", "serve:\n  token_life: 300\n", []string{`serve.token_life is "300", want a length of time such as 90s`}},
		{"negative", "serve:\n  token_life: -5m\n", []string{`serve.token_life is "-5m", want a length`}},
		{"too long", "serve:\n  token_life: 25h\n", []string{"writ.yaml:2: serve.token_life is 25h0m0s, want at most 24h0m0s"}},
		{"too short", "serve:\n  token_life: 5s\n", []string{"want at least 10s"}},
		{"public too short", "serve:\n  keys:\n    publish: 5m\n", []string{"writ.yaml:3: serve.keys.publish is 5m0s, want at least 6m0s"}},
		{"no bound", "serve:\n  token_life: unlimited\n", []string{"serve.token_life needs a bound"}},
		{"many days", "serve:\n  grant_life: 99999999999d\n", []string{"serve.grant_life is"}},
		{"size", "gateway:\n  max_body: 10MB\n", []string{`gateway.max_body is "10MB", want a size such as 512KiB`}},
		{"count", "gateway:\n  idle_conns: many\n", []string{"gateway.idle_conns is \"many\", want a whole number"}},
		{"range", "serve:\n  trusted_proxies:\n    - 10.0.0.0/8\n    - 10.0.0.1\n", []string{"writ.yaml:4: serve.trusted_proxies[1] is"}},
		{"http issuer", "serve:\n  issuer: http://id.example.com\n", []string{"writ.yaml:2: serve.issuer is \"http://id.example.com\", want https"}},
		{"issuer with a path", "serve:\n  issuer: https://id.example.com/x\n", []string{"want scheme and host alone"}},
		{"listen", "serve:\n  listen: 8400\n", []string{`serve.listen is "8400", want HOST:PORT`}},
		{"metrics", "serve:\n  metrics:\n    listen: on\ngateway:\n  metrics:\n    listen: on\n", []string{`writ.yaml:3: serve.metrics.listen is "on", want HOST:PORT`, `writ.yaml:6: gateway.metrics.listen is "on", want HOST:PORT`}},
		{"half of TLS", "serve:\n  tls:\n    cert: a\n", []string{"writ.yaml:2: serve.tls needs both"}},
		{"listen of the check", "gateway:\n  check:\n    listen: /run/check\n", []string{`writ.yaml:3: gateway.check.listen is "/run/check", want HOST:PORT`}},
		{"check nowhere", "gateway:\n  check:\n    trusted_proxies: [10.0.0.0/8]\n", []string{"writ.yaml:2: gateway.check needs listen"}},
		{"half of TLS of the check", "gateway:\n  check:\n    listen: 10.0.0.1:8402\n    tls: {key: a}\n", []string{"writ.yaml:4: gateway.check.tls needs both"}},
		{"algorithm", "serve:\n  keys:\n    algorithms: [HS256]\n", []string{`writ.yaml:3: serve.keys.algorithms has "HS256"`}},
		{"no module", "serve:\n  keys:\n    pkcs11: {token: writ, pin_file: pin}\n", []string{"writ.yaml:3: serve.keys.pkcs11 needs module, token and pin_file"}},
		{"no token", "serve:\n  keys:\n    pkcs11: {module: m.so, pin_file: pin}\n", []string{"serve.keys.pkcs11 needs module, token and pin_file"}},
		{"no PIN file", "serve:\n  keys:\n    pkcs11: {module: m.so, token: writ}\n", []string{"serve.keys.pkcs11 needs module, token and pin_file"}},
		{"PIN in the file", "serve:\n  keys:\n    pkcs11:\n      pin: 1234\n", []string{"writ.yaml:4: serve.keys.pkcs11.pin is not known; want module, token, pin_file, leave"}},
		{"token of another kind", "serve:\n  keys:\n    pkcs11:\n      token: true\n", []string{"writ.yaml:4: serve.keys.pkcs11.token is \"true\", want text"}},
		{"leave", "serve:\n  keys:\n    pkcs11:\n      leave: yes\n", []string{`serve.keys.pkcs11.leave is "yes", want true or false`}},
		{"nothing of PKCS#11", "serve:\n  keys:\n    pkcs11:\n", []string{"writ.yaml:3: serve.keys.pkcs11 has no value"}},
		{"algorithm of no token", "serve:\n  keys:\n    algorithms: [ES256, Ed25519]\n    pkcs11: {module: m.so, token: writ, pin_file: pin}\n", []string{`writ.yaml:3: serve.keys.algorithms has "Ed25519", which cannot be made`}},
		{"level", "log:\n  level: loud\n", []string{`writ.yaml:2: log.level is "loud", want debug, info, warn or error`}},
		{"propagate", "gateway:\n  routes:\n    - path: /x\n      propagate: all\n", []string{`writ.yaml:4: gateway.routes[0].propagate is "all", want transaction, exchange, none`}},
		{"rule", "gateway:\n  routes:\n    - path: /x\n      rules:\n        - method: [GET]\n", []string{"writ.yaml:5: gateway.routes[0].rules[0].method is not known; want methods, scopes"}},
		{"stale twice", stale("{do: deny}") + "      allow_stale: 1m\n", []string{"writ.yaml:4: gateway.routes[0].when_stale and allow_stale say the same"}},
		{"stale nothing", stale("{for: 1m}"), []string{`when_stale.do is "", want deny, allow or introspect`}},
		{"stale something", stale("{do: guess}"), []string{`when_stale.do is "guess", want deny, allow or introspect`}},
		{"stale else", stale("{do: allow, else: deny}"), []string{"when_stale.else is for introspect only"}},
		{"stale else something", stale("{do: introspect, else: introspect}"), []string{`when_stale.else is "introspect", want deny or allow`}},
		{"stale for", stale("{do: introspect, for: 1m}"), []string{"when_stale.for is how long to allow, and nothing is allowed"}},
		{"stale without end", stale("{do: allow, for: unlimited}"), []string{"when_stale.for needs a bound"}},
		{"several", "log:\n  level: 1\n  formt: x\nserve:\n  listen: x\n", []string{"log.formt is not known"}},
		{"several values", "log:\n  level: loud\n  format: xml\n", []string{"log.level", "log.format"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("writ.yaml", []byte(tt.text))
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d problems, want %d: %q", len(lines), len(tt.want), lines)
			}
			for i, line := range lines {
				if !strings.Contains(line, tt.want[i]) {
					t.Errorf("problem %q, want it to say %q", line, tt.want[i])
				}
			}
		})
	}
}

func TestEmptyFileIsFine(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "{}\n"} {
		f, err := Parse("writ.yaml", []byte(text))
		if err != nil || f.Serve != nil || f.Gateway != nil {
			t.Errorf("Parse(%q) = %+v, %v, want an empty file", text, f, err)
		}
	}
}

func TestGatewayConfig(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("writ_cs_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("SECRET", secret, "  upstream_ca_file: CERT\n", "").Replace(whole)
	f, err := Parse("writ.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Gateway.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.ClientSecret != "writ_cs_x" || c.MaxHeader != 16<<10 || c.ResponseTimeout >= 0 || len(c.Routes) != 3 {
		t.Errorf("config = %v", c)
	}
	if c.StateDir != "/var/lib/writ" {
		t.Errorf("state_dir = %q, want /var/lib/writ", c.StateDir)
	}
	want := gateway.Route{
		Host: "api.example.com", Path: "/orders", Name: "Orders", Audience: "https://api.example.com/orders",
		Rules:    []gateway.Rule{{Methods: []string{"GET"}, Scopes: []string{"orders:read"}}, {Scopes: []string{"orders:write"}}},
		Upstream: "http://127.0.0.1:9001", UpstreamAudience: "http://orders.internal", UpstreamScopes: []string{"orders:read"},
		Propagate: gateway.Exchange, WhenStale: &guard.Stale{Do: guard.Introspect, For: 10 * time.Minute, Else: guard.Allow}, MaxBody: -1,
		CORS: &gateway.CORS{Origins: []string{"https://app.example.com"}, Methods: []string{"GET"}, Headers: []string{"Authorization"}},
	}
	if !reflect.DeepEqual(c.Routes[0], want) {
		t.Errorf("route = %+v\nwant %+v", c.Routes[0], want)
	}
	if got, want := *c.Routes[2].WhenStale, (guard.Stale{Do: guard.Allow, For: 15 * time.Minute}); got != want {
		t.Errorf("allow_stale = %+v, want %+v", got, want)
	}
}

// TestEveryFieldOfTheGatewayHasAKey finds a field that package gateway got and
// the file did not.
func TestEveryFieldOfTheGatewayHasAKey(t *testing.T) {
	for _, pair := range []struct {
		theirs, ours reflect.Type
		other        string // fields under another name, or not for a file
	}{
		{reflect.TypeFor[gateway.Config](), reflect.TypeFor[Gateway](), "ClientSecret UpstreamTLS Judging HTTPClient Now Logger"},
		{reflect.TypeFor[gateway.Route](), reflect.TypeFor[Route](), "WhenStale"},
		{reflect.TypeFor[gateway.Rule](), reflect.TypeFor[Rule](), ""},
		{reflect.TypeFor[gateway.CORS](), reflect.TypeFor[CORS](), ""},
	} {
		for i := range pair.theirs.NumField() {
			field := pair.theirs.Field(i)
			if _, ok := pair.ours.FieldByName(field.Name); !ok && field.IsExported() && !strings.Contains(" "+pair.other+" ", " "+field.Name+" ") {
				t.Errorf("%s.%s has no key", pair.theirs, field.Name)
			}
		}
	}
}

func TestCheckFindsWhatWouldStopAStart(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	hsm := func(module, pin string, mode os.FileMode) string {
		if mode != 0 {
			if err := os.Chmod(pin, mode); err != nil {
				t.Fatal(err)
			}
		}
		return "serve:\n  issuer: https://id.example.com\n  keys: {pkcs11: {\n    module: " + module + ",\n    token: writ,\n    pin_file: " + pin + "}}\n"
	}
	gate := "gateway:\n  issuer: https://id.example.com\n  url: https://api.example.com\n"
	tests := []struct{ name, text, want string }{
		{"nothing to run", "log: {}\n", "neither serve nor gateway"},
		{"no issuer", "serve: {}\n", "writ.yaml:1: serve.issuer is missing"},
		{"seal key", "serve:\n  issuer: https://id.example.com\n  seal_key_file: " + path("seal", "x") + "\n", "writ.yaml:3: serve.seal_key_file does not work"},
		{"no seal key", "serve:\n  issuer: https://id.example.com\n  seal_key_file: " + filepath.Join(dir, "none") + "\n", "no such file"},
		{"module", hsm(filepath.Join(dir, "none.so"), path("pin", "1234\n"), 0o600), "writ.yaml:4: serve.keys.pkcs11.module does not work"},
		{"no PIN", hsm(path("m.so", ""), filepath.Join(dir, "nopin"), 0), "writ.yaml:6: serve.keys.pkcs11.pin_file does not work"},
		{"empty PIN", hsm(path("m.so", ""), path("emptypin", "\n"), 0o600), "is empty"},
		{"PIN that all can read", hsm(path("m.so", ""), path("openpin", "1234\n"), 0o604), "has mode 0604, want 0600"},
		{"PIN that a group can write", hsm(path("m.so", ""), path("grouppin", "1234\n"), 0o660), "has mode 0660, want 0600"},
		{"PIN that a group can read", hsm(path("m.so", ""), path("readpin", "1234\n"), 0o640), ""},
		{"certificate", "serve:\n  issuer: https://id.example.com\n  tls: {cert: " + path("cert", "x") + ", key: " + path("key", "x") + "}\n", "writ.yaml:3: serve.tls does not work"},
		{"no url", "gateway:\n  issuer: https://id.example.com\n", "gateway.url is missing"},
		{"secret", gate + "  client_id: g\n  client_secret_file: " + filepath.Join(dir, "none") + "\n", "read client secret"},
		{"empty secret", gate + "  client_id: g\n  client_secret_file: " + path("empty", "\n") + "\n", "is empty"},
		{"authorities", gate + "  upstream_ca_file: " + path("ca", "x") + "\n", "no certificate in PEM"},
		{"no state", gate + "  state_dir: " + filepath.Join(dir, "none") + "\n", "writ.yaml:4: gateway.state_dir does not work: state directory " + filepath.Join(dir, "none") + " is not there: make it"},
		{"second route", gate + "  routes:\n    - path: /a\n      open: true\n      upstream: http://127.0.0.1:1\n    - path: b\n      open: true\n      upstream: http://127.0.0.1:1\n", "writ.yaml:8: gateway.routes[1] does not work"},
		{"fine", gate + "  routes:\n    - path: /a\n      open: true\n      upstream: http://127.0.0.1:1\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("writ.yaml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			err = f.Check()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("Check: %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Check: %v, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestLoadSaysWhichFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("error = %v, want the file's name in it", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("serve: &a [*a]\n")
	f.Add("? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("x", []byte(text))
		if (file == nil) == (err == nil) {
			t.Errorf("Parse = %v, %v", file, err)
		}
	})
}
