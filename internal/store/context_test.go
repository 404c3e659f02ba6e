package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

// A context that ends in the middle interrupts no statement (SQLite would roll back, and
// what follows would commit on its own), refuses those that follow, and commits nothing,
// even when the function takes no notice.
func TestContextEndingHalfWayWritesNothing(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		for name, end := range map[string]func(*store.Tx) error{
			"ignored at the end": func(*store.Tx) error { return nil },
			"ignored in between": func(tx *store.Tx) error {
				for _, err := range []error{tx.PutMeta("after", "x"), tx.Append(store.Entry{Kind: "jti"})} {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("write after the end of the context = %v, want Canceled", err)
					}
				}
				return nil
			},
			"returned": func(tx *store.Tx) error { return fmt.Errorf("wrapped: %w", tx.PutMeta("after", "x")) },
		} {
			ctx, cancel := context.WithCancel(context.Background())
			err := d.Update(ctx, func(tx *store.Tx) error {
				if err := errors.Join(tx.PutUser(user), tx.Append(store.Entry{Kind: "jti"})); err != nil {
					return err
				}
				cancel()
				return end(tx)
			})
			if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: Update = %v, want Canceled", name, err)
			}
			untouched(t, d)
			ran := false
			err = d.Update(ctx, func(*store.Tx) error { ran = true; return nil })
			if ran || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: Update with an ended context ran = %v, err = %v", name, ran, err)
			}
		}
		if s := d.Stats(); s.Retries != 0 {
			t.Errorf("%d retries, want none: an ended context is not a fault of the database", s.Retries)
		}
	})
}

// Deadlines that fall anywhere, also into a statement: either all is written or nothing.
func TestDeadlinesLeaveNothingHalfWritten(t *testing.T) {
	both(t, func(t *testing.T, open func(string) *store.DB) {
		d := open(issuer)
		const rows = 20
		together(4, func(w int) {
			for i := range 25 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*200*time.Microsecond)
				id := fmt.Sprint(w, "-", i)
				d.Update(ctx, func(tx *store.Tx) error {
					for n := range rows {
						tx.PutGrant(&store.Grant{ID: fmt.Sprint(id, "-", n), ClientID: id}) // errors ignored on purpose
					}
					return nil
				})
				cancel()
			}
		})
		for w := range 4 {
			for i := range 25 {
				view(t, d, func(tx *store.Tx) error {
					all, err := tx.GrantsOfClient(fmt.Sprint(w, "-", i), "", 100)
					if len(all) != 0 && len(all) != rows {
						t.Errorf("transaction %d-%d left %d of %d rows", w, i, len(all), rows)
					}
					return err
				})
			}
		}
	})
}

// An Update that waits for its turn heeds its context.
func TestWaitingForTheWriterEndsWithTheContext(t *testing.T) {
	t.Parallel()
	d := storetest.New(t, issuer)
	in, out := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- d.Update(context.Background(), func(tx *store.Tx) error {
			close(in)
			<-out
			return tx.PutMeta("m", "x")
		})
	}()
	<-in
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := d.Update(ctx, func(*store.Tx) error { t.Error("ran out of turn"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update that waits = %v, want DeadlineExceeded", err)
	}
	view(t, d, func(tx *store.Tx) error { _, err := tx.Meta(store.MetaEpoch); return err }) // readers do not wait
	close(out)
	if err := <-done; err != nil {
		t.Errorf("Update that was waited for: %v", err)
	}
}
