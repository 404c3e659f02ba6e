package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const inside = "inside.example"

// A gate is a gateway's key as it is published.
type gate struct {
	signer
	client, domain, scope string
	end                   time.Time
}

func newGate(t testing.TB, i *issuer, client string) gate {
	return gate{newSigner(t, client+"-key", jose.Ed25519), client, inside, "orders:read orders:write", i.in(48 * time.Hour)}
}

// gates publishes the keys of gateways.
func (i *issuer) gates(t testing.TB, all ...gate) {
	t.Helper()
	var entries []string
	for _, g := range all {
		jwk, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, fmt.Sprintf(`%s,"client_id":%q,"trust_domain":%q,"scope":%q,"exp":%d}`,
			strings.TrimSuffix(string(jwk), "}"), g.client, g.domain, g.scope, g.end.Unix()))
	}
	i.change(func() { i.inner = `{"keys":[` + strings.Join(entries, ",") + `]}` })
}

// errand is what a gateway makes of the caller's token.
func (i *issuer) errand(by string) token.Claims {
	c := i.claims()
	c.Via = []string{"outer-1"}
	c.Audience, c.Workload, c.Expiry = []string{inside}, by, i.in(2*time.Minute)
	c.Actor = &token.Actor{Issuer: i.URL, Subject: by}
	return c
}

func (g gate) mint(t testing.TB, c token.Claims) string {
	t.Helper()
	payload, err := c.EncodeTransaction()
	if err != nil {
		t.Fatal(err)
	}
	return g.sign(t, string(jose.Header{Alg: g.Alg, Typ: "txntoken+jwt", KeyID: g.ID}.Encode()), string(payload))
}

// errands carries a Txn-Token header for each value.
func errands(values ...string) *http.Request {
	r := request()
	for _, value := range values {
		r.Header.Add("Txn-Token", value)
	}
	return r
}

func inDomain(cfg *Config) { cfg.TrustDomain = inside }

func TestTransactionToken(t *testing.T) {
	i := newIssuer(t)
	front := newGate(t, i, "gateway")
	i.gates(t, front)
	g := i.guard(t, inDomain)
	compact := front.mint(t, i.errand("gateway"))
	for range 2 { // the second time from the cache
		claims, err := g.Verify(errands(compact), Need{Scopes: []string{"orders:read"}})
		if err != nil || claims.Workload != "gateway" || claims.Subject != "user-1" {
			t.Fatalf("claims = %+v, %v, want user-1 through gateway", claims, err)
		}
	}
	for name, n := range map[string]struct {
		need Need
		want string
	}{
		"scope it lacks": {Need{Scopes: []string{"orders:write"}}, ReasonScope},
		"a bound token":  {Need{ProofBound: true}, ReasonUnbound},
		"another acr":    {Need{ACR: []string{"high"}}, ReasonACR},
		"a recent login": {Need{MaxAge: time.Minute}, ReasonAge},
	} {
		if got := reason(t, g, errands(compact), n.need); got != n.want {
			t.Errorf("%s: reason = %q, want %q", name, got, n.want)
		}
	}
	// The other audiences of the guard take it too: it is for the domain.
	other, err := g.For("https://api.example/stock", ResourceMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, other, errands(compact), Need{}, "")
	expect(t, g, errands(compact), Need{}, "")
}

