package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/scope"
)

const thumb = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

// plain is the smallest set of claims that Decode accepts.
func plain() map[string]any {
	return map[string]any{
		"iss": "https://as.example", "sub": "u_1", "aud": "https://api.example", "client_id": "app",
		"iat": 1795430000, "exp": 1795430300, "jti": "t1",
	}
}

// with is plain with one member set to JSON; "" takes it away.
func with(t testing.TB, name, value string) []byte {
	t.Helper()
	members := plain()
	delete(members, name)
	if value != "" {
		members[name] = json.RawMessage(value)
	}
	out := []byte("{")
	for i, name := range slices.Sorted(maps.Keys(members)) {
		value, ok := members[name].(json.RawMessage)
		if !ok {
			var err error
			if value, err = json.Marshal(members[name]); err != nil {
				t.Fatal(err)
			}
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, fmt.Sprintf("%q:%s", name, value)...)
	}
	return append(out, '}')
}

// full has every field set.
func full(t testing.TB) *Claims {
	t.Helper()
	return &Claims{
		Issuer: "https://as.example", Subject: "u_1", ClientID: "https://app.example/client.json", ID: "t1",
		Audience: []string{"https://api.example/orders"}, Scope: scope.Set{"orders:read", "orders:write"},
		Expiry: time.Unix(1795430300, 0).UTC(), IssuedAt: time.Unix(1795430000, 0).UTC(), NotBefore: time.Unix(1795429990, 0).UTC(),
		GrantID: "g1", SessionID: "s1", Via: []string{"t0", "g0"}, Rev: 1<<64 - 1,
		AuthTime: time.Unix(1795429000, 0).UTC(), ACR: "urn:example:mfa",
		Actor:        &Actor{Issuer: "https://as.example", Subject: "agent", Actor: &Actor{Issuer: "https://b.example", Subject: "tool"}},
		Confirmation: &Confirmation{KeyThumbprint: thumb, CertThumbprint: thumb},
		Details:      []Detail{{Type: "https://writ.example/ai", Raw: json.RawMessage(`{"limits":[1],"type":"https://writ.example/ai"}`)}},
	}
}

func TestDecode(t *testing.T) {
	got, err := Decode(with(t, "x", `null`))
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	want := &Claims{
		Issuer: "https://as.example", Subject: "u_1", ClientID: "app", ID: "t1", Audience: []string{"https://api.example"},
		Expiry: time.Unix(1795430300, 0).UTC(), IssuedAt: time.Unix(1795430000, 0).UTC(), payload: got.payload,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("claims = %+v, want %+v", got, want)
	}
}

func TestDecodeAccepts(t *testing.T) {
	for name, value := range map[string]string{
		"aud": `["https://api.example","https://other.example"]`, "scope": `""`, "sub": `"ü 😀 \u00a0"`, "exp": `1795430300.75`,
		"nbf": `1.795430e9`, "rev": `18446744073709551615`, "via": `["1","2","3","4","5","6","7","8"]`,
		"act": `{"sub":"a","x":1,"act":{"sub":"b","act":{"sub":"c","act":{"sub":"d"}}}}`,
		"cnf": `{"x5t#S256":"` + thumb + `"}`, "authorization_details": `[]`, "roles": `["analyst"]`,
	} {
		if _, err := Decode(with(t, name, value)); err != nil {
			t.Errorf("%s: %s: %v", name, value, err)
		}
	}
}

