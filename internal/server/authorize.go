package server

import (
	"net/http"
	"net/url"

	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/login"
)

// authorize is the authorization endpoint (RFC 6749 §3.1), the only dispatcher
// of a sign-in: every page sends the browser back here.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	params := r.URL.Query()
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			s.failPage(w, r, &grant.PageError{Message: "The app sent a request that cannot be read."})
			return
		}
		params = r.PostForm // OIDC Core §3.1.2.1: POST works like GET
	}
	session, flow := login.Cookie(s.cfg.Issuer)
	step, err := s.cfg.Authority.Authorize(r.Context(), grant.Visit{
		Params: params, Browser: cookie(r, flow), Session: cookie(r, session), Address: s.Address(r),
	})
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	if step.Browser != "" {
		login.SetCookie(w, s.cfg.Issuer, flow, step.Browser, 0)
	}
	location := step.Location
	if step.Page != "" {
		location = "/" + step.Page + "?" + url.Values{"flow": {step.FlowID}}.Encode()
	}
	// RFC 9700 §4.12: 303, so that no browser posts a form again to the client.
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// cookie returns the value of a cookie that is there exactly once.
func cookie(r *http.Request, name string) string {
	found := r.CookiesNamed(name)
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// home sends people to their account.
func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Location", "/account")
	w.WriteHeader(http.StatusSeeOther)
}
