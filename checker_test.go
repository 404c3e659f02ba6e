package writ_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

// small is a table like the real one, for trees that break it.
var small = []row{
	{1, "scope", ""},
	{1, "internal/jose", ""},
	{2, "token", "scope jose"},
	{3, "guard", "token"},
	{3, "grpcguard", "token"},
	{7, "cmd/writ", "*"},
}

// goFile is a commented file of a package with some imports.
func goFile(name string, imports ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// Package %s is a sample.\npackage %s\n", name, name)
	for _, p := range imports {
		fmt.Fprintf(&b, "import _ %q\n", p)
	}
	return b.String()
}

// wantProblems compares what a checker says with the parts that one test case
// expects, in order.
func wantProblems(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d problems %q, want %d like %q", len(got), got, len(want), want)
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("problem %d = %q, want it to say %q", i, got[i], want[i])
		}
	}
}

func TestCheckFindsBrokenTrees(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a tree that obeys", map[string]string{
			"scope/scope.go":         goFile("scope", "strings"),
			"scope/scope_test.go":    "package scope\nimport _ \"example.com/assert\"\nimport _ \"" + module + "/guard\"\n",
			"internal/jose/jose.go":  goFile("jose", "crypto/ecdsa"),
			"token/token.go":         goFile("token", module+"/scope", module+"/internal/jose"),
			"token/more.go":          "package token\n",
			"token/testdata/x.go":    goFile("x", "example.com/x"),
			"cmd/writ/main.go":       goFile("main", module+"/internal/jose", "example.com/cobra"),
			"other/go.mod":           "module example.com/other\n",
			"other/other.go":         goFile("other", "example.com/x"),
			".hidden/x.go":           goFile("x", "example.com/x"),
			"grpcguard/grpcguard.go": goFile("grpcguard", "google.golang.org/grpc", "google.golang.org/grpc/codes"),
			"doc/page.md":            "text",
		}, nil},
		{"an import that the row does not allow", map[string]string{
			"guard/guard.go":        goFile("guard", module+"/internal/jose"),
			"internal/jose/jose.go": goFile("jose"),
		}, []string{"guard/guard.go: guard may not import internal/jose"}},
		{"an upward import", map[string]string{
			"internal/jose/jose.go": goFile("jose", module+"/token"),
		}, []string{"internal/jose may not import token"}},
		{"an import of the root", map[string]string{
			"scope/scope.go": goFile("scope", module),
		}, []string{"scope may not import ."}},
		{"an import behind a build constraint", map[string]string{
			"guard/guard.go":         goFile("guard"),
			"guard/guard_windows.go": "//go:build windows\n\npackage guard\nimport _ \"" + module + "/scope\"\n",
		}, []string{"guard/guard_windows.go: guard may not import scope"}},
		{"a package without a row", map[string]string{
			"internal/util/util.go": goFile("util"),
		}, []string{"internal/util is a package that the table does not know"}},
		{"tests without a row", map[string]string{
			"internal/extra/extra_test.go": "package extra\n",
		}, []string{"internal/extra is a package that the table does not know"}},
		{"a package without a comment", map[string]string{
			"scope/scope.go": "//go:build linux\npackage scope\n",
			"scope/more.go":  "// Not a package comment.\n\npackage scope\n",
		}, []string{"scope has no package comment"}},
		{"somebody else's module in a public package", map[string]string{
			"scope/scope.go": goFile("scope", "example.com/x"),
		}, []string{"scope/scope.go: the public package scope may not depend on example.com/x"}},
		{"somebody else's module below a public package", map[string]string{
			"token/token.go":        goFile("token", module+"/internal/jose"),
			"internal/jose/jose.go": goFile("jose", "golang.org/x/crypto/blake2b"),
		}, []string{"internal/jose/jose.go: the public package token may not depend on golang.org/x/crypto/blake2b"}},
		{"cgo in a public package", map[string]string{
			"scope/scope.go": goFile("scope", "C"),
		}, []string{"may not depend on C"}},
		{"more than gRPC in grpcguard", map[string]string{
			"grpcguard/grpcguard.go": goFile("grpcguard", "google.golang.org/grpcx", "google.golang.org/protobuf/proto"),
		}, []string{"google.golang.org/grpcx", "google.golang.org/protobuf/proto"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := make(fstest.MapFS)
			for name, text := range tt.files {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			units, err := read(fsys)
			if err != nil {
				t.Fatal(err)
			}
			wantProblems(t, check(small, units), tt.want)
		})
	}
}

func TestCheckFindsBrokenTables(t *testing.T) {
	tests := []struct {
		name  string
		table []row
		want  []string
	}{
		{"downward", small, nil},
		{"sideways", []row{{1, "scope", ""}, {1, "token", "scope"}}, []string{"token import scope"}},
		{"upward", []row{{1, "scope", "token"}, {2, "token", ""}}, []string{"scope import token"}},
		{"unknown", []row{{2, "token", "scope"}}, []string{"token import scope"}},
		{"ambiguous", []row{{1, "token", ""}, {1, "internal/token", ""}}, []string{"two packages named token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantProblems(t, check(tt.table, nil), tt.want)
		})
	}
}

