package grpcguard_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A holder has a token that is bound to a key.
type holder struct {
	key   *ecdsa.PrivateKey
	token string
}

func newHolder(t *testing.T, h *house) holder {
	t.Helper()
	o := holder{key: newKey(t)}
	c := claims("alice")
	public := jose.Key{Alg: jose.ES256, Public: o.key.Public()}
	c.Confirmation = &token.Confirmation{KeyThumbprint: public.Thumbprint()}
	o.token = h.issuer.Token(c)
	return o
}

func (o holder) proof(t *testing.T, method, url string) string {
	t.Helper()
	proof, err := dpop.New(o.key, jose.ES256, method, url, o.token, time.Now(), rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// TestProof: RFC 9449 over gRPC, where a request's URL is made of authority and
// method.
func TestProof(t *testing.T) {
	h := newHouse(t, every(), &service{}, settings{})
	o, thief := newHolder(t, h), newHolder(t, h)
	thief.token = o.token
	const here = "http://orders.example" + prefix
	used := o.proof(t, "POST", here+"UnaryCall")
	for _, row := range []struct {
		name   string
		scheme string
		proofs []string
		want   string
	}{
		{"good", "DPoP", []string{used}, ""},
		{"used proof", "DPoP", []string{used}, guard.ReasonReplay},
		{"scheme in lower case", "dpop", []string{o.proof(t, "POST", here+"UnaryCall")}, ""},
		{"as Bearer", "Bearer", []string{o.proof(t, "POST", here+"UnaryCall")}, guard.ReasonBinding},
		{"no proof", "DPoP", nil, guard.ReasonProof},
		{"two proofs", "DPoP", []string{o.proof(t, "POST", here+"UnaryCall"), o.proof(t, "POST", here+"UnaryCall")}, guard.ReasonProof},
		{"by a thief's key", "DPoP", []string{thief.proof(t, "POST", here+"UnaryCall")}, guard.ReasonBinding},
		{"for another method", "DPoP", []string{o.proof(t, "POST", here+"EmptyCall")}, guard.ReasonProof},
		{"for another service", "DPoP", []string{o.proof(t, "POST", "http://orders.example/other.Service/UnaryCall")}, guard.ReasonProof},
		{"for another authority", "DPoP", []string{o.proof(t, "POST", "http://evil.example"+prefix+"UnaryCall")}, guard.ReasonProof},
		{"for https", "DPoP", []string{o.proof(t, "POST", "https://orders.example"+prefix+"UnaryCall")}, guard.ReasonProof},
		{"for GET", "DPoP", []string{o.proof(t, "GET", here+"UnaryCall")}, guard.ReasonProof},
	} {
		t.Run(row.name, func(t *testing.T) {
			md := []string{"authorization", row.scheme + " " + o.token}
			for _, proof := range row.proofs {
				md = append(md, "dpop", proof)
			}
			if row.want != "" { // a good proof counts once, and so only over gRPC
				h.compare(t, "UnaryCall", md, guard.Need{}, row.want)
				return
			}
			_, err := h.UnaryCall(as(t, md...), &grpc_testing.SimpleRequest{})
			wantCode(t, err, codes.OK)
		})
	}
	s, err := h.FullDuplexCall(as(t, "authorization", "DPoP "+o.token, "dpop", o.proof(t, "POST", here+"FullDuplexCall")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("stream with a proof = %v, want EOF", err)
	}
}

// TestProofBehindProxy: the word of a proxy on the caller's URL counts if the
// guard believes that address, and nobody else's.
func TestProofBehindProxy(t *testing.T) {
	const outer = "https://api.example" + prefix + "UnaryCall"
	for name, row := range map[string]struct {
		proxies string
		want    codes.Code
	}{
		"proxy":     {"127.0.0.0/8", codes.OK},
		"elsewhere": {"192.0.2.0/24", codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, every(), &service{}, settings{guard: func(c *guard.Config) {
				c.Proxies = []netip.Prefix{netip.MustParsePrefix(row.proxies)}
			}})
			o := newHolder(t, h)
			_, err := h.UnaryCall(as(t, "authorization", "DPoP "+o.token, "dpop", o.proof(t, "POST", outer),
				"x-forwarded-proto", "https", "x-forwarded-host", "api.example"), &grpc_testing.SimpleRequest{})
			wantCode(t, err, row.want)
		})
	}
}

// certificate is self-signed.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"orders.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestTLS: the certificate of the connection counts (RFC 8705 §3), and a proof
// is for https.
func TestTLS(t *testing.T) {
	server, client := certificate(t), certificate(t)
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Leaf)
	h := newHouse(t, every(), &service{}, settings{
		server: []grpc.ServerOption{grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert,
		}))},
		client: grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{client}, RootCAs: trusted, ServerName: "orders.example",
		})),
	})
	for name, row := range map[string]struct {
		bound []byte
		want  codes.Code
	}{
		"own certificate":     {client.Leaf.Raw, codes.OK},
		"another certificate": {server.Leaf.Raw, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			sum := sha256.Sum256(row.bound)
			c := claims("alice")
			c.Confirmation = &token.Confirmation{CertThumbprint: base64.RawURLEncoding.EncodeToString(sum[:])}
			_, err := h.UnaryCall(h.bearer(t, c), &grpc_testing.SimpleRequest{})
			wantCode(t, err, row.want)
		})
	}
	o := newHolder(t, h)
	for url, want := range map[string]codes.Code{
		"https://orders.example" + prefix + "UnaryCall": codes.OK,
		"http://orders.example" + prefix + "UnaryCall":  codes.Unauthenticated,
	} {
		_, err := h.UnaryCall(as(t, "authorization", "DPoP "+o.token, "dpop", o.proof(t, "POST", url)), &grpc_testing.SimpleRequest{})
		wantCode(t, err, want)
	}
}
