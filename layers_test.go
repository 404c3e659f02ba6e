package writ_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of the repository.
const module = "github.com/writ-auth/writ"

// A row gives one package its level and the packages of ours it may import,
// by the last element of their path. "*" allows all of them.
type row struct {
	level int
	dir   string
	may   string
}

// layers is the table of doc/design.md. An edge is added there and here, in
// the commit that needs it, with its reason.
var layers = []row{
	{1, ".", ""},
	{1, "scope", ""},
	{1, "internal/jose", ""},
	{1, "internal/oauth", ""},
	{1, "internal/feed", ""},
	{1, "internal/usage", ""},
	{1, "internal/budget", ""},
	{1, "internal/disk", ""},
	{1, "internal/fetch", ""},
	{1, "internal/mail", ""},
	{1, "internal/status", ""},
	{1, "internal/store", ""},
	{1, "internal/upstream", ""},
	{2, "internal/store/storetest", "store"},
	{2, "token", "scope jose"},
	{2, "internal/keyset", "jose"},
	{2, "internal/dpop", "jose"},
	{2, "internal/pkcs11", "jose"},
	{2, "internal/revoke", "store feed"},
	{3, "guard", "token scope oauth jose keyset dpop disk feed usage status"},
	{3, "guardtest", "token scope oauth jose dpop feed"},
	{3, "internal/mint", "jose token scope usage store"},
	{3, "internal/client", "oauth jose keyset fetch budget store"},
	{3, "internal/login", "store revoke budget fetch mail"},
	{3, "internal/policy", "token scope"},
	{3, "internal/ledger", "token budget store"},
	{3, "internal/model", "token budget"},
	{3, "internal/signal", "jose oauth keyset fetch store revoke"},
	{3, "internal/watch", "usage store revoke"},
	{4, "grpcguard", "guard token"},
	{4, "relay", "guard token scope oauth jose dpop"},
	{4, "internal/grant", "oauth scope token store mint revoke client login policy dpop model"},
	{4, "internal/admin", "oauth scope store mint revoke login client policy ledger signal watch mail"},
	{5, "internal/server", "oauth scope token guard grant mint revoke login client dpop feed usage status store admin ledger signal watch"},
	{5, "internal/web", "oauth scope login client revoke grant admin"},
	{5, "internal/gateway", "oauth scope token guard relay jose model budget disk usage policy upstream"},
	{6, "internal/envoy", "guard gateway"},
	{6, "internal/config", "guard server web gateway store mint login"},
	{6, "internal/demo", "token oauth guard client login relay admin gateway"},
	{6, "internal/bench", "scope jose token feed guard relay gateway"},
	{7, "internal/bench/rivals", "*"},
	{7, "cmd/writ", "*"},
	{7, "cmd/writ-envoy", "*"},
}

// outside lists what a public package may import beyond the standard library
// and this module. It bounds everything the package pulls in, too: whoever
// imports guard compiles no library but Go's own.
var outside = map[string]string{
	"grpcguard": "google.golang.org/grpc",
}

// TestLayers holds the tree and doc/design.md to the table.
func TestLayers(t *testing.T) {
	units, err := read(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("imports", func(t *testing.T) {
		for _, p := range check(layers, units) {
			t.Error(p)
		}
	})
	t.Run("signatures", func(t *testing.T) {
		pkgs, err := load(units)
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range pkgs {
			for _, p := range exposed(pkg) {
				t.Error(p)
			}
		}
	})
	t.Run("design", func(t *testing.T) {
		text, err := os.ReadFile("doc/design.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range differences(layers, string(text)) {
			t.Error(p)
		}
	})
}

// differences compares the table with the one in the text of doc/design.md.
func differences(table []row, text string) []string {
	var problems []string
	design := written(text)
	for _, r := range table {
		if r.dir == "." { // holds nothing, and has no row there
			continue
		}
		got, want := design[r.dir], fmt.Sprintf("level %d: %s", r.level, r.may)
		if got != want {
			problems = append(problems, fmt.Sprintf("doc/design.md has %q for %s, layers_test.go has %q", got, r.dir, want))
		}
		delete(design, r.dir)
	}
	for _, dir := range slices.Sorted(maps.Keys(design)) {
		problems = append(problems, fmt.Sprintf("doc/design.md has a row for %s, layers_test.go has none", dir))
	}
	return problems
}

// written reads the table out of the text of doc/design.md.
func written(text string) map[string]string {
	line := regexp.MustCompile("(?m)^\\| (\\d) \\| (`.*?`) \\| .* \\| (.*?) \\|$")
	quoted := regexp.MustCompile("`(.*?)`")
	rows := make(map[string]string)
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		may := m[3]
		switch may {
		case "–":
			may = ""
		case "what they need":
			may = "*"
		}
		for _, q := range quoted.FindAllStringSubmatch(m[2], -1) {
			rows[q[1]] = "level " + m[1] + ": " + may
		}
	}
	return rows
}

