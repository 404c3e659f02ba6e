package guard

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The answers, as callers see them.
func TestAnswersGolden(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	urn, err := g.For("urn:example:orders", ResourceMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	plain := i.token(t, i.claims())
	bound := newHolder(t, i).token(t)
	doomed := i.claims()
	doomed.GrantID = "asked"
	asked := i.token(t, doomed)
	i.rule(feed.KindGrant, "asked", feed.StepUp)
	settled(t, g, i)
	scopes := Need{Scopes: []string{"orders:read", "orders:write"}}
	var got strings.Builder
	for _, c := range []struct {
		name string
		g    *Guard
		r    *http.Request
		n    Need
	}{
		{"nothing presented", g, request(), Need{}},
		{"nothing presented, scopes needed", g, request(), scopes},
		{"nothing presented, proof needed", g, request(), Need{ProofBound: true}},
		{"nothing presented, audience is no web address", urn, request(), Need{}},
		{"two credentials", g, request("Bearer a", "Bearer b"), Need{}},
		{"invalid token", g, request("Bearer abc"), scopes},
		{"invalid token as DPoP", g, request("DPoP abc"), scopes},
		{"bound token as Bearer", g, bearer(bound), Need{}},
		{"no proof", g, request("DPoP " + bound), Need{}},
		{"no proof, proof needed", g, request("DPoP " + bound), Need{ProofBound: true}},
		{"bearer, proof needed", g, bearer(plain), Need{ProofBound: true}},
		{"scope missing", g, bearer(plain), scopes},
		{"acr and age", g, bearer(plain), Need{ACR: []string{"urn:example:mfa", "urn:example:key"}, MaxAge: 5 * time.Minute}},
		{"age", g, bearer(plain), Need{MaxAge: 5 * time.Minute}},
		{"asked to authenticate again", g, bearer(asked), Need{}},
		{"stale", g, bearer(plain), Need{}},
	} {
		if c.name == "stale" {
			i.change(func() { i.mute = true })
			i.advance(time.Minute)
		}
		_, err := c.g.Verify(c.r, c.n)
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Fatalf("%s: %v, want a refusal", c.name, err)
		}
		if len(refusal.ID) < 20 {
			t.Errorf("%s: receipt id %q is short", c.name, refusal.ID)
		}
		w := httptest.NewRecorder()
		refusal.ServeHTTP(w, c.r)
		fmt.Fprintf(&got, "# %s\n%d\n", c.name, w.Code)
		for _, name := range slices.Sorted(maps.Keys(w.Header())) {
			for _, value := range w.Header()[name] {
				fmt.Fprintf(&got, "%s: %s\n", name, value)
			}
		}
		fmt.Fprintf(&got, "%s\n", strings.ReplaceAll(w.Body.String(), refusal.ID, "ID"))
	}
	golden(t, "answers.txt", got.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestEveryReasonHasAnAnswer(t *testing.T) {
	known := []int{400, 401, 403, 503}
	seen := make(map[string]bool)
	for _, reason := range reasons() {
		if seen[reason] {
			t.Errorf("reason %s stands twice", reason)
		}
		seen[reason] = true
		status, code := answer(reason)
		if !slices.Contains(known, status) {
			t.Errorf("%s: status %d, want one of %v", reason, status, known)
		}
		if (code == "") != (reason == ReasonMissing) {
			t.Errorf("%s: code %q", reason, code)
		}
	}
}

// Neither the log nor the answer may give the token away.
func TestRefusalKeepsTheTokenToItself(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	compact := i.token(t, i.claims())
	for _, presented := range []string{compact + "A", compact + ".A", compact[:len(compact)-8] + "AAAAAAAA", "x" + compact} {
		_, err := g.Verify(bearer(presented), Need{})
		if err == nil {
			t.Fatal("admitted")
		}
		w := httptest.NewRecorder()
		err.(*Refusal).ServeHTTP(w, nil)
		text := err.Error() + w.Body.String() + fmt.Sprint(w.Header())
		for at := 0; at+20 <= len(presented); at++ {
			if strings.Contains(text, presented[at:at+20]) {
				t.Errorf("%q shows a part of the token", text)
				break
			}
		}
	}
}

func TestRefusalUnwraps(t *testing.T) {
	cause := errors.New("cause")
	r := &Refusal{Reason: ReasonKey, cause: cause}
	if !errors.Is(r, cause) {
		t.Error("the cause is not in the chain")
	}
	if got, want := r.Error(), "guard: refused: key: cause"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got, want := (&Refusal{Reason: ReasonStale}).Error(), "guard: refused: stale"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	i := newIssuer(t)
	g := i.guard(t, nil)
	other, err := g.For("https://api.example/users", ResourceMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, g, request(), Need{}, ReasonMissing)
	expect(t, other, request(), Need{}, ReasonMissing)
	expect(t, g, bearer("a.b"), Need{}, ReasonForm)
	got := g.State().Refusals
	if got[ReasonMissing] != 2 || got[ReasonForm] != 1 || got[ReasonExpired] != 0 {
		t.Errorf("refusals = %v, want 2 missing and 1 form", got)
	}
}
