package usage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Post sends a JSON body to a path below the issuer and returns the answer's body. An
// error that is ErrAbsent means that the issuer takes no reports, one that is ErrRefused
// that it will not take this one. After any other the same is sent again.
type Post func(ctx context.Context, path string, body []byte) ([]byte, error)

// What Post returns when the issuer has no such endpoint, and when it refused what was sent.
var (
	ErrAbsent  = errors.New("usage: the issuer takes no reports")
	ErrRefused = errors.New("usage: the issuer refused the report")
)

// Kept is how long a sighting waits for an issuer that is away, which keeps what it
// compares with so much longer than tokens live.
const Kept = time.Hour

const (
	queued   = 16384            // sightings that wait, beside one batch; more are dropped and counted
	every    = time.Second      // between reports
	longer   = 16 * time.Second // between those that fail, at most,
	shorter  = 2 * time.Second  // and at least: the issuer notes one token of each key in a second
	tries    = 3                // to show a token, before others have their turn
	shown    = 16               // tokens shown for one report at most
	absence  = 10 * time.Minute // before an issuer that takes no reports is asked again
	patience = 5 * time.Second  // for one request
)

// A Sender reports sightings in batches. What cannot be sent waits until the issuer is
// back, for an hour and as far as there is room; the rest is dropped.
type Sender struct {
	instance string
	post     Post
	logger   *slog.Logger
	queue    chan sight
	refusals chan Refusal
	dropped  atomic.Uint64

	batch  batch         // owned by Run, as are all below
	pause  time.Duration // that followed the last failure; 0: the last report did not fail
	next   time.Time     // until when an issuer that failed is left alone
	silent time.Time     // until when one that takes no reports is
}

// A batch is what one report tells, until the issuer has it.
type batch struct {
	tokens   []sight
	refusals []Refusal
	failed   int // times that the first token could not be shown
}

// sight is a sighting before its digest was computed.
type sight struct {
	kid, id, compact string
	at               time.Time
}

// NewSender returns a Sender for one process. Run does the rest.
func NewSender(instance string, post Post, logger *slog.Logger) *Sender {
	return &Sender{instance: instance, post: post, logger: logger, queue: make(chan sight, queued), refusals: make(chan Refusal, MostRefusals)}
}

// Saw notes a token whose signature was verified. It never waits.
func (s *Sender) Saw(kid, id, compact string) {
	select {
	case s.queue <- sight{kid, name(id), compact, time.Now().Round(0)}: // by the clock on the wall: tokens age while a machine sleeps, too
	default:
		s.dropped.Add(1)
	}
}

// name stands for the id of a token. One of another length was never issued, whatever
// else it holds: a hash in its place keeps the report within its bounds, so that a
// forger cannot have it refused for all the tokens in it.
func name(id string) string {
	if len(id) == idLength {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:idLength]
}

// Refused notes a refusal. It never waits: of many at a time some stay in the guard's
// log alone.
func (s *Sender) Refused(r Refusal) {
	select {
	case s.refusals <- r.within():
	default:
	}
}

// within cuts off what a report may not hold: a token that is refused can say anything.
func (r Refusal) within() Refusal {
	for _, text := range []*string{&r.Receipt, &r.Reason, &r.Detail, &r.KeyID, &r.ID} {
		*text = strings.ToValidUTF8((*text)[:min(len(*text), longest)], "")
	}
	return r
}

// Run reports until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			s.deliver(ctx)
		}
	}
}

// deliver reports all that waits, up to the first failure.
func (s *Sender) deliver(ctx context.Context) {
	for s.fill() {
		now := time.Now()
		if now.Before(s.silent) {
			s.batch = batch{} // dropped
			continue
		}
		if now.Before(s.next) {
			return
		}
		err := s.report(ctx)
		if ctx.Err() != nil {
			return
		}
		s.settle(err)
		if err != nil {
			return
		}
	}
}

// fill takes what waits, up to one report, once the issuer has the last. It reports
// whether there is anything to send.
func (s *Sender) fill() bool {
	b := &s.batch
	if len(b.tokens)+len(b.refusals) > 0 {
		return true
	}
	for range min(Most, len(s.queue)) {
		b.tokens = append(b.tokens, <-s.queue)
	}
	for range len(s.refusals) {
		b.refusals = append(b.refusals, <-s.refusals)
	}
	return len(b.tokens)+len(b.refusals) > 0
}

// settle decides what becomes of the batch, and when the issuer is asked again.
func (s *Sender) settle(err error) {
	away := err != nil && !errors.Is(err, ErrAbsent)
	switch {
	case away && s.pause == 0:
		s.logger.Warn("token usage not reported", "error", err)
	case err == nil && s.pause > 0:
		s.logger.Info("token usage reported again")
	}
	if away {
		s.pause = min(longer, max(shorter, 2*s.pause))
		s.next = time.Now().Add(s.pause - rand.N(s.pause/4)) // so that many guards do not come at once
	} else {
		s.pause = 0
	}
	if away && !errors.Is(err, ErrRefused) {
		return
	}
	if err != nil {
		s.dropped.Add(uint64(len(s.batch.tokens)))
	}
	if errors.Is(err, ErrAbsent) {
		s.silent = time.Now().Add(absence)
	}
	s.batch = batch{}
}

// report sends the batch and shows what the issuer asks to see. Of a batch that the
// issuer has, only what is still to be shown stays.
func (s *Sender) report(ctx context.Context) error {
	b := &s.batch
	n := len(b.tokens)
	b.tokens = slices.DeleteFunc(b.tokens, func(one sight) bool { return time.Since(one.at) > Kept })
	s.dropped.Add(uint64(n - len(b.tokens)))
	dropped := s.dropped.Load()
	r := Report{Instance: s.instance, Dropped: dropped, Tokens: []Sighting{}, Refusals: b.refusals}
	for _, one := range b.tokens {
		r.Tokens = append(r.Tokens, one.sighting())
	}
	var answer Answer
	if err := s.send(ctx, "/usage", r, &answer); err != nil {
		return err
	}
	s.dropped.Add(^(dropped - 1)) // minus dropped
	b.refusals = nil
	// Only what was reported is shown, and all of one id: a forged token bears a genuine one's.
	b.tokens = slices.DeleteFunc(b.tokens, func(one sight) bool { return !slices.Contains(answer.Show, one.id) })
	b.tokens = b.tokens[:min(shown, len(b.tokens))]
	for len(b.tokens) > 0 {
		err := s.send(ctx, "/usage/token", Evidence{Token: b.tokens[0].compact}, nil)
		refused := errors.Is(err, ErrRefused) // this one token
		if b.failed++; err != nil && !refused && b.failed < tries {
			return err
		}
		b.tokens, b.failed = b.tokens[1:], 0
		if refused {
			s.dropped.Add(1)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *Sender) send(ctx context.Context, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	got, err := s.post(ctx, path, text)
	if err != nil || answer == nil || len(got) == 0 {
		return err
	}
	return json.Unmarshal(got, answer)
}

// sighting computes the digest, off the path of requests.
func (o sight) sighting() Sighting {
	out := Sighting{KeyID: o.kid, ID: o.id}
	header, rest, _ := strings.Cut(o.compact, ".")
	body, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return out // it was verified before: it decodes
	}
	if sum := Digest(header, payload, o.id); sum != nil {
		out.Digest = base64.RawURLEncoding.EncodeToString(sum)
	}
	return out
}
