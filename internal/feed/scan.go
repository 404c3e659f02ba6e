package feed

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"unicode/utf8"
)

// A scanner walks a JSON text that json.Valid accepted, so it need not look for broken syntax.
// encoding/json alone would take a member twice, or spelled in other case, and needs twice as
// long for a large snapshot. After the first error the scanner stands still and yields zero
// values.
type scanner struct {
	data []byte
	at   int // next byte
	err  error
	b64  *base64.Encoding
}

func scan(data []byte) (*scanner, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errors.New("feed: batch is not JSON")
	}
	return &scanner{data: data, b64: base64.RawURLEncoding.Strict()}, nil
}

func (s *scanner) fail(want string) {
	if s.err == nil {
		s.err = fmt.Errorf("feed: batch: want %s at byte %d", want, s.at)
	}
	s.at = len(s.data)
}

func (s *scanner) step() {
	if s.at < len(s.data) {
		s.at++
	}
}

// peek skips white space and returns the byte that follows; 0 at the end or after an error.
func (s *scanner) peek() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// object yields the names of the members that are in required or optional; the caller reads
// the value of each. Other members are skipped.
func (s *scanner) object(required, optional []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if s.peek() != '{' {
			s.fail("an object")
			return
		}
		s.step()
		var seen uint
		for s.peek() == '"' {
			i, name := s.member(required, optional)
			s.peek()
			s.step() // the colon
			switch {
			case i < 0:
				s.skip()
			case seen&(1<<i) != 0:
				s.fail("no second " + name)
			default:
				seen |= 1 << i
				if !yield(name) {
					return
				}
			}
			if s.peek() == ',' {
				s.step()
			}
		}
		if all := uint(1)<<len(required) - 1; s.err == nil && seen&all != all {
			s.fail("all of its members")
		}
		s.step() // the brace
	}
}

// member reads a member's name and finds its index in required, then optional; -1 is neither.
func (s *scanner) member(required, optional []string) (int, string) {
	raw := s.unescaped()
	for i, name := range required {
		if string(raw) == name {
			return i, name
		}
	}
	for i, name := range optional {
		if string(raw) == name {
			return len(required) + i, name
		}
	}
	return -1, ""
}

// array yields once before each element; the caller reads it.
func (s *scanner) array() iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		if s.peek() != '[' {
			s.fail("an array")
			return
		}
		s.step()
		for c := s.peek(); c != ']' && c != 0; c = s.peek() {
			if !yield(struct{}{}) {
				return
			}
			if s.peek() == ',' {
				s.step()
			}
		}
		s.step() // the bracket
	}
}

// unescaped reads a string. Without escapes, the usual case, the bytes are those of the input.
func (s *scanner) unescaped() []byte {
	if s.peek() != '"' {
		s.fail("a string")
		return nil
	}
	start, escaped := s.at, false
	for s.at++; s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at++
	if !escaped {
		return s.data[start+1 : s.at-1]
	}
	var text string
	if err := json.Unmarshal(s.data[start:s.at], &text); err != nil {
		s.fail("a string")
	}
	return []byte(text)
}

func (s *scanner) text() string { return string(s.unescaped()) }

// literal reads a number, true, false or null.
func (s *scanner) literal() string {
	s.peek()
	start := s.at
	for s.at < len(s.data) {
		if c := s.data[s.at]; c <= ' ' || c == ',' || c == ']' || c == '}' {
			break
		}
		s.at++
	}
	return string(s.data[start:s.at])
}

func (s *scanner) integer() uint64 {
	n, err := strconv.ParseUint(s.literal(), 10, 64)
	if err != nil {
		s.fail("a whole number")
	}
	return n
}

// most is an integer up to limit.
func (s *scanner) most(limit uint64) uint64 {
	n := s.integer()
	if n > limit {
		s.fail("a smaller number")
		return 0
	}
	return n
}

func (s *scanner) boolean() bool {
	switch s.literal() {
	case "true":
		return true
	case "false":
		return false
	}
	s.fail("true or false")
	return false
}

// bytes reads base64url without padding.
func (s *scanner) bytes() []byte {
	text := s.unescaped()
	raw, err := s.b64.AppendDecode(nil, text)
	if err != nil || s.b64.EncodedLen(len(raw)) != len(text) { // line breaks, too, are refused
		s.fail("base64url")
		return nil
	}
	return raw
}

func (s *scanner) value(v *Value) {
	raw := s.unescaped()
	if len(raw) != s.b64.EncodedLen(len(v)) {
		s.fail("a value of 22 characters")
		return
	}
	if n, err := s.b64.Decode(v[:], raw); err != nil || n != len(v) {
		s.fail("base64url")
	}
}

// skip passes over a value of any type.
func (s *scanner) skip() {
	for depth := 0; ; {
		switch s.peek() {
		case 0:
			return
		case '{', '[':
			depth++
			s.step()
		case '}', ']':
			depth--
			s.step()
		case '"':
			s.unescaped()
		case ',', ':':
			s.step()
		default:
			s.literal()
		}
		if depth == 0 {
			return
		}
	}
}
