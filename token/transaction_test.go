package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/scope"
)

// errand is a transaction token with every field that it may have.
func errand() *Claims {
	c := full()
	c.Audience, c.Confirmation, c.Details = []string{"inside.example"}, nil, nil
	c.ClientID, c.Workload, c.RequestIP = "app", "gateway", "192.0.2.1"
	return c
}

// errandWith is the smallest transaction token with one member set to JSON; "" takes it away.
func errandWith(name, value string) []byte {
	members := plain()
	delete(members, "jti")
	maps.Copy(members, map[string]string{"aud": `"inside.example"`, "txn": `"t1"`, "scope": `"read"`, "req_wl": `"gateway"`})
	members[name] = value
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] != "" {
			all = append(all, fmt.Sprintf("%q:%s", name, members[name]))
		}
	}
	return []byte("{" + strings.Join(all, ",") + "}")
}

func TestDecodeTransaction(t *testing.T) {
	got, err := DecodeTransaction(errandWith("rctx", `{"req_ip":"192.0.2.1","authn":"x"}`))
	if err != nil {
		t.Fatalf("DecodeTransaction: %v", err)
	}
	want := &Claims{
		Issuer: "https://as.example", Subject: "u_1", ClientID: "app", ID: "t1", Audience: []string{"inside.example"},
		Expiry: time.Unix(1795430300, 0).UTC(), IssuedAt: time.Unix(1795430000, 0).UTC(), Scope: scope.Set{"read"},
		Workload: "gateway", RequestIP: "192.0.2.1", payload: got.payload,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("claims = %+v, want %+v", got, want)
	}
}

func TestDecodeTransactionRefuses(t *testing.T) {
	type bad struct{ name, value string }
	var all []bad
	for _, name := range []string{"iss", "aud", "iat", "exp", "txn", "sub", "client_id", "scope", "req_wl"} {
		for _, value := range []string{"", `""`, `null`, `{}`, `[]`, `true`} {
			all = append(all, bad{name, value})
		}
	}
	for _, name := range []string{"txn", "req_wl", "sub", "aud"} {
		for _, value := range []string{`1`, `"a\nb"`, `["inside.example"]`, `"\u0000"`} {
			all = append(all, bad{name, value})
		}
	}
	all = append(all,
		bad{"jti", `"t1"`}, bad{"cnf", `{"jkt":"` + thumb + `"}`}, bad{"authorization_details", `[]`},
		bad{"nonce", `"n"`}, bad{"events", `{}`},
		bad{"rctx", `"192.0.2.1"`}, bad{"rctx", `{"req_ip":1}`}, bad{"rctx", `{"req_ip":"a\nb"}`}, bad{"rctx", `{"req_ip":"a","req_ip":"b"}`},
		bad{"via", `["1","2","3","4","5","6","7","8","9"]`},
		bad{"act", `{"sub":"a","act":{"sub":"b","act":{"sub":"c","act":{"sub":"d","act":{"sub":"e"}}}}}`},
	)
	for _, b := range all {
		if c, err := DecodeTransaction(errandWith(b.name, b.value)); err == nil {
			t.Errorf("%s: %s decodes to %+v, want an error", b.name, b.value, c)
		}
	}
	if c, err := DecodeTransaction(append([]byte(`{"txn":"other",`), errandWith("", "")[1:]...)); err == nil {
		t.Errorf("txn twice decodes to %+v, want an error", c)
	}
}

// TestKindsExcludeEachOther: no claims set passes as both, so that a check of typ
// that somebody forgot opens nothing (RFC 8725 §3.12).
func TestKindsExcludeEachOther(t *testing.T) {
	for name, value := range map[string]string{"": "", "jti": `"t1"`, "scope": `"read"`, "rctx": `{}`, "tctx": `{"order":7}`} {
		if c, err := Decode(errandWith(name, value)); err == nil {
			t.Errorf("a transaction token with %q passes as an access token: %+v", name, c)
		}
		if c, err := DecodeTransaction(with(name, value)); err == nil {
			t.Errorf("an access token with %q passes as a transaction token: %+v", name, c)
		}
	}
	for _, name := range []string{"txn", "req_wl"} {
		if c, err := Decode(with(name, `"x"`)); err == nil {
			t.Errorf("an access token with %s decodes to %+v, want an error", name, c)
		}
	}
	if _, err := errand().Encode(); err == nil {
		t.Error("a transaction token is encoded as an access token")
	}
	if _, err := full().EncodeTransaction(); err == nil {
		t.Error("an access token is encoded as a transaction token")
	}
}

