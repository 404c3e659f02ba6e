package guardtest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// errand is alice's call as it goes on inside.
var errand = token.Claims{Subject: "alice", ClientID: "app", Scope: scope.Set{"orders:read"}, GrantID: "g-1", SessionID: "s-1", Via: []string{"outer"}}

// forward asks g about a transaction token.
func forward(g *guard.Guard, compact string) (*token.Claims, error) {
	r := httptest.NewRequest(http.MethodGet, audience, nil)
	r.Header.Set("Txn-Token", compact)
	return g.Verify(r, guard.Need{})
}

// inside returns an issuer with a guard in its trust domain.
func inside(t *testing.T, change func(*guard.Config)) (*guardtest.Issuer, *guard.Guard) {
	t.Helper()
	i := guardtest.NewIssuer(t)
	return i, newGuard(t, i, func(c *guard.Config) {
		c.TrustDomain = i.TrustDomain("orders:read", "orders:write")
		if change != nil {
			change(c)
		}
	})
}

func TestEveryTransactionForgeryIsRefused(t *testing.T) {
	i, g := inside(t, nil)
	uncached := newGuard(t, i, func(c *guard.Config) { c.TrustDomain, c.CacheTokens = i.TrustDomain(), -1 })
	good := i.Transaction(errand)
	seen := map[string]bool{}
	for forgery, compact := range i.TransactionForgeries(errand) {
		if seen[forgery] {
			t.Errorf("two forgeries are called %q", forgery)
		}
		seen[forgery] = true
		for range 2 {
			for _, g := range []*guard.Guard{g, uncached} {
				if _, err := forward(g, compact); err == nil {
					t.Errorf("%s: admitted", forgery)
				}
				admitted(t, g, compact, forgery+", in Authorization", false)
			}
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d forgeries, want 100 or more", len(seen))
	}
	if _, err := forward(g, good); err != nil {
		t.Errorf("good twin: %v", err)
	}
	for forgery, compact := range i.Forgeries(alice) {
		if _, err := forward(g, compact); err == nil {
			t.Errorf("access token %q admitted as a transaction token", forgery)
		}
	}
}

func TestTransactionFillsIn(t *testing.T) {
	i, g := inside(t, nil)
	c, err := forward(g, i.Transaction(token.Claims{Scope: scope.Set{"orders:write"}}))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.ID) != 24 || c.Workload == "" || c.Actor == nil || c.Actor.Subject != c.Workload || c.Subject == "" {
		t.Errorf("claims = %+v, want id, workload, actor and subject", c)
	}
	if life := c.Expiry.Sub(c.IssuedAt).Minutes(); life < 1.9 || life > 2.1 {
		t.Errorf("token lives %v minutes, want 2", life)
	}
}

// TestRevokeReachesTransactions: what it was minted from names it.
func TestRevokeReachesTransactions(t *testing.T) {
	for name, c := range map[string]token.Claims{
		"the caller's token": {ID: "outer"}, "grant": {GrantID: "g-1"}, "session": {SessionID: "s-1"},
		"subject": {Subject: "alice"}, "client": {ClientID: "app"}, "gateway": {ClientID: "guardtest-gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			i, g := inside(t, nil)
			compact := i.Transaction(errand)
			if _, err := forward(g, compact); err != nil {
				t.Fatal(err)
			}
			i.Revoke(c)
			if _, err := forward(g, compact); err == nil {
				t.Error("admitted after the revocation")
			}
		})
	}
}

// TestRegisteredGateway: a gateway under test registers its key as at the real issuer.
func TestRegisteredGateway(t *testing.T) {
	i, g := inside(t, nil)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.Key{Alg: jose.Ed25519, Public: public}
	jwk, err := key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	credential, err := i.Credential(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		KeyID       string `json:"kid"`
		TrustDomain string `json:"trust_domain"`
		Scope       string `json:"scope"`
	}
	register := i.Token(token.Claims{ClientID: "gate", Subject: "gate", Audience: []string{i.URL() + "/feed"}, Scope: scope.Set{"keys:write"}})
	for _, bearer := range []string{"nonsense", credential, register} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL()+"/inner/keys", bytes.NewBufferString(fmt.Sprintf(`{"jwk":%s}`, jwk)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if good := bearer == register; (res.StatusCode == http.StatusOK) != good {
			t.Fatalf("status %d, want it taken: %t", res.StatusCode, good)
		} else if good {
			if err := json.NewDecoder(res.Body).Decode(&told); err != nil {
				t.Fatal(err)
			}
		}
	}
	if told.KeyID != key.Thumbprint() || told.TrustDomain != i.TrustDomain() || told.Scope != "orders:read orders:write" {
		t.Errorf("answer = %+v", told)
	}
	c := errand
	c.Workload = "gate" // whose token it was
	m, err := jose.Parse(i.Transaction(c))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jose.Sign(private, jose.Ed25519, jose.Header{Alg: jose.Ed25519, Typ: "txntoken+jwt", KeyID: told.KeyID}.Encode(), m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err = forward(g, compact); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a registered gateway's token is refused: %v", err)
		}
	}
}
