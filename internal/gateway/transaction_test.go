package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// A town is an issuer, a gateway of its trust domain, and a service behind it that
// takes nothing but transaction tokens.
type town struct {
	t       testing.TB
	issuer  *guardtest.Issuer
	gateway *Gateway
	url     string // of the gateway
	guard   *guard.Guard
	got     atomic.Pointer[http.Request] // that reached the service, admitted or not
	who     atomic.Pointer[token.Claims] // that it admitted
	logs    *journal
}

func newTown(t testing.TB, change func(*Config)) *town {
	t.Helper()
	town := &town{t: t, issuer: guardtest.NewIssuer(t), logs: new(journal)}
	domain := town.issuer.TrustDomain("orders:read", "orders:write")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	town.guard, err = guard.New(ctx, guard.Config{
		Issuer: town.issuer.URL(), Audience: inside, Credential: town.issuer.Credential, TrustDomain: domain, Logger: slog.New(slog.DiscardHandler),
		MaxStaleness: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	admitted := town.guard.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		town.who.Store(guard.From(r.Context()))
		fmt.Fprint(w, "from upstream")
	}))
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		town.got.Store(r)
		admitted.ServeHTTP(w, r)
	}))
	t.Cleanup(service.Close)
	server := httptest.NewUnstartedServer(nil)
	town.url = "http://" + server.Listener.Addr().String()
	read := []Rule{{Methods: []string{"GET"}, Scopes: []string{"orders:read"}}, {Methods: []string{"POST"}, Scopes: []string{"orders:write"}}}
	cfg := Config{
		Issuer: town.issuer.URL(), URL: town.url, ClientID: "gateway", ClientSecret: "s", TrustDomain: domain, MaxStaleness: time.Hour,
		Logger: slog.New(slog.NewTextHandler(town.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Routes: []Route{
			{Path: "/orders", Rules: read, Upstream: service.URL},
			{Path: "/all", Rules: []Rule{{}}, Upstream: service.URL},
			{Path: "/some", Rules: []Rule{{}}, Upstream: service.URL, UpstreamScopes: []string{"orders:write", "admin"}},
			{Path: "/open", Open: true, Upstream: service.URL},
			{Path: "/exchange", Rules: []Rule{{}}, Upstream: service.URL, UpstreamAudience: inside, Propagate: Exchange},
		},
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.rhythm.hear == 0 {
		cfg.rhythm.hear = 10 * time.Millisecond
	}
	if town.gateway, err = New(ctx, cfg); err != nil {
		server.Close()
		t.Fatal(err)
	}
	server.Config.Handler = town.gateway
	server.Start()
	t.Cleanup(func() { cancel(); server.CloseClientConnections(); server.Close(); <-town.gateway.Done() })
	soon, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for _, ready := range []func(context.Context) error{town.gateway.Ready, town.guard.Ready} {
		if err := ready(soon); err != nil {
			t.Fatalf("not ready: %v, log: %s", err, town.logs)
		}
	}
	return town
}

// caller is a request with alice's token for a route.
func (w *town) caller(path string, scopes ...string) *http.Request {
	return w.issuer.Request("GET", w.url+path, token.Claims{
		Subject: "alice", ClientID: "app", GrantID: "g-1", SessionID: "s-1", ACR: "pwd", AuthTime: time.Now().Add(-time.Minute).Truncate(time.Second),
		Audience: []string{w.url + path}, Scope: scope.Set(scopes),
	})
}

// do sends a request and returns the status.
func (w *town) do(r *http.Request) int {
	w.t.Helper()
	w.got.Store(nil)
	w.who.Store(nil)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// settled sends r until the service takes it: it may have to hear of the key first.
func (w *town) settled(r *http.Request) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status := w.do(r)
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("status %d after ten seconds, log: %s", status, w.logs)
		}
	}
}

// sent is the transaction token that reached the service.
func (w *town) sent() string {
	w.t.Helper()
	r := w.got.Load()
	if r == nil {
		w.t.Fatal("nothing reached the service")
	}
	if len(r.Header["Txn-Token"]) != 1 || len(r.Header["Authorization"]) > 0 {
		w.t.Fatalf("%d transaction tokens, Authorization %d, want one and none", len(r.Header["Txn-Token"]), len(r.Header["Authorization"]))
	}
	return r.Header["Txn-Token"][0]
}

