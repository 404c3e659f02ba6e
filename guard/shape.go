package guard

import (
	"strings"
	"sync"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

// A shape is what a token has in common with many others. They share it, so that
// it stays in the processor's cache when the tokens do not.
type shape struct {
	key   *jose.Key // that the signature was checked with
	kind  kind
	scope scope.Set
	bound bool // to a key or a certificate
}

// shapes finds the shape of a token: most have one of a few. Only those of
// verified tokens get in.
type shapes struct {
	mu    sync.Mutex
	known map[outline]*shape // guarded by mu
}

type outline struct {
	key   *jose.Key
	scope string
	bound bool
}

const maxShapes = 512

func (s *shapes) of(c *token.Claims, key *jose.Key, k kind) *shape {
	is := outline{key, c.Scope.String(), c.Confirmation != nil}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.known[is]; known != nil {
		return known
	}
	if s.known == nil || len(s.known) >= maxShapes {
		s.known = make(map[outline]*shape)
	}
	own := &shape{key: key, kind: k, bound: is.bound} // a key signs tokens of one kind
	for _, name := range c.Scope {
		own.scope = append(own.scope, strings.Clone(name)) // its text is part of a whole payload
	}
	s.known[is] = own
	return own
}
