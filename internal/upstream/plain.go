package upstream

import (
	"net/http"
	"strings"
)

// plain reports whether a request is one that is sent here. Whatever is wrong
// with another, the standard transport knows how to say.
func plain(r *http.Request) bool {
	u := r.URL
	if u == nil || u.Scheme != "http" || u.Opaque != "" || u.Host == "" || r.Header == nil {
		return false
	}
	if r.Body != nil && r.Body != http.NoBody || r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.Trailer != nil {
		return false
	}
	//lint:ignore SA1019 who still sets it gets what heeds it
	if r.Cancel != nil {
		return false
	}
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return false
	}
	for i := range len(u.Host) {
		if u.Host[i] >= 0x80 {
			return false // to be spelled in ASCII first
		}
	}
	return plainHeader(r.Header)
}

// plainHeader reports whether all of h can be written as it is and says nothing
// about the connection or the body. RFC 9110 §5.5: CR, LF and NUL in a value are
// invalid and dangerous; Write would turn the first two into spaces and send NUL.
func plainHeader(h http.Header) bool {
	for name, values := range h {
		if name == "" || special(name) {
			return false
		}
		for i := range len(name) {
			if !tchar[name[i]] {
				return false
			}
		}
		for _, value := range values {
			for i := range len(value) {
				if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
					return false
				}
			}
		}
	}
	return true
}

// special reports whether a header, however it is spelled, is about framing or
// the connection.
func special(name string) bool {
	switch len(name) {
	case len("expect"):
		return strings.EqualFold(name, "expect")
	case len("upgrade"):
		return strings.EqualFold(name, "upgrade") || strings.EqualFold(name, "trailer")
	case len("connection"):
		return strings.EqualFold(name, "connection") || strings.EqualFold(name, "keep-alive")
	case len("content-length"):
		return strings.EqualFold(name, "content-length")
	case len("proxy-connection"):
		return strings.EqualFold(name, "proxy-connection")
	case len("transfer-encoding"):
		return strings.EqualFold(name, "transfer-encoding")
	}
	return false
}

// tchar are the bytes of a token (RFC 9110 §5.6.2).
var tchar = func() (table [256]bool) {
	for c := range 128 {
		table[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return table
}()

// repeatable reports whether a request may be sent twice (RFC 9110 §9.2.2), by
// the rule of http.Transport: DELETE and PUT, idempotent as they are, are left
// out, because the second answer would be another one.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return len(r.Header["Idempotency-Key"]) > 0 || len(r.Header["X-Idempotency-Key"]) > 0
}