// TestOneCredential: a request says once who calls, in the header for it.
func TestOneCredential(t *testing.T) {
	i := newIssuer(t)
	front := newGate(t, i, "gateway")
	i.gates(t, front)
	g, outside := i.guard(t, inDomain), i.guard(t, nil)
	errand, access := front.mint(t, i.errand("gateway")), i.token(t, i.claims())
	with := func(r *http.Request, name, value string) *http.Request {
		r.Header[name] = append(r.Header[name], value)
		return r
	}
	for range 2 { // the second time both are in the cache
		for name, test := range map[string]struct {
			r    *http.Request
			want string
		}{
			"transaction token":                        {errands(errand), ""},
			"access token":                             {bearer(access), ""},
			"two transaction tokens":                   {errands(errand, errand), ReasonCredentials},
			"both":                                     {with(errands(errand), "Authorization", "Bearer "+access), ReasonCredentials},
			"a password beside":                        {with(errands(errand), "Authorization", "Basic eDp5"), ReasonCredentials},
			"an empty Authorization beside":            {with(errands(errand), "Authorization", ""), ReasonCredentials},
			"two in one line":                          {errands(errand + ", " + errand), ReasonForm},
			"empty":                                    {errands(""), ReasonForm},
			"with a scheme":                            {errands("Bearer " + errand), ReasonHeader},
			"too long":                                 {errands(errand + strings.Repeat("A", maxToken)), ReasonSize},
			"access token as transaction token":        {errands(access), ReasonType},
			"transaction token as bearer token":        {bearer(errand), ReasonType},
			"transaction token as bound token":         {request("DPoP " + errand), ReasonType},
			"underscore for dash":                      {with(request(), "Txn_token", errand), ReasonMissing},
			"underscore for dash, beside access token": {with(bearer(access), "Txn_Token", errand), ""},
		} {
			if got := reason(t, g, test.r, Need{}); got != test.want {
				t.Errorf("%s: reason = %q, want %q", name, got, test.want)
			}
		}
		expect(t, outside, errands(errand), Need{}, ReasonMissing)
		expect(t, outside, errands(errand, errand), Need{}, ReasonMissing)
		expect(t, outside, with(bearer(access), "Txn-Token", errand), Need{}, "")
		expect(t, outside, bearer(errand), Need{}, ReasonType)
	}
	_, err := g.Verify(errands(errand, errand), Need{})
	if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Status != http.StatusBadRequest || refusal.Code != "invalid_request" {
		t.Errorf("two tokens: %+v, want 400 invalid_request", refusal)
	}
}

