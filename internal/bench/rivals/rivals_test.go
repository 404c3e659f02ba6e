package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/bench"
	"github.com/writ-auth/writ/internal/jose"
)

func TestSummary(t *testing.T) {
	got := summary("writ", "ES256", []turn{{3, 9, 1}, {1, 7, 1000}, {2, 8, 2}})
	if want := (row{"writ", "ES256", 2, 8, 2}); got != want {
		t.Errorf("summary = %+v, want the median of each, %+v", got, want)
	}
}

// TestJudge: a target is met or not by the figures alone, and one that cannot be
// judged is not there at all.
func TestJudge(t *testing.T) {
	rows := []row{
		{Name: "ReverseProxy", Rate: 100},
		{Name: "HAProxy", Rate: 5000},
		{Name: "HAProxy", Alg: "RS256", Rate: 100, CPU: 10},
		{Name: "HAProxy", Alg: "ES256", Rate: 100, CPU: 10},
		{Name: "writ", Alg: "RS256", Rate: 114, CPU: 1},
		{Name: "writ", Alg: "ES256", Rate: 170, CPU: 6.1},
	}
	got := judge(rows, []string{"nginx: nginx is not installed"})
	want := []struct {
		text  string
		ratio float64
		met   bool
	}{
		{"≥ 1.15 × HAProxy jwt_verify, RS256", 1.14, false},
		{"≥ 1.70 × HAProxy jwt_verify, ES256", 1.7, true},
		{"≤ 0.60 × HAProxy jwt_verify, ES256", 0.61, false},
		{"≥ 0.95 × plain ReverseProxy", 1.7, true},
	}
	if len(got.Targets) != len(want) {
		t.Fatalf("targets = %+v, want %d: nginx is not there", got.Targets, len(want))
	}
	for n, w := range want {
		if g := got.Targets[n]; !strings.Contains(g.Text, w.text) || g.Ratio != w.ratio || g.Met != w.met {
			t.Errorf("target = %+v, want %+v", g, w)
		}
	}
	var text strings.Builder
	if err := got.table(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"left out: nginx", "writ          ES256", "1.14", "no"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, text.String())
		}
	}
	none, err := json.Marshal(judge(nil, nil))
	if err != nil || string(none) != `{"rows":null,"targets":[],"left_out":[]}` {
		t.Errorf("nothing measured = %s, %v", none, err)
	}
}

// issue is a key set on a loopback port and a token signed by its key.
func issue(t *testing.T, expiry time.Time) (url, compact string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.EncodeSet([]jose.Key{{ID: "k", Alg: jose.ES256, Public: key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(srv.Close)
	payload, err := json.Marshal(map[string]any{"sub": "a", "exp": expiry.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	compact, err = jose.Sign(key, jose.ES256, jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: "k"}.Encode(), payload)
	if err != nil {
		t.Fatal(err)
	}
	return srv.URL, compact
}

// TestPublicPEM: the others are given the key that the token was signed with.
func TestPublicPEM(t *testing.T) {
	url, compact := issue(t, time.Now().Add(time.Hour))
	text, err := publicPEM(t.Context(), url, compact)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is no PEM", text)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(compact string) error {
		m, err := jose.Parse(compact)
		if err != nil {
			return err
		}
		return m.Verify(&jose.Key{ID: "k", Alg: jose.ES256, Public: public})
	}
	if err := verify(compact); err != nil {
		t.Errorf("the token under the key that was written: %v", err)
	}
	if err := verify(broken(compact)); err == nil {
		t.Error("the broken token verifies, so it would prove nothing")
	}
	other, _ := issue(t, time.Now())
	if _, err := publicPEM(t.Context(), "http://127.0.0.1:1", compact); err == nil {
		t.Error("no issuer: no error, want one")
	}
	if text, err := publicPEM(t.Context(), other, "a.b.c"); err == nil {
		t.Errorf("no token: %s, want an error", text)
	}
}

// TestOthers: programs of other people check what we say they check. A figure of one
// that lets everything through would flatter it, and one that refuses all, us.
func TestOthers(t *testing.T) {
	upstream, err := bench.Upstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, p program, f *field) string {
		variable := "WRIT_TEST_" + strings.ToUpper(p.binary)
		path := os.Getenv(variable)
		if path == "" {
			if os.Getenv("WRIT_TEST_REQUIRE") != "" {
				t.Fatal(variable + " is not set")
			}
			t.Skip(variable + " is not set")
		}
		t.Setenv("PATH", filepath.Dir(path))
		f.dir, f.upstream = t.TempDir(), upstream
		process, origin, err := p.start(t.Context(), f, p.alg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(process.Close)
		return origin
	}
	get := func(origin string, request []byte, want int) error {
		_, err := bench.Load{Target: origin, Connections: 1, Next: bench.Once([][]byte{request}), Want: want}.Run()
		return err
	}
	for _, p := range programs() {
		if p.binary == "" || p.alg == jose.RS256 {
			continue // ours, and the same with another key
		}
		t.Run(p.name+p.alg, func(t *testing.T) {
			url, good := issue(t, time.Now().Add(time.Hour))
			f := &field{issued: bench.Issued{URL: url, Tokens: map[string][]string{jose.ES256: {good}}}}
			origin := start(t, p, f)
			if err := ready(t.Context(), origin, bench.Request(good)); err != nil {
				t.Fatal(err)
			}
			if p.alg == "" {
				return
			}
			if err := refuses(origin, good, p.refusal); err != nil {
				t.Error(err)
			}
			if err := get(origin, []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n"), p.refusal); err != nil {
				t.Errorf("no token: %v", err)
			}
			if err := get(origin, bench.Request(good), p.refusal); err == nil {
				t.Error("a good token is refused, too")
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		url, old := issue(t, time.Now().Add(-time.Minute))
		p := program{name: "HAProxy", alg: jose.ES256, binary: "haproxy", start: haproxy}
		f := &field{issued: bench.Issued{URL: url, Tokens: map[string][]string{jose.ES256: {old}}}}
		origin := start(t, p, f)
		var err error
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = get(origin, bench.Request(old), http.StatusForbidden); err == nil {
				return
			}
		}
		t.Errorf("a token a minute past its end: %v, want 403", err)
	})
}

// TestReadyGivesUp: a program that never comes up is an error at once when nobody waits.
func TestReadyGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ready(ctx, "http://127.0.0.1:1", bench.Request("a")); err == nil {
		t.Error("nobody listens: no error, want one")
	}
}
