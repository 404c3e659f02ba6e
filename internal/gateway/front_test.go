package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A front is a proxy that asks the gateway before it sends a request on, set up
// as doc/forward-auth says.
type front struct {
	name  string
	env   string   // which variable names the program
	files []string // in doc/forward-auth; the first is its configuration
	args  []string // DIR is where the files are
	wrap  string   // what the configuration stands in

	apart bool // asks a process of its own, over gRPC
}

var fronts = []front{
	{"nginx", "WRIT_TEST_NGINX", []string{"nginx.conf"}, []string{"-p", "DIR", "-c", "DIR/main.conf", "-e", "DIR/error.log"}, `
daemon off;
master_process off;
pid DIR/pid;
error_log DIR/error.log info;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    include DIR/nginx.conf;
}
`, false},
	{"haproxy", "WRIT_TEST_HAPROXY", []string{"haproxy.cfg", "writ.lua"}, []string{"-db", "-f", "DIR/haproxy.cfg"}, "", false},
	{"caddy", "WRIT_TEST_CADDY", []string{"Caddyfile"}, []string{"run", "--adapter", "caddyfile", "--config", "DIR/Caddyfile"}, "", false},
	{"envoy", "WRIT_TEST_ENVOY", []string{"envoy.yaml"}, []string{"-c", "DIR/envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "warning"}, "", true},
}

// program is the path of the proxy, "" where it is not to be had.
func (f front) program(t testing.TB) string {
	t.Helper()
	path := os.Getenv(f.env)
	if path == "" && os.Getenv("WRIT_TEST_REQUIRE") != "" {
		t.Fatal(f.env + " is not set")
	}
	return path
}

// start runs the proxy in front of service, on the word of g, and returns its
// address.
func (f front) start(t testing.TB, program string, g *Gateway, service string) string {
	t.Helper()
	own := httptest.NewServer(g)
	t.Cleanup(own.Close)
	addresses := map[string]string{"127.0.0.1:8401": address(own.URL), "127.0.0.1:9001": address(service)}
	if f.apart {
		addresses["127.0.0.1:8403"] = serveEnvoy(t, g)
	} else {
		checker := httptest.NewServer(g.Checker(nil))
		t.Cleanup(checker.Close)
		addresses["127.0.0.1:8402"] = address(checker.URL)
	}
	for range 5 {
		port := free(t)
		addresses["127.0.0.1:8080"] = port
		if f.run(t, program, addresses) {
			return port
		}
	}
	t.Fatalf("%s does not start", f.name)
	return ""
}

func address(url string) string { return strings.TrimPrefix(url, "http://") }

// free returns an address that nobody listens on, for the moment: below the ports
// that the system gives to clients, who would be faster.
func free(t testing.TB) string {
	t.Helper()
	for range 100 {
		at := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", at); err == nil {
			_ = l.Close()
			return at
		}
	}
	t.Fatal("no port is free")
	return ""
}

// run starts the proxy with other addresses than those of the documentation, and
// waits until it listens.
func (f front) run(t testing.TB, program string, addresses map[string]string) bool {
	t.Helper()
	dir := t.TempDir()
	pairs := []string{"/etc/haproxy/", dir + "/"}
	for of, is := range addresses {
		pairs = append(pairs, of, is, spelled(of), spelled(is))
		if _, port, ok := strings.Cut(is, ":"); ok && of == "127.0.0.1:8080" {
			pairs = append(pairs, "http://:8080", "http://:"+port)
		}
	}
	for _, name := range f.files {
		text, err := os.ReadFile(filepath.Join("../../doc/forward-auth", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), strings.NewReplacer(pairs...).Replace(string(text)))
	}
	if f.wrap != "" {
		write(t, filepath.Join(dir, "main.conf"), strings.ReplaceAll(f.wrap, "DIR", dir))
	}
	args := make([]string, len(f.args))
	for i, arg := range f.args {
		args[i] = strings.ReplaceAll(arg, "DIR", dir)
	}
	return launch(t, exec.Command(program, args...), dir, addresses["127.0.0.1:8080"])
}

// spelled is an address as Envoy's configuration has it.
func spelled(address string) string {
	host, port, _ := strings.Cut(address, ":")
	return "address: " + host + ", port_value: " + port
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// launch starts cmd and reports whether it came to listen; the test's end ends it.
func launch(t testing.TB, cmd *exec.Cmd, dir, listen string) bool {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended says the output
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = out.Close()
		if t.Failed() {
			for _, name := range []string{"output", "error.log"} {
				if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
					t.Logf("%s: %s", name, text[max(0, len(text)-4000):])
				}
			}
		}
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			text, _ := os.ReadFile(filepath.Join(dir, "output"))
			t.Logf("%s ended: %s", cmd.Path, text)
			return false
		default:
		}
		if conn, err := net.DialTimeout("tcp", listen, time.Second); err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

// directly is a proxy in a few lines of Go that asks Check itself.
func directly(g *Gateway, service http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := g.Check(r)
		if !v.Allowed {
			for name, values := range v.Refusal {
				w.Header()[name] = values
			}
			w.WriteHeader(v.Status)
			_, _ = w.Write(v.Body)
			return
		}
		for _, name := range v.Remove {
			r.Header.Del(name)
		}
		for name, values := range v.Header {
			r.Header[name] = values
		}
		to, err := http.NewRequestWithContext(r.Context(), r.Method, v.URI, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		to.Header, to.RequestURI = r.Header, v.URI
		service.ServeHTTP(w, to)
	})
}

// gated adds a door that is guarded by a gateway of its own, which is asked and
// sends nothing on. address starts what asks it, in front of a service.
func (c *court) gated(t *testing.T, name string, address func(g *Gateway, service *httptest.Server) string) {
	t.Helper()
	d := &door{name: name}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.welcome(t, d, w, r) }))
	t.Cleanup(service.Close)
	cfg := c.config(service.URL)
	cfg.Issuer, cfg.ClientID, cfg.ClientSecret = c.issuer.URL(), "gateway", "gw s3cret"
	cfg.Logger = slog.New(slog.DiscardHandler)
	g, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := g.Ready(soon); err != nil {
		t.Fatal(err)
	}
	d.refused = func() map[string]uint64 { return g.guard.State().Refusals }
	d.address = address(g, service)
	d.apart = name == "envoy"
	c.doors = append(c.doors, d)
}

// asking adds the doors that ask: one of Go, and each proxy that is there.
func (c *court) asking(t *testing.T) {
	t.Helper()
	c.gated(t, "check", func(g *Gateway, service *httptest.Server) string {
		server := httptest.NewUnstartedServer(directly(g, service.Config.Handler))
		server.Config.MaxHeaderBytes = 1 << 20
		server.Start()
		t.Cleanup(server.Close)
		return address(server.URL)
	})
	for _, f := range fronts {
		if program := f.program(t); program != "" {
			c.gated(t, f.name, func(g *Gateway, service *httptest.Server) string { return f.start(t, program, g, service.URL) })
		} else {
			t.Logf("%s is left out: %s is not set", f.name, f.env)
		}
	}
}

// body reads what a proxy answered.
func body(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(fmt.Errorf("answer cut: %w", err))
	}
	return string(text)
}
