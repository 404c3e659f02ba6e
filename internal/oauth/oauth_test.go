package oauth

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestWellKnown(t *testing.T) {
	for _, c := range []struct{ id, name, want string }{
		{"https://as.example", ServerDocument, "https://as.example/.well-known/oauth-authorization-server"},
		{"https://as.example/", ServerDocument, "https://as.example/.well-known/oauth-authorization-server"},
		{"https://as.example/tenant/1", ServerDocument, "https://as.example/.well-known/oauth-authorization-server/tenant/1"},
		{"https://as.example/tenant/", ServerDocument, "https://as.example/.well-known/oauth-authorization-server/tenant"},
		{"http://127.0.0.1:8400", ServerDocument, "http://127.0.0.1:8400/.well-known/oauth-authorization-server"},
		{"https://api.example/", ResourceDocument, "https://api.example/.well-known/oauth-protected-resource"},
		{"https://api.example/orders", ResourceDocument, "https://api.example/.well-known/oauth-protected-resource/orders"},
		{"https://api.example/orders/", ResourceDocument, "https://api.example/.well-known/oauth-protected-resource/orders/"},
		{"https://api.example/a%2Fb", ResourceDocument, "https://api.example/.well-known/oauth-protected-resource/a%2Fb"},
		{"https://api.example/orders?v=2", ResourceDocument, "https://api.example/.well-known/oauth-protected-resource/orders?v=2"},
		{"urn:example:orders", ResourceDocument, ""},
		{"orders", ResourceDocument, ""},
		{"https://%zz", ResourceDocument, ""},
	} {
		if got := WellKnown(c.id, c.name); got != c.want {
			t.Errorf("WellKnown(%q, %q) = %q, want %q", c.id, c.name, got, c.want)
		}
	}
}

func TestChallenge(t *testing.T) {
	for _, c := range []struct {
		params []string
		want   string
	}{
		{nil, `Bearer`},
		{[]string{"error", ""}, `Bearer`},
		{[]string{"error", InvalidToken}, `Bearer error="invalid_token"`},
		{[]string{"error", "", "scope", "a b"}, `Bearer scope="a b"`},
		{[]string{"error", InvalidToken, "scope", "a b"}, `Bearer error="invalid_token", scope="a b"`},
		{[]string{"realm", `say "hi" \o/`}, `Bearer realm="say \"hi\" \\o/"`},
		// An attacker who chooses a value must not reach the next header.
		{[]string{"realm", "x\r\nSet-Cookie: a=b\x00é"}, `Bearer realm="xSet-Cookie: a=b"`},
	} {
		if got := Challenge(Bearer, c.params...); got != c.want {
			t.Errorf("Challenge(%q) = %q, want %q", c.params, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"The code is spent.", "The code is spent."},
		{`no "quotes" \ here`, `no 'quotes' ? here`},
		{"line\r\nbreak\x7f é", "line??break? ?"},
		{"\xff", "?"},
	} {
		if got := Text(c.in); got != c.want {
			t.Errorf("Text(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestError(t *testing.T) {
	var err error = &Error{Code: InvalidGrant, Description: "spent\n", Cause: io.ErrUnexpectedEOF}
	if got, want := err.Error(), "invalid_grant: spent?"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is not in the chain")
	}
	if got, want := (&Error{Code: ServerError}).Error(), "server_error"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestErrorKeepsCauseToItself(t *testing.T) {
	err := &Error{Code: InvalidGrant, Cause: errors.New("code writ_code_s3cret")}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("Error() = %q shows the cause", err.Error())
	}
}

func TestMetadataWritesWhatAbsenceWouldTurnOn(t *testing.T) {
	text, err := json.Marshal(Metadata{Issuer: "https://as.example"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"issuer":"https://as.example","request_uri_parameter_supported":false,"grant_types_supported":[],"token_endpoint_auth_methods_supported":[]}`
	if string(text) != want {
		t.Errorf("document = %s, want %s", text, want)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(members)); len(got) != 4 {
		t.Errorf("members = %q, want four", got)
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	text, err := json.Marshal(&Metadata{
		Issuer:               "https://as.example",
		GrantTypes:           []string{GrantCode},
		AuthMethods:          []string{AuthNone},
		CodeChallengeMethods: []string{MethodS256},
	})
	if err != nil {
		t.Fatal(err)
	}
	var back Metadata
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if got := back.GrantTypes; !slices.Equal(got, []string{GrantCode}) {
		t.Errorf("grant_types_supported = %q, want %q", got, GrantCode)
	}
	if got := back.CodeChallengeMethods; !slices.Equal(got, []string{MethodS256}) {
		t.Errorf("code_challenge_methods_supported = %q, want %q", got, MethodS256)
	}
}
