package writ_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// TestDocuments holds the pages at the root and in doc to the tree. Links lead to
// what is there; what is quoted and looks like a path is one; a name quoted behind
// a Go file is declared in it, and what stands behind a test's slash is a row of
// that test. Every row of doc/rfcs.md names code that obeys and a test that attacks.
func TestDocuments(t *testing.T) {
	fsys := os.DirFS(".")
	var names []string
	for _, pattern := range []string{"*.md", "doc/*.md"} {
		found, err := fs.Glob(fsys, pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	for _, want := range []string{"README.md", "CONTRIBUTING.md", "doc/design.md", "doc/rfcs.md"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not there", want)
		}
	}
	l := &library{fsys: fsys, files: map[string]*ast.File{}, data: map[string]map[string]bool{}}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			text, err := fs.ReadFile(fsys, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range l.check(name, string(text)) {
				t.Error(p)
			}
		})
	}
}

// A library answers what is in a tree.
type library struct {
	fsys  fs.FS
	files map[string]*ast.File       // by path; nil: does not parse
	data  map[string]map[string]bool // what stands in a directory's testdata
}

var fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```$")

// check returns what a page says of the tree that is not so.
func (l *library) check(page, text string) []string {
	text = fenced.ReplaceAllString(text, "")
	problems := append(l.links(page, text), l.quotes(text)...)
	if path.Base(page) == "rfcs.md" {
		problems = append(problems, hollow(text)...)
	}
	for i := range problems {
		problems[i] = page + ": " + problems[i]
	}
	return problems
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// links follows the links to files and headings.
func (l *library) links(page, text string) []string {
	var problems []string
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		file, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(m[1], ":") {
			continue // another site
		}
		target := text
		if file != "" {
			read, err := fs.ReadFile(l.fsys, path.Join(path.Dir(page), file))
			if err != nil {
				problems = append(problems, "the link to "+m[1]+" leads nowhere")
				continue
			}
			target = string(read)
		}
		if anchor != "" && !slices.Contains(anchors(target), anchor) {
			problems = append(problems, "the link to "+m[1]+" names no heading")
		}
	}
	return problems
}

// anchors is how headings are called in links.
func anchors(text string) []string {
	var list []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case strings.ContainsRune("-_", r) || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(m[1])))
	}
	return list
}

var quote = regexp.MustCompile("`([^`\n]+)`")

// quotes looks at what is quoted: paths, and names that follow a Go file with
// nothing but commas and spaces between.
func (l *library) quotes(text string) []string {
	var problems []string
	file, end := "", 0
	for _, m := range quote.FindAllStringSubmatchIndex(text, -1) {
		word := text[m[2]:m[3]]
		near := strings.Trim(text[end:m[0]], " ,\n") == ""
		end = m[1]
		if place, ok := l.place(word); ok {
			if file = place; place == "" {
				problems = append(problems, "there is no "+word)
			}
			continue
		}
		if !near || !strings.HasSuffix(file, ".go") {
			file = ""
			continue
		}
		if problem := l.name(file, word); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

var pathlike = regexp.MustCompile(`^[\w.][\w./-]*$`)

// place reports whether a word is meant as a path, and which file or directory it
// is, "" for none. Within internal the first element may be left out, and a file
// may go by its name alone. Packages that doc/design.md plans need not be there.
func (l *library) place(word string) (file string, ok bool) {
	word = strings.TrimSuffix(strings.TrimPrefix(word, "./"), "/...")
	if !pathlike.MatchString(word) {
		return "", false
	}
	first, _, deep := strings.Cut(word, "/")
	code := strings.HasSuffix(word, ".go")
	switch {
	case deep && l.there(first):
	case deep && code && l.there("internal/"+first):
		word = "internal/" + word
	case !deep && (code || strings.HasSuffix(word, ".md")):
		return l.anywhere(word), true
	default:
		return "", false
	}
	planned := slices.ContainsFunc(layers, func(r row) bool { return r.dir == word })
	if l.there(word) || planned {
		return strings.TrimSuffix(word, "/"), true
	}
	return "", true
}

func (l *library) there(name string) bool {
	_, err := fs.Stat(l.fsys, strings.TrimSuffix(name, "/"))
	return err == nil
}

// anywhere finds a file by its name.
func (l *library) anywhere(name string) string {
	found := ""
	_ = fs.WalkDir(l.fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if d.Name() == name {
			found = p
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// name says what is wrong with a name quoted behind a Go file, "" when it is
// declared there.
func (l *library) name(file, word string) string {
	parsed, known := l.files[file]
	if !known {
		src, err := fs.ReadFile(l.fsys, file)
		if err == nil {
			parsed, err = parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
		}
		if err != nil {
			parsed = nil
		}
		l.files[file] = parsed
	}
	if parsed == nil {
		return file + " does not parse"
	}
	name, line, rows := strings.Cut(word, "/")
	decl := declared(parsed, name)
	switch {
	case decl == nil:
		return fmt.Sprintf("%s declares no %s", file, name)
	case rows && !literals(decl)[line] && !l.testdata(path.Dir(file))[line]:
		return fmt.Sprintf("%s of %s has no row %q", name, file, line)
	}
	return ""
}

// declared finds what a file declares: a function, a type, a constant or a
// variable by its name, a method by its own or behind its type's.
func declared(file *ast.File, name string) ast.Node {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if f.Name.Name == name || f.Recv != nil && receiver(f)+"."+f.Name.Name == name {
				return f
			}
			continue
		}
		for _, spec := range d.(*ast.GenDecl).Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.Name == name {
					return s
				}
			case *ast.ValueSpec:
				if slices.ContainsFunc(s.Names, func(id *ast.Ident) bool { return id.Name == name }) {
					return s
				}
			}
		}
	}
	return nil
}

// receiver is the name of a method's type.
func receiver(f *ast.FuncDecl) string {
	t := f.Recv.List[0].Type
	for {
		switch under := t.(type) {
		case *ast.StarExpr:
			t = under.X
		case *ast.IndexExpr:
			t = under.X
		case *ast.Ident:
			return under.Name
		default:
			return ""
		}
	}
}

// literals is the strings that stand in a declaration.
func literals(n ast.Node) map[string]bool {
	found := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				found[s] = true
			}
		}
		return true
	})
	return found
}