func TestReadRefusesBrokenFile(t *testing.T) {
	_, err := read(fstest.MapFS{"scope/scope.go": {Data: []byte("no Go")}})
	if err == nil {
		t.Error("read of a file that is no Go gave no error")
	}
}

func TestDifferencesFindsDrift(t *testing.T) {
	const text = "| level | package | owns | may import (ours) |\n|---|---|---|---|\n" +
		"| 1 | `scope` | scope strings | – |\n" +
		"| 2 | `token` | claims; a `token.Set` | scope |\n" +
		"| 7 | `cmd/a`, `cmd/b` | commands | what they need |\n"
	tests := []struct {
		name  string
		table []row
		want  []string
	}{
		{"same", []row{{1, ".", ""}, {1, "scope", ""}, {2, "token", "scope"}, {7, "cmd/a", "*"}, {7, "cmd/b", "*"}}, nil},
		{"other edges", []row{{1, "scope", ""}, {2, "token", ""}, {7, "cmd/a", "*"}, {7, "cmd/b", "*"}}, []string{"for token"}},
		{"other level", []row{{1, "scope", ""}, {3, "token", "scope"}, {7, "cmd/a", "*"}, {7, "cmd/b", "*"}}, []string{"for token"}},
		{"row here only", []row{{1, "scope", ""}, {1, "guard", ""}, {2, "token", "scope"}, {7, "cmd/a", "*"}, {7, "cmd/b", "*"}}, []string{"for guard"}},
		{"row there only", []row{{1, "scope", ""}, {7, "cmd/a", "*"}, {7, "cmd/b", "*"}}, []string{"a row for token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantProblems(t, differences(tt.table, text), tt.want)
		})
	}
}

func TestExposedFindsInternalTypes(t *testing.T) {
	leaks := map[string]string{
		"parameter":            "func F(jose.Key) {}",
		"result":               "func F() (int, *jose.Key) { return 0, nil }",
		"constant":             "const C = jose.ES256",
		"variable":             "var V []jose.Key",
		"alias":                "type T = jose.Key",
		"alias of an alias":    "func F(jose.Bytes) {}",
		"map key":              "func F(map[jose.Alg]int) {}",
		"field":                "type T struct{ K map[string]jose.Key }",
		"embedded field":       "type T struct{ *jose.Key }",
		"function field":       "type T struct{ F func(chan jose.Key) error }",
		"method":               "type T struct{}\nfunc (T) M(jose.Key) {}",
		"method on a pointer":  "type T struct{}\nfunc (*T) M() [1]jose.Key { return [1]jose.Key{} }",
		"interface method":     "type T interface{ M() jose.Key }",
		"embedded interface":   "type T interface{ jose.Signer }",
		"constraint":           "func F[K jose.Signer](K) {}",
		"union":                "type T interface{ ~int | jose.Alg }",
		"parameter of a type":  "type T[K jose.Signer] struct{}",
		"type argument":        "type L[E any] struct{}\nfunc F(L[jose.Key]) {}",
		"unexported result":    "type t struct{}\nfunc (t) M(jose.Key) {}\nfunc F() t { return t{} }",
		"promoted method":      "type t struct{}\nfunc (t) M(jose.Key) {}\ntype T struct{ t }",
		"underlying structure": "type T struct{ N struct{ K jose.Key } }",
	}
	for name, source := range leaks {
		t.Run(name, func(t *testing.T) {
			got := exposed(compile(t, "guard", source))
			if len(got) == 0 || !strings.Contains(got[0], "shows the internal type "+module+"/internal/jose.") {
				t.Errorf("exposed = %q, want the type of internal/jose in %s", got, source)
			}
		})
	}
	fine := map[string]string{
		"unexported field":            "type T struct{ k jose.Key }",
		"unexported function":         "func f(jose.Key) {}",
		"unexported method":           "type T struct{}\nfunc (T) m(jose.Key) {}",
		"unexported interface method": "type T interface{ m(jose.Key) }",
		"use inside":                  "func F() error { var k jose.Key; _ = k; return nil }",
		"recursive type":              "type T struct{ Next *T; Other []T }",
		"no package":                  "func F(any, error, []byte) {}",
	}
	for name, source := range fine {
		t.Run(name, func(t *testing.T) {
			if got := exposed(compile(t, "guard", source)); len(got) != 0 {
				t.Errorf("exposed = %q, want nothing in %s", got, source)
			}
		})
	}
}

// compile type-checks one package that may import internal/jose.
func compile(t *testing.T, name, source string) *types.Package {
	t.Helper()
	const jose = "package jose\ntype Key struct{}\ntype Alg string\nconst ES256 Alg = \"ES256\"\n" +
		"type Bytes = []byte\ntype Signer interface{ Sign() }\n"
	file := "package " + name + "\nimport \"" + module + "/internal/jose\"\nvar _ jose.Key\n" + source
	inner := checked(t, "internal/jose", jose, nil)
	return checked(t, name, file, inner)
}

// one is an importer that knows one package.
type one struct{ pkg *types.Package }

func (o one) Import(string) (*types.Package, error) { return o.pkg, nil }

func checked(t *testing.T, dir, source string, dep *types.Package) *types.Package {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, dir+".go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	conf := types.Config{Importer: one{dep}}
	pkg, err := conf.Check(path.Join(module, dir), fset, []*ast.File{f}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}
