// Package web is what people see of the authorization server: sign-in, consent,
// account and sign-out, and the error page. It owns the pages, their forms and
// their headers. It decides nothing: package login proves who somebody is, an
// Authority knows the authorization requests, and the pages of a request lead
// nowhere but back to /authorize.
//
// Invariant: a form changes something only when it was sent by a page of this
// server, to the browser at hand, for this flow and session.
//
// Automation may rely on the paths /login, /consent, /account and /logout, on the
// ids username, password, login-submit, consent-allow, consent-deny and
// logout-confirm, and on ErrorSentence.
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
)

// Authority is what the pages need of *grant.Authority.
type Authority interface {
	Flow(ctx context.Context, id, browser string) (*grant.Flow, error)
	Decide(ctx context.Context, id, browser, sessionID string, allow bool) error
	Granted(ctx context.Context, userID string) ([]grant.Granted, error)
	EndGrant(ctx context.Context, userID, grantID, address string) error
}

// Config says what the pages are for.
type Config struct {
	Issuer    string // required
	Authority Authority
	Login     *login.Login
	Invite    func(context.Context, Invited) error // makes the account of an invitation; nil: there are none
	FormKey   []byte                               // at least 32 bytes: proves that a form is ours
	Dev       bool                                 // every page says it is a sample
	Address   func(*http.Request) string           // where a request is from; nil: the connection's other end
	RequestID func(*http.Request) string           // shown on error pages; nil: none
	Now       func() time.Time                     // nil: time.Now
	Logger    *slog.Logger                         // nil: slog.Default
}

// Web renders the pages of one issuer. It is safe for concurrent use.
type Web struct {
	cfg    Config
	base   string // path of the issuer, without a slash at its end
	origin string // of the issuer, as browsers send it
	host   string // of the issuer, for people
	pages  map[string]*template.Template
	assets map[string]asset // by path
	css    string
	logo   string

	sessionCookie, flowCookie, deviceCookie string
}

// New checks cfg.
func New(cfg Config) (*Web, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("web: issuer %q is not an http address", cfg.Issuer)
	}
	if cfg.Authority == nil || cfg.Login == nil {
		return nil, errors.New("web: Authority and Login are required")
	}
	if len(cfg.FormKey) < 32 {
		return nil, errors.New("web: FormKey needs at least 32 bytes")
	}
	if cfg.Address == nil {
		cfg.Address = remote
	}
	if cfg.RequestID == nil {
		cfg.RequestID = func(*http.Request) string { return "" }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	p := &Web{
		cfg: cfg, base: strings.TrimSuffix(u.EscapedPath(), "/"), origin: origin(u), host: u.Host,
		deviceCookie: login.DeviceCookie(cfg.Issuer),
	}
	p.sessionCookie, p.flowCookie = login.Cookie(cfg.Issuer)
	if err := p.embed(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return p, nil
}

// route is one page or form.
type route struct {
	method, path string
	handler      func(http.ResponseWriter, *http.Request) error
}

func (p *Web) routes() []route {
	return []route{
		{"GET", "/login", p.showLogin},
		{"POST", "/login", p.login},
		{"GET", "/consent", p.showConsent},
		{"POST", "/consent", p.consent},
		{"GET", "/account", p.showAccount},
		{"POST", "/account/session", p.endSession},
		{"POST", "/account/grant", p.endGrant},
		{"POST", "/account/password", p.setPassword},
		{"POST", "/account/everything", p.endEverything},
		{"GET", "/invite", p.showInvite},
		{"POST", "/invite", p.acceptInvite},
		{"GET", "/logout", p.showLogout},
		{"POST", "/logout", p.logout},
		{"GET", "/assets/{name}", p.asset},
	}
}

// Paths lists the patterns that Handler answers.
func (p *Web) Paths() []string {
	var paths []string
	for _, r := range p.routes() {
		if path := p.base + r.path; !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// Handler serves the pages.
func (p *Web) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, handler func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := handler(w, r); err != nil {
				p.fail(w, r, err)
			}
		})
	}
	for _, r := range p.routes() {
		handle(r.method+" "+p.base+r.path, r.handler)
	}
	handle("/", func(http.ResponseWriter, *http.Request) error { return errNoPage })
	return mux
}

// frame is what every page is given.
type frame struct {
	Title     string
	Base      string
	CSS, Logo string
	Host      string
	Dev       bool
	User      string // who is signed in; "" for nobody, or where it does not matter
}

func (p *Web) frame(title string) frame {
	return frame{Title: title, Base: p.base, CSS: p.css, Logo: p.logo, Host: p.host, Dev: p.cfg.Dev}
}

// render writes a page. formTo is the origin of the client that waits for a form of
// the page, "" for none.
func (p *Web) render(w http.ResponseWriter, status int, name, formTo string, data any) error {
	var body bytes.Buffer
	if err := p.pages[name].ExecuteTemplate(&body, "layout", data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy(formTo))
	h.Set("Cache-Control", "no-store")
	guardHeaders(h)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // who hung up needs no answer
	return nil
}

// guardHeaders keeps a response from being framed, sniffed, embedded or reached
// through an opener, and from telling where people come from (RFC 9700 §4.2.4).
func guardHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// policy is the Content-Security-Policy of a page. Chromium holds the whole chain
// of redirects after a form to form-action: to the client, and on to wherever the
// client's own redirects lead, which for a broker is another application. Blocked,
// the browser stays on the form and says nothing. So while a flow waits, a form may
// lead to the client's validated redirect origin and on to https; else nowhere but
// here.
func policy(formTo string) string {
	action := "'self'"
	if scheme, rest, ok := strings.Cut(formTo, ":"); ok && isScheme(scheme) {
		source := formTo
		if strings.ContainsAny(rest, "[; ,'\"") { // CSP cannot spell an IPv6 address
			source = scheme + ":"
		}
		action += " " + source + " https:"
	}
	return "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action " + action +
		"; frame-ancestors 'none'; base-uri 'none'"
}

// isScheme keeps anything but a URI scheme (RFC 3986 §3.1) out of the policy.
func isScheme(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// see sends the browser to another page of this server.
func (p *Web) see(w http.ResponseWriter, path string) error {
	h := w.Header()
	h.Set("Location", p.base+path)
	h.Set("Cache-Control", "no-store")
	guardHeaders(h)
	w.WriteHeader(http.StatusSeeOther) // RFC 9700 §4.12: never 307
	return nil
}

// authorize goes on with a flow: /authorize alone knows what comes next.
func (p *Web) authorize(w http.ResponseWriter, flow string) error {
	return p.see(w, "/authorize?flow="+url.QueryEscape(flow))
}

// remote is the connection's other end.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// origin is a URL's origin as browsers write it: without a default port.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}