// testdata is the strings in the JSON files of a directory's testdata and the names
// of its scripts, for tests whose rows stand there.
func (l *library) testdata(dir string) map[string]bool {
	if l.data[dir] != nil {
		return l.data[dir]
	}
	found := map[string]bool{}
	l.data[dir] = found
	scripts, _ := fs.Glob(l.fsys, path.Join(dir, "testdata/script/*.txt")) // the patterns are good
	for _, file := range scripts {
		found[strings.TrimSuffix(path.Base(file), ".txt")] = true
	}
	files, _ := fs.Glob(l.fsys, path.Join(dir, "testdata/*.json"))
	for _, file := range files {
		var value any
		if text, err := fs.ReadFile(l.fsys, file); err == nil && json.Unmarshal(text, &value) == nil {
			gather(value, found)
		}
	}
	return found
}

// gather puts every string of a JSON value into found.
func gather(value any, found map[string]bool) {
	switch v := value.(type) {
	case string:
		found[v] = true
	case []any:
		for _, one := range v {
			gather(one, found)
		}
	case map[string]any:
		for name, one := range v {
			found[name] = true
			gather(one, found)
		}
	}
}

var (
	obeys   = regexp.MustCompile("^(`[^`]+\\.go`( `[A-Za-z][\\w.]*`)+ ?)+$")
	attacks = regexp.MustCompile("^(`[^`]+_test\\.go`( `(Test|Fuzz)[^`]*`)+ ?)+(\\(.*\\))?$")
)

// hollow returns the rows about an RFC that name no code, or no test.
func hollow(text string) []string {
	var problems []string
	table := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		switch {
		case !strings.HasPrefix(line, "|"):
			table = false
		case slices.Contains(cells, "obeyed by"):
			table = true
		case !table || strings.HasPrefix(line, "|---"):
		case len(cells) != 4:
			problems = append(problems, fmt.Sprintf("a row of %d cells, want 4: %.60s", len(cells), line))
		case strings.Contains(cells[2], "_test.go") || !obeys.MatchString(cells[2]):
			problems = append(problems, fmt.Sprintf("§%s is obeyed by %s, want files and names in them", cells[0], cells[2]))
		case !attacks.MatchString(cells[3]):
			problems = append(problems, fmt.Sprintf("§%s is tried by %s, want test files and tests in them", cells[0], cells[3]))
		}
	}
	return problems
}