func TestTransaction(t *testing.T) {
	w := newTown(t, nil)
	r := w.caller("/orders", "orders:read", "orders:write", "admin")
	w.settled(r)
	outer, err := token.InsecureParse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		t.Fatal(err)
	}
	c := w.who.Load()
	if c.Subject != "alice" || c.ClientID != "app" || c.GrantID != "g-1" || c.SessionID != "s-1" || c.ACR != "pwd" ||
		!c.AuthTime.Equal(outer.AuthTime) || c.Rev != outer.Rev || c.Issuer != outer.Issuer {
		t.Errorf("claims = %+v, want what the caller's token says", c)
	}
	if c.Scope.String() != "orders:read" || c.Workload != "gateway" || c.Actor.Subject != "gateway" || c.Actor.Actor != nil || c.RequestIP != "127.0.0.1" {
		t.Errorf("claims = %+v, want the rule's scope, and the gateway acting for a call from 127.0.0.1", c)
	}
	if len(c.Via) != 1 || c.Via[0] != outer.ID || c.ID == outer.ID || len(c.ID) != 24 || c.Confirmation != nil {
		t.Errorf("txn %q via %q of token %q, want an id of its own, and the token's in via", c.ID, c.Via, outer.ID)
	}
	if life := c.Expiry.Sub(c.IssuedAt); life > 2*time.Minute || c.Expiry.After(outer.Expiry) {
		t.Errorf("lives %v until %v, want two minutes at most, and no longer than %v", life, c.Expiry, outer.Expiry)
	}
	first := w.sent()
	if w.settled(r); w.sent() != first {
		t.Error("a second request of the same caller has another token, want the one that is kept")
	}
	// Another's request, and the same person's with another token, get their own.
	for _, other := range []*http.Request{w.caller("/orders", "orders:read"), w.caller("/orders", "orders:read")} {
		if w.settled(other); w.sent() == first {
			t.Error("a token was served to another caller")
		}
	}
}

func TestTransactionScopes(t *testing.T) {
	w := newTown(t, nil)
	w.settled(w.caller("/orders", "orders:read"))
	for name, test := range map[string]struct {
		path   string
		has    []string
		status int
		want   string
	}{
		"those of the rule":                   {"/orders", []string{"orders:read", "orders:write"}, 200, "orders:read"},
		"all, as far as the gateway may":      {"/all", []string{"admin", "orders:read", "orders:write"}, 200, "orders:read orders:write"},
		"those of the route, as far as had":   {"/some", []string{"orders:read", "orders:write"}, 200, "orders:write"},
		"those of the route, as far as may":   {"/some", []string{"admin", "orders:write"}, 200, "orders:write"},
		"none of the route":                   {"/some", []string{"orders:read"}, 403, ""},
		"none that the gateway may":           {"/some", []string{"admin"}, 403, ""},
		"none at all":                         {"/all", nil, 403, ""},
		"of a rule that the caller does lack": {"/orders", []string{"orders:write"}, 403, ""},
	} {
		status, got := w.do(w.caller(test.path, test.has...)), ""
		if c := w.who.Load(); c != nil {
			got = c.Scope.String()
		}
		if status != test.status || got != test.want {
			t.Errorf("%s: %d %q, want %d %q", name, status, got, test.status, test.want)
		}
	}
}

// TestTransactionDepth: a token that rests on too much, or came through too many
// hands, is refused and not cut short.
func TestTransactionDepth(t *testing.T) {
	w := newTown(t, nil)
	w.settled(w.caller("/orders", "orders:read"))
	actors := func(n int) (a *token.Actor) {
		for i := range n {
			a = &token.Actor{Issuer: w.issuer.URL(), Subject: fmt.Sprint("hop-", i), Actor: a}
		}
		return a
	}
	for name, test := range map[string]struct {
		via, actors, status int
	}{
		"seven in via": {7, 0, 200}, "eight in via": {8, 0, 403}, "three actors": {0, 3, 200}, "four actors": {0, 4, 403},
	} {
		c := token.Claims{Subject: "alice", Audience: []string{w.url + "/orders"}, Scope: scope.Set{"orders:read"}, Actor: actors(test.actors)}
		for i := range test.via {
			c.Via = append(c.Via, fmt.Sprint("t", i))
		}
		if got := w.do(w.issuer.Request("GET", w.url+"/orders", c)); got != test.status {
			t.Errorf("%s: %d, want %d", name, got, test.status)
		}
	}
}