// TestTransactionMandate: no gateway mints more than its key is published for, for no
// other domain and in no other's name; and keys of one kind sign nothing of the other.
func TestTransactionMandate(t *testing.T) {
	i := newIssuer(t)
	front, second, abroad := newGate(t, i, "gateway"), newGate(t, i, "second"), newGate(t, i, "abroad")
	abroad.domain = "other.example"
	i.gates(t, front, second, abroad)
	g := i.guard(t, inDomain)
	mint := func(by gate, change func(*token.Claims)) string {
		c := i.errand(by.client)
		change(&c)
		return by.mint(t, c)
	}
	header := func(typ, alg, kid string) string { return string(jose.Header{Alg: alg, Typ: typ, KeyID: kid}.Encode()) }
	c := i.errand("gateway")
	payload, err := c.EncodeTransaction()
	if err != nil {
		t.Fatal(err)
	}
	plain := i.claims()
	access, err := plain.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ compact, want string }{
		"good":                      {mint(second, func(*token.Claims) {}), ""},
		"all its scopes":            {mint(front, func(c *token.Claims) { c.Scope = scope.Set{"orders:read", "orders:write"} }), ""},
		"a scope beyond":            {mint(front, func(c *token.Claims) { c.Scope = scope.Set{"admin", "orders:read"} }), ReasonMandate},
		"another gateway's name":    {mint(second, func(c *token.Claims) { c.Workload = "gateway" }), ReasonMandate},
		"another gateway acts":      {mint(second, func(c *token.Claims) { c.Actor.Subject = "gateway" }), ReasonMandate},
		"another in both":           {mint(second, func(c *token.Claims) { c.Workload, c.Actor.Subject = "gateway", "gateway" }), ReasonMandate},
		"nobody acts":               {mint(front, func(c *token.Claims) { c.Actor = nil }), ReasonMandate},
		"an actor of elsewhere":     {mint(front, func(c *token.Claims) { c.Actor.Issuer = "https://b.example" }), ReasonMandate},
		"a hidden actor":            {mint(front, func(c *token.Claims) { c.Actor = &token.Actor{Subject: "x", Actor: c.Actor} }), ReasonMandate},
		"the domain of its key":     {mint(abroad, func(c *token.Claims) { c.Audience = []string{"other.example"} }), ReasonAudience},
		"this domain by its key":    {mint(abroad, func(*token.Claims) {}), ReasonMandate},
		"another domain":            {mint(front, func(c *token.Claims) { c.Audience = []string{"other.example"} }), ReasonMandate},
		"the API instead":           {mint(front, func(c *token.Claims) { c.Audience = []string{audience} }), ReasonMandate},
		"another issuer":            {mint(front, func(c *token.Claims) { c.Issuer = "https://b.example" }), ReasonIssuer},
		"a long life":               {mint(front, func(c *token.Claims) { c.Expiry = i.in(6 * time.Minute) }), ReasonMandate},
		"five minutes":              {mint(front, func(c *token.Claims) { c.Expiry = i.in(5 * time.Minute) }), ""},
		"expired":                   {mint(front, func(c *token.Claims) { c.IssuedAt, c.Expiry = i.in(-3*time.Minute), i.in(-time.Minute) }), ReasonExpired},
		"from the future":           {mint(front, func(c *token.Claims) { c.IssuedAt, c.Expiry = i.in(2*time.Minute), i.in(4*time.Minute) }), ReasonEarly},
		"key of access tokens":      {i.key.sign(t, header("txntoken+jwt", i.key.Alg, i.key.ID), string(payload)), ReasonKey},
		"key of the feed":           {i.feeder.Load().sign(t, header("txntoken+jwt", i.feeder.Load().Alg, i.feeder.Load().ID), string(payload)), ReasonKey},
		"unknown key":               {newGate(t, i, "third").sign(t, header("txntoken+jwt", jose.Ed25519, "third-key"), string(payload)), ReasonKey},
		"unknown key, known kid":    {newGate(t, i, "third").sign(t, header("txntoken+jwt", jose.Ed25519, front.ID), string(payload)), ReasonSignature},
		"no kid":                    {front.sign(t, header("txntoken+jwt", jose.Ed25519, ""), string(payload)), ReasonKey},
		"another alg than its key":  {front.sign(t, header("txntoken+jwt", jose.ES256, front.ID), string(payload)), ReasonAlgorithm},
		"typ JWT":                   {front.sign(t, header("JWT", jose.Ed25519, front.ID), string(payload)), ReasonType},
		"no typ":                    {front.sign(t, header("", jose.Ed25519, front.ID), string(payload)), ReasonType},
		"typ in capitals":           {front.sign(t, header("application/TxnToken+JWT", jose.Ed25519, front.ID), string(payload)), ""},
		"claims of an access token": {front.sign(t, header("txntoken+jwt", jose.Ed25519, front.ID), string(access)), ReasonClaims},
	} {
		if got := reason(t, g, errands(test.compact), Need{}); got != test.want {
			t.Errorf("%s: reason = %q, want %q", name, got, test.want)
		}
	}
	// And the other way round: no gateway signs access tokens.
	for name, compact := range map[string]string{
		"gateway's key":                      front.sign(t, header("at+jwt", jose.Ed25519, front.ID), string(access)),
		"issuer's key, transaction's claims": i.key.sign(t, i.header(), string(payload)),
	} {
		if got := reason(t, g, bearer(compact), Need{}); got != ReasonKey && got != ReasonClaims {
			t.Errorf("access token by %s: reason = %q, want a refusal", name, got)
		}
	}
}

