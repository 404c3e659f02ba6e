package mint

import (
	"crypto/sha256"
	"sync"
)

// mostProven is how many tokens a ring remembers, 32 bytes each.
const mostProven = 8192

// proven are the access tokens whose signature and tag were checked under one ring's
// keys: a guard shows the same token with each of its reports. It belongs to the ring,
// so that nothing outlives the keys it was checked with.
type proven struct {
	mu  sync.Mutex
	set map[[sha256.Size]byte]struct{} // guarded by mu; SHA-256 of the whole token
}

func (p *proven) has(sum [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.set[sum]
	return ok
}

// add remembers a token. A full set starts again, so that what nobody shows any more
// goes without being looked for.
func (p *proven) add(sum [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.set == nil || len(p.set) >= mostProven {
		p.set = make(map[[sha256.Size]byte]struct{})
	}
	p.set[sum] = struct{}{}
}