// TestDecodeRefuses is the list of bad input: each was let through by some
// product.
func TestDecodeRefuses(t *testing.T) {
	type bad struct{ name, value string }
	var all []bad
	for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		all = append(all, bad{name, ""})
	}
	for _, name := range []string{"iss", "sub", "client_id", "jti", "aud", "grant_id", "sid", "acr"} {
		for _, value := range []string{
			`""`, `null`, `1`, `true`, `{}`, `[""]`, `[1]`, `[null]`, `[["x"]]`, `"a\u0000"`, `"a\nX-User: root"`, `"\r"`, `"a\tb"`,
			`"\u007f"`, `"\u0085"`, "\"\x7f\"", "\"\u0080\"", "\"\xff\"", `"\ud800"`,
		} {
			all = append(all, bad{name, value})
		}
	}
	all = append(all, bad{"aud", `[]`}, bad{"aud", `["https://api.example",""]`}, bad{"sub", `["u_1"]`})
	for _, name := range []string{"exp", "iat", "nbf", "auth_time"} {
		for _, value := range []string{
			`"1795430300"`, `null`, `true`, `[1795430300]`, `0`, `-1`, `0.5`, `1e400`, `1e30`, `253402300800`, `9223372036854775808`,
		} {
			all = append(all, bad{name, value})
		}
	}
	for name, values := range map[string][]string{
		"scope":                 {`["orders:read"]`, `null`, `1`, `"a  b"`, `" a"`, `"a\tb"`, `"a\u0000"`, `"é"`},
		"rev":                   {`-1`, `1.5`, `1e3`, `"1"`, `null`, `18446744073709551616`},
		"via":                   {`"t0"`, `[""]`, `[1]`, `null`, `["1","2","3","4","5","6","7","8","9"]`, `["a\u0000"]`},
		"act":                   {`null`, `"a"`, `[]`, `{}`, `{"iss":"https://as.example"}`, `{"sub":""}`, `{"sub":"a\n"}`, `{"iss":"","sub":"a"}`, `{"sub":"a","act":{}}`, `{"sub":"a","act":null}`, `{"sub":"a","sub":"b"}`, `{"sub":"a","act":{"sub":"b","act":{"sub":"c","act":{"sub":"d","act":{"sub":"e"}}}}}`},
		"cnf":                   {`null`, `{}`, `"x"`, `{"jkt":1}`, `{"jkt":""}`, `{"jkt":"short"}`, `{"jkt":"` + thumb + `","kid":"k"}`, `{"jwk":{}}`, `{"jkt":"` + thumb + `="}`, `{"jkt":"` + thumb[:42] + `J"}`, `{"jkt":"` + thumb + `","jkt":"` + thumb + `"}`},
		"authorization_details": {`null`, `{}`, `{"type":"x"}`, `["x"]`, `[{}]`, `[{"type":""}]`, `[{"type":1}]`, `[{"type":"a\n"}]`, `[{"type":"x"},{}]`, `[{"type":"x","type":"x"}]`},
		"nonce":                 {`"n"`, `null`},
		"events":                {`{}`},
		"x":                     {`{"a":1,"a":2}`, `[{"a":1,"\u0061":2}]`, "\"\xff\"", `01`},
	} {
		for _, value := range values {
			all = append(all, bad{name, value})
		}
	}
	for _, b := range all {
		c, err := Decode(with(t, b.name, b.value))
		if err == nil {
			t.Errorf("%s: %q: decoded as %+v, want an error", b.name, b.value, c)
		} else if c != nil {
			t.Errorf("%s: %q: claims with the error", b.name, b.value)
		}
	}
}

func TestDecodeRefusesMalformedObjects(t *testing.T) {
	good := string(with(t, "x", `1`))
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatalf("Decode of the good twin: %v", err)
	}
	for _, payload := range []string{
		"", "null", "[]", `"x"`, "{}", good + good, good + "x", "\ufeff" + good, good[:len(good)-1],
		strings.Replace(good, `{`, `{"sub":"root",`, 1), strings.Replace(good, `{`, `{"s\u0075b":"root",`, 1),
		strings.Replace(good, `{`, `{"x":2,`, 1), "[" + good + "]",
	} {
		if c, err := Decode([]byte(payload)); err == nil {
			t.Errorf("%.60q: decoded as %+v, want an error", payload, c)
		}
	}
}

