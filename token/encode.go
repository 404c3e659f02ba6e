package token

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// Encode is the claims as JSON: zero fields left out, equal claims in equal
// bytes. Private claims follow, sorted by name, those of the payload the
// claims were decoded from included. Claims that Decode would refuse are an
// error.
func (c *Claims) Encode() ([]byte, error) {
	if c.Workload != "" || c.RequestIP != "" {
		return nil, errors.New("encode claims: req_wl and rctx are of transaction tokens")
	}
	e := begin(c)
	e.text("jti", c.ID)
	return e.rest(c, Decode)
}

// begin writes the claims that both kinds of token begin with.
func begin(c *Claims) *encoder {
	e := &encoder{out: make([]byte, 0, 512)}
	e.open()
	e.text("iss", c.Issuer)
	e.text("sub", c.Subject)
	e.audience(c.Audience)
	e.text("client_id", c.ClientID)
	e.date("exp", c.Expiry)
	e.date("nbf", c.NotBefore)
	e.date("iat", c.IssuedAt)
	return e
}

// rest writes the claims that both kinds of token have, and sees to it that the
// kind's own decoder takes the whole.
func (e *encoder) rest(c *Claims, decode func([]byte) (*Claims, error)) ([]byte, error) {
	private, err := c.private()
	if err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	e.text("scope", c.Scope.String())
	e.text("grant_id", c.GrantID)
	e.text("sid", c.SessionID)
	e.position(c.Rev)
	e.list("via", c.Via)
	e.date("auth_time", c.AuthTime)
	e.text("acr", c.ACR)
	e.confirmation(c.Confirmation)
	e.actor(c.Actor)
	if err := e.details(c.Details); err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	for _, m := range overlay(private, c.extra) {
		e.raw(m.name, m.value)
	}
	e.close()
	if _, err := decode(e.out); err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	return e.out, nil
}

// An encoder writes JSON objects; zero values write nothing.
type encoder struct{ out []byte }

func (e *encoder) open() { e.out = append(e.out, '{') }

func (e *encoder) close() { e.out = append(e.out, '}') }

// name begins a member.
func (e *encoder) name(name string) {
	if e.out[len(e.out)-1] != '{' {
		e.out = append(e.out, ',')
	}
	e.out = append(jose.AppendString(e.out, name), ':')
}

func (e *encoder) raw(name, value string) {
	e.name(name)
	e.out = append(e.out, value...)
}

func (e *encoder) text(name, value string) {
	if value != "" {
		e.name(name)
		e.out = jose.AppendString(e.out, value)
	}
}

func (e *encoder) date(name string, t time.Time) {
	if !t.IsZero() {
		e.name(name)
		e.out = strconv.AppendInt(e.out, t.Unix(), 10)
	}
}

func (e *encoder) position(rev uint64) {
	if rev != 0 {
		e.name("rev")
		e.out = strconv.AppendUint(e.out, rev, 10)
	}
}

func (e *encoder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.name(name)
	e.out = append(e.out, '[')
	for i, v := range values {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.out = jose.AppendString(e.out, v)
	}
	e.out = append(e.out, ']')
}

// audience writes a single one as a string, which every reader takes.
func (e *encoder) audience(all []string) {
	if len(all) == 1 {
		e.text("aud", all[0])
		return
	}
	e.list("aud", all)
}

func (e *encoder) confirmation(c *Confirmation) {
	if c == nil {
		return
	}
	e.name("cnf")
	e.open()
	e.text("jkt", c.KeyThumbprint)
	e.text("x5t#S256", c.CertThumbprint)
	e.close()
}

func (e *encoder) actor(a *Actor) {
	levels := 0
	for ; a != nil && levels <= maxActors; a = a.Actor {
		e.name("act")
		e.open()
		e.text("iss", a.Issuer)
		e.text("sub", a.Subject)
		levels++
	}
	for range levels {
		e.close()
	}
}

// details writes the raw objects, each checked to be one object of its type.
func (e *encoder) details(all []Detail) error {
	if len(all) == 0 {
		return nil
	}
	e.name("authorization_details")
	e.out = append(e.out, '[')
	for i, d := range all {
		typ, err := detailType(string(d.Raw))
		if err != nil || typ != d.Type {
			return fmt.Errorf("authorization detail %d is not an object of its type", i+1)
		}
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.out = append(e.out, d.Raw...)
	}
	e.out = append(e.out, ']')
	return nil
}
