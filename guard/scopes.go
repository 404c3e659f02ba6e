package guard

import (
	"strings"
	"sync"

	"github.com/writ-auth/writ/scope"
)

// scopes lets tokens with equal scopes share one set: most tokens have one of a
// few, and a hit then compares text that is in the processor's cache. Only sets
// of verified tokens get in.
type scopes struct {
	mu    sync.Mutex
	known map[string]scope.Set // guarded by mu; by the text
}

const maxScopes = 256

// share returns a set equal to s.
func (s *scopes) share(set scope.Set) scope.Set {
	if len(set) == 0 {
		return set
	}
	text := set.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[text]; ok {
		return known
	}
	if s.known == nil || len(s.known) >= maxScopes {
		s.known = make(map[string]scope.Set)
	}
	own := make(scope.Set, len(set)) // set's text is part of a whole payload
	for i, name := range set {
		own[i] = strings.Clone(name)
	}
	s.known[text] = own
	return own
}
