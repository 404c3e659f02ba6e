package guard

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/writ-auth/writ/internal/usage"
)

// A token that was seen while the issuer was away is reported when it is back, although
// the guard has it in its cache by then.
func TestSightingsOutliveAnOutage(t *testing.T) {
	i := newIssuer(t)
	reports := make(chan usage.Report, 10)
	i.told = func(w http.ResponseWriter, r *http.Request) {
		var told usage.Report
		if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
			t.Error(err)
		}
		_, _ = w.Write([]byte("{}"))
		reports <- told
	}
	g := i.guard(t, nil)
	i.fall(true)
	compact := i.token(t, i.claims())
	for range 2 {
		if _, err := g.Verify(request("Bearer "+compact), Need{}); err != nil {
			t.Fatal(err)
		}
	}
	tries := func() (n int) {
		i.change(func() { n = i.fetches["/usage"] })
		return n
	}
	eventually(t, "a report fails", func() bool { return tries() > 0 })
	i.fall(false)
	if told := <-reports; len(told.Tokens) != 1 || told.Dropped != 0 {
		t.Errorf("report = %+v, want the token that was seen meanwhile, and none dropped", told)
	}
}

// What is wrong with the report itself is told apart from what passes.
func TestRefusedReports(t *testing.T) {
	for status, want := range map[int]error{
		400: usage.ErrRefused, 403: usage.ErrRefused, 413: usage.ErrRefused, 404: usage.ErrAbsent,
		401: errCredential, 408: nil, 429: nil, 500: nil, 502: nil, 503: nil, 302: nil,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		defer s.Close()
		e := &engine{cfg: Config{Issuer: s.URL, HTTPClient: s.Client(), Refused: func(string) {}}}
		_, err := e.post(t.Context(), "c", "/usage", nil)
		for _, kind := range []error{usage.ErrRefused, usage.ErrAbsent, errCredential} {
			if err == nil || errors.Is(err, kind) != (kind == want) {
				t.Errorf("%d: %v, want %v", status, err, want)
			}
		}
	}
}