// A unit is what a package directory says about itself.
type unit struct {
	dir     string
	code    bool              // has a file that is no test
	doc     bool              // has a package comment
	imports map[string]string // import path → a file that has it, tests left out
}

// read finds the packages of a tree. It parses every Go file, whatever system
// the file is for, so that no import hides behind a build constraint.
func read(fsys fs.FS) ([]*unit, error) {
	units := make(map[string]*unit)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(fsys, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(d.Name(), "_") || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		dir := path.Dir(name)
		if units[dir] == nil {
			units[dir] = &unit{dir: dir, imports: make(map[string]string)}
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return units[dir].add(name, src)
	})
	return slices.SortedFunc(maps.Values(units), func(a, b *unit) int {
		return strings.Compare(a.dir, b.dir)
	}), err
}

// skipped reports whether the go command leaves a directory out of ./... too.
func skipped(fsys fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	if base := path.Base(dir); base == "testdata" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

// add notes the imports and the package comment of one file.
func (u *unit) add(name string, src []byte) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	u.code = true
	if strings.TrimSpace(f.Doc.Text()) != "" {
		u.doc = true
	}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		u.imports[p] = name
	}
	return nil
}

// check returns every way in which the packages break the table, and the table
// itself.
func check(table []row, units []*unit) []string {
	var problems []string
	rows := make(map[string]row)  // by directory
	named := make(map[string]row) // by last element, as in row.may
	for _, r := range table {
		if _, ok := named[path.Base(r.dir)]; ok {
			problems = append(problems, fmt.Sprintf("the table has two packages named %s", path.Base(r.dir)))
		}
		rows[r.dir], named[path.Base(r.dir)] = r, r
	}
	for _, r := range table {
		for m := range strings.FieldsSeq(r.may) {
			if to, ok := named[m]; m != "*" && (!ok || to.level >= r.level) {
				problems = append(problems, fmt.Sprintf("the table lets %s import %s, which is no package of a lower level", r.dir, m))
			}
		}
	}
	for _, u := range units {
		r, ok := rows[u.dir]
		if !ok {
			problems = append(problems, fmt.Sprintf("%s is a package that the table does not know", u.dir))
			continue
		}
		if u.code && !u.doc {
			problems = append(problems, fmt.Sprintf("%s has no package comment", u.dir))
		}
		problems = append(problems, edges(r, u)...)
		if isPublic(u.dir) {
			problems = append(problems, foreign(u, units)...)
		}
	}
	return problems
}

// edges returns the imports of our own packages that a row does not allow.
func edges(r row, u *unit) []string {
	may := strings.Fields(r.may)
	var problems []string
	for _, p := range slices.Sorted(maps.Keys(u.imports)) {
		dir, ours := own(p)
		if ours && !slices.Contains(may, "*") && !slices.Contains(may, path.Base(dir)) {
			problems = append(problems, fmt.Sprintf("%s: %s may not import %s (it may import: %s)", u.imports[p], u.dir, dir, r.may))
		}
	}
	return problems
}

// foreign returns the imports of other people's modules that a public package
// makes, itself or through a package of ours.
func foreign(public *unit, units []*unit) []string {
	byDir := make(map[string]*unit)
	for _, u := range units {
		byDir[u.dir] = u
	}
	var problems []string
	seen := map[string]bool{public.dir: true}
	for queue := []*unit{public}; len(queue) > 0; queue = queue[1:] {
		u := queue[0]
		for _, p := range slices.Sorted(maps.Keys(u.imports)) {
			if dir, ours := own(p); ours {
				if next := byDir[dir]; next != nil && !seen[dir] {
					seen[dir] = true
					queue = append(queue, next)
				}
				continue
			}
			if allowed := outside[public.dir]; !isStandard(p) && (allowed == "" || !within(allowed, p)) {
				problems = append(problems, fmt.Sprintf("%s: the public package %s may not depend on %s", u.imports[p], public.dir, p))
			}
		}
	}
	return problems
}

// own returns the directory of one of our packages, given its import path.
func own(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// within reports whether an import path is root or below it.
func within(root, importPath string) bool {
	return importPath == root || strings.HasPrefix(importPath, root+"/")
}

// isStandard reports whether an import path belongs to Go's own library: only
// there has the first element no dot. Cgo is not part of it.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".") && importPath != "C"
}

// isPublic reports whether other modules can import the package.
func isPublic(dir string) bool {
	return !within("internal", dir) && !within("cmd", dir) && !strings.Contains(dir+"/", "/internal/")
}
