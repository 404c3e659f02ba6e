package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// holder is a client with a key of its own.
type holder struct {
	*issuer
	key signer
}

func newHolder(t testing.TB, i *issuer) holder {
	return holder{i, newSigner(t, "", jose.ES256)}
}

// token is bound to the holder's key.
func (h holder) token(t testing.TB) string {
	t.Helper()
	c := h.claims()
	c.Confirmation = &token.Confirmation{KeyThumbprint: h.key.Thumbprint()}
	return h.issuer.token(t, c)
}

func (h holder) proof(t testing.TB, method, url, compact string, at time.Time) string {
	t.Helper()
	proof, err := dpop.New(h.key.private, h.key.Alg, method, url, compact, at, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func withProofs(authorization string, proofs ...string) *http.Request {
	r := request(authorization)
	for _, proof := range proofs {
		r.Header.Add("DPoP", proof)
	}
	return r
}

func TestProof(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	h, thief := newHolder(t, i), newHolder(t, i)
	bound, plain := h.token(t), i.token(t, i.claims())
	url := audience + "/17"
	proof := func() string { return h.proof(t, "GET", url, bound, i.now()) }
	used := proof()
	expect(t, g, withProofs("DPoP "+bound, used), Need{ProofBound: true}, "")

	for _, row := range []struct {
		name string
		r    *http.Request
		want string
	}{
		{"good", withProofs("DPoP "+bound, proof()), ""},
		{"scheme in lower case", withProofs("dpop "+bound, proof()), ""},
		{"host in upper case, own port, query", withProofs("DPoP "+bound, h.proof(t, "GET", "HTTPS://API.example:443/orders/17?x=y", bound, i.now())), ""},
		{"ten seconds old", withProofs("DPoP "+bound, h.proof(t, "GET", url, bound, i.now().Add(-10*time.Second))), ""},
		{"ten seconds ahead", withProofs("DPoP "+bound, h.proof(t, "GET", url, bound, i.now().Add(10*time.Second))), ""},

		{"bound token as Bearer", request("Bearer " + bound), ReasonBinding},
		{"bound token as Bearer, with a proof", withProofs("Bearer "+bound, proof()), ReasonBinding},
		{"plain token as DPoP", withProofs("DPoP "+plain, h.proof(t, "GET", url, plain, i.now())), ReasonBinding},
		{"no proof", withProofs("DPoP " + bound), ReasonProof},
		{"two proofs", withProofs("DPoP "+bound, proof(), proof()), ReasonProof},
		{"used proof", withProofs("DPoP "+bound, used), ReasonReplay},
		{"proof by a thief's key", withProofs("DPoP "+bound, thief.proof(t, "GET", url, bound, i.now())), ReasonBinding},
		{"for another method", withProofs("DPoP "+bound, h.proof(t, "POST", url, bound, i.now())), ReasonProof},
		{"for another path", withProofs("DPoP "+bound, h.proof(t, "GET", audience, bound, i.now())), ReasonProof},
		{"for another host", withProofs("DPoP "+bound, h.proof(t, "GET", "https://evil.example/orders/17", bound, i.now())), ReasonProof},
		{"for http", withProofs("DPoP "+bound, h.proof(t, "GET", "http://api.example/orders/17", bound, i.now())), ReasonProof},
		{"for another token", withProofs("DPoP "+bound, h.proof(t, "GET", url, plain, i.now())), ReasonProof},
		{"for no token", withProofs("DPoP "+bound, h.proof(t, "GET", url, "", i.now())), ReasonProof},
		{"an hour old", withProofs("DPoP "+bound, h.proof(t, "GET", url, bound, i.now().Add(-time.Hour))), ReasonProof},
		{"an hour ahead", withProofs("DPoP "+bound, h.proof(t, "GET", url, bound, i.now().Add(time.Hour))), ReasonProof},
		{"the token as the proof", withProofs("DPoP "+bound, bound), ReasonProof},
	} {
		t.Run(row.name, func(t *testing.T) { expect(t, g, row.r, Need{}, row.want) })
	}
}

// A thief's proofs must not use up the ids of the holder's.
func TestForeignProofIsNotRemembered(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	h, thief := newHolder(t, i), newHolder(t, i)
	bound := h.token(t)
	url := audience + "/17"
	id := rand.Text()
	for _, c := range []struct {
		by   holder
		want string
	}{{thief, ReasonBinding}, {h, ""}, {h, ReasonReplay}} {
		proof, err := dpop.New(c.by.key.private, c.by.key.Alg, "GET", url, bound, i.now(), id)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, g, withProofs("DPoP "+bound, proof), Need{}, c.want)
	}
}

func TestProofURLBehindProxies(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	h := newHolder(t, i)
	bound := h.token(t)
	for _, row := range []struct {
		name, remote string
		headers      http.Header
		url          string
		want         string
	}{
		{"direct", "203.0.113.9:5", nil, "http://inner.local/orders/a%2Fb", ""},
		{"proxy", "192.0.2.1:5", http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"api.example"}}, "https://api.example/orders/a%2Fb", ""},
		{"proxy over IPv6", "[::ffff:192.0.2.1]:5", http.Header{"X-Forwarded-Proto": {"https"}}, "https://inner.local/orders/a%2Fb", ""},
		{"headers from elsewhere", "203.0.113.9:5", http.Header{"X-Forwarded-Host": {"evil.example"}}, "http://evil.example/orders/a%2Fb", ReasonProof},
		{"header sent along by the caller", "192.0.2.1:5", http.Header{"X-Forwarded-Host": {"evil.example", "api.example"}}, "http://evil.example/orders/a%2Fb", ReasonProof},
		{"list sent along by the caller", "192.0.2.1:5", http.Header{"X-Forwarded-Host": {"evil.example, api.example"}}, "http://evil.example/orders/a%2Fb", ReasonProof},
		{"no address", "@", http.Header{"X-Forwarded-Host": {"api.example"}}, "http://api.example/orders/a%2Fb", ReasonProof},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://inner.local/orders/a%2Fb?q", nil)
			r.RemoteAddr = row.remote
			for name, values := range row.headers {
				r.Header[name] = values
			}
			r.Header.Set("Authorization", "DPoP "+bound)
			r.Header.Set("DPoP", h.proof(t, "GET", row.url, bound, i.now()))
			expect(t, g, r, Need{}, row.want)
		})
	}
}

func TestCertificate(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	own := &x509.Certificate{Raw: []byte("own")}
	other := &x509.Certificate{Raw: []byte("other")}
	sum := sha256.Sum256(own.Raw)
	c := i.claims()
	c.Confirmation = &token.Confirmation{CertThumbprint: base64.RawURLEncoding.EncodeToString(sum[:])}
	compact := i.token(t, c)
	for _, row := range []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{"own", []*x509.Certificate{own}, ""},
		{"another", []*x509.Certificate{other}, ReasonBinding},
		{"own behind another", []*x509.Certificate{other, own}, ReasonBinding},
		{"none", nil, ReasonBinding},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := bearer(compact)
			r.TLS = &tls.ConnectionState{PeerCertificates: row.chain}
			expect(t, g, r, Need{ProofBound: true}, row.want)
		})
	}
	r := bearer(compact)
	r.TLS = nil
	expect(t, g, r, Need{}, ReasonBinding)

	h := newHolder(t, i)
	proof := h.proof(t, "GET", audience+"/17", compact, i.now())
	r = withProofs("DPoP "+compact, proof)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{own}}
	expect(t, g, r, Need{}, ReasonBinding) // the token does not name the proof's key
}
