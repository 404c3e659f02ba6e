package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	leastKept = 1 << 20         // bytes that a reader keeps beside the snapshot before it asks for a new one
	wobble    = 2 * time.Second // that a clock may be put back between two lives of a reader
)

// kept is what the view can be made of again: the messages of the issuer, as it signed them.
type kept struct {
	mu       sync.Mutex
	snapshot signed   // guarded by mu; compact is "" before the first
	later    []signed // guarded by mu; the batches that lead from the snapshot to the position
	beat     string   // guarded by mu; what vouched last for the position, "" when that is in later
	bytes    int      // guarded by mu; of later
	share    float64  // guarded by mu; so that not all readers ask for a snapshot at once
}

// signed is a message and the position it leads to.
type signed struct {
	position uint64
	epoch    string
	compact  string
}

// note keeps a message that was applied. A snapshot from Renew may be ahead of the stream,
// which then brings what is in it already.
func (k *kept) note(b Batch, compact string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := signed{b.Position, b.Epoch, strings.Clone(compact)}
	switch last := k.last(); {
	case b.Snapshot && (b.Epoch != k.snapshot.epoch || b.Position >= last):
		k.snapshot, k.later, k.beat, k.bytes = m, nil, "", 0
	case b.Position > last:
		k.later, k.beat = append(k.later, m), ""
		k.bytes += len(compact)
	case b.Position == last:
		k.beat = m.compact
	}
}

// last is the position that the messages lead to. Called under mu.
func (k *kept) last() uint64 {
	if n := len(k.later); n > 0 {
		return k.later[n-1].position
	}
	return k.snapshot.position
}

// all is the messages in the order in which they lead to the view.
func (k *kept) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.snapshot.compact == "" {
		return nil
	}
	list := make([]string, 0, len(k.later)+2)
	list = append(list, k.snapshot.compact)
	for _, m := range k.later {
		list = append(list, m.compact)
	}
	if k.beat != "" {
		list = append(list, k.beat)
	}
	return list
}

// large reports whether what came since outweighs the snapshot.
func (k *kept) large() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.share == 0 {
		k.share = 1 + rand.Float64()
	}
	return float64(k.bytes) > k.share*float64(max(leastKept, len(k.snapshot.compact)))
}

// renew puts a newer snapshot of the same epoch in the place of the messages up to it.
func (k *kept) renew(b Batch, compact string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.Epoch != k.snapshot.epoch || b.Position < k.snapshot.position {
		return // the stream brings what leads there
	}
	if b.Position > k.last() {
		k.beat = ""
	}
	k.snapshot = signed{b.Position, b.Epoch, strings.Clone(compact)}
	k.later = slices.DeleteFunc(k.later, func(m signed) bool { return m.position <= b.Position })
	k.bytes = 0
	for _, m := range k.later {
		k.bytes += len(m.compact)
	}
}

// Kept is the messages that lead to the view, or to one a moment apart: a signed snapshot and
// the signed batches after it, for Restore. It is nil unless ReaderConfig.Keep is set.
func (r *Reader) Kept() []string { return r.kept.all() }

// Large reports whether a snapshot in place of what Kept returns would be worth its way.
func (r *Reader) Large() bool { return r.cfg.Credential != nil && r.kept.large() }

// Renew asks for a snapshot over a connection of its own, so that the stream goes on, and
// makes Kept begin with it.
func (r *Reader) Renew(ctx context.Context) error {
	credential, err := r.cfg.Credential(ctx)
	if err != nil {
		return fmt.Errorf("credential for the feed: %w", err)
	}
	req, err := http.NewRequest(http.MethodGet, r.cfg.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+credential)
	return r.read(ctx, req, "text/event-stream", func(ctx context.Context, body io.Reader) error {
		m, err := newParser(body, readLimit).next()
		if err != nil {
			return err
		}
		b, err := r.open(m.data, func(compact string) ([]byte, error) { return r.cfg.Verify(ctx, compact) })
		if err != nil {
			return err
		}
		if m.name != "snapshot" || !b.Snapshot || b.Public {
			return fmt.Errorf("%w: not the snapshot that was asked for", errRefused)
		}
		r.kept.renew(b, m.data)
		return nil
	})
}

// Restore makes the view out of messages that Kept returned in an earlier life, before Run.
// Each is checked as if it had come just now, with verify in place of ReaderConfig.Verify, and
// they count all together or not at all. heard is when the issuer was heard then, by our
// clock: if that is yet to come, the clock was put back since, and nobody can say how old the
// messages are. The view is as old as the issuer's word says, or as heard says if that is
// older; a state that is held already stays.
func (r *Reader) Restore(messages []string, heard time.Time, verify func(compact string) ([]byte, error)) error {
	if r.View().Ready {
		return errors.New("feed: a state is held already")
	}
	now := r.cfg.Now()
	if ahead := heard.Sub(now); ahead > wobble {
		return fmt.Errorf("feed: heard %s from now: the clock was put back since, and the age cannot be known", ahead.Round(time.Second))
	}
	trial := &Reader{cfg: r.cfg}
	trial.cfg.Applied = func(Batch) {}
	trial.view.Store(&View{Set: new(Set)})
	for i, compact := range messages {
		b, err := trial.open(compact, verify)
		if err != nil {
			return fmt.Errorf("message %d of the feed: %w", i+1, err)
		}
		v := trial.View()
		if b.Snapshot != (i == 0) || i > 0 && b.Position < v.Position {
			return fmt.Errorf("message %d of the feed: %w: out of order", i+1, errRefused)
		}
		if err := trial.apply(b, compact); err != nil {
			return fmt.Errorf("message %d of the feed: %w", i+1, err)
		}
	}
	v := trial.View()
	if !v.Ready {
		return errors.New("feed: no snapshot to begin with")
	}
	v.Heard = earlier(heard, now)
	r.kept.snapshot, r.kept.later, r.kept.beat, r.kept.bytes = trial.kept.snapshot, trial.kept.later, trial.kept.beat, trial.kept.bytes
	r.view.Store(&v)
	return nil
}
