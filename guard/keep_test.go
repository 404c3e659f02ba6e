package guard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
)

// life is one life of a guard that keeps its state in path.
func life(t *testing.T, i *issuer, path string, with func(*Config)) (*Guard, func()) {
	t.Helper()
	cfg := i.config()
	cfg.StateFile = path
	if with != nil {
		with(&cfg)
	}
	ctx, stop := context.WithCancel(t.Context())
	g, err := New(ctx, cfg)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	end := func() {
		stop()
		select {
		case <-g.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the guard is not done 10 s after its end")
		}
	}
	t.Cleanup(end)
	return g, end
}

// kept runs a guard until it holds what the issuer has, and returns its file.
func kept(t *testing.T, i *issuer, with func(*Config)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guard.state")
	g, end := life(t, i, path, with)
	eventually(t, "the guard is ready", func() bool { return g.State().Ready })
	settled(t, g, i)
	end()
	return path
}

func (i *issuer) fall(down bool) {
	i.change(func() { i.down = down })
	i.CloseClientConnections()
}

func TestStartsFromDiskWhileTheIssuerIsDown(t *testing.T) {
	for name, with := range map[string]func(*Config){
		"whole feed":      nil,
		"public snapshot": func(c *Config) { c.Credential = nil },
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			gone := bearer(i.token(t, i.claims()))
			ended := i.claims()
			ended.GrantID = "ended"
			endedByOld := bearer(i.token(t, ended))
			i.key = newSigner(t, "key-2", jose.ES256)
			endedByNew := bearer(i.token(t, ended))
			i.publish(t, i.key.Key)
			i.keysChanged()
			i.rule(feed.KindGrant, "ended", feed.End)
			path := kept(t, i, with)

			i.fall(true)
			g, end := life(t, i, path, with)
			s := g.State()
			if !s.Ready || s.Position != i.log.Applied() || s.Rules != 1 || !s.Restored.Equal(s.AsOf) || s.FileError != nil {
				t.Errorf("state = %+v, want that of the file", s)
			}
			if age := i.now().Sub(s.KeysFetched); age <= 0 || s.Staleness <= 0 || s.Staleness > 10*time.Second {
				t.Errorf("keys are %s old, revocations %s; want what they were", age, s.Staleness)
			}
			expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
			expect(t, g, endedByNew, Need{}, ReasonRevoked)
			expect(t, g, endedByOld, Need{}, ReasonKey)
			expect(t, g, gone, Need{}, ReasonKey)
			i.advance(11 * time.Second)
			expect(t, g, bearer(i.token(t, i.claims())), Need{}, ReasonStale)
			end()

			g, _ = life(t, i, path, with)
			expect(t, g, bearer(i.token(t, i.claims())), Need{}, ReasonStale)
			allow := Need{WhenStale: &Stale{Do: Allow}}
			expect(t, g, bearer(i.token(t, i.claims())), allow, "")
			expect(t, g, endedByNew, allow, ReasonRevoked)
			i.advance(15 * time.Minute) // from the as-of, not from the start
			expect(t, g, bearer(i.token(t, i.claims())), allow, ReasonStale)
			i.fall(false)
			settled(t, g, i)
			expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
		})
	}
}

// What the file says counts for as long as it would have without a restart, and
// keys for a day.
func TestOldFile(t *testing.T) {
	i := newIssuer(t)
	path := kept(t, i, nil)
	i.fall(true)
	i.advance(24*time.Hour + time.Second)
	g, _ := life(t, i, path, nil)
	if s := g.State(); s.Ready || len(s.Keys) > 0 || s.FileError == nil {
		t.Errorf("state = %+v, want nothing of a file whose keys are over a day old", s)
	}
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, ReasonNoKeys)
	now := i.now()
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
	if g, _ = life(t, i, path, nil); g.State().Ready {
		t.Error("a file touched just now counts as new")
	}
}

