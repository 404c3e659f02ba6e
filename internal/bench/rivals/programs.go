package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/writ-auth/writ/internal/bench"
	"github.com/writ-auth/writ/internal/jose"
)

// A program is one that can be measured.
type program struct {
	name, alg string // alg "": it looks at no token
	binary    string // must be installed; "": always there
	refusal   int    // its status for a forged token
	start     func(ctx context.Context, f *field, alg string) (*bench.Process, string, error)
}

func programs() []program {
	return []program{
		{name: "nginx", binary: "nginx", start: nginx},
		{name: "HAProxy", binary: "haproxy", start: haproxy},
		{name: "ReverseProxy", start: reverseProxy},
		{name: "HAProxy", alg: jose.RS256, binary: "haproxy", refusal: http.StatusForbidden, start: haproxy},
		{name: "HAProxy", alg: jose.ES256, binary: "haproxy", refusal: http.StatusForbidden, start: haproxy},
		{name: "writ", alg: jose.RS256, refusal: http.StatusUnauthorized, start: writ},
		{name: "writ", alg: jose.ES256, refusal: http.StatusUnauthorized, start: writ},
	}
}

// writ is `writ gateway` on a route that passes no identity on, as the others do not.
func writ(ctx context.Context, f *field, alg string) (*bench.Process, string, error) {
	dir := filepath.Join(f.dir, "writ-"+alg)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	i := &bench.Issuer{URL: f.issued.URL, Gateway: f.issued.Gateway, Resource: f.issued.Resource, ClientID: f.issued.ClientID, Secret: f.issued.Secret}
	return bench.StartGateway(ctx, f.self, i, dir, f.upstream)
}

// reverseProxy is Go's own, with enough kept connections.
func reverseProxy(ctx context.Context, f *field, _ string) (*bench.Process, string, error) {
	return bench.StartProxy(ctx, f.self, f.upstream)
}

// nginx is one worker a processor, with kept connections to the upstream, which its
// manual asks to be switched on.
func nginx(ctx context.Context, f *field, _ string) (*bench.Process, string, error) {
	return f.launch(ctx, "nginx.conf", func(listen, file string) (string, []string) {
		return nginxFile(listen, host(f.upstream), f.dir), []string{"nginx", "-e", "stderr", "-p", f.dir, "-c", file}
	})
}

func nginxFile(listen, upstream, dir string) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // or it may not enter the directory
	}
	return user + `daemon off;
worker_processes 2;
pid ` + dir + `/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path ` + dir + `/nginx-body;
	proxy_temp_path ` + dir + `/nginx-proxy;
	fastcgi_temp_path ` + dir + `/nginx-fastcgi;
	uwsgi_temp_path ` + dir + `/nginx-uwsgi;
	scgi_temp_path ` + dir + `/nginx-scgi;
	upstream service {
		server ` + upstream + `;
		keepalive 64;
		keepalive_requests 100000000;
	}
	server {
		listen ` + listen + `;
		keepalive_requests 100000000;
		location / {
			proxy_pass http://service;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`
}

// haproxy is two threads; with an algorithm, it checks signature and expiry of the
// bearer token, the least that can be called validation.
func haproxy(ctx context.Context, f *field, alg string) (*bench.Process, string, error) {
	key := ""
	if alg != "" {
		key = filepath.Join(f.dir, "haproxy-"+alg+".pem")
		text, err := publicPEM(ctx, f.issued.URL+"/jwks", f.issued.Tokens[alg][0])
		if err != nil {
			return nil, "", err
		}
		if err := os.WriteFile(key, text, 0o600); err != nil {
			return nil, "", err
		}
	}
	return f.launch(ctx, "haproxy-"+alg+".cfg", func(listen, file string) (string, []string) {
		return haproxyFile(listen, host(f.upstream), alg, key), []string{"haproxy", "-db", "-q", "-f", file}
	})
}

func haproxyFile(listen, upstream, alg, key string) string {
	check := ""
	if alg != "" {
		check = `	http-request set-var(txn.bearer) http_auth_bearer
	http-request deny unless { var(txn.bearer),jwt_verify("` + alg + `","` + key + `") -m int 1 }
	http-request set-var(txn.now) date()
	http-request deny unless { var(txn.bearer),jwt_payload_query('$.exp','int'),sub(txn.now) -m int gt 0 }
`
	}
	return `global
	nbthread 2
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
frontend bench
	bind ` + listen + `
` + check + `	default_backend service
backend service
	http-reuse always
	server service ` + upstream + `
`
}

func host(origin string) string { return strings.TrimPrefix(origin, "http://") }

// launch writes a program's configuration and starts it on a free port.
func (f *field) launch(ctx context.Context, name string, configure func(listen, file string) (text string, command []string)) (*bench.Process, string, error) {
	listen, err := bench.FreePort()
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(f.dir, name)
	text, command := configure(listen, file)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr // what it finds wrong with its configuration
	p, err := bench.Launch(cmd)
	return p, "http://" + listen, err
}

// publicPEM is the key that a token was signed with, as the issuer publishes it.
func publicPEM(ctx context.Context, url, compact string) ([]byte, error) {
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(nil, res.Body, 1<<20)); err != nil {
		return nil, err
	}
	keys, _, err := jose.ParseSet(body.Bytes())
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ID == m.Header.KeyID {
			der, err := x509.MarshalPKIXPublicKey(k.Public)
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
		}
	}
	return nil, errors.New("the token's key is not in the key set")
}