// TestTransactionRevocation: what ends the caller's token, what it rests on or the
// gateway ends what was minted from it, also when it is replayed from the cache.
func TestTransactionRevocation(t *testing.T) {
	for name, rule := range map[string]struct {
		kind  feed.Kind
		value string
		want  string
	}{
		"itself":             {feed.KindToken, "txn-1", ReasonRevoked},
		"the caller's token": {feed.KindToken, "outer-1", ReasonRevoked},
		"grant":              {feed.KindGrant, "grant-1", ReasonRevoked},
		"session":            {feed.KindSession, "session-1", ReasonRevoked},
		"subject":            {feed.KindSubject, "user-1", ReasonRevoked},
		"client":             {feed.KindClient, "client-1", ReasonRevoked},
		"both":               {feed.KindPair, feed.Pair("user-1", "client-1"), ReasonRevoked},
		"gateway":            {feed.KindClient, "gateway", ReasonRevoked},
		"gateway as actor":   {feed.KindActor, "gateway", ReasonRevoked},
		"its key":            {feed.KindSigningKey, "gateway-key", ReasonRevoked},
		"everything":         {feed.KindEverything, feed.Any, ReasonRevoked},
		"somebody else":      {feed.KindSubject, "user-2", ""},
		"another gateway":    {feed.KindClient, "second", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			front := newGate(t, i, "gateway")
			i.gates(t, front)
			g := i.guard(t, inDomain)
			c := i.errand("gateway")
			c.ID = "txn-1"
			compact := front.mint(t, c)
			expect(t, g, errands(compact), Need{}, "")
			i.rule(rule.kind, rule.value, feed.End)
			settled(t, g, i)
			expect(t, g, errands(compact), Need{}, rule.want)
		})
	}
}

// TestGatewayKeyGoes: a client that is switched off, a narrower scope and the key's own
// end take effect on tokens that were admitted before, and on requests under way.
func TestGatewayKeyGoes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(i *issuer, front gate) []gate
		want   string
	}{
		"switched off":   {func(*issuer, gate) []gate { return nil }, ReasonKey},
		"narrowed":       {func(_ *issuer, g gate) []gate { g.scope = "orders:write"; return []gate{g} }, ReasonMandate},
		"another domain": {func(_ *issuer, g gate) []gate { g.domain = "other.example"; return []gate{g} }, ReasonMandate},
		"another client": {func(_ *issuer, g gate) []gate { g.client = "second"; return []gate{g} }, ReasonMandate},
		"prolonged":      {func(_ *issuer, g gate) []gate { g.end = g.end.Add(time.Hour); return []gate{g} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			front := newGate(t, i, "gateway")
			i.gates(t, front)
			g := i.guard(t, inDomain)
			compact := front.mint(t, i.errand("gateway"))
			running, release, err := g.Admit(errands(compact), Need{})
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			i.gates(t, test.change(i, front)...)
			i.keysChanged()
			if test.want == "" {
				settled(t, g, i)
				expect(t, g, errands(compact), Need{}, "")
				return
			}
			eventually(t, "the token is refused", func() bool { return reason(t, g, errands(compact), Need{}) == test.want })
			eventually(t, "the request under way ends", func() bool { return errors.Is(context.Cause(running), ErrEnded) })
		})
	}
}

// TestGatewayKeysInAnOutage: they are kept as the issuer's own are, until their end.
func TestGatewayKeysInAnOutage(t *testing.T) {
	i := newIssuer(t)
	front := newGate(t, i, "gateway")
	i.gates(t, front)
	g := i.guard(t, func(cfg *Config) { inDomain(cfg); cfg.WhenStale = Stale{Do: Allow, For: 100 * time.Hour} })
	expect(t, g, errands(front.mint(t, i.errand("gateway"))), Need{}, "")
	i.change(func() { i.down, i.mute = true, true })
	i.advance(20 * time.Hour)
	expect(t, g, errands(front.mint(t, i.errand("gateway"))), Need{}, "")
	i.advance(3 * time.Hour)
	i.change(func() { i.down, i.mute = false, false })
	settled(t, g, i)
	front.end = i.in(2 * time.Hour)
	i.gates(t, front)
	i.keysChanged()
	long := front.mint(t, i.errand("gateway"))
	expect(t, g, errands(long), Need{}, "")
	eventually(t, "the nearer end is known", func() bool {
		terms, _ := g.inner.Terms(g.inner.Lookup(front.ID))
		return terms.Expiry.Equal(front.end)
	})
	i.change(func() { i.down, i.mute = true, true })
	i.advance(2 * time.Hour)
	expect(t, g, errands(front.mint(t, i.errand("gateway"))), Need{}, ReasonKey)
}