// A clock that was put back since the file was written would make it look as fresh as on
// the day.
func TestFileFromTheFuture(t *testing.T) {
	i := newIssuer(t)
	path := kept(t, i, nil)
	back := func(by time.Duration) func(*Config) {
		return func(c *Config) { c.Now = func() time.Time { return i.now().Add(-by) } }
	}
	refused(t, "a minute ahead of the clock", load(t, i, path, back(time.Minute)))
	if g := load(t, i, path, back(time.Second)); !g.State().Ready {
		t.Errorf("a second ahead of the clock: refused, %v", g.State().FileError)
	}
}

// Whoever puts back an old copy wins no more than an outage: where the issuer can
// be reached the guard goes on from there, where it cannot the copy is stale.
func TestReplayedFile(t *testing.T) {
	i := newIssuer(t)
	path := kept(t, i, nil)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ended := bearer(i.token(t, i.claims()))
	i.rule(feed.KindGrant, "grant-1", feed.End)
	g, end := life(t, i, path, nil)
	eventually(t, "the rule is held", func() bool { return g.State().Rules == 1 })
	expect(t, g, ended, Need{}, ReasonRevoked)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, g, ended, Need{}, ReasonRevoked)
	end()
	if now, err := os.ReadFile(path); err != nil || bytes.Equal(now, old) {
		t.Errorf("the guard's end leaves the old file there (%v)", err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	i.fall(true)
	i.advance(11 * time.Second)
	g, _ = life(t, i, path, nil)
	expect(t, g, ended, Need{}, ReasonStale)
	i.fall(false)
	settled(t, g, i)
	expect(t, g, ended, Need{}, ReasonRevoked)
}

// load tries a file without starting anything.
func load(t *testing.T, i *issuer, path string, with func(*Config)) *Guard {
	t.Helper()
	cfg := i.config()
	cfg.StateFile, cfg.CacheTokens = path, -1
	if with != nil {
		with(&cfg)
	}
	over, stop := context.WithCancel(t.Context())
	stop()
	g, err := New(over, cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-g.Done()
	return g
}

func refused(t *testing.T, what string, g *Guard) {
	t.Helper()
	if s := g.State(); s.Ready || s.Rules != 0 || len(s.Keys) != 0 || !s.Restored.IsZero() || s.FileError == nil {
		t.Errorf("%s: state = %+v, want nothing, and why", what, s)
	}
}

func TestTamperedFile(t *testing.T) {
	i := newIssuer(t)
	i.rule(feed.KindGrant, "ended", feed.End)
	path := kept(t, i, nil)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if g := load(t, i, path, nil); !g.State().Ready {
		t.Fatalf("the good file is refused: %v", g.State().FileError)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, good) {
		t.Errorf("a guard that heard nothing writes the file (%v)", err)
	}
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		write(bad)
		refused(t, "byte changed", load(t, i, path, nil))
		write(good[:at])
		refused(t, "cut short", load(t, i, path, nil))
		if t.Failed() {
			t.Fatalf("at byte %d of %d", at, len(good))
		}
	}
	// By hands that can count a hash.
	seal := func(body string) []byte {
		sum := sha256.Sum256([]byte(body))
		return []byte(body + copySum + hex.EncodeToString(sum[:]) + "\n")
	}
	body := string(good[:len(good)-len(copySum)-2*sha256.Size-1])
	head, messages, _ := strings.Cut(body, "\n")
	for at := range messages {
		bad := []byte(messages)
		bad[at] ^= 1
		write(seal(head + "\n" + string(bad)))
		refused(t, "message changed", load(t, i, path, nil))
		if t.Failed() {
			t.Fatalf("at byte %d of %d", at, len(messages))
		}
	}
	list := strings.SplitAfter(messages, "\n")
	foreign := newIssuer(t)
	theirs, err := os.ReadFile(kept(t, foreign, nil))
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{
		"nothing":                 nil,
		"another form":            seal(strings.Replace(body, copyForm, "writ guard state 2", 1)),
		"another issuer":          seal(strings.Replace(body, i.URL, "https://evil.example", 1)),
		"another issuer's":        theirs,
		"another issuer's, ours":  seal(strings.Replace(string(theirs[:len(theirs)-len(copySum)-2*sha256.Size-1]), foreign.URL, i.URL, 1)),
		"unknown member":          seal(strings.Replace(body, `{"form"`, `{"trust":1,"form"`, 1)),
		"no messages":             seal(head + "\n"),
		"no snapshot":             seal(head + "\n" + strings.Join(list[1:], "")),
		"a message twice":         seal(head + "\n" + list[0] + messages),
		"no key of the feed":      seal(strings.Replace(body, `"kid":"feed-1"`, `"kid":"feed-2"`, 1)),
		"token keys for the feed": seal(swapped(t, head) + "\n" + messages),
	} {
		write(bad)
		refused(t, what, load(t, i, path, nil))
	}
}

// swapped is a first line in which the two key sets stand in each other's place.
func swapped(t *testing.T, head string) string {
	t.Helper()
	var h copyHead
	if err := json.Unmarshal([]byte(head), &h); err != nil {
		t.Fatal(err)
	}
	h.Keys, h.FeedKeys = h.FeedKeys, h.Keys
	out, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestFileOfAnotherKindOfGuard(t *testing.T) {
	i := newIssuer(t)
	public := func(c *Config) { c.Credential = nil }
	refused(t, "whole state for a guard that polls", load(t, i, kept(t, i, nil), public))
	refused(t, "public state for a guard that follows", load(t, i, kept(t, i, public), nil))
	other := func(c *Config) { c.Audience = "https://other.example" }
	if g := load(t, i, kept(t, i, nil), other); !g.State().Ready {
		t.Errorf("a guard for another audience refuses the file: %v", g.State().FileError)
	}
}

// A guard that is killed leaves the copy it made a few seconds before.
func TestFileIsWrittenWhileTheGuardRuns(t *testing.T) {
	i := newIssuer(t)
	path := filepath.Join(t.TempDir(), "guard.state")
	g, _ := life(t, i, path, nil)
	eventually(t, "the guard is ready", func() bool { return g.State().Ready })
	i.rule(feed.KindGrant, "ended", feed.End)
	eventually(t, "the rule is in the file", func() bool {
		return load(t, i, path, nil).State().Rules == 1
	})
}

// The feed's keys rotate, and with them goes the word of the old ones.
func TestFileOutlivesTheFeedsKey(t *testing.T) {
	i := newIssuer(t)
	path := filepath.Join(t.TempDir(), "guard.state")
	g, _ := life(t, i, path, nil)
	settled(t, g, i)
	eventually(t, "the file is there", func() bool { return load(t, i, path, nil).State().Ready })
	next := newSigner(t, "feed-2", jose.ES256)
	i.feeder.Store(&next)
	i.rule(feed.KindGrant, "ended", feed.End)
	eventually(t, "the rule is in a file of the new key", func() bool {
		return load(t, i, path, nil).State().Rules == 1
	})
	if _, messages, err := readCopy(path, i.URL); err != nil || !g.signed(messages) {
		t.Errorf("the copy holds a message of the old key (%v)", err)
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	i := newIssuer(t)
	log := new(journal)
	path := filepath.Join(t.TempDir(), "guard.state")
	g, end := life(t, i, path, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guard is ready", func() bool { return g.State().Ready })
	expect(t, g, bearer(i.token(t, i.claims())), Need{}, "")
	end()
	if g.State().FileError == nil || strings.Count(log.text(), "guard state not kept") != 1 {
		t.Errorf("error = %v, log:\n%s\nwant it told once", g.State().FileError, log.text())
	}
	for _, path := range []string{path, filepath.Join(t.TempDir(), "no", "guard.state")} {
		cfg := i.config()
		cfg.StateFile = path
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("New takes the state file %q", filepath.Base(path))
		}
	}
}

// journal is a log that tests read.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}
