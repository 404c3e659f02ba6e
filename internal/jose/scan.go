package jose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth   = 32         // objects and arrays inside one another
	fewMembers = 32         // names compared one by one; beyond that, by a map
	escapes    = `"\/bfnrt` // what may follow a backslash, besides u
)

// A scanner checks JSON from pos on.
type scanner struct {
	text  string
	pos   int
	depth int
}

func (s *scanner) fail(what string) error {
	return fmt.Errorf("%s at offset %d", what, s.pos)
}

// peek is the next byte, 0 at the end. No rule of the grammar begins with 0.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.text) {
		return s.fail("text after the value")
	}
	return nil
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '"':
		_, err := s.raw()
		return err
	case c == '{':
		return s.object(nil)
	case c == '[':
		return s.array(nil)
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.text[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return s.fail("want a value")
}

// object walks the object that starts at pos.
func (s *scanner) object(visit func(name string, start, end int) error) error {
	var seen names
	if s.depth++; s.depth > maxDepth {
		return s.fail("too deep")
	}
	s.pos++
	s.space()
	if s.peek() == '}' {
		return s.leave()
	}
	for {
		if s.peek() != '"' {
			return s.fail("want a member name")
		}
		name, err := s.str()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return fmt.Errorf("duplicate member %.64q", name)
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("want a colon")
		}
		s.pos++
		s.space()
		start := s.pos
		if err := s.value(); err != nil {
			return err
		}
		if visit != nil {
			if err := visit(name, start, s.pos); err != nil {
				return err
			}
		}
		if more, err := s.more('}'); !more {
			return err
		}
	}
}

// array walks the array that starts at pos.
func (s *scanner) array(visit func(start, end int) error) error {
	if s.depth++; s.depth > maxDepth {
		return s.fail("too deep")
	}
	s.pos++
	s.space()
	if s.peek() == ']' {
		return s.leave()
	}
	for {
		start := s.pos
		if err := s.value(); err != nil {
			return err
		}
		if visit != nil {
			if err := visit(start, s.pos); err != nil {
				return err
			}
		}
		if more, err := s.more(']'); !more {
			return err
		}
	}
}

// more reads what follows a member or element: a comma, or the closing byte.
func (s *scanner) more(closing byte) (bool, error) {
	s.space()
	switch s.peek() {
	case ',':
		s.pos++
		s.space()
		return true, nil
	case closing:
		return false, s.leave()
	}
	return false, s.fail("want a comma or the end of the list")
}

func (s *scanner) leave() error {
	s.pos++
	s.depth--
	return nil
}

// number follows RFC 8259 §6: no plus, no leading zero, no bare point.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail("want a digit")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("want a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("want a digit")
		}
	}
	return nil
}

// digits skips digits and reports whether there were any.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

// str decodes the string that starts at pos.
func (s *scanner) str() (string, error) {
	start := s.pos + 1
	escaped, err := s.raw()
	if err != nil {
		return "", err
	}
	inner := s.text[start : s.pos-1]
	if escaped {
		return unescape(inner), nil
	}
	return inner, nil
}

// raw skips the string that starts at pos and reports whether it has escapes.
func (s *scanner) raw() (escaped bool, err error) {
	for s.pos++; s.pos < len(s.text); {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if !s.escape() {
				return false, s.fail("bad escape")
			}
		case c < ' ':
			return false, s.fail("control character in a string")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRuneInString(s.text[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return false, s.fail("text that is not UTF-8")
			}
			s.pos += size
		}
	}
	return false, s.fail("string without end")
}

// escape skips one escape; two, when they are the halves of one character.
func (s *scanner) escape() bool {
	rest := s.text[s.pos:]
	if len(rest) >= 2 && strings.IndexByte(escapes, rest[1]) >= 0 {
		s.pos += 2
		return true
	}
	r, ok := hex4(rest)
	if !ok {
		return false
	}
	s.pos += 6
	if !utf16.IsSurrogate(r) {
		return true
	}
	low, ok := hex4(rest[6:])
	s.pos += 6
	return ok && utf16.DecodeRune(r, low) != utf8.RuneError
}

// hex4 reads \u and four hexadecimal digits at the start of s.
func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

// unescape decodes the inside of a string that raw found valid.
func unescape(s string) string {
	out := make([]byte, 0, len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return string(append(out, s...))
		}
		out = append(out, s[:i]...)
		s = s[i:]
		if i := strings.IndexByte(escapes, s[1]); i >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[i])
			s = s[2:]
			continue
		}
		r, _ := hex4(s)
		s = s[6:]
		if utf16.IsSurrogate(r) {
			low, _ := hex4(s)
			r, s = utf16.DecodeRune(r, low), s[6:]
		}
		out = utf8.AppendRune(out, r)
	}
}

// names remembers the member names of one object. Comparing a few names is
// quicker than hashing them; a map keeps many names from costing the square.
type names struct {
	few  [fewMembers]string
	n    int
	many map[string]bool
}

// add reports whether name is new.
func (seen *names) add(name string) bool {
	if seen.n < fewMembers {
		if slices.Contains(seen.few[:seen.n], name) {
			return false
		}
		seen.few[seen.n] = name
		seen.n++
		return true
	}
	if seen.many == nil {
		seen.many = make(map[string]bool, 2*fewMembers)
		for _, few := range seen.few {
			seen.many[few] = true
		}
	}
	if seen.many[name] {
		return false
	}
	seen.many[name] = true
	return true
}
