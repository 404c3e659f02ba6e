package store

import (
	"context"
	"errors"
	"sync"
)

var errClosed = errors.New("store closed")

// pool hands out at most a fixed number of connections at once and keeps the idle ones,
// the last used first.
type pool[C any] struct {
	open  func(context.Context) (C, error)
	shut  func(C)
	slots chan struct{} // holds a value for each connection handed out

	mu     sync.Mutex
	idle   []C  // guarded by mu
	closed bool // guarded by mu
}

func newPool[C any](size int, open func(context.Context) (C, error), shut func(C)) *pool[C] {
	return &pool[C]{open: open, shut: shut, slots: make(chan struct{}, size)}
}

// get waits for a slot and returns an idle connection or a new one. What it returns goes
// back by put or drop.
func (p *pool[C]) get(ctx context.Context) (C, error) {
	var none C
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.slots
		return none, &fault{cause: errClosed, final: true}
	}
	if n := len(p.idle) - 1; n >= 0 {
		c := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(ctx)
	if err != nil {
		<-p.slots
		return none, err
	}
	return c, nil
}

// put takes back a connection that is fit for use.
func (p *pool[C]) put(c C) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if closed {
		p.shut(c)
	}
	<-p.slots
}

// drop takes back a connection that is not.
func (p *pool[C]) drop(c C) {
	p.shut(c)
	<-p.slots
}

// clear closes the idle connections: whatever broke one in use has broken them as well.
func (p *pool[C]) clear() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		p.shut(c)
	}
}

// close makes the pool hand out no more.
func (p *pool[C]) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.clear()
}
