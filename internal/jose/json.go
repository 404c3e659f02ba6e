package jose

import (
	"errors"
	"strconv"
	"strings"
)

// text is JSON in either form. A string is walked and cut without copying.
type text interface{ ~string | ~[]byte }

// Members walks the members of the JSON object that data is, in order. It is
// stricter than RFC 8259 asks: at every depth it refuses member names that
// appear twice (compared after decoding), text that is not UTF-8, escapes of
// half a surrogate pair, and nesting beyond 32 levels; two readers of what it
// accepts cannot disagree. Each value is valid JSON without white space
// around it. What visit was shown counts only when Members returns nil.
func Members[T text](data T, visit func(name string, value T) error) error {
	s := scanner{text: string(data)}
	s.space()
	if s.peek() != '{' {
		return s.fail("want an object")
	}
	err := s.object(func(name string, start, end int) error { return visit(name, data[start:end]) })
	if err != nil {
		return err
	}
	return s.end()
}

// Elements walks the elements of the JSON array that data is, as strictly as
// Members does.
func Elements[T text](data T, visit func(value T) error) error {
	s := scanner{text: string(data)}
	s.space()
	if s.peek() != '[' {
		return s.fail("want an array")
	}
	err := s.array(func(start, end int) error { return visit(data[start:end]) })
	if err != nil {
		return err
	}
	return s.end()
}

// String decodes a JSON string.
func String[T text](value T) (string, error) {
	s := scanner{text: string(value)}
	if s.peek() != '"' {
		return "", errors.New("want a string")
	}
	str, err := s.str()
	if err != nil {
		return "", err
	}
	return str, s.end()
}

// Strings decodes a JSON array of strings.
func Strings[T text](value T) ([]string, error) {
	var all []string
	err := Elements(value, func(value T) error {
		s, err := String(value)
		all = append(all, s)
		return err
	})
	return all, err
}

// Int decodes a JSON number and cuts off its fraction, since a NumericDate may
// have one (RFC 7519 §2). A number that int64 cannot hold is an error.
func Int[T text](value T) (int64, error) {
	s := scanner{text: string(value)}
	if err := s.number(); err != nil {
		return 0, errors.New("want a number")
	}
	if err := s.end(); err != nil {
		return 0, err
	}
	if n, err := strconv.ParseInt(s.text, 10, 64); err == nil {
		return n, nil
	}
	return truncate(s.text)
}

// truncate is the whole part of a number in valid JSON notation.
func truncate(number string) (int64, error) {
	digits, exponent := strings.ToLower(number), 0
	if i := strings.IndexByte(digits, 'e'); i >= 0 {
		// Atoi stops at the largest int when the exponent is beyond it.
		exponent, _ = strconv.Atoi(digits[i+1:])
		digits = digits[:i]
	}
	digits, negative := strings.CutPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	// The value is 0.digits shifted by point places to the left.
	point := max(-1<<40, min(exponent, 1<<40)) + len(digits) - len(fraction)
	switch {
	case digits == "" || point <= 0:
		return 0, nil
	case point > 19:
		return 0, errors.New("number out of range")
	case point > len(digits):
		digits += strings.Repeat("0", point-len(digits))
	}
	digits = digits[:point]
	if negative {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, errors.New("number out of range")
	}
	return n, nil
}

// AppendString appends s as a JSON string, escaping only what RFC 8259 §7
// says must be. It does not check that s is UTF-8.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