// TestTransactionFromOutside: nobody brings one in, however it is spelled, and nobody
// makes the gateway take its own away.
func TestTransactionFromOutside(t *testing.T) {
	w := newTown(t, nil)
	w.settled(w.caller("/orders", "orders:read"))
	forged := w.issuer.Transaction(token.Claims{Subject: "mallory", Scope: scope.Set{"orders:read", "orders:write"}})
	for name, add := range map[string]http.Header{
		"header":              {"Txn-Token": {forged}},
		"two":                 {"Txn-Token": {forged, forged}},
		"underscore":          {"Txn_Token": {forged}},
		"dot":                 {"Txn.Token": {forged}},
		"lower case":          {"txn-token": {forged}},
		"named in Connection": {"Connection": {"Txn-Token"}, "Txn-Token": {forged}},
		"Authorization named": {"Connection": {"Authorization, Txn-Token"}},
		"workload":            {"Workload-Identity-Token": {forged}, "Workload-Proof-Token": {forged}},
	} {
		r := w.caller("/orders", "orders:read")
		for header, values := range add {
			r.Header[header] = values
		}
		if status := w.do(r); status != http.StatusOK {
			t.Errorf("%s: %d, want 200 as alice", name, status)
			continue
		}
		if got := w.sent(); got == forged || w.who.Load().Subject != "alice" {
			t.Errorf("%s: the service saw %s", name, w.who.Load().Subject)
		}
		for header, values := range w.got.Load().Header {
			if header != "Txn-Token" && (strings.Contains(strings.ToLower(header), "txn") || strings.Contains(strings.ToLower(header), "workload")) {
				t.Errorf("%s: %s reached the service with %d values", name, header, len(values))
			}
		}
	}
	// It opens no route either: where it stands alone, nobody called.
	r, err := http.NewRequest("GET", w.url+"/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Txn-Token", forged)
	if status := w.do(r); status != http.StatusUnauthorized {
		t.Errorf("a transaction token alone: %d, want 401", status)
	}
	r.Header.Set("Authorization", "Bearer "+forged)
	if status := w.do(r); status != http.StatusUnauthorized {
		t.Errorf("a transaction token as a bearer token: %d, want 401", status)
	}
	// An open route passes nothing on.
	r, err = http.NewRequest("GET", w.url+"/open", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Txn-Token", forged)
	if status := w.do(r); status != http.StatusUnauthorized || len(w.got.Load().Header["Txn-Token"]) > 0 {
		t.Errorf("open route: %d, want the service's own 401 without a token", status)
	}
}

// TestTransactionInAnOutage: while the issuer is down, callers go through whom nobody
// has seen before, at routes nobody has used.
func TestTransactionInAnOutage(t *testing.T) {
	w := newTown(t, nil)
	w.settled(w.caller("/orders", "orders:read"))
	fresh := []*http.Request{w.caller("/orders", "orders:read"), w.caller("/all", "orders:write"), w.caller("/some", "orders:write")}
	exchanged := w.caller("/exchange", "orders:read")
	w.issuer.SetDown(true)
	for _, r := range fresh {
		if status := w.do(r); status != http.StatusOK {
			t.Errorf("%s in an outage: %d, want 200", r.URL.Path, status)
		}
	}
	if status := w.do(exchanged); status != http.StatusServiceUnavailable {
		t.Errorf("an exchange in an outage: %d, want 503", status)
	}
}

// TestTransactionIsEnded: what ends the caller or the gateway ends what was minted,
// replayed at the service past the gateway.
func TestTransactionIsEnded(t *testing.T) {
	outer := "outer-1"
	for name, c := range map[string]token.Claims{
		"token": {ID: outer}, "grant": {GrantID: "g-1"}, "session": {SessionID: "s-1"}, "subject": {Subject: "alice"},
		"client": {ClientID: "app"}, "gateway": {ClientID: "gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, nil)
			w.settled(w.issuer.Request("GET", w.url+"/orders", token.Claims{
				ID: outer, Subject: "alice", ClientID: "app", GrantID: "g-1", SessionID: "s-1",
				Audience: []string{w.url + "/orders"}, Scope: scope.Set{"orders:read"},
			}))
			replay := httptest.NewRequest("GET", inside, nil)
			replay.Header.Set("Txn-Token", w.sent())
			if _, err := w.guard.Verify(replay, guard.Need{}); err != nil {
				t.Fatalf("before: %v", err)
			}
			w.issuer.Revoke(c)
			if _, err := w.guard.Verify(replay, guard.Need{}); err == nil {
				t.Error("admitted after the revocation")
			}
		})
	}
}

