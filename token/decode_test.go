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
)

const thumb = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

// plain is the smallest set of claims that Decode accepts, as JSON.
func plain() map[string]string {
	return map[string]string{
		"iss": `"https://as.example"`, "sub": `"u_1"`, "aud": `"https://api.example"`, "client_id": `"app"`,
		"iat": `1795430000`, "exp": `1795430300`, "jti": `"t1"`,
	}
}

// with is plain with one member set to JSON; "" takes it away.
func with(name, value string) []byte {
	members := plain()
	members[name] = value
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] != "" {
			all = append(all, fmt.Sprintf("%q:%s", name, members[name]))
		}
	}
	return []byte("{" + strings.Join(all, ",") + "}")
}

func TestDecode(t *testing.T) {
	got, err := Decode(with("x", `null`))
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
		if _, err := Decode(with(name, value)); err != nil {
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
		c, err := Decode(with(b.name, b.value))
		if err == nil {
			t.Errorf("%s: %q: decoded as %+v, want an error", b.name, b.value, c)
		} else if c != nil {
			t.Errorf("%s: %q: claims with the error", b.name, b.value)
		}
	}
}

func TestDecodeRefusesMalformedObjects(t *testing.T) {
	good := string(with("x", `1`))
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
	_, err := Decode(with("cnf", `{"osc":"x"}`))
	if want := "token: cnf: unknown member"; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestActorWithoutIssuerIsOfTheTokensIssuer(t *testing.T) {
	c, err := Decode(with("act", `{"sub":"a","act":{"iss":"https://b.example","sub":"b","act":{"sub":"c"}}}`))
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
	f.Add(with("cnf", `{"jkt":"`+thumb+`"}`))
	f.Add(with("act", `{"sub":"a","act":{"sub":"b"}}`))
	f.Add(with("authorization_details", `[{"type":"x","a":[1]}]`))
	f.Add(with("via", `["a","b"]`))
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
