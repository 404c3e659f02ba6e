package grpcguard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/writ-auth/writ/grpcguard"
	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/token"
)

// kinds calls a method of each kind and returns its trailer and error.
var kinds = map[string]func(*house, context.Context) (metadata.MD, error){
	"UnaryCall": func(h *house, ctx context.Context) (trailer metadata.MD, err error) {
		_, err = h.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.Trailer(&trailer))
		return trailer, err
	},
	"FullDuplexCall": func(h *house, ctx context.Context) (metadata.MD, error) {
		s, err := h.FullDuplexCall(ctx)
		if err != nil {
			return nil, err
		}
		for err == nil {
			_, err = s.Recv()
		}
		return s.Trailer(), err
	},
}

// asHTTP is the verdict on the same request at an HTTP server, nil for yes.
func (h *house) asHTTP(t *testing.T, method string, md []string, need guard.Need) *guard.Refusal {
	t.Helper()
	r := httptest.NewRequest("POST", "http://orders.example"+prefix+method, nil)
	for i := 0; i < len(md); i += 2 {
		r.Header.Add(md[i], md[i+1])
	}
	_, err := h.guard.Verify(r, need)
	refusal, _ := errors.AsType[*guard.Refusal](err)
	return refusal
}

// counted returns for which reasons the guard refuses while f runs.
func (h *house) counted(f func()) (reasons []string) {
	before := h.guard.State().Refusals
	f()
	for reason, n := range h.guard.State().Refusals {
		if n > before[reason] {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// wantRefused compares an answer with the refusal that HTTP would get.
func wantRefused(t *testing.T, trailer metadata.MD, err error, want *guard.Refusal) {
	t.Helper()
	wantCode(t, err, map[int]codes.Code{
		http.StatusBadRequest: codes.InvalidArgument, http.StatusUnauthorized: codes.Unauthenticated,
		http.StatusForbidden: codes.PermissionDenied, http.StatusServiceUnavailable: codes.Unavailable,
	}[want.Status])
	if got := trailer["www-authenticate"]; !slices.Equal(got, want.Challenges) {
		t.Errorf("challenges = %q, want %q", got, want.Challenges)
	}
	receipt := strings.Join(trailer["writ-receipt"], "|")
	message := "receipt " + receipt
	if want.Code != "" {
		message = want.Code + ", " + message
	}
	if got := status.Convert(err).Message(); receipt == "" || got != message {
		t.Errorf("message = %q with receipt %q, want %q", got, receipt, message)
	}
	if _, ok := trailer["retry-after"]; ok != (want.Status == http.StatusServiceUnavailable) {
		t.Errorf("retry-after is %q after status %d", trailer["retry-after"], want.Status)
	}
}

// TestVerdictsAreThoseOfHTTP makes each request both ways.
func TestVerdictsAreThoseOfHTTP(t *testing.T) {
	need := guard.Need{Scopes: []string{"orders:read"}}
	h := newHouse(t, grpcguard.Config{Needs: map[string]guard.Need{prefix: need}}, &service{}, settings{})
	good := h.issuer.Token(claims("alice", "orders:read"))
	other := h.issuer.Token(claims("alice", "orders:write"))
	ended := h.issuer.Token(claims("mallory", "orders:read"))
	h.issuer.Revoke(claims("mallory"))
	for _, row := range []struct {
		name string
		md   []string
		want string
	}{
		{"good", []string{"authorization", "Bearer " + good}, ""},
		{"scheme in lower case", []string{"authorization", "bearer " + good}, ""},
		{"scheme in upper case, two spaces", []string{"authorization", "BEARER  " + good}, ""},
		{"nothing presented", nil, guard.ReasonMissing},
		{"another scheme", []string{"authorization", "Basic YTpi"}, guard.ReasonMissing},
		{"empty", []string{"authorization", ""}, guard.ReasonMissing},
		{"binary", []string{"authorization-bin", "Bearer " + good}, guard.ReasonMissing},
		{"binary beside good", []string{"authorization-bin", "Bearer x", "dpop-bin", "x", "authorization", "Bearer " + good}, ""},
		{"two credentials", []string{"authorization", "Bearer " + good, "authorization", "Bearer " + good}, guard.ReasonCredentials},
		{"two in one", []string{"authorization", "Bearer " + good + ", Bearer " + good}, guard.ReasonForm},
		{"in other headers", []string{"x-authorization", "Bearer " + good, "cookie", "access_token=" + good}, guard.ReasonMissing},
		{"too long", []string{"authorization", "Bearer " + strings.Repeat("a", 16<<10+1)}, guard.ReasonSize},
		{"not bound, as DPoP", []string{"authorization", "DPoP " + good, "dpop", "x"}, guard.ReasonBinding},
		{"scope missing", []string{"authorization", "Bearer " + other}, guard.ReasonScope},
		{"ended", []string{"authorization", "Bearer " + ended}, guard.ReasonRevoked},
	} {
		for method := range kinds {
			t.Run(row.name+"/"+method, func(t *testing.T) { h.compare(t, method, row.md, need, row.want) })
		}
	}
}

// TestNeedsAreThoseOfHTTP: everything that a route can demand, a method can.
func TestNeedsAreThoseOfHTTP(t *testing.T) {
	for _, row := range []struct {
		name string
		need guard.Need
		want string
	}{
		{"another authentication", guard.Need{ACR: []string{"mfa"}}, guard.ReasonACR},
		{"a recent authentication", guard.Need{MaxAge: time.Minute}, guard.ReasonAge},
		{"a bound token", guard.Need{ProofBound: true}, guard.ReasonUnbound},
		{"what the token has", guard.Need{ACR: []string{"mfa", "pwd"}, MaxAge: time.Hour}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t, grpcguard.Config{Needs: map[string]guard.Need{prefix: row.need}}, &service{}, settings{})
			c := claims("alice")
			c.ACR, c.AuthTime = "pwd", time.Now().Add(-30*time.Minute)
			md := []string{"authorization", "Bearer " + h.issuer.Token(c)}
			for method := range kinds {
				h.compare(t, method, md, row.need, row.want)
			}
		})
	}
}

// TestWithoutIssuer: what cannot be verified is Unavailable, to be tried again.
func TestWithoutIssuer(t *testing.T) {
	h := newHouse(t, every(), &service{}, settings{down: true})
	md := []string{"authorization", "Bearer " + h.issuer.Token(claims("alice"))}
	for method := range kinds {
		h.compare(t, method, md, guard.Need{}, guard.ReasonNoKeys)
	}
}

// TestNeedsAreKept: who made the table cannot change it afterwards.
func TestNeedsAreKept(t *testing.T) {
	scopes := []string{"orders:write"}
	cfg := grpcguard.Config{Needs: map[string]guard.Need{prefix: {Scopes: scopes}}}
	h := newHouse(t, cfg, &service{}, settings{})
	scopes[0] = "orders:read"
	cfg.Needs[prefix+"UnaryCall"] = guard.Need{}
	_, err := h.UnaryCall(h.bearer(t, claims("alice", "orders:read")), &grpc_testing.SimpleRequest{})
	wantCode(t, err, codes.PermissionDenied)
}

// compare makes one request both ways and wants the verdict want of each, "" for
// yes, with the same answer.
func (h *house) compare(t *testing.T, method string, md []string, need guard.Need, want string) {
	t.Helper()
	refusal := h.asHTTP(t, method, md, need)
	var trailer metadata.MD
	var err error
	reasons := h.counted(func() { trailer, err = kinds[method](h, as(t, md...)) })
	if refusal == nil {
		if want != "" || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("HTTP admits, gRPC says %v; want %q", err, want)
		}
		return
	}
	if refusal.Reason != want {
		t.Errorf("HTTP's reason = %q, want %q", refusal.Reason, want)
	}
	if !slices.Equal(reasons, []string{refusal.Reason}) {
		t.Errorf("reasons = %q, want %q as for HTTP", reasons, refusal.Reason)
	}
	wantRefused(t, trailer, err, refusal)
}

// TestForgeries: no forgery is admitted, for whatever reason HTTP has.
func TestForgeries(t *testing.T) {
	h := newHouse(t, every(), &service{unary: func(context.Context) error { t.Error("a handler ran"); return nil }}, settings{})
	n := 0
	for name, forged := range h.issuer.Forgeries(token.Claims{Audience: []string{audience}}) {
		n++
		t.Run(name, func(t *testing.T) {
			md := []string{"authorization", "Bearer " + forged}
			refusal := h.asHTTP(t, "UnaryCall", md, guard.Need{})
			if refusal == nil {
				t.Fatal("HTTP admits the forgery")
			}
			h.compare(t, "UnaryCall", md, guard.Need{}, refusal.Reason)
		})
	}
	if n < 100 {
		t.Errorf("%d forgeries, want a hundred at least", n)
	}
}
