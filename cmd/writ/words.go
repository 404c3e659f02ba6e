package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// meanings says what each claim means.
var meanings = map[string]string{
	"iss": "issued by", "sub": "speaks for", "aud": "good only at", "client_id": "held by client", "scope": "allows",
	"jti": "token id", "iat": "issued", "exp": "expires", "nbf": "not before", "grant_id": "grant", "sid": "browser session",
	"rev": "feed position when issued", "via": "depends on", "auth_time": "signed in", "acr": "how they signed in",
	"cnf": "bound to key", "act": "acting", "authorization_details": "details",
}

// times are the claims that are moments.
var times = map[string]bool{"iat": true, "exp": true, "nbf": true, "auth_time": true}

// words is every claim with its meaning and its value in words, in the order of
// the token.
func (r *readable) words(now time.Time) [][3]string {
	var lines [][3]string
	for _, name := range r.order {
		lines = append(lines, [3]string{name, meanings[name], wording(name, r.raw[name], now)})
	}
	return lines
}

func wording(name string, raw json.RawMessage, now time.Time) string {
	text := string(raw)
	if s, err := jose.String(text); err == nil {
		return s
	}
	if n, err := jose.Int(text); err == nil && times[name] {
		at := time.Unix(n, 0)
		return moment(at) + ", " + ago(at, now)
	}
	if list, err := jose.Strings(text); err == nil {
		return strings.Join(list, " ")
	}
	switch name {
	case "cnf":
		var cnf struct {
			Thumbprint string `json:"jkt"`
		}
		if json.Unmarshal(raw, &cnf) == nil && cnf.Thumbprint != "" {
			return cnf.Thumbprint + " (DPoP): worth nothing without it"
		}
	case "act":
		return chain(raw)
	}
	var tidy bytes.Buffer
	if json.Compact(&tidy, raw) == nil {
		return tidy.String()
	}
	return text
}

// chain names who acts, the last first (RFC 8693 §4.1).
func chain(raw json.RawMessage) string {
	type actor struct {
		Subject string          `json:"sub"`
		Before  json.RawMessage `json:"act"`
	}
	var path []string
	for len(raw) > 0 && len(path) < 16 {
		var a actor
		if json.Unmarshal(raw, &a) != nil {
			break
		}
		path, raw = append(path, a.Subject), a.Before
	}
	return strings.Join(path, ", for ")
}

// pairs3 is pairs with a column between.
func pairs3(w io.Writer, lines [][3]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\n", visible(l[0]), visible(l[1]), visible(l[2]))
	}
	return t.Flush()
}
