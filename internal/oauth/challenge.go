package oauth

import "strings"

// Challenge returns one WWW-Authenticate value: the scheme and its parameters,
// given as names and values in turn, every value quoted. A parameter with an
// empty value is left out. Characters that no header may carry are dropped, so
// a value cannot end the header or begin a parameter of its own.
func Challenge(scheme string, params ...string) string {
	var b strings.Builder
	b.WriteString(scheme)
	separator := " "
	for i := 0; i+1 < len(params); i += 2 {
		if params[i+1] == "" {
			continue
		}
		b.WriteString(separator)
		b.WriteString(params[i])
		b.WriteString(`="`)
		quote(&b, params[i+1])
		b.WriteByte('"')
		separator = ", "
	}
	return b.String()
}

// quote writes the inside of a quoted-string (RFC 9110 §5.6.4).
func quote(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c <= '~':
			b.WriteByte(c)
		}
	}
}