// TestKeyRotates: the next key signs once the issuer has had it for a while; no request
// is refused meanwhile.
func TestKeyRotates(t *testing.T) {
	w := newTown(t, func(c *Config) { c.rhythm = rhythm{rotate: 300 * time.Millisecond, settle: 1500 * time.Millisecond} })
	w.settled(w.caller("/orders", "orders:read"))
	kid := func() string {
		m, err := jose.Parse(w.sent())
		if err != nil {
			t.Fatal(err)
		}
		return m.Header.KeyID
	}
	first := kid()
	for deadline := time.Now().Add(10 * time.Second); kid() == first; time.Sleep(20 * time.Millisecond) {
		if status := w.do(w.caller("/orders", "orders:read")); status != http.StatusOK {
			t.Fatalf("status %d while the key rotates, log: %s", status, w.logs)
		}
		if time.Now().After(deadline) {
			t.Fatal("the key does not rotate")
		}
	}
}

// TestKeyIsRegisteredAgain: when a service does not take a token any more, the gateway
// asks the issuer again, but not for each request.
func TestKeyIsRegisteredAgain(t *testing.T) {
	var registered atomic.Int64
	w := newTown(t, func(c *Config) {
		c.rhythm.pause = 300 * time.Millisecond
		c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/inner/keys" {
				registered.Add(1)
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
	})
	r := w.caller("/orders", "orders:read")
	w.settled(r)
	before := registered.Load()
	w.gateway.mint.key.Load().private[0] ^= 1 // services refuse what it signs now
	start := time.Now()
	for registered.Load() < before+2 {
		if status := w.do(w.caller("/orders", "orders:read")); status != http.StatusUnauthorized {
			t.Fatalf("status %d, want the service's 401", status)
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%d registrations, want two more than %d", registered.Load(), before)
		}
	}
	if took := time.Since(start); took < 250*time.Millisecond {
		t.Errorf("two registrations within %v, want the pause between them", took)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestGatewayIsNotReadyWithoutItsKey: services would refuse all it sends.
func TestGatewayIsNotReadyWithoutItsKey(t *testing.T) {
	var open atomic.Bool
	w := newTown(t, func(c *Config) {
		c.rhythm.retry = 10 * time.Millisecond
		c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/inner/keys" && !open.Swap(true) {
				return &http.Response{StatusCode: 400, Status: "400 Bad Request", Body: http.NoBody, Header: http.Header{}, Request: r}, nil
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
	})
	if !strings.Contains(w.logs.String(), "key for transaction tokens not registered") {
		t.Errorf("log: %s, want word of the first attempt", w.logs)
	}
	cut := &Gateway{cfg: w.gateway.cfg, guard: w.gateway.guard, mint: &minter{known: make(chan struct{})}}
	cut.mint.key.Store(w.gateway.mint.fresh())
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := cut.Ready(ctx); err == nil || cut.ready() {
		t.Errorf("ready: %v, %t without a registered key, want neither", err, cut.ready())
	}
}

// TestJudgingRegistersNothing: who only asks what a gateway would do must not take the
// place of a key that is in use.
func TestJudgingRegistersNothing(t *testing.T) {
	var registered atomic.Int64
	w := newTown(t, func(c *Config) {
		c.Judging = true
		c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/inner/keys" {
				registered.Add(1)
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
	})
	if status := w.do(w.caller("/orders", "orders:read")); status != http.StatusUnauthorized {
		t.Errorf("status %d, want the service's 401 for a key that nobody knows", status)
	}
	if why := w.gateway.Why(w.caller("/orders", "orders:read")); why.Refusal != nil {
		t.Errorf("the gateway would refuse: %v", why.Refusal)
	}
	if n := registered.Load(); n != 0 {
		t.Errorf("%d registrations, want none", n)
	}
}

// TestKeyIsKept: over a restart the gateway goes on with the key that services know.
func TestKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	w := newTown(t, func(c *Config) { c.StateDir = dir })
	w.settled(w.caller("/orders", "orders:read"))
	key := w.gateway.mint.key.Load()
	cfg := w.gateway.cfg
	var again *minter
	waitFor(t, "the key is kept", func() bool {
		var err error
		again, err = newMinter(&cfg, nil)
		return err == nil && again.key.Load().public.ID == key.public.ID
	})
	if got := again.key.Load(); got.scope.String() != "orders:read orders:write" || !got.bounded {
		t.Errorf("the kept key may mint %q, want what the issuer said", got.scope)
	}
	if !again.ready() {
		t.Error("a kept key, which services know, needs no waiting")
	}
	info, err := os.Stat(cfg.keyFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	for name, change := range map[string]func(*Config){
		"another issuer": func(c *Config) { c.Issuer = "https://other.example" },
		"another client": func(c *Config) { c.ClientID = "other" },
		"another domain": func(c *Config) { c.TrustDomain = "other.example" },
		"days later":     func(c *Config) { c.Now = func() time.Time { return time.Now().Add(49 * time.Hour) } },
	} {
		other := cfg
		change(&other)
		if m, err := newMinter(&other, nil); err != nil || m.key.Load().public.ID == key.public.ID {
			t.Errorf("%s: the key is used, %v, want a new one", name, err)
		}
	}
	elsewhere := cfg
	elsewhere.StateDir = t.TempDir()
	if err := os.Symlink(cfg.keyFile(), elsewhere.keyFile()); err != nil {
		t.Fatal(err)
	}
	if _, err := newMinter(&elsewhere, nil); err == nil {
		t.Error("a key behind a link is used")
	}
	if err := os.Chmod(cfg.keyFile(), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := newMinter(&cfg, nil); err == nil {
		t.Error("a key that others can read is used")
	}
	if err := os.Chmod(cfg.keyFile(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.keyFile(), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newMinter(&cfg, nil); err == nil {
		t.Error("a file that is no key is used")
	}
}

func TestErrandsAreBounded(t *testing.T) {
	var e errands
	e.byKey = make(map[errand]minted)
	key, now := &innerKey{}, time.Unix(1800000000, 0)
	for i := range maxErrands + 100 {
		e.put(errand{outer: fmt.Sprint(i)}, minted{"t", key, now.Add(time.Minute)}, now)
	}
	if len(e.byKey) > maxErrands {
		t.Errorf("%d tokens are kept, want %d", len(e.byKey), maxErrands)
	}
	last := errand{outer: fmt.Sprint(maxErrands + 99)}
	if _, ok := e.get(last, key, now); !ok {
		t.Error("the last one is not kept")
	}
	if _, ok := e.get(last, &innerKey{}, now); ok {
		t.Error("a token is served whose key is no longer in use")
	}
	if _, ok := e.get(last, key, now.Add(time.Minute)); ok {
		t.Error("a token is served past half its life")
	}
	if _, ok := e.get(errand{outer: last.outer, ip: "192.0.2.1"}, key, now); ok {
		t.Error("a token is served to another address")
	}
}

func TestCallerOf(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct{ remote, line, want string }{
		{"192.0.2.1:1", "", "192.0.2.1"}, {"192.0.2.1:1", "198.51.100.9", "192.0.2.1"}, // who is no proxy says nothing
		{"10.0.0.1:1", "198.51.100.9", "198.51.100.9"}, {"10.0.0.1:1", "203.0.113.5, 198.51.100.9", "198.51.100.9"},
		{"10.0.0.1:1", "198.51.100.9, 10.0.0.2", "198.51.100.9"}, {"10.0.0.1:1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		{"10.0.0.1:1", "", "10.0.0.1"}, {"[2001:db8::1]:1", "", "2001:db8::1"},
		{"10.0.0.1:1", "unknown", ""}, {"10.0.0.1:1", "evil\r\n", ""}, {"@", "", ""},
	} {
		in := &http.Request{RemoteAddr: test.remote, Header: http.Header{}}
		if test.line != "" {
			in.Header.Set("X-Forwarded-For", test.line)
		}
		if got := callerOf(in, proxies); got != test.want {
			t.Errorf("from %s with %q: %q, want %q", test.remote, test.line, got, test.want)
		}
	}
}

func TestTrustDomainIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a URL":                    func(c *Config) { c.TrustDomain = "https://inside.example" },
		"no client":                func(c *Config) { c.ClientID, c.ClientSecret = "", "" },
		"state in no directory":    func(c *Config) { c.StateDir = "/nowhere/at/all" },
		"transaction without one":  func(c *Config) { c.TrustDomain, c.Routes[0].Propagate = "", Transaction },
		"another way to propagate": func(c *Config) { c.Routes[0].Propagate = "forward" },
	} {
		cfg := Config{
			Issuer: "http://127.0.0.1:1", URL: "http://127.0.0.1:2", ClientID: "gateway", ClientSecret: "s", TrustDomain: "inside.example",
			Routes: []Route{{Path: "/", Rules: []Rule{{}}, Upstream: "http://127.0.0.1:3"}}, Logger: slog.New(slog.DiscardHandler),
		}
		change(&cfg)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := New(ctx, cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// BenchmarkErrand is what a transaction token costs: kept, and minted anew.
func BenchmarkErrand(b *testing.B) {
	cfg := Config{Now: time.Now, ClientID: "gateway", TrustDomain: "inside.example", Logger: slog.New(slog.DiscardHandler)}
	m, err := newMinter(&cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	asked := scope.Set{"orders:read"}
	outer := &token.Claims{
		Issuer: "https://as.example", Subject: "u_1", ClientID: "app", ID: "t-1", GrantID: "g-1", Rev: 7, Audience: []string{"https://api.example"},
		Scope: scope.Set{"orders:read", "orders:write"}, IssuedAt: time.Now(), Expiry: time.Now().Add(time.Hour),
	}
	compact := strings.Repeat("x", 900)
	for name, kept := range map[string]bool{"kept": true, "minted": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !kept {
					clear(m.kept.byKey)
				}
				if _, err := m.token(errand{compact, "orders:read", "192.0.2.1"}, outer, asked); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTransactionForProxies: who asks before sending a request on is told the same
// token, and to remove what the client sent first.
func TestTransactionForProxies(t *testing.T) {
	w := newTown(t, nil)
	in := w.caller("/orders", "orders:read")
	in.RequestURI, in.Host = "/orders", strings.TrimPrefix(w.url, "http://")
	forged := w.issuer.Transaction(token.Claims{Subject: "mallory", Scope: scope.Set{"orders:read"}})
	in.Header.Set("Txn-Token", forged)
	v := w.gateway.Check(in)
	if !v.Allowed {
		t.Fatalf("verdict = %+v, want allowed", v)
	}
	answer := httptest.NewRecorder()
	v.answer(answer, in)
	minted := answer.Header().Get("Txn-Token")
	if minted == "" || minted == forged || minted != v.Header.Get("Txn-Token") {
		t.Errorf("the proxy is told a token of %d bytes, want the one that was minted", len(minted))
	}
	if got := answer.Header().Get("Authorization"); got != "" {
		t.Errorf("Authorization = %q, want none in the place of the client's", got)
	}
	if got := answer.Header().Get("Writ-Remove"); !strings.Contains(got, "Txn-Token") || !strings.Contains(got, "Authorization") {
		t.Errorf("Writ-Remove = %q, want the client's own of both", got)
	}
	r := httptest.NewRequest("GET", inside, nil)
	r.Header.Set("Txn-Token", minted)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		claims, err := w.guard.Verify(r, guard.Need{})
		if err == nil && claims.Subject == "alice" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service says %v, want alice", err)
		}
	}
}
