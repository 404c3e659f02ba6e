package usage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Post sends a JSON body to a path below the issuer and returns the answer's body. An
// error that is ErrAbsent means that the issuer takes no reports.
type Post func(ctx context.Context, path string, body []byte) ([]byte, error)

// ErrAbsent is what Post returns when the issuer has no such endpoint.
var ErrAbsent = errors.New("usage: the issuer takes no reports")

const (
	queued   = 16384            // sightings that wait; more are dropped and counted
	every    = time.Second      // between reports
	shown    = 16               // tokens shown for one report at most
	absence  = 10 * time.Minute // before an issuer that takes no reports is asked again
	patience = 5 * time.Second  // for one request
)

// A Sender reports sightings in batches, at best: what cannot be sent is dropped.
type Sender struct {
	instance string
	post     Post
	logger   *slog.Logger
	queue    chan sight
	refusals chan Refusal
	dropped  atomic.Uint64
}

// sight is a sighting before its digest was computed.
type sight struct{ kid, id, compact string }

// NewSender returns a Sender for one process. Run does the rest.
func NewSender(instance string, post Post, logger *slog.Logger) *Sender {
	return &Sender{instance: instance, post: post, logger: logger, queue: make(chan sight, queued), refusals: make(chan Refusal, MostRefusals)}
}

// Saw notes a token whose signature was verified. It never waits.
func (s *Sender) Saw(kid, id, compact string) {
	select {
	case s.queue <- sight{kid, name(id), compact}:
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
	failing := false
	var silent time.Time // until when an issuer without the endpoint is left alone
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for batch := s.take(); len(batch) > 0 || len(s.refusals) > 0; batch = s.take() {
			if time.Now().Before(silent) {
				s.refused()
				continue // dropped
			}
			err := s.report(ctx, batch)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, ErrAbsent):
				silent = time.Now().Add(absence)
			case err != nil && !failing:
				s.logger.Warn("token usage not reported", "error", err)
			case err == nil && failing:
				s.logger.Info("token usage reported again")
			}
			failing = err != nil && !errors.Is(err, ErrAbsent)
			if err != nil {
				s.dropped.Add(uint64(len(batch)))
				break // the rest waits for the next tick
			}
		}
	}
}

// take empties the queue up to one report.
func (s *Sender) take() []sight {
	var batch []sight
	for len(batch) < Most {
		select {
		case one := <-s.queue:
			batch = append(batch, one)
		default:
			return batch
		}
	}
	return batch
}

// refused empties the queue of refusals.
func (s *Sender) refused() []Refusal {
	var all []Refusal
	for range MostRefusals {
		select {
		case r := <-s.refusals:
			all = append(all, r)
		default:
			return all
		}
	}
	return all
}

// report sends one batch and shows what the issuer asks to see.
func (s *Sender) report(ctx context.Context, batch []sight) error {
	dropped := s.dropped.Load()
	r := Report{Instance: s.instance, Dropped: dropped, Tokens: []Sighting{}, Refusals: s.refused()}
	for _, one := range batch {
		r.Tokens = append(r.Tokens, one.sighting())
	}
	var answer Answer
	if err := s.send(ctx, "/usage", r, &answer); err != nil {
		return err
	}
	s.dropped.Add(^(dropped - 1)) // minus dropped
	left := shown
	for _, one := range batch { // only what was reported is shown, and all of one id: a forged token bears a genuine one's
		if left == 0 || !slices.Contains(answer.Show, one.id) {
			continue
		}
		left--
		if err := s.send(ctx, "/usage/token", Evidence{Token: one.compact}, nil); err != nil {
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
