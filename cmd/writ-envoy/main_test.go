package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/writ-auth/writ/guardtest"
)

// configured writes a file with one open route, and the state directory "state" beside it.
func configured(t *testing.T, name, issuer, path string) {
	t.Helper()
	secret := name + ".secret"
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"gateway": map[string]any{ // which is YAML, too
		"issuer": issuer, "url": "http://api.example", "client_id": "gateway", "client_secret_file": secret,
		"state_dir": filepath.Join(filepath.Dir(name), "state"),
		"routes":    []any{map[string]any{"path": path, "open": true, "upstream": "http://127.0.0.1:1"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// free is an address below the ports that the system gives to clients.
func free(t *testing.T) string {
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

// The command serves what its file says, reads the routes again when it is told
// to, and ends in peace.
func TestServes(t *testing.T) {
	issuer := guardtest.NewIssuer(t)
	name, listen := filepath.Join(t.TempDir(), "writ.yaml"), free(t)
	configured(t, name, issuer.URL(), "/first")
	state := filepath.Join(filepath.Dir(name), "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, name, listen, "error") }()
	conn, err := grpc.NewClient(listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := authv3.NewAuthorizationClient(conn)
	passes := func(path string) bool {
		t.Helper()
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		res, err := client.Check(soon, question(path), grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return res.GetOkResponse() != nil
	}
	if !passes("/first") || passes("/second") {
		t.Errorf("first passes %t, second %t, want the first alone", passes("/first"), passes("/second"))
	}
	configured(t, name, issuer.URL(), "/second")
	for deadline := time.Now().Add(10 * time.Second); !passes("/second"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the routes are not read again")
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run = %v, want nil at its end", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
	// Beside it `writ gateway` may run with the same file: its state is not touched.
	if left, err := os.ReadDir(state); err != nil || len(left) != 1 || left[0].Name() != "envoy" {
		t.Errorf("the state directory holds %v, %v, want envoy alone", left, err)
	}
	info, err := os.Stat(filepath.Join(state, "envoy"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its own part: %v, %v, want a directory of mode 0700", info, err)
	}
	if _, err := os.Stat(filepath.Join(state, "envoy", "guard.state")); err != nil {
		t.Errorf("at its end it keeps nothing: %v", err)
	}
}

func question(path string) *authv3.CheckRequest {
	var list []*corev3.HeaderValue
	for name, value := range map[string]string{":method": "GET", ":path": path, ":authority": "api.example"} {
		list = append(list, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "192.0.2.7"}}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: path, Host: "api.example", Scheme: "http", HeaderMap: &corev3.HeaderMap{Headers: list},
		}},
	}}
}

func TestStopsAtTheStart(t *testing.T) {
	const gate = "gateway:\n  issuer: https://id.example\n  url: https://api.example\n"
	for name, c := range map[string]struct{ text, level, want string }{
		"no file":      {"", "", "which routes?"},
		"no gateway":   {"log: {}\n", "", "gateway is missing"},
		"level":        {gate, "loud", `log level "loud"`},
		"certificate":  {gate + "  envoy: {tls: {cert: none, key: none}}\n", "", "read certificate"},
		"unknown key":  {gate + "  envoi: {}\n", "", "is not known"},
		"no state":     {gate + "  state_dir: /nowhere/at/all\n", "", "state directory"},
		"broken route": {gate + "  routes: [{path: x, open: true, upstream: 'http://127.0.0.1:1'}]\n", "", "route 1"},
	} {
		file := ""
		if c.text != "" {
			file = filepath.Join(t.TempDir(), "writ.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := run(t.Context(), file, "127.0.0.1:0", c.level); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.want)
		}
	}
}