// TestTransactionIsNotIntrospected: the issuer did not make it and would call it
// inactive; what was to happen if it cannot be asked happens.
func TestTransactionIsNotIntrospected(t *testing.T) {
	for name, test := range map[string]struct {
		otherwise Action
		want      string
	}{"denied": {Deny, ReasonStale}, "allowed": {Allow, ""}} {
		i := newIssuer(t)
		front := newGate(t, i, "gateway")
		i.gates(t, front)
		g := i.guard(t, func(cfg *Config) {
			inDomain(cfg)
			cfg.WhenStale = Stale{Do: Introspect, For: time.Hour, Else: test.otherwise}
		})
		i.change(func() { i.mute = true })
		i.advance(time.Minute)
		if got := reason(t, g, errands(front.mint(t, i.errand("gateway"))), Need{}); got != test.want {
			t.Errorf("%s: reason = %q, want %q", name, got, test.want)
		}
	}
}

// TestGatewayKeysOnDisk: a service that starts while the issuer is down takes what its
// gateways mint, within the terms that it knew, until the end of each key.
func TestGatewayKeysOnDisk(t *testing.T) {
	i := newIssuer(t)
	front, short := newGate(t, i, "gateway"), newGate(t, i, "short")
	short.end = i.in(5 * time.Minute)
	i.gates(t, front, short)
	path := filepath.Join(t.TempDir(), "guard.state")
	g, end := life(t, i, path, inDomain)
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, g, i)
	end()
	i.fall(true)
	g, _ = life(t, i, path, func(cfg *Config) { inDomain(cfg); cfg.WhenStale = Stale{Do: Allow, For: time.Hour} })
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	beyond := i.errand("gateway")
	beyond.Scope = scope.Set{"admin"}
	expect(t, g, errands(front.mint(t, i.errand("gateway"))), Need{}, "")
	expect(t, g, errands(short.mint(t, i.errand("short"))), Need{}, "")
	expect(t, g, errands(front.mint(t, beyond)), Need{}, ReasonMandate)
	expect(t, g, errands(newGate(t, i, "third").mint(t, i.errand("third"))), Need{}, ReasonKey)
	i.advance(6 * time.Minute)
	expect(t, g, errands(front.mint(t, i.errand("gateway"))), Need{}, "")
	expect(t, g, errands(short.mint(t, i.errand("short"))), Need{}, ReasonKey)
	outside, _ := life(t, i, path, func(cfg *Config) { cfg.WhenStale = Stale{Do: Allow, For: time.Hour} })
	expect(t, outside, errands(front.mint(t, i.errand("gateway"))), Need{}, ReasonMissing)
}

// TestNewGatewayKey: a key that was registered a moment ago is found.
func TestNewGatewayKey(t *testing.T) {
	i := newIssuer(t)
	i.gates(t)
	g := i.guard(t, inDomain)
	front := newGate(t, i, "gateway")
	compact := front.mint(t, i.errand("gateway"))
	i.gates(t, front)
	eventually(t, "the key is found", func() bool { return reason(t, g, errands(compact), Need{}) == "" })
}

// TestInnerKeysNeedTheCredential: one that the issuer does not take is given back.
func TestInnerKeysNeedTheCredential(t *testing.T) {
	i := newIssuer(t)
	i.gates(t, newGate(t, i, "gateway"))
	var refused atomic.Bool
	i.guard(t, func(cfg *Config) {
		inDomain(cfg)
		cfg.Credential = func(context.Context) (string, error) {
			if refused.Load() {
				return "feed-credential", nil
			}
			return "old", nil
		}
		cfg.Refused = func(bad string) { refused.Store(bad == "old" || refused.Load()) }
	}) // is ready
	if !refused.Load() {
		t.Error("the credential that was refused is not given back")
	}
}

func TestTrustDomainIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a URL":         func(cfg *Config) { cfg.TrustDomain = "https://inside.example" },
		"capitals":      func(cfg *Config) { cfg.TrustDomain = "Inside.example" },
		"no credential": func(cfg *Config) { cfg.TrustDomain, cfg.Credential = inside, nil },
	} {
		cfg := Config{Issuer: "https://as.example", Audience: audience, Credential: func(context.Context) (string, error) { return "", nil }}
		change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
