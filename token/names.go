package token

import "iter"

// A Name is one value of a token that a revocation may be about.
type Name struct {
	Kind   string // jti, grant, session, subject, client, subject+client, actor, jkt, x5t#S256 or resource
	Issuer string // whose value it is
	Value  string // never empty; of subject+client: both, a line feed between
}

// Names yields everything that a revocation may name the token by: itself, its
// grant, session, subject and client; what it is bound to and for; whatever it
// was derived from; and everybody who acts in it. Issuer and guards both ask
// here, so that what one ends the others refuse. Revocations of a signing key, of
// everything, and of what was issued before a time name no value of a token.
func (c *Claims) Names() iter.Seq[Name] {
	return func(yield func(Name) bool) {
		pair := ""
		if c.Subject != "" && c.ClientID != "" {
			pair = c.Subject + "\n" + c.ClientID
		}
		for _, n := range [...]Name{
			{"jti", c.Issuer, c.ID}, {"grant", c.Issuer, c.GrantID}, {"session", c.Issuer, c.SessionID},
			{"subject", c.Issuer, c.Subject}, {"client", c.Issuer, c.ClientID}, {"subject+client", c.Issuer, pair},
		} {
			if n.Value != "" && !yield(n) {
				return
			}
		}
		for _, aud := range c.Audience {
			if !yield(Name{"resource", c.Issuer, aud}) {
				return
			}
		}
		if cnf := c.Confirmation; cnf != nil {
			for _, n := range [...]Name{{"jkt", c.Issuer, cnf.KeyThumbprint}, {"x5t#S256", c.Issuer, cnf.CertThumbprint}} {
				if n.Value != "" && !yield(n) {
					return
				}
			}
		}
		for _, id := range c.Via { // an id does not tell whether it names a token or a grant
			if !yield(Name{"jti", c.Issuer, id}) || !yield(Name{"grant", c.Issuer, id}) {
				return
			}
		}
		for a := c.Actor; a != nil; a = a.Actor { // a client that acts does so under its own id
			for _, kind := range [...]string{"actor", "subject", "client"} {
				if !yield(Name{kind, a.Issuer, a.Subject}) {
					return
				}
			}
		}
	}
}
