package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// builtEnvoy is writ-envoy, built once; TestMain removes it.
var builtEnvoy = sync.OnceValues(func() (string, error) {
	program := filepath.Join(os.TempDir(), fmt.Sprintf("writ-envoy-%d.test", os.Getpid()))
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../cmd/writ-envoy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.Remove(filepath.Join(os.TempDir(), fmt.Sprintf("writ-envoy-%d.test", os.Getpid()))) // where it was built
	os.Exit(code)
}

// serveEnvoy starts writ-envoy with the configuration of g and returns where it
// listens.
func serveEnvoy(t testing.TB, g *Gateway) string {
	t.Helper()
	dir := t.TempDir()
	program, err := builtEnvoy()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "secret"), g.cfg.ClientSecret)
	text, err := json.Marshal(map[string]any{"gateway": map[string]any{ // which is YAML, too
		"issuer": g.cfg.Issuer, "url": g.cfg.URL, "client_id": g.cfg.ClientID, "client_secret_file": filepath.Join(dir, "secret"),
		"max_staleness": "1h", "routes": written(g.cfg.Routes),
	}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "writ.yaml"), string(text))
	for range 5 {
		listen := free(t)
		if launch(t, exec.Command(program, "--config", filepath.Join(dir, "writ.yaml"), "--listen", listen), dir, listen) {
			return listen
		}
	}
	t.Fatal("writ-envoy does not start")
	return ""
}

// written is routes as a file has them, as far as tests use them.
func written(routes []Route) []map[string]any {
	var list []map[string]any
	for _, r := range routes {
		made := map[string]any{"path": r.Path, "upstream": r.Upstream}
		for name, value := range map[string]string{"host": r.Host, "upstream_audience": r.UpstreamAudience, "propagate": string(r.Propagate)} {
			if value != "" {
				made[name] = value
			}
		}
		if r.Open {
			made["open"] = true
		}
		if r.MaxBody > 0 {
			made["max_body"] = r.MaxBody
		}
		if r.CORS != nil {
			made["cors"] = map[string]any{"origins": r.CORS.Origins}
		}
		var rules []map[string]any
		for _, rule := range r.Rules {
			one := map[string]any{}
			if rule.Methods != nil {
				one["methods"] = rule.Methods
			}
			if rule.Scopes != nil {
				one["scopes"] = rule.Scopes
			}
			rules = append(rules, one)
		}
		if rules != nil {
			made["rules"] = rules
		}
		list = append(list, made)
	}
	return list
}
