package server

import (
	"errors"
	"net/http"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

const globalPath = "/revoke/global"

// global is the endpoint of draft-parecki-oauth-global-token-revocation §3: another
// party, an identity provider or whoever watches, ends all of a person. It stands behind
// the guard of the admin API, with the one scope that ends tokens.
func (s *Server) global(protect func(...string) func(http.Handler) http.Handler) http.Handler {
	return protect(grant.ScopeAdminRevoke)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Subject admin.SubjectID `json:"sub_id"`
		}
		err := read(r, &in)
		if err == nil {
			err = s.cfg.Admin.EndSubject(r.Context(), caller(r, s.Address), in.Subject)
		}
		var input *admin.Error
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.As(err, &input):
			writeError(w, http.StatusBadRequest, oauth.InvalidRequest, input.Error(), "")
		case errors.Is(err, errContentType):
			writeError(w, http.StatusBadRequest, oauth.InvalidRequest, err.Error(), "")
		case errors.Is(err, store.ErrNotFound):
			writeError(w, http.StatusNotFound, oauth.InvalidRequest, "there is no such person here", "")
		case errors.Is(err, admin.ErrFormat):
			writeError(w, http.StatusUnprocessableEntity, oauth.InvalidRequest, "sub_id may be iss_sub, email or opaque", "")
		default:
			s.fail(w, r, err)
		}
	}))
}
