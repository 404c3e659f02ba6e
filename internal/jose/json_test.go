package jose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func read(data string) (names, values []string, err error) {
	err = Members(data, func(name, value string) error {
		names, values = append(names, name), append(values, value)
		return nil
	})
	return names, values, err
}

func TestMembers(t *testing.T) {
	names, values, err := read(" {\"a\" : 1 ,\n\"\\u0062\\n\":[ {}, \"x\" ],\t\"\":{\"a\":null},\"é😀\":\"\\ud83d\\ude00\"}\r\n")
	if err != nil {
		t.Fatalf("Members: %v", err)
	}
	if want := []string{"a", "b\n", "", "é😀"}; !reflect.DeepEqual(names, want) {
		t.Errorf("names = %q, want %q", names, want)
	}
	if want := []string{`1`, `[ {}, "x" ]`, `{"a":null}`, `"\ud83d\ude00"`}; !reflect.DeepEqual(values, want) {
		t.Errorf("values = %q, want %q", values, want)
	}
}

func TestMembersStopsAtTheVisitorsError(t *testing.T) {
	stop, n := fmt.Errorf("stop"), 0
	err := Members([]byte(`{"a":1,"b":2}`), func(string, []byte) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("error = %v after %d members, want %v after 1", err, n, stop)
	}
}

func TestMembersRefuses(t *testing.T) {
	deep := func(n int) string {
		return strings.Repeat(`{"a":`, n-1) + `{}` + strings.Repeat(`}`, n-1)
	}
	lists := func(n int) string {
		return `{"a":` + strings.Repeat(`[`, n-1) + strings.Repeat(`]`, n-1) + `}`
	}
	for _, good := range []string{
		`{}`, deep(32), lists(32), `{"a":{"x":1},"b":{"x":1}}`, `{"a":[{"x":1},{"x":1}]}`, "{\"a\":\"\x7f\"}",
		`{"a":"\u0000"}`, "{\"a\":\"\ufffd\"}", `{"A":1,"a":2}`, `{"a":-0,"b":0.0,"c":1e+9,"d":-1.5E-3}`,
	} {
		if _, _, err := read(good); err != nil {
			t.Errorf("%.60s: %v, want no error", good, err)
		}
	}
	for _, bad := range []string{
		``, ` `, `null`, `[]`, `"a"`, `1`, `{`, `}`, `{}}`, `{} {}`, `{}x`, "{}\x00", "\ufeff{}",
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a":1;"b":2}`, `{a:1}`, `{'a':1}`, `{1:1}`, `{"a" 1}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, `{"x":[0,{"y":{"a":1,"a":2}}]}`, `{"":1,"":2}`,
		`{"a":[}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":]}`, `{"a":{]}`,
		`{"a":tru}`, `{"a":True}`, `{"a":truefalse}`, `{"a":nul}`, `{"a":NaN}`, `{"a":undefined}`, `{"a":Infinity}`,
		`{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+}`, `{"a":-}`, `{"a":0x1}`, `{"a":1_0}`, `{"a":--1}`,
		`{"a":"}`, `{"a":"\"}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\u+123"}`, `{"a":"\U0041"}`, `{"a":"\'"}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\":\"\x1f\"}", "{\"a\":\"\t\"}",
		"{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"\xff\":1}", "{\"a\":\"\xe2\x82\"}", "{\"a\":\"\xf4\x90\x80\x80\"}",
		`{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\u0041"}`, `{"a":"\ud800x"}`, `{"a":"\udc00\ud800"}`, `{"\ud800":1}`, `{"a":"\ud800\ud800"}`,
		`{"a":1/**/}`, "{\"a\":1,\u00a0\"b\":2}", "\v{}", deep(33), lists(33), deep(100000), lists(100000),
	} {
		if names, _, err := read(bad); err == nil {
			t.Errorf("%.60q: members %q, want an error", bad, names)
		}
		if names, _, err := read(`{"nested":` + bad + `}`); err == nil && !json.Valid([]byte(bad)) {
			t.Errorf("%.60q inside an object: members %q, want an error", bad, names)
		}
	}
}

// TestDuplicatesAmongManyMembers covers the change from comparing to a map.
func TestDuplicatesAmongManyMembers(t *testing.T) {
	object := func(n, twin int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":%d`, i, i)
		}
		if twin >= 0 {
			fmt.Fprintf(&b, `,"m%d":0`, twin)
		}
		return "{" + b.String()[1:] + "}"
	}
	for _, n := range []int{1, 31, 32, 33, 34, 64, 1000} {
		if names, _, err := read(object(n, -1)); err != nil || len(names) != n {
			t.Errorf("%d members: read %d, %v", n, len(names), err)
		}
		for _, twin := range []int{0, n / 2, n - 1} {
			if _, _, err := read(object(n, twin)); err == nil {
				t.Errorf("%d members, number %d twice: no error", n, twin)
			}
		}
	}
}

