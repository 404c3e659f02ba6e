package gateway

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// audience is what both doors are, to clients.
const audience = "http://api.example/orders"

// A court is a service that uses the SDK and a gateway, behind which stands
// another. Both trust one issuer and are one resource to clients, so that one
// request, byte by byte, can be put to both.
type court struct {
	*world
	doors        []*door // SDK, gateway, and what asks it
	elsewhere    *guardtest.Issuer
	evil         *httptest.Server // no one has a reason to ask it
	asked        atomic.Int64     // requests that evil got
	kid          string           // of the issuer's key
	elsewhereKid string
	holder       *ecdsa.PrivateKey // whose key bound tokens name
	thief        *ecdsa.PrivateKey
	ahead        atomic.Int64 // nanoseconds that the doors' clock is ahead
}

// A door is what judges, and who stands behind it.
type door struct {
	name    string
	address string
	reached atomic.Int64             // requests that came through
	refused func() map[string]uint64 // the guard's own count, by reason
	apart   bool                     // the guard is in another process, which has its own count and clock
}

// serve is the service behind a door. It says whose request it got.
func (d *door) serve(w http.ResponseWriter, c *token.Claims) {
	d.reached.Add(1)
	fmt.Fprint(w, c.Subject)
}

func newCourt(t *testing.T) *court {
	t.Helper()
	c := &court{elsewhere: guardtest.NewIssuer(t), holder: newKey(t), thief: newKey(t)}
	c.world = newWorld(t, func(cfg *Config) {
		own := c.config(cfg.Routes[0].Upstream)
		cfg.URL, cfg.Now, cfg.MaxStaleness, cfg.Routes = own.URL, own.Now, own.MaxStaleness, own.Routes
	})
	front := &door{name: "gateway", address: strings.TrimPrefix(c.url, "http://"),
		refused: func() map[string]uint64 { return c.gateway.guard.State().Refusals }}
	c.service.mux.HandleFunc("/orders/", func(w http.ResponseWriter, r *http.Request) { c.welcome(t, front, w, r) })
	c.doors = []*door{c.direct(t, c.now), front}
	c.evil = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { c.asked.Add(1) }))
	t.Cleanup(c.evil.Close)
	c.kid, c.elsewhereKid = keyOf(t, c.issuer), keyOf(t, c.elsewhere)
	return c
}

// now is the doors' clock.
func (c *court) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// config is that of every gateway here, but for whom it trusts.
func (c *court) config(upstream string) Config {
	return Config{URL: "http://api.example", Now: c.now, MaxStaleness: time.Hour, Routes: []Route{{
		Path: "/orders", Rules: []Rule{{Scopes: []string{"orders:read"}}}, Upstream: upstream, UpstreamAudience: inside,
	}}}
}

// welcome is the service behind a gateway. It wants the inner token.
func (c *court) welcome(t *testing.T, d *door, w http.ResponseWriter, r *http.Request) {
	inner, err := token.InsecureParse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		t.Errorf("%s: the upstream got %q for a token: %v", d.name, r.Header.Get("Authorization"), err)
		inner = new(token.Claims)
	}
	d.serve(w, inner)
}

// direct is a service that judges by itself.
func (c *court) direct(t *testing.T, now func() time.Time) *door {
	t.Helper()
	g := c.sdk(t, now)
	d := &door{name: "SDK", refused: func() map[string]uint64 { return g.State().Refusals }}
	server := httptest.NewServer(g.Require("orders:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.serve(w, guard.From(r.Context()))
	})))
	t.Cleanup(server.Close)
	d.address = strings.TrimPrefix(server.URL, "http://")
	return d
}

