package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
)

// dev is a running `writ dev`, and what its dev.json says.
type dev struct {
	*process
	data string
	args []string

	PID                  int
	Issuer, Gateway, App string
	Clients              []struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	Users []struct{ Username, Password string }
}

// startDev starts writ dev on free ports and waits for dev.json.
func startDev(t *testing.T, data string) *dev {
	t.Helper()
	d := &dev{data: data, args: []string{
		"dev", "--data", data, "--issuer-listen", "127.0.0.1:" + freePort(t),
		"--gateway-listen", "127.0.0.1:" + freePort(t), "--app-listen", "127.0.0.1:" + freePort(t),
	}}
	d.again(t)
	return d
}

// again starts it, and returns how long it took to be ready.
func (d *dev) again(t *testing.T) time.Duration {
	t.Helper()
	built(t)
	began := time.Now()
	d.process = run(t, d.args...)
	d.read(t)
	return time.Since(began)
}

// read waits for dev.json and reads it.
func (d *dev) read(t *testing.T) {
	t.Helper()
	eventually(t, "dev.json is there", func() error {
		select {
		case <-d.done:
			t.Fatalf("ended before it was ready: %v", d.err)
		default:
		}
		text, err := os.ReadFile(filepath.Join(d.data, "dev.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, d); err != nil { // whoever sees it sees all of it
			t.Fatalf("dev.json: %v", err)
		}
		if d.PID != d.cmd.Process.Pid {
			return errors.New("it is one from before")
		}
		return nil
	})
}

// at is an authority's harness for the issuer of writ dev.
func (d *dev) at(t *testing.T) *authority { return &authority{issuer: d.Issuer, http: newClient(t)} }

// secretOf is the secret of a sample client.
func (d *dev) secretOf(t *testing.T, id string) string {
	t.Helper()
	for _, c := range d.Clients {
		if c.ID == id {
			return c.Secret
		}
	}
	t.Fatalf("dev.json has no client %s", id)
	return ""
}

// service asks for a token as the sample service does.
func (d *dev) service(t *testing.T) string {
	t.Helper()
	q := post("/token", "", url.Values{"grant_type": {oauth.GrantClient}})
	q.id, q.secret = "demo-service", d.secretOf(t, "demo-service")
	return d.at(t).grant(t, q).Access
}

// signIn lets the sample app in as alice, and returns its tokens.
func (d *dev) signIn(t *testing.T) tokens {
	t.Helper()
	alice := newPerson(t, d.Issuer, d.Users[0].Username, d.Users[0].Password)
	v := verifier()
	to, r := alice.visit(t, alice.authorize(url.Values{
		"response_type": {"code"}, "client_id": {"demo-app"}, "redirect_uri": {d.App + "/callback"},
		"scope": {"openid offline_access orders:read"}, "code_challenge": {challenge(v)}, "code_challenge_method": {"S256"},
	}))
	if to == nil {
		t.Fatalf("sign-in: status %d, %s", r.status, r.body)
	}
	return d.at(t).grant(t, post("/token", "", url.Values{
		"grant_type": {oauth.GrantCode}, "client_id": {"demo-app"}, "code": {to.Query().Get("code")},
		"redirect_uri": {d.App + "/callback"}, "code_verifier": {v},
	}))
}

// orders is the status of a call to the sample API with a token.
func (d *dev) orders(t *testing.T, token string) int {
	t.Helper()
	status, _ := fetch(t, d.Gateway+"/orders", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	return status
}

// fetch gets an address once.
func fetch(t *testing.T, address string, change ...func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(req)
	}
	res, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestDev: once dev.json is there, everything answers at the first attempt.
func TestDev(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "new", "directory")
	d := startDev(t, data)
	for _, address := range []string{d.Issuer + "/readyz", d.Gateway + "/readyz", d.App + "/", d.Issuer + "/.well-known/openid-configuration"} {
		if status, _ := fetch(t, address); status != http.StatusOK {
			t.Errorf("%s = %d, want 200", address, status)
		}
	}
	if got := d.orders(t, d.service(t)); got != http.StatusOK {
		t.Errorf("orders as a service = %d, want 200", got)
	}
	if got := d.orders(t, d.signIn(t).Access); got != http.StatusOK {
		t.Errorf("orders as a person = %d, want 200", got)
	}
	if got := d.orders(t, ""); got != http.StatusUnauthorized {
		t.Errorf("orders without a token = %d, want 401", got)
	}
	t.Run("nobody else can read the files", func(t *testing.T) {
		err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				err = fmt.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("by IPv6", func(t *testing.T) {
		for _, origin := range []string{d.Issuer, d.Gateway, d.App} {
			port := origin[strings.LastIndexByte(origin, ':')+1:]
			if vacant("::1", port) {
				t.Skip("there is no IPv6 here")
			}
			status, _ := fetch(t, "http://[::1]:"+port+"/")
			if status >= 500 || status == http.StatusMisdirectedRequest {
				t.Errorf("[::1]:%s = %d", port, status)
			}
		}
	})
	// A page elsewhere may have its name point here (DNS rebinding).
	t.Run("by a foreign name", func(t *testing.T) {
		for _, origin := range []string{d.Issuer, d.Gateway, d.App} {
			for _, path := range []string{"/", "/jwks", "/orders", "/login", "/app.js"} {
				status, body := fetch(t, origin+path, func(r *http.Request) { r.Host = "thief.example" })
				if status != http.StatusMisdirectedRequest || strings.Contains(body, "keys") {
					t.Errorf("%s%s as thief.example = %d %.80s, want 421", origin, path, status, body)
				}
			}
		}
	})
	t.Run("a second one", func(t *testing.T) {
		told := run(t, "dev", "--data", data).fails(t)
		if !strings.Contains(told, strconv.Itoa(d.PID)) || !strings.Contains(told, "--data") {
			t.Errorf("it says %q, want the first one's process id, and --data", told)
		}
		if got := d.orders(t, d.service(t)); got != http.StatusOK {
			t.Errorf("orders after the attempt = %d, want 200", got)
		}
	})
}

// TestDevRestart: what people noted down or have open goes on after a restart.
func TestDevRestart(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *dev){
		"stopped": func(t *testing.T, d *dev) {
			// A connection that its owner opened ahead of use keeps nobody waiting.
			idle, err := net.Dial("tcp", strings.TrimPrefix(d.Issuer, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			began := time.Now()
			if err := d.stop(); err != nil {
				t.Fatalf("stop: %v", err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v to stop, want less than 4 s", took)
			}
			if _, err := os.Stat(filepath.Join(d.data, "dev.json")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("dev.json after the stop: %v, want none", err)
			}
		},
		"killed": func(_ *testing.T, d *dev) { d.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDev(t, t.TempDir())
			before := *d
			issued, machine := d.signIn(t), d.service(t)
			_, keys := fetch(t, d.Issuer+"/jwks")
			end(t, d)
			t.Logf("ready again in %v", d.again(t))

			d.process, before.process = nil, nil
			before.PID = d.PID
			if got, want := fmt.Sprint(*d), fmt.Sprint(before); got != want {
				t.Error("dev.json is not what it was")
			}
			if _, now := fetch(t, d.Issuer+"/jwks"); now != keys {
				t.Errorf("keys are %s, were %s", now, keys)
			}
			for _, token := range []string{issued.Access, machine} {
				if got := d.orders(t, token); got != http.StatusOK {
					t.Errorf("orders with a token from before = %d, want 200", got)
				}
			}
			next := d.at(t).grant(t, post("/token", "", url.Values{
				"grant_type": {oauth.GrantRefresh}, "client_id": {"demo-app"}, "refresh_token": {issued.Refresh},
			}))
			if got := d.orders(t, next.Access); got != http.StatusOK {
				t.Errorf("orders with a refreshed token = %d, want 200", got)
			}
		})
	}
}

// TestDevReady reports how long it takes from nothing to ready.
func TestDevReady(t *testing.T) {
	d := &dev{data: t.TempDir(), args: startArgs(t)}
	d.args = append(d.args, "--data", d.data)
	t.Logf("ready in %v", d.again(t))
}

func startArgs(t *testing.T) []string {
	return []string{"dev", "--issuer-listen", "127.0.0.1:" + freePort(t), "--gateway-listen", "127.0.0.1:" + freePort(t)}
}

// TestDevRefusesToStart: what cannot work is said, with the way out.
func TestDevRefusesToStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:"+freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	foreign := newSQLite(t)
	serve(t, foreign)
	for _, tt := range []struct {
		name  string
		flags []string
		data  string
		want  []string
	}{
		{"issuer's port", []string{"--issuer-listen", "127.0.0.1:" + port}, "", []string{port, "--issuer-listen", strconv.Itoa(os.Getpid())}},
		{"gateway's port", []string{"--gateway-listen", "127.0.0.1:" + port}, "", []string{port, "--gateway-listen", strconv.Itoa(os.Getpid())}},
		{"app's port", []string{"--app-listen", "127.0.0.1:" + port}, "", []string{port, "--app-listen", strconv.Itoa(os.Getpid())}},
		{"an address of the network", []string{"--issuer-listen", "0.0.0.0:" + freePort(t)}, "", []string{"loopback"}},
		{"a store that is not its own", nil, filepath.Dir(strings.TrimPrefix(foreign, "sqlite:")), []string{"seal.key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := tt.data
			if data == "" {
				data = t.TempDir()
			}
			told := run(t, append(append(startArgs(t), "--data", data), tt.flags...)...).fails(t)
			for _, word := range tt.want {
				if !strings.Contains(told, word) {
					t.Errorf("it says %q, want %q in it", told, word)
				}
			}
		})
	}
	t.Run("serve over a dev store", func(t *testing.T) {
		d := startDev(t, t.TempDir())
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		p := run(t, "serve", "--issuer", d.Issuer, "--listen", strings.TrimPrefix(d.Issuer, "http://"),
			"--database", "sqlite:"+filepath.Join(d.data, "writ.db"), "--seal-key-file", filepath.Join(d.data, "seal.key"))
		if told := p.fails(t); !strings.Contains(told, "dev") {
			t.Errorf("it says %q, want a refusal that says whose store it is", told)
		}
	})
}
