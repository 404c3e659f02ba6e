package keyset

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// inner is a set with terms behind a credential.
type inner struct {
	document atomic.Pointer[string]
	good     atomic.Pointer[string] // the credential that is taken
	down     atomic.Bool
}

func (i *inner) RoundTrip(r *http.Request) (*http.Response, error) {
	if i.down.Load() {
		return nil, errRefused
	}
	rec := httptest.NewRecorder()
	if r.Header.Get("Authorization") != "Bearer "+*i.good.Load() {
		rec.WriteHeader(http.StatusUnauthorized)
	} else {
		fmt.Fprint(rec, *i.document.Load())
	}
	return rec.Result(), nil
}

// entry is a key with members besides.
func entry(t *testing.T, key jose.Key, more string) string {
	t.Helper()
	text, err := key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(text), "}") + more + "}"
}

func (i *inner) publish(entries ...string) {
	document := `{"keys":[` + strings.Join(entries, ",") + `]}`
	i.document.Store(&document)
}

// TestTerms: keys come with what they may sign, change their identity with it, and
// go when their time is over, in an outage too.
func TestTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, credential, refused := &inner{}, "first", 0
		i.good.Store(&credential)
		end := time.Now().Add(48 * time.Hour).Unix()
		terms := func(scope string, end int64) string {
			return fmt.Sprintf(`,"client_id":"gate","trust_domain":"inside.example","scope":%q,"exp":%d`, scope, end)
		}
		key, other := newKey(t, "a"), newKey(t, "b")
		i.publish(entry(t, key, terms("read", end)), entry(t, other, ""))
		ctx, cancel := context.WithCancel(t.Context())
		s, err := New(Config{
			Issuer: "https://as.example", URL: "https://as.example/inner/jwks", Terms: true, MaxAge: 72 * time.Hour,
			Client: &http.Client{Transport: i}, Logger: slog.New(slog.DiscardHandler),
			Credential: func(context.Context) (string, error) { return credential, nil },
			Refused: func(bad string) {
				if bad == credential {
					credential, refused = "second", refused+1
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { _ = s.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		first := s.Lookup("a")
		if first == nil || s.Lookup("b") != nil {
			t.Fatalf("keys %v and %v, want the first alone, which states its terms", first, s.Lookup("b"))
		}
		if got, ok := s.Terms(first); !ok || got.ClientID != "gate" || got.TrustDomain != "inside.example" || got.Scope != "read" {
			t.Errorf("terms = %+v, %t", got, ok)
		}
		step := func() { s.Refresh(); time.Sleep(10 * time.Second); synctest.Wait() }

		i.publish(entry(t, key, terms("read", end+3600)))
		if step(); s.Lookup("a") != first {
			t.Error("a key that lives longer is another one, want the same")
		}
		i.publish(entry(t, key, terms("read write", end+3600)))
		step()
		if wider := s.Lookup("a"); wider == nil || wider == first {
			t.Errorf("with other terms the key is %p, was %p, want another", wider, first)
		}
		if _, ok := s.Terms(first); ok {
			t.Error("the key of before has terms, want none")
		}

		next := "second"
		i.good.Store(&next)
		i.publish(entry(t, key, terms("read", end)))
		step()
		if got, ok := s.Terms(s.Lookup("a")); !ok || got.Scope != "read" || refused != 1 {
			t.Errorf("after a refused credential: terms %+v, %d refusals, want the new ones after one", got, refused)
		}

		i.down.Store(true)
		time.Sleep(time.Until(time.Unix(end, 0)) - time.Second)
		if s.Lookup("a") == nil {
			t.Error("the key is gone a second before its end")
		}
		time.Sleep(time.Second)
		if s.Lookup("a") != nil {
			t.Error("the key outlives its end while the issuer is down")
		}
	})
}

func TestTermsAreWhole(t *testing.T) {
	good := `,"client_id":"gate","trust_domain":"inside.example","scope":"read","exp":1800000000`
	for name, more := range map[string]string{
		"none": "", "no client": strings.Replace(good, `,"client_id":"gate"`, "", 1), "no domain": strings.Replace(good, `"inside.example"`, `""`, 1),
		"no scope": strings.Replace(good, `,"scope":"read"`, "", 1), "no end": strings.Replace(good, `,"exp":1800000000`, "", 1),
		"end zero": strings.Replace(good, `1800000000`, "0", 1), "scope a list": strings.Replace(good, `"read"`, `["read"]`, 1),
	} {
		if got := parseTerms([]byte(`{"keys":[` + entry(t, newKey(t, "a"), more) + `]}`)); len(got) != 0 {
			t.Errorf("%s: terms %+v, want none", name, got)
		}
	}
	twice := `{"keys":[` + entry(t, newKey(t, "a"), good) + `,` + entry(t, newKey(t, "a"), strings.Replace(good, "read", "write", 1)) + `]}`
	if got := parseTerms([]byte(twice)); len(got) != 0 {
		t.Errorf("an id that is there twice has terms %+v, want none", got)
	}
	if got := parseTerms([]byte(`{"keys":[` + entry(t, newKey(t, "a"), good) + `]}`)); len(got) != 1 {
		t.Errorf("terms %+v, want those of one key", got)
	}
}
