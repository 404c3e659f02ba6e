package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// DB is an open store, seen by one issuer. It is safe for concurrent use.
type DB struct {
	cfg     Config
	back    backend
	changed chan struct{} // capacity 1

	retries     atomic.Uint64
	unavailable atomic.Uint64
}

// backend is one database. Both methods run fn once, on a Tx they prepare, and return
// nil, a *fault, or the error fn returned.
type backend interface {
	view(ctx context.Context, tx *Tx, fn func(*Tx) error) error
	// update commits. The higher the attempt, the less it lets others get in its way.
	update(ctx context.Context, attempt int, tx *Tx, fn func(*Tx) error) error
	// run follows and tells other replicas until ctx ends; news is called when they wrote.
	run(ctx context.Context, news func()) error
	// clock asks the database for the time; a database without a clock of its own says now().
	clock(ctx context.Context, now func() time.Time) (time.Time, error)
	// tell lets other replicas know, soon and at best, that the feed has grown.
	tell()
	close() error
}

// fault is an error of the database, not of the function that ran on it.
type fault struct {
	cause error
	final bool // running again would not help: the disk is full, the statement is wrong
}

func (f *fault) Error() string { return f.cause.Error() }
func (f *fault) Unwrap() error { return f.cause }

const (
	attempts  = 10
	firstWait = 2 * time.Millisecond
	longest   = 250 * time.Millisecond
)

// View runs fn on one consistent snapshot. fn may run more than once and only reads.
func (d *DB) View(ctx context.Context, fn func(*Tx) error) error {
	return d.repeat(ctx, func(int) error {
		return d.back.view(ctx, &Tx{issuer: d.cfg.Issuer, ctx: ctx, readonly: true}, fn)
	})
}

// Update runs fn in a transaction and commits it; nil means durable. fn may run more than
// once, so it touches nothing but tx: no network, no clock, no hashing or signing, and it
// sets what it hands out afresh each time. When fn returns an error nothing is written and
// that error is returned as it is. ErrUnavailable means that the database could not be
// moved to do it; only when it was lost at the very commit, and stayed lost, may the
// change have been made all the same. fn must not call Update.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	var grew bool
	err := d.repeat(ctx, func(attempt int) error {
		tx := &Tx{issuer: d.cfg.Issuer, ctx: ctx}
		err := d.back.update(ctx, attempt, tx, fn)
		grew = len(tx.entries) > 0
		return err
	})
	if err == nil && grew {
		d.wake()
		d.back.tell()
	}
	return err
}

// repeat runs try until it returns something other than a fault worth another attempt.
// ctx is looked at before each attempt and while waiting for the next.
func (d *DB) repeat(ctx context.Context, try func(attempt int) error) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := try(attempt)
		var f *fault
		if !errors.As(err, &f) {
			return err
		}
		if f.final || attempt == attempts {
			d.unavailable.Add(1)
			return fmt.Errorf("%w: %w", ErrUnavailable, f.cause)
		}
		d.retries.Add(1)
		if err := sleep(ctx, rand.N(wait)); err != nil {
			return err
		}
		wait = min(2*wait, longest)
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats counts what went wrong since the store was opened.
type Stats struct {
	Retries     uint64 // attempts of Views and Updates that had to be repeated
	Unavailable uint64 // Views and Updates that were given up
}

// Stats returns the counters.
func (d *DB) Stats() Stats {
	return Stats{Retries: d.retries.Load(), Unavailable: d.unavailable.Load()}
}

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	return d.View(ctx, func(tx *Tx) error {
		return tx.query(func(row) error { return nil }, "SELECT 1")
	})
}

// Offset is how far this replica's clock is ahead of the database's, which all replicas
// share, at least: what the answer took on its way is in this replica's favour. An embedded
// database has the clock of the machine.
func (d *DB) Offset(ctx context.Context, now func() time.Time) (time.Duration, error) {
	before := now()
	theirs, err := d.back.clock(ctx, now)
	if err != nil {
		return 0, fmt.Errorf("ask the database for the time: %w", err)
	}
	switch after := now(); {
	case theirs.Before(before):
		return before.Sub(theirs), nil
	case theirs.After(after):
		return after.Sub(theirs), nil
	}
	return 0, nil
}

// Changed receives a value when the feed may have grown: at once for commits of this DB,
// and while Run runs for those of other replicas on PostgreSQL. It has one receiver.
func (d *DB) Changed() <-chan struct{} { return d.changed }

func (d *DB) wake() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Close ends all connections. Views and Updates under way end first or fail.
func (d *DB) Close() error { return d.back.close() }
