package mint_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const issuer = "https://as.example"

// clock is a clock that a test moves.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func start(t *testing.T, db *store.DB, c *clock) *mint.Mint {
	t.Helper()
	m, err := mint.Open(t.Context(), config(t, db, c))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func config(t *testing.T, db *store.DB, c *clock) mint.Config {
	t.Helper()
	return mint.Config{Issuer: issuer, DB: db, Seal: sealer(t, 1), Algorithms: []string{jose.ES256}, Now: c.read}
}

func sealer(t *testing.T, seed byte) *mint.Sealer {
	t.Helper()
	s, err := mint.NewSealer([]byte(strings.Repeat(string(seed), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claims(now time.Time, life time.Duration) *token.Claims {
	now = now.Truncate(time.Second)
	return &token.Claims{
		Issuer: issuer, Subject: "u_1", ClientID: "app", Audience: []string{"https://api.example"},
		Scope: scope.Set{"a"}, IssuedAt: now, Expiry: now.Add(life),
	}
}

func TestRotationRefusesNoLiveToken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db := open(issuer)
		c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		cfg := config(t, db, c)
		cfg.KeyLife = 8 * time.Hour
		m, err := mint.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		// A verifier elsewhere that fetches the key set no oftener than its max-age.
		var held []jose.Key
		fetched := time.Time{}
		kids := map[string]bool{}
		type issued struct {
			compact string
			until   time.Time
		}
		var alive []issued
		end := c.now.Add(3*cfg.KeyLife + 4*time.Hour)
		for ; c.now.Before(end); c.now = c.now.Add(time.Minute) {
			if err := m.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c.now.Sub(fetched) >= m.SetMaxAge() {
				set, err := m.Set()
				if err != nil {
					t.Fatal(err)
				}
				if held, _, err = jose.ParseSet(set); err != nil {
					t.Fatal(err)
				}
				fetched = c.now
			}
			compact, err := m.Access(claims(c.now, 5*time.Minute), "")
			if err != nil {
				t.Fatal(err)
			}
			alive = append(alive, issued{compact, c.now.Add(5 * time.Minute)})
			for len(alive) > 0 && !c.now.Before(alive[0].until) {
				alive = alive[1:]
			}
			for _, a := range alive {
				kids[verify(t, held, a.compact)] = true
				if _, err := m.Verify(a.compact); err != nil {
					t.Fatalf("at %v the mint refuses a live token: %v", c.now, err)
				}
			}
		}
		if len(kids) != 4 {
			t.Errorf("%d keys signed over three rotations, want 4", len(kids))
		}
	})
}

// verify finds the key among held and checks the signature, as a guard would.
func verify(t *testing.T, held []jose.Key, compact string) string {
	t.Helper()
	msg, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range held {
		if k.ID == msg.Header.KeyID {
			if err := k.Verify(msg.Signed, msg.Signature); err != nil {
				t.Fatal(err)
			}
			return k.ID
		}
	}
	t.Fatalf("key %s is not in the verifier's set", msg.Header.KeyID)
	return ""
}

func TestTagCoversEveryClaim(t *testing.T) {
	c := &clock{time.Now()}
	m := start(t, storetest.New(t, issuer), c)
	genuine := claims(c.now, time.Minute)
	compact, err := m.Access(genuine, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Verify(compact)
	if err != nil {
		t.Fatalf("Verify(genuine) = %v", err)
	}
	if got.ID != genuine.ID || len(got.ID) != 24 {
		t.Errorf("jti = %q, want the 24 characters %q", got.ID, genuine.ID)
	}

	// A thief of the signing key, with a genuine jti to copy.
	thief := mint.Thief(m)
	header, _, _ := strings.Cut(compact, ".")
	for name, change := range map[string]func(*token.Claims){
		"subject":  func(c *token.Claims) { c.Subject = "u_2" },
		"scope":    func(c *token.Claims) { c.Scope = scope.Set{"a", "b"} },
		"expiry":   func(c *token.Claims) { c.Expiry = c.Expiry.Add(time.Hour) },
		"own jti":  func(c *token.Claims) { c.ID = strings.Repeat("x", 24) },
		"no jti":   func(c *token.Claims) { c.ID = "short" },
		"rev":      func(c *token.Claims) { c.Rev = 1 << 40 },
		"audience": func(c *token.Claims) { c.Audience = []string{"https://other.example"} },
	} {
		forged := *genuine
		change(&forged)
		stolen := thief(t, header, &forged)
		for range 2 { // what failed once is not taken for proven
			if _, err := m.Verify(stolen); !errors.Is(err, mint.ErrForged) {
				t.Errorf("%s changed: Verify = %v, want ErrForged", name, err)
			}
		}
	}
	if _, err := m.Verify(thief(t, header, genuine)); err != nil {
		t.Errorf("the same claims signed again: Verify = %v, want none", err)
	}
	if _, err := m.Verify(compact[:len(compact)-4] + "AAAA"); !errors.Is(err, mint.ErrInvalid) {
		t.Errorf("wrong signature: Verify = %v, want ErrInvalid", err)
	}
}

func TestWrongSealingKeyStopsTheStart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		c := &clock{time.Now()}
		db := open(issuer)
		before := start(t, db, c).Keys()
		other := config(t, db, c)
		other.Seal = sealer(t, 2)
		if _, err := mint.Open(t.Context(), other); !errors.Is(err, mint.ErrSeal) {
			t.Fatalf("Open with another sealing key = %v, want ErrSeal", err)
		}
		after := start(t, db, c).Keys()
		if len(before) != len(after) || before[0].ID != after[0].ID {
			t.Errorf("keys changed from %v to %v", before, after)
		}
	})
}