func TestMembersDoesNotAllocate(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		if err := Members(claims, func(string, string) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("Members of a string allocates %v times, want 0", n)
	}
}

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "", `"a"`: "a", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"x\u00e9y\ud83d\ude00z"`: "xéy😀z", `"\u0000"`: "\x00",
	} {
		if got, err := String([]byte(in)); err != nil || got != want {
			t.Errorf("String(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{``, `"`, `a`, `1`, `null`, `["a"]`, `"a"b`, `"a""b"`, "\"\xff\"", `"\ud800"`} {
		if got, err := String(in); err == nil {
			t.Errorf("String(%q) = %q, want an error", in, got)
		}
	}
}

func TestStrings(t *testing.T) {
	got, err := Strings(`[ "a" , "\u0062" ]`)
	if want := []string{"a", "b"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Strings = %q, %v, want %q", got, err, want)
	}
	if got, err := Strings(`[]`); err != nil || len(got) != 0 {
		t.Errorf("Strings of nothing = %q, %v", got, err)
	}
	for _, in := range []string{``, `"a"`, `["a",1]`, `["a",null]`, `["a"`, `["a"]x`, `{"a":"b"}`, `[["a"]]`} {
		if got, err := Strings(in); err == nil {
			t.Errorf("Strings(%s) = %q, want an error", in, got)
		}
	}
}

func TestInt(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "-0": 0, "1": 1, "-1": -1, "1795430000": 1795430000,
		"9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
		"1795430000.999": 1795430000, "-1.9": -1, "0.9": 0, "-0.9": 0,
		"1.7e9": 1700000000, "1.7E+9": 1700000000, "17e8": 1700000000, "170000000000e-2": 1700000000,
		"0.0017e12": 1700000000, "15e-1": 1, "9e-1": 0, "0e999999999999": 0, "1e-999999999999999999999": 0,
		"9223372036854775807.9": 1<<63 - 1, "922337203685477580.7e1": 1<<63 - 1,
	} {
		if got, err := Int([]byte(in)); err != nil || got != want {
			t.Errorf("Int(%s) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "a", `"1"`, "null", "true", "1x", "01", "+1", "1.", "0x1", "1 2", "[1]",
		"9223372036854775808", "-9223372036854775809", "1e19", "1e400", "1e999999999999999999999", "-1e99", "9223372036854775808.0",
		strings.Repeat("9", 10000),
	} {
		if got, err := Int(in); err == nil {
			t.Errorf("Int(%.30s) = %d, want an error", in, got)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, in := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é😀\u2028<&>"} {
		encoded := AppendString([]byte("x"), in)[1:]
		var back string
		if err := json.Unmarshal(encoded, &back); err != nil || back != in {
			t.Errorf("%q = %s = %q, %v", in, encoded, back, err)
		}
		if got, err := String(encoded); err != nil || got != in {
			t.Errorf("String(%s) = %q, %v, want %q", encoded, got, err, in)
		}
	}
}

// FuzzMembers: what we accept encoding/json accepts, with the same members,
// and no part of it has a second reading.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		claims, `{}`, `{"a":1,"a":2}`, `{"a":{"b":[1,2.5e3,true,null,"\ud83d\ude00"]}}`, `{"\u0061":"\n"}`, `{"a":"\ud800"}`,
		"{\"a\":\"\xff\"}", ` {"a" : [ ] } `, `{"a":-0.1E+2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := map[string]json.RawMessage{}
		n := 0
		err := Members(data, func(name string, value []byte) error {
			n++
			want[name] = bytes.Clone(value)
			return nil
		})
		if err != nil {
			return
		}
		got := map[string]json.RawMessage{}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%q: encoding/json refuses: %v", data, err)
		}
		if n != len(want) || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: members %q, want %q", data, want, got)
		}
		for name, value := range want {
			agree(t, name, value)
		}
	})
}

// agree compares our reading of one value with encoding/json's.
func agree(t *testing.T, name string, value []byte) {
	t.Helper()
	var whole any
	if err := json.Unmarshal(value, &whole); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
		t.Fatalf("%q: encoding/json refuses %q: %v", name, value, err)
	}
	str, err := String(value)
	if want, isString := whole.(string); isString != (err == nil) || str != want {
		t.Fatalf("String(%q) = %q, %v, want %q", value, str, err, want)
	}
	var n int64
	if json.Unmarshal(value, &n) == nil && string(value) != "null" {
		if got, err := Int(value); err != nil || got != n {
			t.Fatalf("Int(%q) = %d, %v, want %d", value, got, err, n)
		}
	}
	if object, ok := whole.(map[string]any); ok {
		n := 0
		if err := Members(value, func(string, []byte) error { n++; return nil }); err != nil || n != len(object) {
			t.Fatalf("%q: %d members, %v, want %d", value, n, err, len(object))
		}
	}
	if list, ok := whole.([]any); ok {
		n := 0
		if err := Elements(value, func([]byte) error { n++; return nil }); err != nil || n != len(list) {
			t.Fatalf("%q: %d elements, %v, want %d", value, n, err, len(list))
		}
	}
}
