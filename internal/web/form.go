package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"

	"github.com/writ-auth/writ/internal/login"
)

// maxForm is far more than any of the forms needs.
const maxForm = 16 << 10

// person is who is signed in, and by which session.
type person struct {
	id, username, name string
	session            string
}

// label is the name that people know themselves by.
func (u *person) label() string {
	if u == nil {
		return ""
	}
	if u.name != "" {
		return u.name
	}
	return u.username
}

// person returns who is signed in in this browser, nil for nobody.
func (p *Web) person(r *http.Request) (*person, error) {
	cookie := value(r, p.sessionCookie)
	if cookie == "" {
		return nil, nil
	}
	s, u, err := p.cfg.Login.Session(r.Context(), cookie)
	if errors.Is(err, login.ErrNoSession) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &person{id: u.ID, username: u.Username, name: u.Name, session: s.ID}, nil
}

// browser returns the value of the cookie that flows are bound to.
func (p *Web) browser(r *http.Request) string { return value(r, p.flowCookie) }

// value returns the value of a cookie that is there exactly once, as /authorize
// reads it: of two, another host or port has set one.
func value(r *http.Request, cookie string) string {
	found := r.CookiesNamed(cookie)
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// formToken proves that a form was made here, for one purpose, flow and holder:
// the session, or the browser where there is no session yet.
func (p *Web) formToken(purpose, flow, holder string) string {
	mac := hmac.New(sha256.New, p.cfg.FormKey)
	for _, part := range []string{"writ form", p.cfg.Issuer, purpose, flow, holder} {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// posted returns the form that a page of ours has sent.
func (p *Web) posted(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if !p.sameOrigin(r.Header) {
		return nil, errForeign
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, errBadForm
	}
	return r.PostForm, nil
}

// sameOrigin reports whether the browser says that the request comes from a page
// of ours. Under our Referrer-Policy forms carry "Origin: null", so that the newer
// Sec-Fetch-Site decides where there is one. A client that sends neither is no
// browser that could be led here by another site; the form token still binds it.
func (p *Web) sameOrigin(h http.Header) bool {
	site, origin := h.Get("Sec-Fetch-Site"), h.Get("Origin")
	if origin != "" && origin != "null" && origin != p.origin {
		return false
	}
	if site != "" {
		return site == "same-origin"
	}
	return origin != "null"
}

// ours checks a form's token.
func (p *Web) ours(form url.Values, purpose, flow, holder string) error {
	want := p.formToken(purpose, flow, holder)
	if holder == "" || !hmac.Equal([]byte(form.Get("token")), []byte(want)) {
		return errForeign
	}
	return nil
}
