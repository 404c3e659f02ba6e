package mint

import (
	"context"
	"errors"
	"time"
)

// MaxOffset is how far a replica's clock may be off the database's, which all share.
// Verifiers forgive Skew; two replicas that are off in opposite directions stay far
// within it, and so does iat where revocations compare it.
const MaxOffset = time.Second

// ErrClock means that this replica's clock is off by more than MaxOffset: it signs
// nothing until that is mended.
var ErrClock = errors.New("mint: the clock of this replica is wrong")

const clockEvery = 10 * time.Second

// CheckClock compares the clock with the database's. While they are apart nothing is
// signed that says when it was. A database that does not answer changes nothing.
func (m *Mint) CheckClock(ctx context.Context) {
	off, err := m.cfg.DB.Offset(ctx, m.cfg.Now)
	if err != nil {
		return // whoever needs the database will say so
	}
	wrong := off.Abs() > MaxOffset
	switch was := m.wrongClock.Swap(wrong); {
	case wrong && !was:
		m.cfg.Logger.Error("clock is wrong: nothing is signed until it is mended", "ahead_of_database", off.String())
	case was && !wrong:
		m.cfg.Logger.Info("clock is right again", "ahead_of_database", off.String())
	}
}

// Fit is ErrClock while nothing is signed: whoever asks first spends no code for nothing.
func (m *Mint) Fit() error {
	if m.wrongClock.Load() {
		return ErrClock
	}
	return nil
}