func TestUnknownConfirmationSaysSo(t *testing.T) {
	_, err := Decode(with(t, "cnf", `{"osc":"x"}`))
	if want := "token: cnf: unknown member"; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestActorWithoutIssuerIsOfTheTokensIssuer(t *testing.T) {
	c, err := Decode(with(t, "act", `{"sub":"a","act":{"iss":"https://b.example","sub":"b","act":{"sub":"c"}}}`))
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	var got []string
	for a := c.Actor; a != nil; a = a.Actor {
		got = append(got, a.Issuer+" "+a.Subject)
	}
	want := []string{"https://as.example a", "https://b.example b", "https://as.example c"}
	if !slices.Equal(got, want) {
		t.Errorf("actors = %q, want %q", got, want)
	}
}

// TestRegisteredNamesAreRead: no claim is a boolean, so each name that Extra
// leaves to a field must be refused with one.
func TestRegisteredNamesAreRead(t *testing.T) {
	encoded, err := full(t).Encode()
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	var members map[string]any
	if err := json.Unmarshal(encoded, &members); err != nil {
		t.Fatal(err)
	}
	if len(members) != 18 {
		t.Errorf("%d members, want 18: %s", len(members), encoded)
	}
	for name := range members {
		if !registered(name) {
			t.Errorf("%s has a field and is not registered", name)
		}
		if _, err := Decode(with(t, name, `true`)); err == nil {
			t.Errorf("%s: true decodes, want an error", name)
		}
	}
}

func TestEncodeThenDecode(t *testing.T) {
	want := full(t)
	encoded, err := want.Encode()
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	got, err := Decode(encoded)
	if err != nil {
		t.Fatalf("Decode(%s): %v", encoded, err)
	}
	got.payload = ""
	if !reflect.DeepEqual(got, want) {
		t.Errorf("claims = %+v, want %+v", got, want)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, encoded) {
		t.Errorf("second encoding = %s, %v, want %s", again, err, encoded)
	}
}

func TestEncodeIsGolden(t *testing.T) {
	c, err := Decode(with(t, "x", ""))
	if err != nil {
		t.Fatal(err)
	}
	c.Audience = append(c.Audience, "b")
	for _, name := range []string{"zeta", "alpha"} {
		if err := c.SetExtra(name, []string{"<&>"}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Encode()
	want := `{"iss":"https://as.example","sub":"u_1","aud":["https://api.example","b"],"client_id":"app","exp":1795430300,` +
		`"iat":1795430000,"jti":"t1","alpha":["\u003c\u0026\u003e"],"zeta":["\u003c\u0026\u003e"]}`
	if err != nil || string(got) != want {
		t.Errorf("encoded = %s, %v, want %s", got, err, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Claims){
		"no issuer":           func(c *Claims) { c.Issuer = "" },
		"no audience":         func(c *Claims) { c.Audience = nil },
		"no expiry":           func(c *Claims) { c.Expiry = time.Time{} },
		"expiry at the epoch": func(c *Claims) { c.Expiry = time.Unix(0, 0) },
		"year 10000":          func(c *Claims) { c.Expiry = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"not UTF-8":           func(c *Claims) { c.Subject = "\xff" },
		"control character":   func(c *Claims) { c.Subject = "a\nb" },
		"empty audience":      func(c *Claims) { c.Audience = []string{"a", ""} },
		"scope with a space":  func(c *Claims) { c.Scope = scope.Set{"a", ""} },
		"long via":            func(c *Claims) { c.Via = strings.Split("123456789", "") },
		"empty confirmation":  func(c *Claims) { c.Confirmation = &Confirmation{} },
		"bad thumbprint":      func(c *Claims) { c.Confirmation.KeyThumbprint = "x" },
		"actor unnamed":       func(c *Claims) { c.Actor.Subject = "" },
		"five actors": func(c *Claims) {
			c.Actor = &Actor{Subject: "a", Actor: &Actor{Subject: "b", Actor: &Actor{Subject: "c", Actor: c.Actor}}}
		},
		"actor of itself":     func(c *Claims) { c.Actor.Actor = c.Actor },
		"detail of two types": func(c *Claims) { c.Details[0].Type = "other" },
		"detail without JSON": func(c *Claims) { c.Details[0].Raw = nil },
		"detail that breaks out": func(c *Claims) {
			c.Details[0].Raw = json.RawMessage(`{"type":"https://writ.example/ai"}],"admin":[{"type":"x"}`)
		},
	} {
		c := full(t)
		spoil(c)
		if got, err := c.Encode(); err == nil {
			t.Errorf("%s: encoded %s, want an error", name, got)
		}
	}
}

func TestExtra(t *testing.T) {
	c, err := Decode(with(t, "roles", `["analyst"]`))
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	if ok, err := c.Extra("roles", &roles); !ok || err != nil || !slices.Equal(roles, []string{"analyst"}) {
		t.Errorf("roles = %v, %v, %v, want analyst", roles, ok, err)
	}
	for _, name := range []string{"groups", "sub", "nonce", ""} {
		if ok, err := c.Extra(name, &roles); ok || err != nil {
			t.Errorf("%q: there = %v, %v, want neither", name, ok, err)
		}
	}
	var number int
	if ok, err := c.Extra("roles", &number); !ok || err == nil {
		t.Errorf("roles as a number: there = %v, error = %v, want both", ok, err)
	}
	if ok, err := new(Claims).Extra("roles", &roles); ok || err != nil {
		t.Errorf("extra of no claims: there = %v, %v, want neither", ok, err)
	}
}

func TestSetExtra(t *testing.T) {
	c, err := Decode(with(t, "roles", `["analyst"]`))
	if err != nil {
		t.Fatal(err)
	}
	before := *c
	for name, value := range map[string]any{"roles": []string{"admin"}, "tenant": "t", "zero": nil} {
		if err := c.SetExtra(name, value); err != nil {
			t.Errorf("SetExtra(%s): %v", name, err)
		}
	}
	encoded, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := `"roles":["admin"],"tenant":"t","zero":null}`; !strings.HasSuffix(string(encoded), want) {
		t.Errorf("encoded = %s, want it to end in %s", encoded, want)
	}
	var roles []string
	if _, err := c.Extra("roles", &roles); err != nil || !slices.Equal(roles, []string{"admin"}) {
		t.Errorf("roles = %v, %v, want admin", roles, err)
	}
	if _, err := before.Extra("roles", &roles); err != nil || !slices.Equal(roles, []string{"analyst"}) {
		t.Errorf("roles of an earlier copy = %v, %v, want analyst", roles, err)
	}
	for name, value := range map[string]any{
		"sub": "root", "exp": 1, "nonce": "n", "events": 1, "": 1, "f": func() {}, "raw": json.RawMessage(`{"a":1,"a":2}`),
		"broken": json.RawMessage(`1,"sub":"root"`), "surrogate": json.RawMessage(`"\ud800"`),
	} {
		if err := c.SetExtra(name, value); err == nil {
			t.Errorf("SetExtra(%q, %v): no error", name, value)
		}
	}
}

func TestCheck(t *testing.T) {
	iat, exp := time.Unix(1795430000, 0), time.Unix(1795430300, 0)
	c := Claims{Issuer: "https://as.example", Audience: []string{"a", "b"}, IssuedAt: iat, Expiry: exp}
	later := c
	later.NotBefore = iat.Add(time.Minute)
	const leeway = 10 * time.Second
	for name, test := range map[string]struct {
		c    Claims
		e    Expect
		want error
	}{
		"good":                      {c, Expect{c.Issuer, "a", iat, 0}, nil},
		"second audience":           {c, Expect{c.Issuer, "b", iat, 0}, nil},
		"issuer with a slash":       {c, Expect{c.Issuer + "/", "a", iat, 0}, ErrIssuer},
		"issuer in capitals":        {c, Expect{"https://AS.example", "a", iat, 0}, ErrIssuer},
		"no issuer expected":        {c, Expect{"", "a", iat, 0}, ErrIssuer},
		"other audience":            {c, Expect{c.Issuer, "c", iat, 0}, ErrAudience},
		"no audience expected":      {c, Expect{c.Issuer, "", iat, 0}, ErrAudience},
		"last moment":               {c, Expect{c.Issuer, "a", exp.Add(-1), 0}, nil},
		"at expiry":                 {c, Expect{c.Issuer, "a", exp, 0}, ErrExpired},
		"last moment with leeway":   {c, Expect{c.Issuer, "a", exp.Add(leeway - 1), leeway}, nil},
		"beyond the leeway":         {c, Expect{c.Issuer, "a", exp.Add(leeway), leeway}, ErrExpired},
		"issued ahead":              {c, Expect{c.Issuer, "a", iat.Add(-1), 0}, ErrNotYet},
		"issued ahead, in leeway":   {c, Expect{c.Issuer, "a", iat.Add(-leeway), leeway}, nil},
		"issued ahead of leeway":    {c, Expect{c.Issuer, "a", iat.Add(-leeway - 1), leeway}, ErrNotYet},
		"not before":                {later, Expect{c.Issuer, "a", iat, leeway}, ErrNotYet},
		"not before, in leeway":     {later, Expect{c.Issuer, "a", later.NotBefore.Add(-leeway), leeway}, nil},
		"no clock":                  {c, Expect{c.Issuer, "a", time.Time{}, leeway}, ErrNotYet},
		"claims without an expiry":  {Claims{Issuer: "i", Audience: []string{"a"}}, Expect{"i", "a", iat, leeway}, ErrExpired},
		"no audience in the claims": {Claims{Issuer: "i", Expiry: exp}, Expect{"i", "", iat, leeway}, ErrAudience},
	} {
		if err := test.c.Check(test.e); !errors.Is(err, test.want) {
			t.Errorf("%s: error = %v, want %v", name, err, test.want)
		}
	}
	e := Expect{c.Issuer, "b", iat, leeway}
	if n := testing.AllocsPerRun(100, func() { _ = c.Check(e) }); n != 0 {
		t.Errorf("Check allocates %v times, want 0", n)
	}
}

func TestHas(t *testing.T) {
	c := &Claims{Scope: scope.Set{"orders:read"}}
	if !c.Has("orders:read") || c.Has("orders") || (*Claims)(nil).Has("orders:read") {
		t.Error("Has is wrong about whole names or nil claims")
	}
}

func TestTypeOK(t *testing.T) {
	for typ, want := range map[string]bool{
		"at+jwt": true, "application/at+jwt": true, "AT+JWT": true, "": false, "JWT": false, "logout+jwt": false, "dpop+jwt": false,
	} {
		if got := TypeOK(typ); got != want {
			t.Errorf("TypeOK(%q) = %v, want %v", typ, got, want)
		}
	}
}

func TestLogValueGivesNothingAway(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	c, err := Decode(with(t, "email", `"a@example.com"`))
	if err != nil {
		t.Fatal(err)
	}
	log.Info("admitted", "token", c)
	log.Info("refused", "token", (*Claims)(nil))
	if got, want := out.String(), "token.sub=u_1 token.client_id=app token.jti=t1 token.grant_id=\"\"\n"; !strings.Contains(got, want) {
		t.Errorf("log = %s, want %s", got, want)
	}
	if strings.Contains(out.String(), "a@example.com") {
		t.Errorf("log shows private claims: %s", out.String())
	}
}

func TestInsecureParse(t *testing.T) {
	segment := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	compact := segment([]byte(`{"alg":"ES256"}`)) + "." + segment(with(t, "x", "")) + ".AAAA"
	c, err := InsecureParse(compact)
	if err != nil || c.Subject != "u_1" {
		t.Errorf("claims = %+v, %v, want those of u_1", c, err)
	}
	for _, bad := range []string{"", compact[:len(compact)-5], compact + "=", "a.b.c"} {
		if c, err := InsecureParse(bad); err == nil {
			t.Errorf("%q: parsed %+v, want an error", bad, c)
		}
	}
}

func TestDecodeAllocatesLittle(t *testing.T) {
	payload := []byte(fourteen)
	n := testing.AllocsPerRun(100, func() {
		if _, err := Decode(payload); err != nil {
			t.Error(err)
		}
	})
	// The claims, the payload, the audience and the scope.
	if n > 4 {
		t.Errorf("Decode allocates %v times, want at most 4", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(fourteen))
	f.Add(with(f, "cnf", `{"jkt":"`+thumb+`"}`))
	f.Add(with(f, "act", `{"sub":"a","act":{"sub":"b"}}`))
	f.Add(with(f, "authorization_details", `[{"type":"x","a":[1]}]`))
	f.Add(with(f, "via", `["a","b"]`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := Decode(payload)
		if err != nil {
			return
		}
		encoded, err := c.Encode()
		if err != nil {
			t.Fatalf("%q: decodes and does not encode: %v", payload, err)
		}
		again, err := Decode(encoded)
		if err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		twice, err := again.Encode()
		if err != nil || !bytes.Equal(twice, encoded) {
			t.Fatalf("%q encodes as %q, %v", encoded, twice, err)
		}
		theirs, sub := map[string]json.RawMessage{}, ""
		if err := json.Unmarshal(payload, &theirs); err != nil {
			t.Fatalf("%q: encoding/json refuses: %v", payload, err)
		}
		if err := json.Unmarshal(theirs["sub"], &sub); err != nil || sub != c.Subject {
			t.Fatalf("%q: sub = %q, encoding/json says %q, %v", payload, c.Subject, sub, err)
		}
	})
}
