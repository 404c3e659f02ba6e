package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/store"
)

// api is the admin API: it parses, calls package admin once and renders.
type api struct {
	admin *admin.Admin
	by    func(*http.Request) admin.By
}

// An operation answers one method of one path. A nil body is 204.
type operation struct {
	method string
	path   string
	scope  string
	answer func(*http.Request) (status int, body any, err error)
}

// operations is the list of all there is, documented in doc/admin.md.
func (a api) operations() []operation {
	const read, write, revoke = grant.ScopeAdminRead, grant.ScopeAdminWrite, grant.ScopeAdminRevoke
	return []operation{
		{"GET", "clients", read, a.clients},
		{"POST", "clients", write, a.addClient},
		{"GET", "clients/{id}", read, a.client},
		{"PATCH", "clients/{id}", write, a.setClient},
		{"DELETE", "clients/{id}", write, a.removeClient},
		{"POST", "clients/{id}/secret", write, a.renewSecret},
		{"GET", "resources", read, a.resources},
		{"POST", "resources", write, a.addResource},
		{"GET", "resources/{id}", read, a.resource},
		{"PATCH", "resources/{id}", write, a.setResource},
		{"DELETE", "resources/{id}", write, a.removeResource},
		{"GET", "users", read, a.users},
		{"POST", "users", write, a.addUser},
		{"GET", "users/{id}", read, a.user},
		{"PATCH", "users/{id}", write, a.setUser},
		{"DELETE", "users/{id}", write, a.removeUser},
		{"GET", "keys", read, a.keys},
		{"POST", "keys/rotate", write, a.rotateKey},
		{"POST", "keys/{id}/compromise", write, a.compromiseKey},
		{"GET", "revocations", read, a.rules},
		{"POST", "revocations", revoke, a.end},
		{"GET", "guards", read, a.guards},
		{"GET", "audit", read, a.audit},
	}
}

// adminRoot is where the admin API stands below the issuer.
const adminRoot = "/admin/v1/"

// adminRoutes mounts the admin API on mux. protect wraps a handler so that only
// an operator with these scopes reaches it.
func adminRoutes(mux *http.ServeMux, a *admin.Admin, address func(*http.Request) string, protect func(scopes ...string) func(http.Handler) http.Handler) {
	by := func(r *http.Request) admin.By { return caller(r, address) }
	api{a, by}.mount(mux, protect)
}

// HostAdmin is the admin API for a command that runs on the server's host and
// has opened the store itself. It asks for no token: that is why it cannot be
// served, only called.
func HostAdmin(a *admin.Admin, by admin.By) http.RoundTripper {
	mux := http.NewServeMux()
	open := func(...string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler { return next }
	}
	api{a, func(*http.Request) admin.By { return by }}.mount(mux, open)
	return inward{mux}
}

// caller is who asks: the verified operator.
func caller(r *http.Request, address func(*http.Request) string) admin.By {
	by := admin.By{Address: address(r)}
	if c := guard.From(r.Context()); c != nil {
		by.Actor = c.Subject
	}
	return by
}

func (a api) mount(mux *http.ServeMux, protect func(scopes ...string) func(http.Handler) http.Handler) {
	methods := map[string][]string{}
	for _, op := range a.operations() {
		mux.Handle(op.method+" "+adminRoot+op.path, protect(op.scope)(a.serve(op)))
		methods[op.path] = append(methods[op.path], op.method)
	}
	for path, allowed := range methods {
		mux.HandleFunc(adminRoot+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeProblem(w, problem{Status: http.StatusMethodNotAllowed, Detail: "this path answers " + strings.Join(allowed, ", ")})
		})
	}
	mux.HandleFunc(adminRoot, func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "there is no such path in the admin API"})
	})
}

func (a api) serve(op operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, err := op.answer(r)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		if body == nil {
			w.WriteHeader(status)
			return
		}
		writeJSON(w, status, body)
	})
}

// problem is an answer by RFC 9457.
type problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Field     string `json:"field,omitempty"` // the member of the request that is wrong
	RequestID string `json:"request_id,omitempty"`
}

// refuse turns an error of package admin or of the store into an answer.
func (a api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	log := a.admin.Logger().With("request_id", RequestID(r), "path", r.URL.Path)
	var input *admin.Error
	var taken *admin.Taken
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &input):
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: input.Error(), Field: input.Field})
	case errors.As(err, &taken):
		writeProblem(w, problem{Status: http.StatusConflict, Detail: taken.Error(), Field: taken.Field})
	case errors.As(err, &large):
		writeProblem(w, problem{Status: http.StatusRequestEntityTooLarge, Detail: "the request is too large"})
	case errors.Is(err, errContentType):
		writeProblem(w, problem{Status: http.StatusUnsupportedMediaType, Detail: err.Error()})
	case errors.Is(err, store.ErrNotFound):
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "there is nothing of this name here"})
	case errors.Is(err, store.ErrConflict):
		writeProblem(w, problem{Status: http.StatusConflict, Detail: "something of this name is there already"})
	case r.Context().Err() != nil:
		// The caller has gone, or was too slow. Without an answer 200 would be sent.
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "the request was given up", RequestID: RequestID(r)})
	case errors.Is(err, store.ErrUnavailable):
		log.Error("store is unavailable", "error", err)
		w.Header().Set("Retry-After", "1")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "try again in a moment", RequestID: RequestID(r)})
	default:
		log.Error("request went wrong", "error", err)
		writeProblem(w, problem{Status: http.StatusInternalServerError, Detail: "something went wrong here; the request id finds it in the log", RequestID: RequestID(r)})
	}
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller may have gone
}

// span reads after and limit of a list.
func span(r *http.Request) (after string, limit int, err error) {
	q := r.URL.Query()
	for name, values := range q {
		if name != "after" && name != "limit" || len(values) != 1 {
			return "", 0, &admin.Error{Field: name, Message: "is no parameter of this list, or is there twice"}
		}
	}
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return "", 0, &admin.Error{Field: "limit", Message: "must be a number from 1 to " + strconv.Itoa(admin.MaxLimit)}
		}
	}
	return q.Get("after"), limit, nil
}
