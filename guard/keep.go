package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/keyset"
)

const (
	keepEvery = 2 * time.Second // between looks for news
	keepIdle  = time.Minute     // between copies without news
	keepShare = 50              // of the time, one part is spent writing
)

// copied is what the guard knows of its copy on disk.
type copied struct {
	start  time.Time // as-of of the copy the guard began with; zero: it began without
	mark   mark      // of the copy that is there; owned by keep
	asOf   time.Time // likewise
	failed error     // of the latest try, for the log; owned by keep
	err    atomic.Pointer[error]
}

// A mark tells two states apart that are worth a copy each.
type mark struct {
	epoch    string
	position uint64
	keys     string
}

// restore begins with the disk copy, if there is a good one. What is wrong with
// it is logged: the guard then starts as without.
func (e *engine) restore() {
	if e.cfg.StateFile == "" {
		return
	}
	err := e.load()
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		e.cfg.Logger.Warn("guard state not read", "issuer", e.cfg.Issuer, "file", e.cfg.StateFile, "error", err)
		e.disk.err.Store(&err)
	default:
		v := e.feed.View()
		e.disk.start = v.AsOf
		e.disk.mark, e.disk.asOf, _, _, _ = e.state() // what was read can be written
		e.cfg.Logger.Info("guard state read", "issuer", e.cfg.Issuer, "file", e.cfg.StateFile,
			"position", v.Position, "age", v.Age(e.cfg.Now()).Round(time.Millisecond).String())
		e.begun()
	}
}

// load reads the copy. All of it counts, or nothing.
func (e *engine) load() error {
	head, messages, err := readCopy(e.cfg.StateFile, e.cfg.Issuer)
	if err != nil {
		return err
	}
	keys, err := e.keys.Draft(head.Keys.Set, time.UnixMicro(head.Keys.Fetched))
	if err != nil {
		return err
	}
	signers, err := e.signers.Draft(head.FeedKeys.Set, time.UnixMicro(head.FeedKeys.Fetched))
	if err != nil {
		return fmt.Errorf("keys of the feed: %w", err)
	}
	var inner *keyset.Draft
	if e.inner != nil && head.Gateways != nil {
		if inner, err = e.inner.Draft(head.Gateways.Set, time.UnixMicro(head.Gateways.Fetched)); err != nil {
			return fmt.Errorf("keys of gateways: %w", err)
		}
	}
	err = e.feed.Restore(messages, time.UnixMicro(head.Heard), func(compact string) ([]byte, error) {
		return openFeed(compact, func(kid string) (*jose.Key, error) {
			if key := signers.Key(kid); key != nil {
				return key, nil
			}
			return nil, errors.New("not in the copy")
		})
	})
	if err != nil {
		return err
	}
	e.keys.Restore(keys)
	e.signers.Restore(signers)
	if inner != nil {
		e.inner.Restore(inner)
	}
	return nil
}

// state is what a copy holds now; without messages there is nothing to keep yet.
func (e *engine) state() (m mark, at time.Time, head copyHead, messages []string, err error) {
	keys, fetched, err := e.keys.Copy()
	if err != nil || keys == nil {
		return m, at, head, nil, err
	}
	signers, signersFetched, err := e.signers.Copy()
	if err != nil || signers == nil {
		return m, at, head, nil, err
	}
	messages = e.feed.Kept()
	v := e.feed.View()
	head = copyHead{
		Form: copyForm, Issuer: e.cfg.Issuer, Heard: micros(v.Heard),
		Keys:     copyKeys{Fetched: micros(fetched), Set: keys},
		FeedKeys: copyKeys{Fetched: micros(signersFetched), Set: signers},
	}
	m = mark{v.Epoch, v.Position, string(keys) + string(signers)}
	if e.inner != nil {
		inner, fetched, err := e.inner.Copy()
		if err != nil {
			return m, at, head, nil, err
		}
		if inner != nil {
			head.Gateways = &copyKeys{Fetched: micros(fetched), Set: inner}
			m.keys += string(inner)
		}
	}
	return m, v.AsOf, head, messages, nil
}

// keep writes the copy soon after news, now and then without, and when ctx ends.
func (e *engine) keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	var wrote time.Time
	rest := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			e.save(ctx, 0)
			return
		case <-tick.C:
		}
		if time.Since(wrote) < rest {
			continue
		}
		if e.feed.Large() {
			e.renew(ctx)
		}
		idle := keepIdle - time.Since(wrote)
		began := time.Now()
		if e.save(ctx, idle) {
			wrote = time.Now()
			rest = keepShare * wrote.Sub(began)
		}
	}
}

// save writes the copy if there is news or, with idle used up, if the issuer has
// vouched since. It reports whether it tried.
func (e *engine) save(ctx context.Context, idle time.Duration) bool {
	m, at, head, messages, err := e.state()
	if err == nil && (messages == nil || m == e.disk.mark && (idle > 0 || at.Equal(e.disk.asOf))) {
		return false
	}
	if err == nil && m.keys != e.disk.mark.keys && !e.signed(messages) {
		e.renew(ctx)
		if m, at, head, messages, err = e.state(); err == nil && !e.signed(messages) {
			err = errors.New("part of it is signed with a key that the feed has given up")
		}
	}
	if err == nil {
		err = writeCopy(e.cfg.StateFile, head, messages)
	}
	if err == nil {
		e.disk.mark, e.disk.asOf = m, at
	}
	e.note(err)
	return true
}

// signed reports whether the keys of the feed that are held signed all messages:
// nobody could check again what an older one signed.
func (e *engine) signed(messages []string) bool {
	return !slices.ContainsFunc(messages, func(compact string) bool {
		segment, _, _, err := jose.Split(compact)
		if err != nil {
			return true
		}
		h, err := jose.ParseHeader(segment)
		return err != nil || e.signers.Lookup(h.KeyID) == nil
	})
}

// renew asks for a snapshot, so that the copy stays as small as it can be.
func (e *engine) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := e.feed.Renew(ctx); err != nil {
		e.cfg.Logger.Debug("guard state not made smaller", "issuer", e.cfg.Issuer, "error", err)
	}
}

// note remembers how writing went, and logs the first failure in a row.
func (e *engine) note(err error) {
	was := e.disk.failed
	e.disk.failed = err
	e.disk.err.Store(&err)
	switch {
	case err != nil && was == nil:
		e.cfg.Logger.Warn("guard state not kept", "issuer", e.cfg.Issuer, "file", e.cfg.StateFile, "error", err)
	case err == nil && was != nil:
		e.cfg.Logger.Info("guard state kept again", "issuer", e.cfg.Issuer, "file", e.cfg.StateFile)
	}
}
