package gateway

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
)

// A problem is an answer of the gateway's own (RFC 9457), with the members that
// the guard's refusals have, too.
type problem struct {
	status int
	reason string // stable word for logs and metrics
	detail string // for the caller
	code   string // OAuth error code; "" where OAuth has none
	retry  string // Retry-After; "" for none
	allow  string // Allow, with 405
	auth   string // WWW-Authenticate; "" for none
}

// write sends p and returns the receipt id that is in its body.
func (p problem) write(w http.ResponseWriter) (id string) {
	id = rand.Text()
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Error  string `json:"error,omitempty"`
		ID     string `json:"id"`
	}{"about:blank", http.StatusText(p.status), p.status, p.detail, p.code, id})
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	for name, value := range map[string]string{"Retry-After": p.retry, "Allow": p.allow, "WWW-Authenticate": p.auth} {
		if value != "" {
			h.Set(name, value)
		}
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // fails when the client has gone
	return id
}
