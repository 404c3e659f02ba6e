package relay_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/relay"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// A quarter is two services of one trust domain: orders forwards to stock.
type quarter struct {
	issuer  *guardtest.Issuer
	orders  http.Handler
	backend *httptest.Server
	got     atomic.Pointer[http.Header] // that stock got last
}

func newQuarter(t *testing.T, transport func(origin string) http.RoundTripper) *quarter {
	t.Helper()
	q := &quarter{issuer: guardtest.NewIssuer(t)}
	q.issuer.TrustDomain("stock:read")
	made := func(audience string) *guard.Guard {
		g, err := guard.New(t.Context(), guard.Config{
			Issuer: q.issuer.URL(), Audience: audience, Credential: q.issuer.Credential,
			TrustDomain: q.issuer.TrustDomain(), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		return g
	}
	q.backend = httptest.NewServer(made(stock).Require("stock:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Clone()
		q.got.Store(&header)
		fmt.Fprintf(w, "%s for %s", guard.From(r.Context()).Subject, guard.From(r.Context()).Workload)
	})))
	t.Cleanup(q.backend.Close)
	call := &http.Client{Transport: transport(q.backend.URL)}
	q.orders = made(orders).Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), "GET", q.backend.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header["authorization"] = []string{"Bearer of somebody"} // mistakes that relay makes harmless
		req.Header["TXN-TOKEN"] = []string{"of somebody"}
		res, err := call.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	return q
}

func (q *quarter) get(header, value string) (int, string) {
	r := httptest.NewRequest("GET", orders, nil)
	r.Header.Set(header, value)
	w := httptest.NewRecorder()
	q.orders.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func forwarding(origin string) http.RoundTripper { return relay.Forward([]string{origin}, nil) }

// TestForward: the token goes on as it came, alone, and also while the issuer is down.
func TestForward(t *testing.T) {
	q := newQuarter(t, forwarding)
	errand := token.Claims{Subject: "alice", Scope: scope.Set{"stock:read"}}
	for _, down := range []bool{false, true} {
		q.issuer.SetDown(down)
		compact := q.issuer.Transaction(errand)
		if status, body := q.get("Txn-Token", compact); status != 200 || body != "alice for guardtest-gateway" {
			t.Fatalf("issuer down %t: answer = %d %q, want 200 as alice", down, status, body)
		}
		got := *q.got.Load()
		if sent := got["Txn-Token"]; len(sent) != 1 || sent[0] != compact {
			t.Errorf("Txn-Token = %d values, want the one that came", len(sent))
		}
		if sent := got["Authorization"]; len(sent) > 0 {
			t.Errorf("Authorization = %q, want none", sent)
		}
	}
}

func TestForwardNeedsATransactionToken(t *testing.T) {
	q := newQuarter(t, forwarding)
	access := q.issuer.Token(token.Claims{Audience: []string{orders}, Scope: scope.Set{"stock:read"}})
	status, body := q.get("Authorization", "Bearer "+access)
	if status != http.StatusBadGateway || !strings.Contains(body, relay.ErrNoCaller.Error()) || strings.Contains(body, access) {
		t.Errorf("caller with an access token: %d %q, want %v", status, body, relay.ErrNoCaller)
	}
	if q.got.Load() != nil {
		t.Error("stock was called")
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", q.backend.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forwarding(q.backend.URL).RoundTrip(req); !errors.Is(err, relay.ErrNoCaller) {
		t.Errorf("error = %v without a caller, want ErrNoCaller", err)
	}
}

// TestForwardGoesNowhereElse: neither to an origin that was not named, nor after a
// redirect.
func TestForwardGoesNowhereElse(t *testing.T) {
	stolen := make(chan string, 1)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header.Get("Txn-Token") }))
	defer thief.Close()
	door := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer door.Close()
	for name, transport := range map[string]func(string) http.RoundTripper{
		"another origin": func(string) http.RoundTripper { return relay.Forward([]string{"https://other.example"}, nil) },
		"a redirect": func(origin string) http.RoundTripper {
			sent := relay.Forward([]string{origin, door.URL}, nil)
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Response == nil { // the first hop goes to the door
					r = r.Clone(r.Context())
					r.URL.Host = strings.TrimPrefix(door.URL, "http://")
				}
				return sent.RoundTrip(r)
			})
		},
		"no origin": func(string) http.RoundTripper { return relay.Forward(nil, nil) },
		"a path":    func(origin string) http.RoundTripper { return relay.Forward([]string{origin + "/stock"}, nil) },
	} {
		q := newQuarter(t, transport)
		compact := q.issuer.Transaction(token.Claims{Scope: scope.Set{"stock:read"}})
		if status, body := q.get("Txn-Token", compact); status != http.StatusBadGateway || strings.Contains(body, compact) {
			t.Errorf("%s: %d %q, want an error that does not show the token", name, status, body)
		}
		select {
		case token := <-stolen:
			t.Errorf("%s: the thief was called with %d bytes", name, len(token))
		default:
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTransactionTokensAreNotExchanged: the error says what to do instead.
func TestTransactionTokensAreNotExchanged(t *testing.T) {
	var asked atomic.Int64
	q := newQuarter(t, func(origin string) http.RoundTripper {
		client, err := relay.New(relay.Config{
			Issuer: "https://as.example", ClientID: "orders", Secret: "s", HTTPClient: &http.Client{Transport: counting{&asked}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return client.OnBehalf(relay.Target{Resource: stock, Origins: []string{origin}}, nil)
	})
	status, body := q.get("Txn-Token", q.issuer.Transaction(token.Claims{Scope: scope.Set{"stock:read"}}))
	if status != http.StatusBadGateway || !strings.Contains(body, relay.ErrTransaction.Error()) || asked.Load() != 0 {
		t.Errorf("answer = %d %q, %d token requests, want %v and none", status, body, asked.Load(), relay.ErrTransaction)
	}
}
