package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// proofKey is a client's key to prove possession of (RFC 9449).
type proofKey struct{ *ecdsa.PrivateKey }

func newProofKey(t *testing.T) proofKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return proofKey{k}
}

func (k proofKey) thumbprint() string { return (&jose.Key{Public: k.Public()}).Thumbprint() }

// proof is a fresh proof for one request.
func (k proofKey) proof(t *testing.T, method, url, access string, at time.Time) string {
	t.Helper()
	p, err := dpop.New(k, jose.ES256, method, url, access, at, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// proven adds a proof to a request to the token endpoint.
func (a *authority) proven(t *testing.T, q ask, k proofKey) ask {
	t.Helper()
	q.header.Set("DPoP", k.proof(t, http.MethodPost, a.issuer+"/token", "", time.Now()))
	return q
}

// TestProofRequests spoils the proof of a token request (RFC 9449 §5).
func TestProofRequests(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	key := newProofKey(t)
	good := func(t *testing.T) ask { return a.proven(t, own("service", api, ""), key) }
	with := func(method, url string, at time.Time) func(*ask) {
		return setHeader("DPoP", key.proof(t, method, url, "", at))
	}
	now, endpoint := time.Now(), a.issuer+"/token"
	used := key.proof(t, http.MethodPost, endpoint, "", now)
	q := own("service", api, "")
	q.header.Set("DPoP", used)
	a.grant(t, q)
	const bad = http.StatusBadRequest
	for _, s := range []spoiled{
		{"a proof used before", good, setHeader("DPoP", used), bad, "invalid_dpop_proof"},
		{"a proof for another endpoint", good, with(http.MethodPost, a.issuer+"/revoke", now), bad, "invalid_dpop_proof"},
		{"a proof for another host", good, with(http.MethodPost, "https://thief.example/token", now), bad, "invalid_dpop_proof"},
		{"a proof for another method", good, with(http.MethodGet, endpoint, now), bad, "invalid_dpop_proof"},
		{"an old proof", good, with(http.MethodPost, endpoint, now.Add(-time.Hour)), bad, "invalid_dpop_proof"},
		{"a proof from the future", good, with(http.MethodPost, endpoint, now.Add(time.Hour)), bad, "invalid_dpop_proof"},
		{"two proofs", good, setHeader("DPoP", key.proof(t, "POST", endpoint, "", now), key.proof(t, "POST", endpoint, "", now)), bad, "invalid_dpop_proof"},
		{"no proof but something", good, setHeader("DPoP", "x.y.z"), bad, "invalid_dpop_proof"},
		{"an empty proof", good, setHeader("DPoP", ""), bad, "invalid_dpop_proof"},
	} {
		s.run(t, a)
	}
	t.Run("one that is 10 s ahead", func(t *testing.T) {
		q := own("service", api, "")
		q.header.Set("DPoP", key.proof(t, http.MethodPost, endpoint+"?query=ignored#fragment", "", time.Now().Add(10*time.Second)))
		a.grant(t, q)
	})
}

// TestBoundToken: what a proof got is bound to its key (RFC 9449 §6).
func TestBoundToken(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	key := newProofKey(t)
	issued := a.grant(t, a.proven(t, own("service", api, ""), key))
	c, err := token.InsecureParse(issued.Access)
	if err != nil {
		t.Fatal(err)
	}
	want := key.thumbprint()
	if issued.Type != "DPoP" || c.Confirmation == nil || c.Confirmation.KeyThumbprint != want {
		t.Errorf("token_type %q, cnf %+v, want DPoP and %s", issued.Type, c.Confirmation, want)
	}
}

// TestBoundRefresh: a public client's refresh token is worth nothing without its
// key; a client that is marked gets no token without a proof (RFC 9449 §5).
func TestBoundRefresh(t *testing.T) {
	t.Parallel()
	a := serve(t, newSQLite(t))
	alice := a.person(t, "alice")
	key, thief := newProofKey(t), newProofKey(t)
	for _, id := range []string{"spa", "bound"} {
		issued := a.grant(t, a.proven(t, alice.allow(t, id, "offline_access orders:read"), key))
		good := func(t *testing.T) ask {
			q := a.proven(t, refreshing(id, issued.Refresh), key)
			return q
		}
		without := "invalid_grant"
		if id == "bound" {
			without = "invalid_dpop_proof"
		}
		const bad = http.StatusBadRequest
		for _, s := range []spoiled{
			{id + ": without a proof", good, setHeader("DPoP"), bad, without},
			{id + ": with another key", good, setHeader("DPoP", thief.proof(t, http.MethodPost, a.issuer+"/token", "", time.Now())), bad, "invalid_grant"},
		} {
			s.run(t, a)
		}
	}
	t.Run("no code without a proof", func(t *testing.T) {
		redeem := alice.allow(t, "bound", "orders:read")
		if r := a.send(t, redeem); r.code() != "invalid_dpop_proof" {
			t.Errorf("status %d, body %s, want invalid_dpop_proof", r.status, r.body)
		}
		a.grant(t, a.proven(t, redeem, key))
	})
	t.Run("a code bound to a key", func(t *testing.T) {
		redeem := alice.allow(t, "spa", "orders:read", func(v url.Values) { v.Set("dpop_jkt", key.thumbprint()) })
		if r := a.send(t, redeem); r.code() != "invalid_grant" {
			t.Errorf("without a proof: status %d, body %s, want invalid_grant", r.status, r.body)
		}
		if r := a.send(t, a.proven(t, redeem, thief)); r.code() != "invalid_grant" {
			t.Errorf("with another key: status %d, body %s, want invalid_grant", r.status, r.body)
		}
		a.grant(t, a.proven(t, redeem, key))
	})
}
