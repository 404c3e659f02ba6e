package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/scope"
)

func TestExtra(t *testing.T) {
	c, err := Decode(with("roles", `["analyst"]`))
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
	c, err := Decode(with("email", `"a@example.com"`))
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
	compact := segment([]byte(`{"alg":"ES256"}`)) + "." + segment(with("x", "")) + ".AAAA"
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
