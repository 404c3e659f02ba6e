package guardtest

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// trade is the token endpoint: client credentials (RFC 6749 §4.4) and exchange (RFC 8693), for
// any client that shows any secret.
func (i *Issuer) trade(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, reportMax)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, oauth.InvalidRequest, "the body is not a form")
		return
	}
	client, ok := authenticate(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Basic")
		refuse(w, http.StatusUnauthorized, oauth.InvalidClient, "any id with any secret will do")
		return
	}
	asked, err := scope.Parse(r.PostForm.Get(oauth.ParamScope))
	if err != nil {
		refuse(w, http.StatusBadRequest, oauth.InvalidScope, err.Error())
		return
	}
	resource := r.PostForm[oauth.ParamResource]
	if len(resource) != 1 {
		refuse(w, http.StatusBadRequest, oauth.InvalidTarget, "name one resource")
		return
	}
	c := token.Claims{Audience: resource, Scope: asked}
	issued := ""
	switch r.PostForm.Get(oauth.ParamGrantType) {
	case oauth.GrantClient:
		c.Subject, c.ClientID = client, client
	case oauth.GrantExchange:
		subject, ok := i.check(r.PostForm.Get(oauth.ParamSubjectToken), "")
		if !ok || r.PostForm.Get(oauth.ParamSubjectTokenType) != oauth.TypeAccess {
			// RFC 8693 §2.2.2: an invalid or unacceptable subject token is invalid_request.
			refuse(w, http.StatusBadRequest, oauth.InvalidRequest, "subject_token is no living access token of this issuer")
			return
		}
		if len(asked) == 0 {
			c.Scope = subject.Scope
		}
		if !subject.Scope.Contains(c.Scope) {
			refuse(w, http.StatusBadRequest, oauth.InvalidScope, "exchange only narrows")
			return
		}
		inherit(&c, subject, i.url, client)
		issued = oauth.TypeAccess
	default:
		refuse(w, http.StatusBadRequest, oauth.UnsupportedGrantType, "client_credentials and token-exchange only")
		return
	}
	i.respond(w, i.fill(c), issued)
}

// introspect tells a guard whether a token is good (RFC 7662), as it would be told by the real
// issuer if it guards everything.
func (i *Issuer) introspect(w http.ResponseWriter, r *http.Request) {
	if _, ok := i.guard(w, r); !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, reportMax)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, oauth.InvalidRequest, "the body is not a form")
		return
	}
	c, ok := i.check(r.PostForm.Get(oauth.ParamToken), "")
	if !ok {
		answer(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"active": true, "iss": c.Issuer, "sub": c.Subject, "aud": c.Audience[0], "client_id": c.ClientID, "jti": c.ID,
		"scope": c.Scope.String(), "iat": c.IssuedAt.Unix(), "exp": c.Expiry.Unix(),
	})
}

// inherit makes c, which client asked for, depend on the subject token and not outlive it.
func inherit(c *token.Claims, subject *token.Claims, issuer, client string) {
	c.Subject, c.ClientID = subject.Subject, subject.ClientID
	c.GrantID, c.SessionID = subject.GrantID, subject.SessionID
	c.AuthTime, c.ACR = subject.AuthTime, subject.ACR
	c.Actor = &token.Actor{Issuer: issuer, Subject: client, Actor: subject.Actor}
	c.Via = append(slices.Clone(subject.Via), subject.ID)
	c.Rev = subject.Rev
	if end := time.Now().Add(life); subject.Expiry.After(end) {
		c.Expiry = end
	} else {
		c.Expiry = subject.Expiry
	}
}

func (i *Issuer) respond(w http.ResponseWriter, c token.Claims, issued string) {
	compact, err := i.issue(c)
	if err != nil {
		refuse(w, http.StatusBadRequest, oauth.InvalidTarget, err.Error())
		return
	}
	answer(w, http.StatusOK, struct {
		AccessToken     string `json:"access_token"`
		TokenType       string `json:"token_type"`
		ExpiresIn       int64  `json:"expires_in"`
		Scope           string `json:"scope"`
		IssuedTokenType string `json:"issued_token_type,omitempty"`
	}{compact, oauth.Bearer, int64(time.Until(c.Expiry).Seconds()), c.Scope.String(), issued})
}

// authenticate reads the client's id and secret. RFC 6749 §2.3.1: in the header both are
// form-encoded first.
func authenticate(r *http.Request) (client string, ok bool) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get(oauth.ParamClientID), r.PostForm.Get(oauth.ParamClientSecret)
		return id, id != "" && secret != ""
	}
	client, err := url.QueryUnescape(id)
	return client, err == nil && client != "" && secret != ""
}

func refuse(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]string{
		oauth.ParamError: code, oauth.ParamErrorDescription: oauth.Text(description),
	})
}
