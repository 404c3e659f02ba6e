package upstream

import (
	"sync"
	"time"
)

// A pool holds the connections that wait for a request. Nobody reads from them,
// so it looks at each before it gives it away, and at all of them now and then.
type pool struct {
	max  int           // an upstream
	life time.Duration // of an idle connection; 0: no limit

	mu    sync.Mutex
	idle  map[string][]*conn // guarded by mu; by host, the longest idle first
	timer *time.Timer        // guarded by mu; runs sweep; nil: nothing is idle
}

// period is how long a connection that the upstream closed may take up a place.
const period = 5 * time.Second

func (p *pool) init(most int, life time.Duration) {
	p.max, p.life, p.idle = most, life, make(map[string][]*conn)
}

// get returns the connection that fell idle last and is still good, nil when
// there is none.
func (p *pool) get(host string) *conn {
	for {
		c := p.pop(host)
		if c == nil || p.good(c, time.Now()) {
			return c
		}
		c.nc.Close()
	}
}

func (p *pool) pop(host string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[host]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.idle[host] = list[:len(list)-1]
	return c
}

// put keeps a connection, or closes it if there are enough.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[c.host]
	if len(list) >= p.max {
		c.nc.Close()
		return
	}
	c.since = time.Now()
	p.idle[c.host] = append(list, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.next(), p.sweep)
	}
}

// good reports whether an idle connection may carry a request: it is not too old,
// not closed by the upstream, and nothing came that nobody asked for. RFC 9112
// §9.2: such data is no response, and would pass for that of the next request.
func (p *pool) good(c *conn, now time.Time) bool {
	return (p.life <= 0 || now.Sub(c.since) < p.life) && quiet(c.raw)
}

// next is when to sweep again.
func (p *pool) next() time.Duration {
	if p.life > 0 {
		return min(p.life, period)
	}
	return period
}

// sweep closes the idle connections that are no longer good.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for host, list := range p.idle {
		kept := list[:0]
		for _, c := range list {
			if p.good(c, now) {
				kept = append(kept, c)
			} else {
				c.nc.Close()
			}
		}
		clear(list[len(kept):])
		if p.idle[host] = kept; len(kept) == 0 {
			delete(p.idle, host)
		}
	}
	if len(p.idle) == 0 {
		p.timer = nil
		return
	}
	p.timer.Reset(p.next())
}

// clear closes all idle connections.
func (p *pool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, c := range list {
			c.nc.Close()
		}
	}
	clear(p.idle)
}