// sdk is the guard of a service that judges by itself.
func (c *court) sdk(t *testing.T, now func() time.Time) *guard.Guard {
	t.Helper()
	g, err := guard.New(t.Context(), guard.Config{
		Issuer: c.issuer.URL(), Audience: audience, Credential: c.issuer.Credential,
		MaxStaleness: time.Hour, Now: now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyOf is the id of the key that i signs with.
func keyOf(t *testing.T, i *guardtest.Issuer) string {
	t.Helper()
	m, err := jose.Parse(i.Token(token.Claims{Audience: []string{audience}}))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.KeyID
}

// An answer is what a door said.
type answer struct {
	verdict    string // status, error code, the guard's reason, as in the table
	challenges []string
	body       string // without the receipt
	reached    int64  // requests that came through
}

var (
	coded   = regexp.MustCompile(`[ ,]error="([^"]*)"`)
	receipt = regexp.MustCompile(`"id":"[A-Z0-9]+"`)
)

// ask sends a request as it is.
func (d *door) ask(t *testing.T, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	reached, refused := d.reached.Load(), d.refused()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: no answer: %v", d.name, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: answer cut: %v", d.name, err)
	}
	a := answer{
		challenges: apart(res.Header["Www-Authenticate"]),
		body:       receipt.ReplaceAllString(strings.TrimSpace(string(body)), `"id":"ID"`),
		reached:    d.reached.Load() - reached,
	}
	why := d.why(refused)
	if d.apart {
		why = "?"
	}
	a.verdict = fmt.Sprintf("%d %s %s", res.StatusCode, orNone(a.code()), why)
	return a
}

// why is the reasons that the guard counted since it had counted before.
func (d *door) why(before map[string]uint64) string {
	var reasons []string
	for reason, n := range d.refused() {
		for ; n > before[reason]; n-- {
			reasons = append(reasons, reason)
		}
	}
	return orNone(strings.Join(reasons, "+"))
}

var beginning = regexp.MustCompile(`, (Bearer|DPoP) `)

// apart is one challenge each: some servers write them into one line (RFC 9110
// §5.3).
func apart(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	return strings.Split(beginning.ReplaceAllString(strings.Join(lines, ", "), "\n$1 "), "\n")
}

func orNone(word string) string {
	if word == "" {
		return "-"
	}
	return word
}

// code is the error that the first challenge names.
func (a answer) code() string {
	if len(a.challenges) == 0 {
		return ""
	}
	if found := coded.FindStringSubmatch(a.challenges[0]); found != nil {
		return found[1]
	}
	return ""
}

// faults compares an answer with a verdict of the table. Each is got and want.
func (a answer) faults(want string) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for len(strings.Fields(want)) < 3 {
		want += " -"
	}
	if said, mute := strings.CutSuffix(a.verdict, "?"); a.verdict != want && !(mute && strings.HasPrefix(want, said)) {
		add("verdict %q, want %q; answer %.200s", a.verdict, want, a.body)
	}
	if strings.HasPrefix(want, "200 ") {
		if a.reached != 1 || a.body != "alice" {
			add("%d requests of %q came through, want one of alice", a.reached, a.body)
		}
		return list
	}
	if a.reached != 0 {
		add("%d requests came through, want none", a.reached)
	}
	if strings.HasSuffix(want, " -") {
		return list // the server's or the gateway's own answer
	}
	if len(a.challenges) != 2 || coded.MatchString(strings.Join(a.challenges[1:], ", ")) {
		add("challenges %q, want two, an error in the first at most", a.challenges)
	}
	var told struct{ Error, ID string }
	if err := json.Unmarshal([]byte(a.body), &told); err != nil || told.Error != a.code() || told.ID != "ID" {
		add("body %s, want a problem with error %q and a receipt", a.body, a.code())
	}
	return list
}

// judge puts one request to doors and compares what they say with the table and
// with each other.
func (c *court) judge(t *testing.T, l letter, doors []*door) {
	t.Helper()
	request := c.write(t, l)
	said := make([]answer, len(doors))
	for i, d := range doors {
		if l.Again {
			for _, fault := range d.ask(t, request).faults("200") {
				t.Errorf("%s, the first time: %s", d.name, fault)
			}
		}
		want := l.Want
		if d.name != "SDK" && l.Gateway != "" {
			want = l.Gateway
		}
		if own, ok := l.Fronts[d.name]; ok {
			want = own
		}
		said[i] = d.ask(t, request)
		for _, fault := range said[i].faults(want) {
			t.Errorf("%s: %s", d.name, fault)
		}
	}
	for i, d := range doors {
		if l.Gateway != "" || l.Fronts[d.name] != "" || i > 2 && !strings.Contains(l.Want, " ") {
			continue // in their own words
		}
		if said[i].body != said[0].body || !slices.Equal(said[i].challenges, said[0].challenges) {
			t.Errorf("SDK and %s do not say the same:\n%q %s\n%q %s", d.name, said[0].challenges, said[0].body, said[i].challenges, said[i].body)
		}
	}
}

// TestVerdicts sends every bad request before the caches hold anything of its
// good twin, and after. The twin differs from it only in what the row says, and
// must pass before and after.
func TestVerdicts(t *testing.T) {
	c := newCourt(t)
	c.asking(t)
	all := c.pairs(t, readVerdicts(t))
	for _, p := range all {
		t.Run("cold/"+p.bad.Name, func(t *testing.T) { c.judge(t, p.bad, c.doors) })
	}
	for _, p := range all {
		t.Run("warm/"+p.bad.Name, func(t *testing.T) {
			c.judge(t, p.twin, c.doors)
			c.judge(t, p.bad, c.doors)
			c.judge(t, p.bad, c.doors[:2]) // what remembers stands in these
			c.judge(t, p.twin, c.doors[:2])
		})
	}
	if n := c.asked.Load(); n != 0 {
		t.Errorf("tokens made somebody ask the attacker's server %d times, want none", n)
	}
}

// TestVerdictsCanFail puts the table to a door that lets everybody in and to one
// that lets nobody in: each row must find fault with one of them.
func TestVerdictsCanFail(t *testing.T) {
	c := newCourt(t)
	fake := func(name string, serve func(*door, http.ResponseWriter)) *door {
		d := &door{name: name, refused: func() map[string]uint64 { return nil }}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { serve(d, w) }))
		t.Cleanup(server.Close)
		d.address = strings.TrimPrefix(server.URL, "http://")
		return d
	}
	open := fake("open", func(d *door, w http.ResponseWriter) { d.serve(w, &token.Claims{Subject: "alice"}) })
	shut := fake("shut", func(_ *door, w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) })
	for _, p := range c.pairs(t, readVerdicts(t)) {
		if len(shut.ask(t, c.write(t, p.twin)).faults("200")) == 0 {
			t.Errorf("%s: no fault in that the good twin is refused", p.bad.Name)
		}
		d := open
		if strings.HasPrefix(p.bad.Want, "200") {
			d = shut
		} else if !strings.Contains(p.bad.Want, " ") {
			continue // Go's server refuses it, whoever stands behind
		}
		if len(d.ask(t, c.write(t, p.bad)).faults(p.bad.Want)) == 0 {
			t.Errorf("%s: no fault in the %s door", p.bad.Name, d.name)
		}
	}
}
