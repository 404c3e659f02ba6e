package store_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between the store and PostgreSQL and can lose what passes.
type proxy struct {
	url    string
	listen net.Listener
	cut    atomic.Int32 // what to do next, one of the constants
	down   atomic.Bool  // refuse connections
}

const (
	pass        = iota
	loseAsked   // cut before the next bytes to the server
	loseAnswer  // cut at the answer to COMMIT: it is done, and nobody hears of it
	downOnLoose // the same, and stay down
)

func newProxy(t *testing.T, at string) *proxy {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	p := &proxy{url: u.String(), listen: l}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", server)
			if err != nil || p.down.Load() {
				c.Close()
				if err == nil {
					s.Close()
				}
				continue
			}
			wg.Go(func() { p.copy(s, c, true) })
			wg.Go(func() { p.copy(c, s, false) })
		}
	})
	return p
}

func (p *proxy) copy(to, from net.Conn, asking bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if asking && p.cut.CompareAndSwap(loseAsked, pass) {
			return
		}
		if !asking && bytes.Contains(buf[:n], []byte("COMMIT\x00")) {
			if p.cut.CompareAndSwap(downOnLoose, pass) {
				p.down.Store(true)
				return
			}
			if p.cut.CompareAndSwap(loseAnswer, pass) {
				return
			}
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