func TestDocumentsFindsWhatIsNotThere(t *testing.T) {
	tree := fstest.MapFS{
		"README.md":                      {Data: []byte("# Sample\n")},
		"doc/other.md":                   {Data: []byte("## Not offered, on purpose\n")},
		"guard/verify.go":                {Data: []byte("package guard\n\ntype Guard struct{}\n\nfunc (g *Guard) admit() {}\n\nfunc check() {}\n\nconst limit = 1\n")},
		"guard/verify_test.go":           {Data: []byte("package guard\n\nfunc TestForgeries(t *T) { row(\"alg none\") }\n\nfunc TestOther(t *T) { row(\"two parts\") }\n")},
		"guard/testdata/verdicts.json":   {Data: []byte(`{"rows": [{"name": "kid SQL"}]}`)},
		"guard/testdata/script/help.txt": {},
		"internal/grant/refresh.go":      {Data: []byte("package grant\n\nfunc judgeRefresh() {}\n")},
		"internal/grant/broken_test.go":  {Data: []byte("package")},
	}
	const head = "| § | demands | obeyed by | tried by |\n|---|---|---|---|\n"
	for _, tt := range []struct {
		name, page, text string
		want             []string
	}{
		{"what is there", "doc/a.md", "[a](../README.md) [b](other.md#not-offered-on-purpose) [c](https://example.com/x) `guard/verify.go`, `check` and " +
			"`Guard.admit`; `guard/verify.go` `Guard.admit`, `limit` `internal/grant/refresh.go` `judgeRefresh`, `grant/refresh.go`; `verify.go`, " +
			"`guard/verify_test.go` `TestForgeries/alg none` `TestForgeries/kid SQL` `TestForgeries/help`, `internal/usage`, `application/json`, `./guard/...`, `doc/*.md`\n", nil},
		{"fenced", "a.md", "```\n`guard/gone.go` [a](gone.md)\n```\n", nil},
		{"a link", "doc/a.md", "[a](README.md)", []string{"doc/a.md: the link to README.md leads nowhere"}},
		{"a heading", "doc/a.md", "[a](other.md#gone) [b](#here)", []string{"other.md#gone names no heading", "#here names no heading"}},
		{"a path", "a.md", "`guard/gone.go`, `internal/grant`, `grant/gone.go`, `gone.md`, `guard/testdata/`", []string{"no guard/gone.go", "no grant/gone.go", "no gone.md"}},
		{"a function", "a.md", "`guard/verify.go` `gone`", []string{"guard/verify.go declares no gone"}},
		{"a method", "a.md", "`guard/verify.go`\n`Guard.check`", []string{"guard/verify.go declares no Guard.check"}},
		{"another test's row", "a.md", "`guard/verify_test.go` `TestForgeries/two parts`", []string{`TestForgeries of guard/verify_test.go has no row "two parts"`}},
		{"a file that does not parse", "a.md", "`internal/grant/broken_test.go` `TestX`", []string{"broken_test.go does not parse"}},
		{"a full row", "doc/rfcs.md", head + "| 2 | x | `guard/verify.go` `check` | `guard/verify_test.go` `TestForgeries/alg none` (both) |\n", nil},
		{"no code", "doc/rfcs.md", head + "| 2 | x | all of it | `guard/verify_test.go` `TestForgeries` |\n", []string{"§2 is obeyed by all of it"}},
		{"a test for code", "doc/rfcs.md", head + "| 2 | x | `guard/verify_test.go` `TestForgeries` | `guard/verify_test.go` `TestForgeries` |\n", []string{"§2 is obeyed by"}},
		{"no test", "doc/rfcs.md", head + "| 2 | x | `guard/verify.go` `check` | |\n", []string{"a row of 3 cells"}},
		{"code for a test", "doc/rfcs.md", head + "| 2 | x | `guard/verify.go` `check` | `guard/verify.go` `check` |\n", []string{"§2 is tried by"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &library{fsys: tree, files: map[string]*ast.File{}, data: map[string]map[string]bool{}}
			wantProblems(t, l.check(tt.page, tt.text), tt.want)
		})
	}
}
