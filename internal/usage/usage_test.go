package usage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// compact is a token with this jti; the signature is of no interest here.
func compact(id string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"ES256"}`)) + "." + enc([]byte(`{"iss":"i","jti":"`+id+`","sub":"u"}`)) + ".AAAA"
}

func id(n int) string { return fmt.Sprintf("%024d", n) }

// TestDigestLeavesTheTagOut: tokens that differ in the tag alone have one digest, any
// other difference makes another.
func TestDigestLeavesTheTagOut(t *testing.T) {
	payload := func(id, sub string) []byte { return []byte(`{"jti":"` + id + `","sub":"` + sub + `"}`) }
	one, other := strings.Repeat("a", 12)+strings.Repeat("b", 12), strings.Repeat("a", 12)+strings.Repeat("c", 12)
	want := Digest("h", payload(one, "u"), one)
	if got := Digest("h", payload(other, "u"), other); !slices.Equal(got, want) || len(got) != 32 {
		t.Errorf("digest with another tag = %x, want %x", got, want)
	}
	for name, got := range map[string][]byte{
		"other header":  Digest("H", payload(one, "u"), one),
		"other claims":  Digest("h", payload(one, "v"), one),
		"other random":  Digest("h", payload("x"+one[1:], "u"), "x"+one[1:]),
		"shifted frame": Digest("h.", payload(one, "u")[1:], one),
	} {
		if slices.Equal(got, want) {
			t.Errorf("%s: the same digest", name)
		}
	}
	for name, got := range map[string][]byte{
		"short jti":   Digest("h", payload("short", "u"), "short"),
		"another jti": Digest("h", payload(one, "u"), other),
		"no jti":      Digest("h", []byte(`{}`), one),
	} {
		if got != nil {
			t.Errorf("%s: digest %x, want none", name, got)
		}
	}
}

func TestDecodeBounds(t *testing.T) {
	long := strings.Repeat("x", 257)
	many := make([]Sighting, Most+1)
	for i := range many {
		many[i].ID = "x"
	}
	for name, r := range map[string]Report{
		"no instance":   {Tokens: []Sighting{{ID: "x"}}},
		"long instance": {Instance: long},
		"no jti":        {Instance: "i", Tokens: []Sighting{{KeyID: "k"}}},
		"long jti":      {Instance: "i", Tokens: []Sighting{{ID: long}}},
		"long kid":      {Instance: "i", Tokens: []Sighting{{ID: "x", KeyID: long}}},
		"long digest":   {Instance: "i", Tokens: []Sighting{{ID: "x", Digest: long}}},
		"too many":      {Instance: "i", Tokens: many},
		"no receipt":    {Instance: "i", Refusals: []Refusal{{Reason: "expired"}}},
		"long detail":   {Instance: "i", Refusals: []Refusal{{Receipt: "x", Detail: strings.Repeat("x", 2000)}}},
		"too refusing":  {Instance: "i", Refusals: make([]Refusal, MostRefusals+1)},
	} {
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(body); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Error("half a report: no error")
	}
}

// issuer answers reports in memory.
type issuer struct {
	reports []Report
	shown   []string
	ask     []string // shown for every report

	mu  sync.Mutex
	err error // guarded by mu; the issuer is away
}

func (i *issuer) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

func (i *issuer) post(_ context.Context, path string, body []byte) ([]byte, error) {
	i.mu.Lock()
	away := i.err
	i.mu.Unlock()
	if away != nil {
		return nil, away
	}
	if path == "/usage/token" {
		var e Evidence
		err := json.Unmarshal(body, &e)
		i.shown = append(i.shown, e.Token)
		return nil, err
	}
	r, err := Decode(body)
	if err != nil {
		return nil, err
	}
	i.reports = append(i.reports, r)
	return json.Marshal(Answer{Show: i.ask})
}

func run(t *testing.T, i *issuer, f func(s *Sender)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := NewSender("one", i.post, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Run(ctx) }()
		f(s)
		stop()
		<-done
	})
}

// TestSenderBatches: all that was seen arrives, in reports of bounded size, and no report
// holds a token.
func TestSenderBatches(t *testing.T) {
	i := &issuer{}
	run(t, i, func(s *Sender) {
		for n := range 2*Most + 1 {
			s.Saw("k", id(n), compact(id(n)))
		}
		time.Sleep(2 * every)
		synctest.Wait()
	})
	total := 0
	for _, r := range i.reports {
		total += len(r.Tokens)
		for _, s := range r.Tokens {
			if len(s.Bytes()) != 32 || s.KeyID != "k" || strings.Contains(s.Digest, ".") {
				t.Fatalf("sighting %+v", s)
			}
		}
	}
	if total != 2*Most+1 || len(i.reports) != 3 || len(i.shown) != 0 {
		t.Errorf("%d tokens in %d reports, %d shown, want %d in 3 and none", total, len(i.reports), len(i.shown), 2*Most+1)
	}
}

// TestSenderShowsWhatItReported and nothing else: an issuer that asks for another token,
// or for too many, does not get them.
func TestSenderShowsWhatItReported(t *testing.T) {
	i := &issuer{ask: []string{id(1), "never seen"}}
	for n := range 100 {
		i.ask = append(i.ask, id(n+2))
	}
	run(t, i, func(s *Sender) {
		s.Saw("k", id(0), compact(id(0)))
		s.Saw("k", id(1), compact(id(1)))
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if want := []string{compact(id(1))}; !slices.Equal(i.shown, want) {
		t.Errorf("shown %q, want the one that was reported", i.shown)
	}
}

// TestSenderSaysWhatItDropped: it never waits, and what was lost is counted once.
func TestSenderSaysWhatItDropped(t *testing.T) {
	i := &issuer{}
	run(t, i, func(s *Sender) {
		for n := range queued + 7 {
			s.Saw("k", id(n), compact(id(n)))
		}
		time.Sleep(2 * every)
		synctest.Wait()
		s.Saw("k", id(0), compact(id(0)))
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if got := i.reports[0].Dropped; got != 7 {
		t.Errorf("dropped = %d, want 7", got)
	}
	if got := i.reports[len(i.reports)-1].Dropped; got != 0 {
		t.Errorf("dropped = %d in the last report, want 0", got)
	}
}

// TestSenderTellsOfRefusals, as many as fit into a report, without waiting for a sighting.
func TestSenderTellsOfRefusals(t *testing.T) {
	i := &issuer{}
	run(t, i, func(s *Sender) {
		for n := range 2 * MostRefusals {
			s.Refused(Refusal{Receipt: id(n), Reason: "expired"})
		}
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if len(i.reports) != 1 || len(i.reports[0].Refusals) != MostRefusals || i.reports[0].Refusals[0].Receipt != id(0) {
		t.Errorf("%d reports, want one with %d refusals", len(i.reports), MostRefusals)
	}
}

// TestSenderLeavesAnIssuerAlone that takes no reports, and asks again much later.
func TestSenderLeavesAnIssuerAlone(t *testing.T) {
	i, asked := &issuer{}, 0
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := NewSender("one", func(ctx context.Context, path string, body []byte) ([]byte, error) {
			asked++
			return nil, fmt.Errorf("no such path: %w", ErrAbsent)
		}, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Run(ctx) }()
		for range 30 {
			s.Saw("k", id(0), compact(id(0)))
			time.Sleep(absence / 10)
		}
		stop()
		<-done
	})
	if asked < 2 || asked > 4 || len(i.reports) != 0 {
		t.Errorf("asked %d times in half an hour, want about 3", asked)
	}
}

// TestSenderKeepsWhatAnIssuerThatIsAwayMissed: each sighting arrives once it is back, once
// and in order, and so do the refusals of the report that failed first.
func TestSenderKeepsWhatAnIssuerThatIsAwayMissed(t *testing.T) {
	i := &issuer{err: errors.New("503 Service Unavailable")}
	tries := 0
	run(t, i, func(s *Sender) {
		s.post = func(ctx context.Context, path string, body []byte) ([]byte, error) {
			tries++
			return i.post(ctx, path, body)
		}
		s.Refused(Refusal{Receipt: "first", Reason: "expired"})
		for n := range 10 * 60 {
			s.Saw("k", id(n), compact(id(n)))
			time.Sleep(every)
		}
		i.fail(nil)
		time.Sleep(longer + every)
		synctest.Wait()
	})
	next, dropped := 0, uint64(0)
	for _, r := range i.reports {
		for _, one := range r.Tokens {
			if one.ID != id(next) {
				t.Fatalf("token %s is reported, want %s", one.ID, id(next))
			}
			next++
		}
		dropped += r.Dropped
	}
	if next != 600 || dropped != 0 {
		t.Errorf("%d of 600 tokens reported, %d dropped, want all", next, dropped)
	}
	if first := i.reports[0].Refusals; len(first) != 1 || first[0].Receipt != "first" {
		t.Errorf("refusals of the first report = %+v, want the one made before", first)
	}
	if tries > 10*60/int(longer/time.Second)*2 {
		t.Errorf("%d reports in ten minutes to an issuer that is away, want fewer and fewer", tries)
	}
}

// TestWhatWaitsIsBounded, in number and in age.
func TestWhatWaitsIsBounded(t *testing.T) {
	total := func(i *issuer) (tokens int, dropped uint64) {
		for _, r := range i.reports {
			tokens, dropped = tokens+len(r.Tokens), dropped+r.Dropped
		}
		return tokens, dropped
	}
	i := &issuer{err: errors.New("down")}
	run(t, i, func(s *Sender) {
		for range 30 {
			for n := range Most {
				s.Saw("k", id(n), compact(id(n)))
			}
			time.Sleep(every)
		}
		i.fail(nil)
		time.Sleep(longer + every)
		synctest.Wait()
	})
	if tokens, dropped := total(i); tokens != queued+Most || dropped != uint64(30*Most-tokens) {
		t.Errorf("%d tokens reported and %d dropped of %d, want %d reported", tokens, dropped, 30*Most, queued+Most)
	}
	i = &issuer{err: errors.New("down")}
	run(t, i, func(s *Sender) {
		s.Saw("k", id(0), compact(id(0)))
		time.Sleep(Kept / 2)
		s.Saw("k", id(1), compact(id(1)))
		time.Sleep(Kept/2 + every)
		i.fail(nil)
		time.Sleep(longer + every)
		synctest.Wait()
	})
	if tokens, dropped := total(i); tokens != 1 || dropped != 1 || i.reports[len(i.reports)-1].Tokens[0].ID != id(1) {
		t.Errorf("reports = %+v, want the token that is not too old, and one dropped", i.reports)
	}
}

// TestSenderDropsWhatIsRefused: what the issuer will never take holds up nothing.
func TestSenderDropsWhatIsRefused(t *testing.T) {
	i := &issuer{err: fmt.Errorf("400: %w", ErrRefused)}
	run(t, i, func(s *Sender) {
		s.Saw("k", id(0), compact(id(0)))
		time.Sleep(2 * every)
		synctest.Wait()
		i.fail(nil)
		s.Saw("k", id(1), compact(id(1)))
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if len(i.reports) != 1 || i.reports[0].Dropped != 1 || i.reports[0].Tokens[0].ID != id(1) {
		t.Errorf("reports = %+v, want one, of the second, that says the first was lost", i.reports)
	}
}

// TestSenderShowsTheOthers: one token that the issuer refuses to see is dropped alone.
func TestSenderShowsTheOthers(t *testing.T) {
	i := &issuer{ask: []string{id(0), id(1), id(2)}}
	run(t, i, func(s *Sender) {
		s.post = func(ctx context.Context, path string, body []byte) ([]byte, error) {
			var e Evidence
			if err := json.Unmarshal(body, &e); err == nil && e.Token == compact(id(0)) {
				return nil, fmt.Errorf("403: %w", ErrRefused)
			}
			return i.post(ctx, path, body)
		}
		for n := range 3 {
			s.Saw("k", id(n), compact(id(n)))
		}
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if want := []string{compact(id(1)), compact(id(2))}; !slices.Equal(i.shown, want) {
		t.Errorf("shown = %q, want %q", i.shown, want)
	}
}

// TestSenderShowsAgain: a token that was asked for is shown although the issuer went away
// just then, and one that the issuer cannot be shown does not hold up the others.
func TestSenderShowsAgain(t *testing.T) {
	i := &issuer{ask: []string{id(0), id(1)}}
	broken := map[string]int{compact(id(0)): 1 << 20, compact(id(1)): 1}
	var last time.Time
	run(t, i, func(s *Sender) {
		s.post = func(ctx context.Context, path string, body []byte) ([]byte, error) {
			var e Evidence
			if err := json.Unmarshal(body, &e); err == nil && broken[e.Token] > 0 {
				broken[e.Token]--
				if gap := time.Since(last); gap <= time.Second {
					t.Errorf("shown again after %s: the issuer would look past it", gap)
				}
				last = time.Now()
				return nil, errors.New("503 Service Unavailable")
			}
			return i.post(ctx, path, body)
		}
		for n := range 3 {
			s.Saw("k", id(n), compact(id(n)))
		}
		s.Refused(Refusal{Receipt: "r", Reason: "expired"})
		time.Sleep(2 * time.Minute)
		s.Saw("k", id(3), compact(id(3)))
		time.Sleep(longer + every)
		synctest.Wait()
	})
	if want := []string{compact(id(1))}; !slices.Equal(i.shown, want) {
		t.Errorf("shown %q, want %q", i.shown, want)
	}
	refusals := 0
	for _, r := range i.reports {
		refusals += len(r.Refusals)
	}
	final := i.reports[len(i.reports)-1].Tokens
	if refusals != 1 || len(final) != 1 || final[0].ID != id(3) {
		t.Errorf("%d refusals reported, last %+v, want one and the token seen last", refusals, final)
	}
}

// TestSenderShowsAllOfOneID: who forges a token under the id of a genuine one must not
// have the genuine one shown in its place.
func TestSenderShowsAllOfOneID(t *testing.T) {
	i := &issuer{ask: []string{id(1)}}
	forged := compact(id(1)) + "forged"
	run(t, i, func(s *Sender) {
		s.Saw("k", id(1), compact(id(1)))
		s.Saw("k", id(2), compact(id(2)))
		s.Saw("k", id(1), forged)
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if want := []string{compact(id(1)), forged}; !slices.Equal(i.shown, want) {
		t.Errorf("shown %q, want %q", i.shown, want)
	}
}

// TestLongIDsAreReported: a token whose jti is longer than a report takes does not keep
// the others from being reported, nor itself.
func TestLongIDsAreReported(t *testing.T) {
	long := compact(strings.Repeat("<", 8000))
	i := &issuer{ask: []string{id(1), name(strings.Repeat("<", 8000))}}
	run(t, i, func(s *Sender) {
		s.Saw("k", strings.Repeat("<", 8000), long)
		s.Saw("k", id(1), compact(id(1)))
		s.Refused(Refusal{Receipt: "r", Reason: "expired", Detail: strings.Repeat("d", 2000), KeyID: strings.Repeat("k", 2000), ID: strings.Repeat("<", 2000)})
		time.Sleep(2 * every)
		synctest.Wait()
	})
	if want := []string{long, compact(id(1))}; !slices.Equal(i.shown, want) {
		t.Errorf("%d tokens shown, want both", len(i.shown))
	}
	for _, r := range i.reports {
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(body); err != nil {
			t.Errorf("the issuer refuses the report: %v", err)
		}
	}
	if len(i.reports) != 1 || len(i.reports[0].Tokens) != 2 || len(i.reports[0].Refusals) != 1 {
		t.Errorf("reports = %+v, want one of both tokens and the refusal", i.reports)
	}
}
