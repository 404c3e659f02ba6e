package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// The sample app as an OAuth client.
const (
	AppClient = "demo-app"
	AppScope  = "openid profile offline_access orders:read orders:write"
)

//go:embed app
var files embed.FS

// A file is one file of the sample app, as it is sent.
type file struct {
	name, kind string
	body       []byte
	tag        string // entity tag of body
}

// App is the sample browser app: a public client that lives on an origin of its
// own and is nothing but files. What it does, it does in the browser.
func App(p Place) http.Handler {
	index := newFile("index.html", "text/html; charset=utf-8")
	index.fill(p)
	mux := http.NewServeMux()
	// The redirect URI is a page like the first: its script finds the answer in the address.
	for _, path := range []string{"/{$}", "/callback"} {
		mux.Handle("GET "+path, atHome(p, index))
	}
	for _, f := range []*file{
		newFile("app.js", "text/javascript; charset=utf-8"),
		newFile("oauth.js", "text/javascript; charset=utf-8"),
		newFile("app.css", "text/css; charset=utf-8"),
		newFile("app.svg", "image/svg+xml"),
	} {
		mux.Handle("GET /"+f.name, f)
	}
	return protect(policy(p), mux)
}

// newFile reads an embedded file; one that is missing is a mistake in the build.
func newFile(name, kind string) *file {
	body, err := files.ReadFile("app/" + name)
	if err != nil {
		panic(err)
	}
	f := &file{name: name, kind: kind}
	f.set(body)
	return f
}

func (f *file) set(body []byte) {
	sum := sha256.Sum256(body)
	f.body, f.tag = body, `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`
}

// fill writes into the page where everything is.
func (f *file) fill(p Place) {
	page := template.Must(template.New(f.name).Parse(string(f.body)))
	var out bytes.Buffer
	err := page.Execute(&out, map[string]string{
		"Issuer": p.Issuer, "IssuerHost": host(p.Issuer),
		"Gateway": p.Gateway, "GatewayHost": host(p.Gateway),
		"App": p.App, "Resource": p.Orders(), "Client": AppClient, "Scope": AppScope,
	})
	if err != nil {
		panic(err) // strings always fit
	}
	f.set(out.Bytes())
}

func host(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// ServeHTTP sends the file, or 304 to who has it already.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.tag)
	h.Set("Cache-Control", "no-cache") // ask every time: the next version may be there
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.body))
}

// atHome sends who came by another name of this machine to the app's own: only
// there does what was put aside before the sign-in wait for the answer.
func atHome(p Place, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host(p.App) {
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, p.App+"/", http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// policy allows the app's own files and calls to its two servers, and no text to
// become markup or script: script that got in could use the tokens.
func policy(p Place) string {
	return fmt.Sprintf("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' %s %s; img-src 'self' data:; "+
		"base-uri 'none'; frame-ancestors 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'", p.Issuer, p.Gateway)
}

// protect sets what every response carries, also those that find nothing.
// Referrer-Policy keeps the code in the callback's address to itself (RFC 9700 §4.2.4).
func protect(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
