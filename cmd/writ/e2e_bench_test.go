package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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

// TestBenchChildren: what is measured as a process of its own is started, measured and
// ended again. The figures of so short a time mean nothing.
func TestBenchChildren(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	out, errs, err := bench(t, "--json", "--time", "50ms", "gateway-distinct", "flood", "revoke-1k")
	if err != nil {
		t.Fatalf("writ bench: %v\n%s", err, errs)
	}
	var figures []struct {
		Name            string
		Value, Baseline float64
		Note            string
	}
	if err := json.Unmarshal(out, &figures); err != nil {
		t.Fatalf("output %q: %v", out, err)
	}
	if len(figures) != 3 {
		t.Fatalf("figures = %+v, want three", figures)
	}
	for _, f := range figures {
		if strings.HasPrefix(f.Note, "left out") {
			continue // too few open files are allowed here
		}
		if f.Baseline <= 0 || f.Value <= 0 {
			t.Errorf("%s = %v beside %v, want something measured", f.Name, f.Value, f.Baseline)
		}
	}
}

// TestBenchInterrupted: a measurement that is broken off leaves nothing behind.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := runAs(t, built(t), append(environment(t), "TMPDIR="+dir), "bench", "--time", "10m", "gateway-distinct")
	p.seen = true // it ends with an error
	var left []string
	for end := time.Now().Add(patience); len(left) == 0; time.Sleep(time.Millisecond) {
		if left, _ = filepath.Glob(filepath.Join(dir, "writ-bench-gateway-*", "writ.yaml")); time.Now().After(end) {
			t.Fatal("no gateway was started")
		}
	}
	if err := p.stop(); err == nil || p.killed() {
		t.Errorf("writ bench ended with %v, killed: %v, want an error of its own", err, p.killed())
	}
	if left, _ = filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestBenchHidden: nobody is shown what is no figure.
func TestBenchHidden(t *testing.T) {
	t.Parallel()
	out, errs, err := bench(t, "--help")
	if err != nil {
		t.Fatalf("writ bench --help: %v\n%s", err, errs)
	}
	if text := string(out); strings.Contains(text, "child") || !strings.Contains(text, "writ bench [NAME...]") || !strings.Contains(text, "revoke-10k *") {
		t.Errorf("help = %q, want the names, the heavy ones marked, and nothing of the child", text)
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
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // several figures, each with a server of its own
	defer cancel()
	cmd := exec.CommandContext(ctx, built(t), append([]string{"bench"}, args...)...)
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = environment(t), &said
	out, err = cmd.Output()
	return out, said.String(), err
}
