package grant_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const (
	issuer   = "https://id.example"
	api      = "https://api.example"
	inner    = "https://inner.example"
	callback = "https://app.example/callback"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
)

// clock is a time that a test moves by hand.
type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is an authority over a real database, and what it needs to know.
type world struct {
	*grant.Authority
	db      *store.DB
	clients *client.Directory
	clock   *clock
}

// eachDatabase runs f in a new world on SQLite and on PostgreSQL.
func eachDatabase(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) { f(t, newWorld(t, open(issuer))) })
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	w := newReplica(t, db, &clock{at: time.Now().Truncate(time.Microsecond)}, nil) // as exact as the store
	w.update(t, seed)
	return w
}

// newReplica is an authority over a database that others may use too; random is what
// signing asks for, last of all.
func newReplica(t *testing.T, db *store.DB, c *clock, random io.Reader) *world {
	t.Helper()
	w := &world{db: db, clock: c}
	seal, err := mint.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := mint.Open(t.Context(), mint.Config{
		Issuer: issuer, DB: db, Seal: seal, Algorithms: []string{jose.ES256}, Now: w.clock.now, Rand: random,
	})
	if err != nil {
		t.Fatal(err)
	}
	people, err := login.New(login.Config{DB: db, Key: make([]byte, 32), TokenLife: mint.LongestLife, Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	w.clients = client.NewDirectory(db, false)
	w.Authority, err = grant.New(grant.Config{
		Issuer: issuer, DB: db, Keys: keys, Clients: w.clients, Login: people, Now: w.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// seed writes clients, resources and a person.
func seed(tx *store.Tx) error {
	apps := []string{oauth.GrantCode, oauth.GrantRefresh}
	most := []string{"offline_access", "read", "write"}
	services := []string{oauth.GrantClient, oauth.GrantExchange}
	scopes := []store.ScopeText{{Name: "read"}, {Name: "write"}}
	for _, c := range []*store.Client{
		{ID: "web", GrantTypes: apps, RedirectURIs: []string{callback}, Scope: most, Resources: []string{api}},
		{ID: "other", GrantTypes: apps, RedirectURIs: []string{callback}, Scope: most, Resources: []string{api}},
		{ID: "spa", GrantTypes: apps, RedirectURIs: []string{callback}, Scope: most, Resources: []string{api}, AuthMethod: oauth.AuthNone},
		{ID: "gateway", GrantTypes: services, Guards: []string{api}, Resources: []string{inner}},
	} {
		if c.AuthMethod == "" {
			c.AuthMethod, c.SecretHash = oauth.AuthBasic, client.HashSecret(c.ID)
		}
		if err := tx.PutClient(c); err != nil {
			return err
		}
	}
	for _, uri := range []string{api, inner} {
		if err := tx.PutResource(&store.Resource{URI: uri, Scopes: scopes}); err != nil {
			return err
		}
	}
	return tx.AddUser(&store.User{ID: "u_alice", Username: "alice"})
}

func (w *world) update(t *testing.T, f func(*store.Tx) error) {
	t.Helper()
	if err := w.db.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// hashCookie is what the store knows of a session's cookie.
func hashCookie(t *testing.T, value string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	return sum[:]
}

// code puts an authorization code, as if the person had just signed in and said yes.
func (w *world) code(t *testing.T, clientID string) string {
	t.Helper()
	secret, now := rand.Text(), w.clock.now()
	sum := sha256.Sum256([]byte(verifier))
	w.update(t, func(tx *store.Tx) error {
		_ = tx.DeleteSession("s") // a sign-in opens a new one; here it has the name of the old
		err := tx.PutSession(&store.Session{
			ID: "s", SecretHash: client.HashSecret("s"), UserID: "u_alice", AuthTime: now, Created: now, Seen: now, Expires: now.AddDate(0, 1, 0),
		})
		if err != nil {
			return err
		}
		return tx.PutCode(&store.Code{
			Hash: client.HashSecret(secret), ClientID: clientID, UserID: "u_alice", SessionID: "s", RedirectURI: callback,
			Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Scope: []string{"offline_access", "read", "write"},
			Resources: []string{api}, AuthTime: now, Expires: now.Add(time.Minute),
		})
	})
	return secret
}

// ask sends a token request as the client.
func (w *world) ask(ctx context.Context, clientID string, pairs ...string) (*grant.TokenResponse, error) {
	params := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		params.Set(pairs[i], pairs[i+1])
	}
	return w.Token(ctx, grant.TokenRequest{Credentials: credentials(clientID), Params: params})
}

func credentials(clientID string) client.Credentials {
	if clientID == "spa" {
		return client.Credentials{ID: clientID, Method: oauth.AuthNone}
	}
	return client.Credentials{ID: clientID, Secret: clientID, Method: oauth.AuthBasic}
}

func (w *world) redeem(ctx context.Context, clientID, code string) (*grant.TokenResponse, error) {
	return w.ask(ctx, clientID, "grant_type", oauth.GrantCode, "code", code, "redirect_uri", callback, "code_verifier", verifier)
}

func (w *world) refresh(ctx context.Context, clientID, token string) (*grant.TokenResponse, error) {
	return w.ask(ctx, clientID, "grant_type", oauth.GrantRefresh, "refresh_token", token)
}

func (w *world) exchange(ctx context.Context, subject string) (*grant.TokenResponse, error) {
	return w.ask(ctx, "gateway", "grant_type", oauth.GrantExchange, "subject_token", subject,
		"subject_token_type", oauth.TypeAccess, "resource", inner)
}

// open is a new grant of the client and its first tokens.
func (w *world) open(t *testing.T, clientID string) *grant.TokenResponse {
	t.Helper()
	return must(w.redeem(t.Context(), clientID, w.code(t, clientID)))(t)
}

// must is the answer of a request that has to succeed.
func must(r *grant.TokenResponse, err error) func(*testing.T) *grant.TokenResponse {
	return func(t *testing.T) *grant.TokenResponse {
		t.Helper()
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return r
	}
}

// refused checks that a request was answered with this code.
func refused(t *testing.T, what, code string, err error) {
	t.Helper()
	var e *oauth.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// active asks the guard's way whether an access token is good.
func (w *world) active(t *testing.T, token string) bool {
	t.Helper()
	answer, err := w.Introspect(t.Context(), credentials("gateway"), token)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Active
}

// grantOf is the record of the grant that a refresh token belongs to.
func (w *world) grantOf(t *testing.T, refresh string) *store.Grant {
	t.Helper()
	var g *store.Grant
	err := w.db.View(t.Context(), func(tx *store.Tx) error {
		r, err := tx.Refresh(client.HashSecret(refresh))
		if err != nil {
			return err
		}
		g, err = tx.Grant(r.GrantID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// together runs f in n goroutines at once.
func together(n int, f func(i int)) {
	var ready, running sync.WaitGroup
	gate := make(chan struct{})
	ready.Add(n)
	for i := range n {
		running.Go(func() {
			ready.Done()
			<-gate
			f(i)
		})
	}
	ready.Wait()
	close(gate)
	running.Wait()
}
