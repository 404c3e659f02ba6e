package token

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/scope"
)

// full has every field set.
func full() *Claims {
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

// TestRegisteredNamesAreRead: no claim is a boolean, so each name that Extra
// leaves to a field must be refused with one.
func TestRegisteredNamesAreRead(t *testing.T) {
	encoded, err := full().Encode()
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
		if _, err := Decode(with(name, `true`)); err == nil {
			t.Errorf("%s: true decodes, want an error", name)
		}
	}
}

func TestEncodeThenDecode(t *testing.T) {
	want := full()
	for field, value := range reflect.ValueOf(*want).Fields() {
		if field.IsExported() && value.IsZero() && field.Name != "Workload" && field.Name != "RequestIP" {
			t.Errorf("%s is not set, so this test does not cover it", field.Name)
		}
	}
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
	c, err := Decode(with("x", ""))
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
		c := full()
		spoil(c)
		if got, err := c.Encode(); err == nil {
			t.Errorf("%s: encoded %s, want an error", name, got)
		}
	}
}

func TestSetExtra(t *testing.T) {
	c, err := Decode(with("roles", `["analyst"]`))
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
