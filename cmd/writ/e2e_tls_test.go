package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// certificate writes a new certificate for this machine into a directory.
func certificate(t *testing.T, dir string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "writ test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestTLS runs the server as it stands on a network without a proxy before it.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := certificate(t, dir, 1)
	a := prepare(t, "https", newSQLite(t), "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	roots := x509.NewCertPool()
	roots.AddCert(first)
	a.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	a.start(t)
	address := strings.TrimPrefix(a.issuer, "https://")

	t.Run("sign-in", func(t *testing.T) {
		alice := a.person(t, "alice")
		alice.browser.Transport = a.http.Transport
		a.grant(t, alice.allow(t, "web", "openid"))
		home, err := url.Parse(a.issuer)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range alice.browser.Jar.Cookies(home) {
			// The prefix binds the cookie to this host, TLS and all paths.
			if !strings.HasPrefix(c.Name, "__Host-writ") {
				t.Errorf("cookie %s, want __Host-writ…", c.Name)
			}
		}
	})
	t.Run("headers", func(t *testing.T) {
		r := a.send(t, ask{method: http.MethodGet, path: "/login"})
		if got := r.header.Get("Strict-Transport-Security"); !strings.Contains(got, "max-age=") {
			t.Errorf("Strict-Transport-Security = %q", got)
		}
		for _, line := range r.header.Values("Set-Cookie") {
			for _, want := range []string{"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} {
				if !strings.Contains(line, "; "+want) {
					t.Errorf("Set-Cookie %s lacks %s", strings.Split(line, "=")[0], want)
				}
			}
			if strings.Contains(line, "Domain") {
				t.Errorf("Set-Cookie %s has a domain", strings.Split(line, "=")[0])
			}
		}
	})
	t.Run("versions and suites", func(t *testing.T) { checkSuites(t, address, roots) })
	t.Run("a new certificate", func(t *testing.T) {
		serial := func(want int64) error {
			conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) // which one is asked, not whether to trust it
			if err != nil {
				return err
			}
			defer conn.Close()
			if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
				return errors.New("it is another certificate")
			}
			return nil
		}
		certificate(t, dir, 2)
		if err := serial(1); err != nil {
			t.Errorf("before the signal: %v", err)
		}
		hangup := func() {
			t.Helper()
			if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		hangup()
		eventually(t, "the new certificate is served", func() error { return serial(2) })
		if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		hangup()
		eventually(t, "the server says what is wrong", func() error {
			if !strings.Contains(a.out.String(), "cert.pem") && !strings.Contains(a.out.String(), "certificate") {
				return errors.New("nothing about the certificate yet")
			}
			return serial(2)
		})
	})
}

// checkSuites offers one version and suite after another: 1.3, and of 1.2 what BCP
// 195 recommends (RFC 6749 §1.6).
func checkSuites(t *testing.T, address string, roots *x509.CertPool) {
	t.Helper()
	const v12 = tls.VersionTLS12
	for _, tt := range []struct {
		name  string
		max   uint16
		suite uint16
		works bool
	}{
		{"1.3", tls.VersionTLS13, 0, true},
		{"1.2 with GCM", v12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{"1.2 with GCM of 256 bits", v12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, true},
		{"1.2 with CBC", v12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{"1.2 with CBC and SHA-256", v12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, false},
		{"1.2 with RC4", v12, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, false},
		{"1.2 with ChaCha20", v12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false},
		{"1.1", tls.VersionTLS11, 0, false},
		{"1.0", tls.VersionTLS10, 0, false},
	} {
		c := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tt.max}
		if tt.suite != 0 {
			c.CipherSuites = []uint16{tt.suite}
		}
		conn, err := tls.Dial("tcp", address, c)
		if (err == nil) != tt.works {
			t.Errorf("%s: %v, want it to work: %v", tt.name, err, tt.works)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestGatewayTLS runs the gateway with a certificate of its own, and another one
// where proxies ask. Its issuer need not answer for that.
func TestGatewayTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, dir, 1))
	address, check, inner := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t), t.TempDir()
	asking := x509.NewCertPool()
	asking.AddCert(certificate(t, inner, 7))
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	config := file("gateway.yaml", fmt.Sprintf("gateway:\n  issuer: http://127.0.0.1:%s\n  url: https://%s\n  client_id: edge\n  client_secret_file: %s\n"+
		"  check: {listen: %q, tls: {cert: %s/cert.pem, key: %s/key.pem}}\n"+
		"  routes:\n    - path: /orders\n      audience: https://%s/orders\n      upstream: http://127.0.0.1:%s\n      upstream_audience: %s\n"+
		"      rules:\n        - {methods: [GET], scopes: [orders:read]}\n",
		freePort(t), address, file("edge.secret", secret("edge")), check, inner, inner, address, freePort(t), ordersName))
	p := run(t, "gateway", "--config", config, "--listen", address, "--tls-cert", file("cert.pem", ""), "--tls-key", file("key.pem", ""))
	client := newClient(t)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	p.answers(t, client, "https://"+address+"/livez")
	checkSuites(t, address, roots)
	res, err := client.Get("http://" + address + "/livez")
	if err == nil {
		res.Body.Close()
		if res.StatusCode < http.StatusBadRequest {
			t.Errorf("in the clear: %s, want a refusal", res.Status)
		}
	}
	checkSuites(t, check, asking)
	next := x509.NewCertPool()
	next.AddCert(certificate(t, inner, 8))
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "proxies are shown the new certificate", func() error {
		conn, err := tls.Dial("tcp", check, &tls.Config{RootCAs: next})
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
