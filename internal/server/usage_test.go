package server

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/usage"
	"github.com/writ-auth/writ/token"
)

// stolen is what a thief has who read the database and the sealing key: the key that
// signs access tokens.
func (w *world) stolen(t *testing.T) (header []byte, sign func(payload []byte) string) {
	t.Helper()
	seal, err := mint.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	var key *store.Key
	err = w.db.View(t.Context(), func(tx *store.Tx) error {
		keys, err := tx.Keys()
		for _, k := range keys {
			if k.Use == "sign" && k.Retired.IsZero() && !k.Active.IsZero() {
				key = k
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := seal.Open("key sign", adminIssuer, key.ID, key.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	header = jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: key.ID}.Encode()
	return header, func(payload []byte) string {
		compact, err := jose.Sign(private.(crypto.Signer), jose.ES256, header, payload)
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
}

// sighting is what a guard reports of a token.
func sighting(t *testing.T, compact string) usage.Sighting {
	t.Helper()
	m, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	c, err := token.Decode(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(compact, ".")
	s := usage.Sighting{KeyID: m.Header.KeyID, ID: c.ID}
	if sum := usage.Digest(header, m.Payload, c.ID); sum != nil {
		s.Digest = base64.RawURLEncoding.EncodeToString(sum)
	}
	return s
}

// TestNeverIssued: what the key signed and nobody issued raises the alarm, whatever it
// copies; what was issued, and what a guard makes up, does not.
func TestNeverIssued(t *testing.T) {
	w := newWorld(t)
	secret := w.client(t, admin.Client{ID: "edge", Guards: []string{"https://api.example"}})
	feed := w.token(t, "edge", secret, adminIssuer+"/feed", nil)
	genuine := w.token(t, "edge", secret, adminIssuer+"/feed", nil)
	_, sign := w.stolen(t)
	claims := func(change func(*token.Claims)) []byte {
		c, err := token.InsecureParse(genuine)
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		payload, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	post := func(path string, body any) (int, string) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r := request("POST", path, nil)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+feed)
		answer := w.do(r)
		return answer.Code, answer.Body.String()
	}
	report := func(s usage.Sighting) []string {
		status, body := post("/usage", usage.Report{Instance: "1", Tokens: []usage.Sighting{s}})
		var a usage.Answer
		if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		return a.Show
	}
	alarms := func() int { return int(w.cfg.Authority.Foreign()) }

	for name, compact := range map[string]string{
		"own claims":               sign(claims(func(c *token.Claims) { c.ID, c.Subject = strings.Repeat("x", 24), "u_victim" })),
		"genuine jti, other claim": sign(claims(func(c *token.Claims) { c.Subject = "u_victim" })),
		"no jti of ours":           sign(claims(func(c *token.Claims) { c.ID = "short" })),
	} {
		t.Run(name, func(t *testing.T) {
			s, before := sighting(t, compact), alarms()
			if show := report(s); !slices.Equal(show, []string{s.ID}) {
				t.Fatalf("asked for %q, want %q", show, s.ID)
			}
			if alarms() != before {
				t.Error("a suspicion alone raised the alarm")
			}
			if status, body := post("/usage/token", usage.Evidence{Token: compact}); status != http.StatusNoContent {
				t.Fatalf("%d %s", status, body)
			}
			if alarms() != before+1 {
				t.Errorf("%d alarms, want one", alarms()-before)
			}
		})
	}

	before := alarms()
	if show := report(sighting(t, genuine)); len(show) != 0 {
		t.Errorf("a genuine token: asked for %q", show)
	}
	// A lying guard: a made-up digest, then tokens that prove nothing.
	lie := sighting(t, genuine)
	lie.Digest = base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	if show := report(lie); len(show) != 1 {
		t.Errorf("a wrong digest: asked for %q, want the token", show)
	}
	head, rest, _ := strings.Cut(genuine, ".")
	payload, _, _ := strings.Cut(rest, ".")
	foreign := newKey(t)
	other, err := jose.Sign(foreign, jose.ES256, []byte(`{"alg":"ES256","typ":"at+jwt","kid":"x"}`), claims(func(c *token.Claims) { c.Subject = "u" }))
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{genuine, head + "." + payload + "." + strings.Repeat("A", 86), other, "x", "a.b.c"} {
		if status, body := post("/usage/token", usage.Evidence{Token: shown}); status != http.StatusNoContent {
			t.Errorf("%d %s", status, body)
		}
	}
	if alarms() != before {
		t.Errorf("a lying guard raised %d alarms", alarms()-before)
	}

	// What is left of it: the key's record and one line, however many alarms there were.
	err = w.db.View(t.Context(), func(tx *store.Tx) error {
		lines, err := tx.Audits(100, time.Time{})
		n := 0
		for _, l := range lines {
			if l.Action == "key.foreign" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d audit lines, want 1", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNeverIssuedAcrossTagKeys: a token is known although the tag key was replaced in the
// middle of its life.
func TestNeverIssuedAcrossTagKeys(t *testing.T) {
	w := newWorld(t)
	secret := w.client(t, admin.Client{ID: "edge", Guards: []string{"https://api.example"}})
	genuine := w.token(t, "edge", secret, adminIssuer+"/feed", nil)
	s := sighting(t, genuine)
	keys, err := w.admin.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Use == "feed" { // replaces the tag key and leaves the key of the token alone
			if _, err := w.admin.CompromiseKey(t.Context(), admin.System, k.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if show := w.cfg.Authority.Sighted([]grant.Sighting{{ID: s.ID, Digest: s.Bytes()}}); len(show) != 0 {
		t.Errorf("asked for %q after the tag key was replaced", show)
	}
	fresh := w.token(t, "edge", secret, adminIssuer+"/feed", nil)
	s = sighting(t, fresh)
	if show := w.cfg.Authority.Sighted([]grant.Sighting{{ID: s.ID, Digest: s.Bytes()}}); len(show) != 0 {
		t.Errorf("asked for %q, which the new tag key tagged", show)
	}
}

// TestLyingGuardFillsNoLog: of what one client tells a bounded part is logged each minute,
// one line says how much was not, and others are not held back.
func TestLyingGuardFillsNoLog(t *testing.T) {
	w, log, now := newWorld(t), new(bytes.Buffer), time.Now()
	w.cfg.Logger, w.cfg.Now = slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return now }
	tokens := map[string]string{}
	for _, id := range []string{"liar", "honest"} {
		secret := w.client(t, admin.Client{ID: id, Guards: []string{"https://api.example"}})
		tokens[id] = w.token(t, id, secret, adminIssuer+"/feed", nil)
	}
	report := func(id string, refusals int) (lines, told int) {
		r := usage.Report{Instance: "1"}
		for range refusals {
			r.Refusals = append(r.Refusals, usage.Refusal{Receipt: "r", Reason: "expired"})
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		log.Reset()
		q := request("POST", "/usage", nil)
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		q.Header.Set("Authorization", "Bearer "+tokens[id])
		if answer := w.do(q); answer.Code != http.StatusOK {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		if strings.Contains(log.String(), `msg="refusals by a guard not logged" client_id=liar count=150`) {
			told = 150
		}
		return strings.Count(log.String(), "guard refused"), told
	}
	for n := range 11 {
		want := usage.MostRefusals
		if n == 10 {
			want = 0
		}
		if lines, told := report("liar", usage.MostRefusals); lines != want || told != 0 {
			t.Errorf("report %d: %d lines, %d said to be missing, want %d and nothing said", n+1, lines, told, want)
		}
	}
	if lines, _ := report("liar", 50); lines != 0 {
		t.Errorf("%d lines of a client that had its share, want none", lines)
	}
	if lines, told := report("honest", 3); lines != 3 || told != 0 {
		t.Errorf("another client: %d lines, %d said to be missing, want 3 and nothing said", lines, told)
	}
	now = now.Add(time.Minute)
	if lines, told := report("honest", 0); lines != 0 || told != 150 {
		t.Errorf("a minute later: %d lines, %d said to be missing, want that 150 are", lines, told)
	}
	if lines, told := report("liar", 3); lines != 3 || told != 0 {
		t.Errorf("then: %d lines, %d said to be missing, want 3 and nothing said twice", lines, told)
	}
	if n := len(w.refusals.told); n != 1 {
		t.Errorf("%d clients are remembered, want those of this minute", n)
	}
}

// TestUsageNeedsTheScope: a token for something else, or without the scope, reports nothing.
func TestUsageNeedsTheScope(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/usage", "/usage/token"} {
		r := request("POST", path, nil)
		if got := w.do(r).Code; got != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d, want 401", path, got)
		}
	}
}
