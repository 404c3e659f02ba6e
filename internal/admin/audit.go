package admin

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// Line is a line of the audit trail.
type Line struct {
	At      time.Time       `json:"at"`
	Actor   string          `json:"actor"`
	Action  string          `json:"action"`
	Target  string          `json:"target"`
	Detail  json.RawMessage `json:"detail,omitempty"` // an object, or a sentence
	Address string          `json:"address"`
}

// Audit lists what was done, newest first. after is the Next of the page before.
func (a *Admin) Audit(ctx context.Context, after string, limit int) (Page[Line], error) {
	limit, err := pageSize(limit)
	if err != nil {
		return Page[Line]{}, err
	}
	before, err := readCursor(after)
	if err != nil {
		return Page[Line]{}, err
	}
	// Lines of one transaction share their time, and the cursor is a time: a page
	// ends where the time changes, and grows when it is all one time.
	for size := limit; ; size *= 2 {
		var found []store.Audit
		err = a.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
			found, err = tx.Audits(size+1, before)
			return err
		})
		if err != nil {
			return Page[Line]{}, err
		}
		if len(found) <= size {
			return linesOf(found, ""), nil
		}
		edge := found[size].At
		whole := size
		for whole > 0 && found[whole-1].At.Equal(edge) {
			whole--
		}
		if whole > 0 {
			return linesOf(found[:whole], strconv.FormatInt(edge.UnixMicro()+1, 10)), nil
		}
	}
}

func readCursor(after string) (time.Time, error) {
	if after == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, wrong("after", "must be the next of another page")
	}
	return time.UnixMicro(n), nil
}

func linesOf(found []store.Audit, next string) Page[Line] {
	p := Page[Line]{Items: []Line{}, Next: next}
	for _, l := range found {
		line := Line{At: l.At, Actor: l.Actor, Action: l.Action, Target: l.Target, Address: l.Address}
		if l.Detail != "" {
			line.Detail = json.RawMessage(l.Detail)
			if !json.Valid(line.Detail) {
				line.Detail, _ = json.Marshal(l.Detail) // a string always encodes
			}
		}
		p.Items = append(p.Items, line)
	}
	return p
}
