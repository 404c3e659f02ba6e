package web

import (
	"errors"
	"net/http"

	"github.com/writ-auth/writ/internal/grant"
)

// ErrorSentence is the heading of every error page, and of no other page.
const ErrorSentence = "This page can't go on."

// refusal is an error that a person is told about in its own words.
type refusal struct {
	status  int
	message string
}

func (e *refusal) Error() string { return "web: " + e.message }

var (
	errForeign = &refusal{http.StatusForbidden,
		"The form came from somewhere else, or from a page that is out of date. Nothing was changed. Open the page again and try once more."}
	errBadForm = &refusal{http.StatusBadRequest, "The form could not be read. Nothing was changed."}
	errNoPage  = &refusal{http.StatusNotFound, "There is nothing at this address."}
	errFlow    = &refusal{http.StatusBadRequest,
		"This sign-in is over, took too long, or began in another browser. Go back to the app you came from and start again."}
)

// fail turns an error of a page into an error page. What a person cannot act upon
// goes to the log alone.
func (p *Web) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *refusal
	id := p.cfg.RequestID(r)
	switch {
	case errors.Is(err, grant.ErrNoFlow):
		known = errFlow
	case !errors.As(err, &known):
		p.cfg.Logger.Error("page", "path", r.URL.Path, "request_id", id, "error", err)
		known = &refusal{http.StatusInternalServerError, "Something went wrong on this side. Try again in a moment."}
	}
	p.ErrorPage(w, r, known.status, known.message, id)
}

// ErrorPage says why a browser cannot go on. The message is for people;
// requestID, which may be empty, is what they can quote.
func (p *Web) ErrorPage(w http.ResponseWriter, r *http.Request, status int, message, requestID string) {
	err := p.render(w, status, "error", "", struct {
		frame
		Sentence, Message, RequestID string
	}{p.frame(ErrorSentence), ErrorSentence, message, requestID})
	if err != nil {
		p.cfg.Logger.Error("error page", "path", r.URL.Path, "request_id", requestID, "error", err)
		http.Error(w, ErrorSentence, status)
	}
}
