package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestBenchJSON: what scripts read of a measurement is one array, each figure with
// the same keys, and met is null, true or false and nothing else.
func TestBenchJSON(t *testing.T) {
	t.Parallel()
	out, errs, err := bench(t, "--json", "--time", "50ms", "verify-es256")
	if err != nil {
		t.Fatalf("writ bench: %v\n%s", err, errs)
	}
	d := json.NewDecoder(bytes.NewReader(out))
	var figures []map[string]any
	if err := d.Decode(&figures); err != nil || d.More() {
		t.Fatalf("output %q is not one JSON value (%v)", out, err)
	}
	if len(figures) != 1 || figures[0]["name"] != "verify-es256" {
		t.Fatalf("figures = %v, want verify-es256 alone", figures)
	}
	kinds := map[string]string{}
	for name, value := range figures[0] {
		switch value.(type) {
		case string:
			kinds[name] = "text"
		case float64:
			kinds[name] = "number"
		case bool, nil:
			kinds[name] = "bool or null"
		default:
			t.Errorf("%s = %v, of a kind that nobody expects", name, value)
		}
	}
	want := map[string]string{
		"name": "text", "unit": "text", "goal": "text", "note": "text",
		"value": "number", "baseline": "number", "ratio": "number", "met": "bool or null",
	}
	for name, kind := range want {
		if kinds[name] != kind {
			t.Errorf("%s is %q, want a %s", name, kinds[name], kind)
		}
	}
	if len(kinds) != len(want) {
		t.Errorf("keys = %v, want these and no others: %v", kinds, want)
	}
	for _, name := range []string{"value", "baseline", "ratio"} {
		if v, _ := figures[0][name].(float64); v <= 0 {
			t.Errorf("%s = %v, want something measured", name, figures[0][name])
		}
	}
	if !strings.Contains(errs, "verify-es256") {
		t.Errorf("standard error = %q, want what is being measured", errs)
	}
}

// TestBenchRefuses: a mistyped name is an error that lists the right ones, and
// prints no figures that a script could take for real.
func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	out, errs, err := bench(t, "--json", "--time", "50ms", "verify-es256", "verify-none")
	if err == nil || len(out) > 0 {
		t.Errorf("error %v, output %q, want an error and nothing on standard output", err, out)
	}
	for _, want := range []string{`"verify-none"`, "verify-es256", "revoke-20"} {
		if !slices.Contains(strings.FieldsFunc(errs, func(r rune) bool { return strings.ContainsRune(" ,:\n", r) }), want) {
			t.Errorf("standard error = %q, want %s in it", errs, want)
		}
	}
}

// bench runs `writ bench` to its end.
func bench(t *testing.T, args ...string) (out []byte, errs string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, built(t), append([]string{"bench"}, args...)...)
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = environment(t), &said
	out, err = cmd.Output()
	return out, said.String(), err
}
