package keyset

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

const metadataPath = "/.well-known/oauth-authorization-server"

var errRefused = errors.New("connection refused")

// issuer serves metadata and a key set, 20 ms late. It is an http.Handler for
// a loopback server and an http.RoundTripper for tests in synthetic time.
type issuer struct {
	url string

	mu       sync.Mutex
	document string         // the key set
	metadata string         // instead of the usual metadata
	jwks     string         // path of the set
	cache    string         // Cache-Control
	status   int            // instead of 200
	refuse   bool           // no connection at all
	hang     bool           // no answer at all
	fetches  map[string]int // by path
	shared   string         // what a cache in front of the issuer holds; "": there is none
}

func newIssuer(url string, keys ...jose.Key) *issuer {
	i := &issuer{url: url, jwks: "/jwks", fetches: make(map[string]int)}
	i.publish(keys...)
	return i
}

func (i *issuer) publish(keys ...jose.Key) {
	document, err := jose.EncodeSet(keys)
	if err != nil {
		panic(err)
	}
	i.change(func() { i.document = string(document) })
}

func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

// count is the number of requests for the key set.
func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches[i.jwks]
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(20 * time.Millisecond)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetches[r.URL.Path]++
	if i.cache != "" {
		w.Header().Set("Cache-Control", i.cache)
	}
	if i.status != 0 {
		w.WriteHeader(i.status)
		return
	}
	switch {
	case r.URL.Path == i.jwks && i.shared != "" && r.Header.Get("Cache-Control") != "no-cache":
		fmt.Fprint(w, i.shared)
	case r.URL.Path == i.jwks:
		fmt.Fprint(w, i.document)
	case r.URL.Path == metadataPath && i.metadata != "":
		fmt.Fprint(w, i.metadata)
	case r.URL.Path == metadataPath:
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.url, i.url+i.jwks)
	default:
		http.NotFound(w, r)
	}
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	refuse, hang := i.refuse, i.hang
	i.mu.Unlock()
	if refuse {
		return nil, errRefused
	}
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	rec := httptest.NewRecorder()
	i.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// config is a Config that reads i through its metadata, without a network.
func (i *issuer) config() Config {
	return Config{
		Issuer:   i.url,
		Metadata: i.url + metadataPath,
		Client:   &http.Client{Transport: i},
		Logger:   slog.New(slog.DiscardHandler),
	}
}

// start runs a set until the test ends.
func start(t *testing.T, cfg Config) *Set {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(t.Context()) })
	t.Cleanup(wg.Wait)
	return s
}

// ready waits until the set holds keys.
func ready(t *testing.T, s *Set) {
	t.Helper()
	eventually(t, 5*time.Second, "the set is ready", s.Ready)
}

func eventually(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func newKey(t testing.TB, id string) jose.Key {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.Key{ID: id, Alg: jose.ES256, Public: &priv.PublicKey}
}

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// count is the number of lines that hold every one of the words.
func (l *logs) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.buf.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