func TestSealIsBoundToPurposeIssuerAndID(t *testing.T) {
	s := sealer(t, 1)
	sealed, err := s.Seal("key sign", issuer, "k1", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open("key sign", issuer, "k1", sealed); err != nil || string(got) != "secret" {
		t.Fatalf("Open = %q, %v", got, err)
	}
	for name, try := range map[string][3]string{
		"purpose": {"key feed", issuer, "k1"}, "issuer": {"key sign", "https://b.example", "k1"}, "id": {"key sign", issuer, "k2"},
	} {
		if _, err := s.Open(try[0], try[1], try[2], sealed); !errors.Is(err, mint.ErrSeal) {
			t.Errorf("another %s: Open = %v, want ErrSeal", name, err)
		}
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := s.Open("key sign", issuer, "k1", sealed); !errors.Is(err, mint.ErrSeal) {
		t.Errorf("changed blob: Open = %v, want ErrSeal", err)
	}
}

func TestSealKeyFileIsPrivateAndNeverReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := mint.WriteSealKey(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, want 0600", info.Mode().Perm())
	}
	first, err := mint.ReadSealKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := mint.WriteSealKey(path, rand.Reader); !errors.Is(err, os.ErrExist) {
		t.Errorf("second WriteSealKey = %v, want it refused", err)
	}
	second, err := mint.ReadSealKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Derive("x")) != string(second.Derive("x")) {
		t.Error("the key in the file changed")
	}
	if got := first.String(); got != "[redacted]" {
		t.Errorf("String = %q, want [redacted]", got)
	}
	for name, text := range map[string]string{"empty": "", "no prefix": strings.Repeat("A", 43), "short": "writ-seal-AAAA", "not base64": "writ-seal-" + strings.Repeat("!", 43)} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := mint.ReadSealKey(bad); err == nil {
			t.Errorf("%s: ReadSealKey accepted it", name)
		}
	}
}

func TestReplicasAgreeOnOneKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db := open(issuer)
		c := &clock{time.Now()}
		cfg := config(t, db, c)
		const replicas = 8
		mints := make(chan *mint.Mint, replicas)
		for range replicas {
			go func() {
				m, err := mint.Open(t.Context(), cfg)
				if err != nil {
					t.Error(err)
				}
				mints <- m
			}()
		}
		seen := map[string]bool{}
		for range replicas {
			m := <-mints
			if m == nil {
				continue
			}
			if err := m.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, k := range m.Keys() {
				seen[k.Use+" "+k.ID] = true
			}
		}
		if len(seen) != 2 {
			t.Errorf("keys = %v, want one that signs tokens and one that signs the feed", seen)
		}
	})
}

func TestStandingGrantIsComputed(t *testing.T) {
	db := storetest.New(t, issuer)
	c := &clock{time.Now()}
	a, b := start(t, db, c), start(t, db, c)
	if a.Standing("app", "https://api.example") != b.Standing("app", "https://api.example") {
		t.Error("two replicas compute different ids")
	}
	if a.Standing("app", "https://api.example") == a.Standing("apph", "ttps://api.example") {
		t.Error("client and resource run into each other")
	}
}

// TestTagOfAnotherReplica: when a tag key takes over, every replica has known it
// for long. One that had not would take a good token for a forged one, and raise
// the alarm that a signing key is stolen.
func TestTagOfAnotherReplica(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db, c := open(issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		cfg := config(t, db, c)
		cfg.KeyLife = 8 * time.Hour
		one, err := mint.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		other, err := mint.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		end := c.now.Add(2 * cfg.KeyLife)
		for ; c.now.Before(end); c.now = c.now.Add(10 * time.Minute) {
			if err := one.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			compact, err := one.Access(claims(c.now, time.Minute), "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Verify(compact); err != nil { // word of the change is under way
				t.Fatalf("at %v: %v, want a good token", c.now, err)
			}
			if err := other.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestReplicasBeginAtOnce: of replicas that begin on an empty store one makes the
// keys, and all have them. A replica without would hash with an empty key.
func TestReplicasBeginAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		db, cfg := open(issuer), config(t, nil, c)
		cfg.DB = db
		replicas, errs := make([]*mint.Mint, 4), make([]error, 4)
		var opening sync.WaitGroup
		for i := range replicas {
			opening.Go(func() { replicas[i], errs[i] = mint.Open(t.Context(), cfg) })
		}
		opening.Wait()
		for i, m := range replicas {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if got, want := m.Standing("app", "https://api.example"), replicas[0].Standing("app", "https://api.example"); got != want || !m.Ready() {
				t.Errorf("replica %d: ready = %v, standing grant %s, want true and %s", i, m.Ready(), got, want)
			}
		}
	})
}

// TestForeignPublicKey: who can write to the store, but has no sealing key, cannot
// have a public key published of which they hold the private half.
func TestForeignPublicKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func(string) *store.DB) {
		db, c := open(issuer), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		start(t, db, c)
		thief, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(t.Context(), func(tx *store.Tx) error {
			keys, err := tx.Keys()
			if err != nil {
				return err
			}
			for _, k := range keys {
				if k.Algorithm != jose.ES256 {
					continue
				}
				if k.Public, err = (jose.Key{ID: k.ID, Alg: jose.ES256, Public: thief.Public()}).Encode(); err != nil {
					return err
				}
				if err := tx.PutKey(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mint.Open(t.Context(), config(t, db, c)); !errors.Is(err, mint.ErrSeal) {
			t.Errorf("Open = %v, want %v", err, mint.ErrSeal)
		}
	})
}
