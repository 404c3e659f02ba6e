package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// bound makes requests with a token bound to a key of its own, and a proof that
// names url.
func (w *world) bound(audience string) func(path, url string) *http.Request {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	public := jose.Key{Alg: jose.ES256, Public: key.Public()}
	compact := w.issuer.Token(token.Claims{Audience: []string{audience}, Scope: []string{"orders:read"},
		Confirmation: &token.Confirmation{KeyThumbprint: public.Thumbprint()}})
	return func(path, url string) *http.Request {
		w.t.Helper()
		proof, err := dpop.New(key, jose.ES256, "GET", url, compact, time.Now(), rand.Text())
		if err != nil {
			w.t.Fatal(err)
		}
		return with(with(w.request("GET", path, ""), "Authorization", "DPoP "+compact), "Dpop", proof)
	}
}

// A client sends its token to another server by mistake, with a proof for that
// one. It must not hold here, by whatever name that server calls the gateway.
func TestProofForAnotherServer(t *testing.T) {
	w := newWorld(t, func(cfg *Config) {
		cfg.URL, cfg.TrustedProxies = "https://api.example", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		cfg.Routes[1].Host = "admin.example"
		cfg.Routes[1].Rules = []Rule{{}}
	})
	orders, admin := w.bound("https://api.example/orders"), w.bound("https://admin.example/orders/admin")
	for name, c := range map[string]struct {
		request *http.Request
		host    string
		status  int
	}{
		"ours":                         {orders("/orders/7", "https://api.example/orders/7"), "api.example", 200},
		"ours, under another name":     {orders("/orders/7", "https://api.example/orders/7"), "10.0.0.7:8401", 200},
		"another's":                    {orders("/orders/7", "https://evil.example/orders/7"), "api.example", 401},
		"another's, who calls us so":   {orders("/orders/7", "https://evil.example/orders/7"), "evil.example", 401},
		"another's, not over TLS":      {orders("/orders/7", "http://evil.example/orders/7"), "evil.example", 401},
		"another's, as the proxy said": {with(orders("/orders/7", "https://evil.example/orders/7"), "X-Forwarded-Host", "evil.example"), "api.example", 401},
		"the route's":                  {admin("/orders/admin", "https://admin.example/orders/admin"), "admin.example", 200},
		"another route's":              {admin("/orders/admin", "https://api.example/orders/admin"), "admin.example", 401},
	} {
		c.request.Host = c.host
		before := w.service.count()
		if res, body := w.do(c.request); res.StatusCode != c.status {
			t.Errorf("proof for %s: %s %s, want %d", name, res.Status, body, c.status)
		}
		if c.status != 200 {
			continue
		}
		if got := w.service.got(t, before+1).Header.Get("X-Forwarded-Host"); got != c.host {
			t.Errorf("proof for %s: the upstream was told of host %q, want %q", name, got, c.host)
		}
	}
}
