package token_test

import (
	"slices"
	"testing"

	"github.com/writ-auth/writ/token"
)

func TestNames(t *testing.T) {
	c := &token.Claims{
		Issuer: "https://as.example", ID: "t", GrantID: "g", SessionID: "s", Subject: "u", ClientID: "app",
		Audience: []string{"api"}, Confirmation: &token.Confirmation{KeyThumbprint: "k", CertThumbprint: "x"},
		Via:   []string{"parent"},
		Actor: &token.Actor{Issuer: "https://as.example", Subject: "orders", Actor: &token.Actor{Issuer: "https://b.example", Subject: "gateway"}},
	}
	const a, b = "https://as.example", "https://b.example"
	want := []token.Name{
		{"jti", a, "t"}, {"grant", a, "g"}, {"session", a, "s"}, {"subject", a, "u"}, {"client", a, "app"}, {"subject+client", a, "u\napp"},
		{"resource", a, "api"}, {"jkt", a, "k"}, {"x5t#S256", a, "x"},
		{"jti", a, "parent"}, {"grant", a, "parent"},
		{"actor", a, "orders"}, {"subject", a, "orders"}, {"client", a, "orders"},
		{"actor", b, "gateway"}, {"subject", b, "gateway"}, {"client", b, "gateway"},
	}
	if got := slices.Collect(c.Names()); !slices.Equal(got, want) {
		t.Errorf("Names = %v, want %v", got, want)
	}
	for i := range want { // a caller may stop anywhere
		n := 0
		for range c.Names() {
			if n++; n > i {
				break
			}
		}
	}
	if got := slices.Collect((&token.Claims{Issuer: a, ID: "t"}).Names()); len(got) != 1 {
		t.Errorf("Names of a bare token = %v, want its jti alone", got)
	}
}
