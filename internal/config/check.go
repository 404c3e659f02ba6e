package config

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/mint"
)

// shortestLife keeps a mistaken unit from making tokens that nobody can use.
const shortestLife = 10 * time.Second

// algorithms are those that package mint can keep keys for.
var algorithms = []string{"ES256", "Ed25519", "PS256", "RS256"}

// ways is how a caller's identity can go on.
var ways = []string{"transaction", "exchange", "none"}

// form checks values that can be judged without looking at anything else.
func (f *File) form() Problems {
	c := &checker{file: f}
	c.log(f.Log)
	if f.Serve != nil {
		c.serve(f.Serve)
	}
	if f.Gateway != nil {
		c.gateway(f.Gateway)
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return a.Line - b.Line })
	return c.problems
}

type checker struct {
	file     *File
	problems Problems
}

func (c *checker) wrong(path, format string, args ...any) {
	c.problems = append(c.problems, c.file.problem(path, format, args...))
}

func (c *checker) log(l Log) {
	var level slog.Level
	if l.Level != "" && (level.UnmarshalText([]byte(l.Level)) != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level)) {
		c.wrong("log.level", "is %q, want debug, info, warn or error", l.Level)
	}
	if l.Format != "" && l.Format != "text" && l.Format != "json" {
		c.wrong("log.format", "is %q, want text or json", l.Format)
	}
}

func (c *checker) serve(s *Serve) {
	c.origin("serve.issuer", s.Issuer, false)
	c.listen("serve.listen", s.Listen)
	c.listen("serve.metrics.listen", s.Metrics.Listen)
	c.tls("serve.tls", s.TLS)
	c.lengths(map[string]time.Duration{
		"serve.token_life": s.TokenLife, "serve.refresh_idle": s.RefreshIdle, "serve.grant_life": s.GrantLife,
		"serve.sessions.idle": s.Sessions.Idle, "serve.sessions.life": s.Sessions.Life,
		"serve.keys.life": s.Keys.Life, "serve.keys.publish": s.Keys.Publish,
	})
	switch {
	case s.TokenLife > mint.LongestLife:
		c.wrong("serve.token_life", "is %v, want at most %v", s.TokenLife, mint.LongestLife)
	case s.TokenLife > 0 && s.TokenLife < shortestLife:
		c.wrong("serve.token_life", "is %v, want at least %v", s.TokenLife, shortestLife)
	}
	if s.Keys.Publish > 0 && s.Keys.Publish < mint.ShortestPublish {
		c.wrong("serve.keys.publish", "is %v, want at least %v: key sets are kept for so long", s.Keys.Publish, mint.ShortestPublish)
	}
	for i, alg := range s.Keys.Algorithms {
		if !slices.Contains(algorithms, alg) || slices.Contains(s.Keys.Algorithms[:i], alg) {
			c.wrong("serve.keys.algorithms", "has %q, want each of %s at most once", alg, strings.Join(algorithms, ", "))
		}
	}
	if s.Keys.Algorithms != nil && len(s.Keys.Algorithms) == 0 {
		c.wrong("serve.keys.algorithms", "is empty: give one, or leave the key out")
	}
	if p := s.Keys.PKCS11; p != nil {
		c.pkcs11(p, s.Keys.Algorithms)
	}
}

func (c *checker) pkcs11(p *PKCS11, wanted []string) {
	if p.Module == "" || p.Token == "" || p.PINFile == "" {
		c.wrong("serve.keys.pkcs11", "needs module, token and pin_file")
	}
	if !p.Leave && slices.Contains(wanted, "Ed25519") {
		c.wrong("serve.keys.algorithms", "has \"Ed25519\", which cannot be made in a PKCS#11 token")
	}
}

func (c *checker) gateway(g *Gateway) {
	c.origin("gateway.issuer", g.Issuer, g.InsecureHTTP)
	c.listen("gateway.listen", g.Listen)
	c.listen("gateway.metrics.listen", g.Metrics.Listen)
	c.tls("gateway.tls", g.TLS)
	c.listen("gateway.check.listen", g.Check.Listen)
	c.tls("gateway.check.tls", g.Check.TLS)
	c.listen("gateway.envoy.listen", g.Envoy.Listen)
	c.tls("gateway.envoy.tls", g.Envoy.TLS)
	if g.Check.Listen == "" && (g.Check.TLS.Cert != "" || g.Check.TrustedProxies != nil) {
		c.wrong("gateway.check", "needs listen: an address that only proxies reach")
	}
	c.lengths(map[string]time.Duration{"gateway.max_staleness": g.MaxStaleness, "gateway.dial_timeout": g.DialTimeout})
	if g.MaxHeader < 0 {
		c.wrong("gateway.max_header", "needs a bound")
	}
	if (g.ClientID == "") != (g.ClientSecretFile == "") {
		c.wrong("gateway.client_id", "and client_secret_file go together")
	}
	for i, r := range g.Routes {
		at := "gateway.routes[" + strconv.Itoa(i) + "]"
		c.lengths(map[string]time.Duration{at + ".allow_stale": r.AllowStale})
		c.stale(at, r)
		if r.Propagate != "" && !slices.Contains(ways, r.Propagate) {
			c.wrong(at+".propagate", "is %q, want %s", r.Propagate, strings.Join(ways, ", "))
		}
	}
}

// stale checks the two ways to say what to do with revocations that are too old.
func (c *checker) stale(at string, r Route) {
	w := r.WhenStale
	if w == nil {
		return
	}
	at += ".when_stale"
	c.lengths(map[string]time.Duration{at + ".for": w.For})
	introspect := w.Do == "introspect"
	switch {
	case r.AllowStale != 0:
		c.wrong(at, "and allow_stale say the same: leave one out")
	case !introspect && w.Do != "allow" && w.Do != "deny":
		c.wrong(at+".do", "is %q, want deny, allow or introspect", w.Do)
	case !introspect && w.Else != "":
		c.wrong(at+".else", "is for introspect only")
	case w.Else != "" && w.Else != "allow" && w.Else != "deny":
		c.wrong(at+".else", "is %q, want deny or allow", w.Else)
	case w.For != 0 && w.Do != "allow" && w.Else != "allow":
		c.wrong(at+".for", "is how long to allow, and nothing is allowed")
	}
}

// lengths refuses the word for no limit where there has to be one.
func (c *checker) lengths(all map[string]time.Duration) {
	for path, length := range all {
		if length < 0 {
			c.wrong(path, "needs a bound, not %s", Unlimited)
		}
	}
}

// origin wants scheme and host alone: https, or http on this machine.
func (c *checker) origin(path, text string, insecure bool) {
	if text == "" {
		return // a flag may say it
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		c.wrong(path, "is %q, want scheme and host alone, such as https://id.example.com", text)
	case u.Scheme == "https" || u.Scheme == "http" && (insecure || loopback(u.Hostname())):
	default:
		c.wrong(path, "is %q, want https, or http on this machine", text)
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (c *checker) listen(path, text string) {
	if text == "" {
		return
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.wrong(path, "is %q, want HOST:PORT such as 127.0.0.1:8400", text)
	}
}

func (c *checker) tls(path string, t TLS) {
	if (t.Cert == "") != (t.Key == "") {
		c.wrong(path, "needs both cert and key")
	}
}