func TestEncodeTransactionThenDecode(t *testing.T) {
	want := errand()
	for field, value := range reflect.ValueOf(*want).Fields() {
		if field.IsExported() && value.IsZero() && field.Name != "Confirmation" && field.Name != "Details" {
			t.Errorf("%s is not set, so this test does not cover it", field.Name)
		}
	}
	if err := want.SetExtra("tctx", map[string]int{"order": 7}); err != nil {
		t.Fatal(err)
	}
	encoded, err := want.EncodeTransaction()
	if err != nil {
		t.Fatalf("EncodeTransaction: %v", err)
	}
	got, err := DecodeTransaction(encoded)
	if err != nil {
		t.Fatalf("DecodeTransaction(%s): %v", encoded, err)
	}
	again, err := got.EncodeTransaction()
	if err != nil || !bytes.Equal(again, encoded) {
		t.Errorf("second encoding = %s, %v, want %s", again, err, encoded)
	}
	var details struct{ Order int }
	if found, err := got.Extra("tctx", &details); !found || err != nil || details.Order != 7 {
		t.Errorf("tctx = %+v, %t, %v, want order 7", details, found, err)
	}
	got.payload, want.extra = "", nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("claims = %+v, want %+v", got, want)
	}
}

func TestEncodeTransactionRefuses(t *testing.T) {
	for name, change := range map[string]func(*Claims){
		"no scope":      func(c *Claims) { c.Scope = nil },
		"no workload":   func(c *Claims) { c.Workload = "" },
		"two audiences": func(c *Claims) { c.Audience = []string{"a", "b"} },
		"no audience":   func(c *Claims) { c.Audience = nil },
		"a binding":     func(c *Claims) { c.Confirmation = &Confirmation{KeyThumbprint: thumb} },
		"details":       func(c *Claims) { c.Details = full().Details },
		"nine via":      func(c *Claims) { c.Via = strings.Split("123456789", "") },
		"five actors": func(c *Claims) {
			for range 3 {
				c.Actor = &Actor{Issuer: "i", Subject: "s", Actor: c.Actor}
			}
		},
	} {
		c := errand()
		change(c)
		if text, err := c.EncodeTransaction(); err == nil {
			t.Errorf("%s: encoded as %s, want an error", name, text)
		}
	}
}

// TestNamesOfTransaction: what ends the token it was minted from, or the gateway,
// names the transaction token too.
func TestNamesOfTransaction(t *testing.T) {
	c := errand()
	c.Via, c.Actor = []string{"outer"}, &Actor{Issuer: c.Issuer, Subject: "gateway"}
	names := map[string]bool{}
	for n := range c.Names() {
		names[n.Kind+" "+n.Value] = true
	}
	for _, want := range []string{
		"jti t1", "jti outer", "grant g1", "session s1", "subject u_1", "client app", "subject+client u_1\napp", "actor gateway", "client gateway",
	} {
		if !names[want] {
			t.Errorf("no name %q in %v", want, names)
		}
	}
}

func TestTransactionTypeOK(t *testing.T) {
	for typ, want := range map[string]bool{
		"txntoken+jwt": true, "TxnToken+JWT": true, "application/txntoken+jwt": true, "at+jwt": false, "txntoken": false, "JWT": false, "": false,
	} {
		if got := TransactionTypeOK(typ); got != want {
			t.Errorf("TransactionTypeOK(%q) = %t, want %t", typ, got, want)
		}
	}
}

func FuzzDecodeTransaction(f *testing.F) {
	f.Add(errandWith("rctx", `{"req_ip":"::1"}`))
	f.Add(errandWith("act", `{"sub":"a","act":{"sub":"b"}}`))
	f.Add(errandWith("tctx", `{"a":[1]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := DecodeTransaction(payload)
		if err != nil {
			return
		}
		if _, err := Decode(payload); err == nil {
			t.Fatalf("%q is both", payload)
		}
		encoded, err := c.EncodeTransaction()
		if err != nil {
			t.Fatalf("%q: decodes and does not encode: %v", payload, err)
		}
		if _, err := DecodeTransaction(encoded); err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		theirs, txn := map[string]json.RawMessage{}, ""
		if err := json.Unmarshal(payload, &theirs); err != nil {
			t.Fatalf("%q: encoding/json refuses: %v", payload, err)
		}
		if err := json.Unmarshal(theirs["txn"], &txn); err != nil || txn != c.ID {
			t.Fatalf("%q: txn = %q, encoding/json says %q, %v", payload, c.ID, txn, err)
		}
	})
}
