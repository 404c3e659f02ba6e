package token

import "iter"

// A Name is one value of a token that a revocation may be about.
type Name struct {
	Kind   string // jti, grant, session, subject or client
	Issuer string // whose value it is
	Value  string // never empty
}

// Names yields everything that a revocation may name the token by: itself, its
// grant, session, subject and client; whatever it was derived from; and everybody
// who acts in it. Issuer and guards both ask here, so that what one ends the
// others refuse.
func (c *Claims) Names() iter.Seq[Name] {
	return func(yield func(Name) bool) {
		for _, n := range [...]Name{
			{"jti", c.Issuer, c.ID}, {"grant", c.Issuer, c.GrantID}, {"session", c.Issuer, c.SessionID},
			{"subject", c.Issuer, c.Subject}, {"client", c.Issuer, c.ClientID},
		} {
			if n.Value != "" && !yield(n) {
				return
			}
		}
		for _, id := range c.Via { // an id does not tell whether it names a token or a grant
			if !yield(Name{"jti", c.Issuer, id}) || !yield(Name{"grant", c.Issuer, id}) {
				return
			}
		}
		for a := c.Actor; a != nil; a = a.Actor { // a client that acts does so under its own id
			if !yield(Name{"subject", a.Issuer, a.Subject}) || !yield(Name{"client", a.Issuer, a.Subject}) {
				return
			}
		}
	}
}
