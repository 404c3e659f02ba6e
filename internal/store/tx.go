package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Tx is a transaction of one issuer. It is good only inside the function it was given to,
// and only on that function's goroutine.
type Tx struct {
	issuer   string
	ctx      context.Context // looked at between statements, never handed to one
	readonly bool
	q        querier
	head     *uint64 // the feed's head as read ahead of the snapshot; nil: ask
	entries  []Entry // written last, by the backend
	err      error   // the first thing that went wrong; nothing is done after it
}

// querier is a connection inside a transaction.
type querier interface {
	// exec returns the number of rows it changed.
	exec(sql string, args ...any) (int64, error)
	// query calls scan for each row.
	query(scan func(row) error, sql string, args ...any) error
}

type row interface{ Scan(dest ...any) error }

var (
	errReadOnly = errors.New("store: write inside a View")
	errText     = errors.New("store: text with a NUL byte or not in UTF-8")
	errOver     = errors.New("store: Tx used after its function returned")
)

// call runs fn and says what became of it: nil to commit, a *fault when a statement
// failed, even if fn hid it, or the error of fn.
func (tx *Tx) call(fn func(*Tx) error) error {
	err := fn(tx)
	var f *fault
	if errors.As(tx.err, &f) {
		return f
	}
	if err == nil {
		err = tx.err
	}
	if err == nil {
		err = tx.ctx.Err() // last look before the commit
	}
	tx.err = errOver
	return err
}

// ready looks at the state and at the context before a statement.
func (tx *Tx) ready() error {
	if tx.err == nil {
		tx.err = tx.ctx.Err()
	}
	return tx.err
}

func (tx *Tx) exec(sql string, args ...any) (int64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	if tx.readonly {
		tx.err = errReadOnly
		return 0, tx.err
	}
	if !storable(args) {
		tx.err = errText
		return 0, tx.err
	}
	n, err := tx.q.exec(sql, args...)
	if err != nil {
		tx.err = asFault(err)
	}
	return n, tx.err
}

func (tx *Tx) query(scan func(row) error, sql string, args ...any) error {
	if err := tx.ready(); err != nil {
		return err
	}
	if !storable(args) {
		return nil // what cannot be stored is not there
	}
	if err := tx.q.query(scan, sql, args...); err != nil {
		tx.err = asFault(err)
	}
	return tx.err
}

// storable reports whether both databases can hold all texts among args: PostgreSQL fails
// on a NUL byte and on broken UTF-8, which arrive in user names and form fields.
func storable(args []any) bool {
	for _, a := range args {
		if s, ok := a.(string); ok && (!utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0) {
			return false
		}
	}
	return true
}

// asFault wraps an error of a statement; final is for the backend to say.
func asFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{cause: err}
}

// put runs an insert-or-replace.
func (tx *Tx) put(sql string, args ...any) error {
	_, err := tx.exec(sql, args...)
	return err
}

// add runs an INSERT … ON CONFLICT DO NOTHING. A unique violation must never reach
// PostgreSQL as an error: it would end the transaction there, but not in SQLite.
func (tx *Tx) add(sql string, args ...any) error {
	n, err := tx.exec(sql, args...)
	if err == nil && n == 0 {
		return ErrConflict
	}
	return err
}

// remove runs a DELETE of one row.
func (tx *Tx) remove(sql string, args ...any) error {
	n, err := tx.exec(sql, args...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// one reads the record of a SELECT that finds at most one.
func one[T any](tx *Tx, scan func(row, *T) error, sql string, args ...any) (*T, error) {
	all, err := list(tx, scan, sql, args...)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNotFound
	}
	return all[0], nil
}

// list reads the records of a SELECT.
func list[T any](tx *Tx, scan func(row, *T) error, sql string, args ...any) ([]*T, error) {
	var all []*T
	err := tx.query(func(r row) error {
		v := new(T)
		if err := scan(r, v); err != nil {
			return err
		}
		all = append(all, v)
		return nil
	}, sql, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// micros is a time as it is stored: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// stamp scans what micros made.
type stamp struct{ t *time.Time }

// Scan implements sql.Scanner.
func (s stamp) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time column holds a %T", v)
	}
	*s.t = time.Time{}
	if n != 0 {
		*s.t = time.UnixMicro(n).UTC()
	}
	return nil
}

// text is a list as it is stored: a JSON array.
func text[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // lists of strings and of plain structs always marshal
	}
	return string(b)
}

// array scans what text made; an empty array becomes nil.
type array[T any] struct{ list *[]T }

// Scan implements sql.Scanner.
func (a array[T]) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("list column holds a %T", v)
	}
	*a.list = nil
	if s == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(s), a.list)
}

// span scans a duration stored in microseconds.
type span struct{ d *time.Duration }

// Scan implements sql.Scanner.
func (s span) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("duration column holds a %T", v)
	}
	*s.d = time.Duration(n) * time.Microsecond
	return nil
}
