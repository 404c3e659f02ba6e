package server

import (
	"mime"
	"net/http"
	"net/url"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
)

// token is the token endpoint (RFC 6749 §3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	form, creds, err := parse(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	proof, err := s.proof(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer, err := s.cfg.Authority.Token(r.Context(), grant.TokenRequest{
		Credentials: creds, Params: form, Proof: proof, Address: s.Address(r),
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, http.StatusOK, answer)
}

// revoke is RFC 7009.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	form, creds, err := parse(r)
	if err == nil {
		err = s.cfg.Authority.Revoke(r.Context(), creds, form.Get(oauth.ParamToken), s.Address(r))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// introspect is RFC 7662. §2.1: the caller authenticates as a client, or with "a
// separate OAuth 2.0 access token": here that of a guard for the feed.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	if bearer(r) != "" {
		s.introspectFor(w, r)
		return
	}
	form, creds, err := parse(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer, err := s.cfg.Authority.Introspect(r.Context(), creds, form.Get(oauth.ParamToken))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, answer)
}

// introspectFor is introspection for a guard that shows its token for the feed.
func (s *Server) introspectFor(w http.ResponseWriter, r *http.Request) {
	c, err := s.follower(r, grant.ScopeFeedRead)
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	form, err := parameters(r)
	if err == nil && (form.Has(oauth.ParamClientID) || form.Has(oauth.ParamClientSecret)) {
		err = &oauth.Error{Code: oauth.InvalidRequest, Description: "two ways to authenticate in one request"}
	}
	var answer *grant.Introspection
	if err == nil {
		answer, err = s.cfg.Authority.IntrospectFor(r.Context(), c.ClientID, form.Get(oauth.ParamToken))
	}
	if err != nil {
		s.failBearer(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, answer)
}

// parse reads the form and the client's credentials of an endpoint that clients
// call.
func parse(r *http.Request) (url.Values, client.Credentials, error) {
	form, err := parameters(r)
	if err != nil {
		return nil, client.Credentials{}, err
	}
	creds, err := client.Read(r, form)
	return form, creds, err
}

// parameters reads the form. They count in the body only and once only (RFC 6749
// §3.2), those without a value count as left out.
func parameters(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body must be application/x-www-form-urlencoded"}
	}
	if r.URL.RawQuery != "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "parameters belong into the body, not into the URL"}
	}
	if err := r.ParseForm(); err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not a form, or it is too large", Cause: err}
	}
	form := r.PostForm
	if err := once(form); err != nil {
		return nil, err
	}
	return form, nil
}

// once refuses repeated parameters and drops empty ones. Only resource and
// audience may repeat (RFC 8707 §2, RFC 8693 §2.1).
func once(form url.Values) error {
	for name, values := range form {
		if len(values) > 1 && name != oauth.ParamResource && name != oauth.ParamAudience {
			const shown = 64 // of a name as long as the body
			return &oauth.Error{Code: oauth.InvalidRequest, Description: "a parameter is there more than once: " + name[:min(len(name), shown)]}
		}
		if len(values) == 1 && values[0] == "" {
			delete(form, name)
		}
	}
	return nil
}

// proof verifies the DPoP proof of a token request, if there is one (RFC 9449 §5).
func (s *Server) proof(r *http.Request) (*dpop.Proof, error) {
	headers := r.Header.Values("DPoP")
	if len(headers) == 0 {
		return nil, nil
	}
	if len(headers) > 1 {
		return nil, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "more than one DPoP header"}
	}
	p, err := dpop.Verify(headers[0], dpop.Expect{Method: r.Method, URL: s.cfg.Issuer + "/token", Now: s.cfg.Now()})
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "the proof does not hold: " + err.Error(), Cause: err}
	}
	return &p, nil
}
