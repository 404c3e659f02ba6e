package writ_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
)

// load returns the exported side of the public packages from the compiler's
// export data, which is what their importers see.
func load(units []*unit) ([]*types.Package, error) {
	var public []string
	for _, u := range units {
		if isPublic(u.dir) && u.code {
			public = append(public, path.Join(module, u.dir))
		}
	}
	args := append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}, public...)
	var errs strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w\n%s", err, errs.String())
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[name] = file
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(p string) (io.ReadCloser, error) {
		return os.Open(files[p])
	})
	var pkgs []*types.Package
	for _, p := range public {
		pkg, err := imp.Import(p)
		if err != nil {
			return nil, fmt.Errorf("read export data of %s: %w", p, err)
		}
		pkgs = append(pkgs, pkg)
	}
	return pkgs, nil
}

// exposed returns the exported names of a package whose type names an internal
// one, however deep.
func exposed(pkg *types.Package) []string {
	var problems []string
	for _, name := range pkg.Scope().Names() {
		if !ast.IsExported(name) {
			continue
		}
		s := search{pkg: pkg, seen: make(map[types.Type]bool)}
		s.typ(pkg.Scope().Lookup(name).Type())
		if s.found != "" {
			problems = append(problems, fmt.Sprintf("%s.%s shows the internal type %s", pkg.Path(), name, s.found))
		}
	}
	return problems
}

// A search walks what an importer can reach from one exported name.
type search struct {
	pkg   *types.Package
	seen  map[types.Type]bool
	found string // the internal type met first
}

// typ looks at one type and at those it is made of.
func (s *search) typ(t types.Type) {
	if s.seen[t] {
		return
	}
	s.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		s.name(t.Obj())
		s.list(t.TypeArgs())
		s.params(t.TypeParams())
		s.typ(t.Rhs())
	case *types.Named:
		s.name(t.Obj())
		s.list(t.TypeArgs())
		if t.Obj().Pkg() == s.pkg {
			s.named(t)
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() {
				s.typ(f.Type())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			if m.Exported() {
				s.typ(m.Type())
			}
		}
		for e := range t.EmbeddedTypes() {
			s.typ(e)
		}
	case *types.Signature:
		s.params(t.TypeParams())
		s.typ(t.Params())
		s.typ(t.Results())
	case *types.Tuple:
		for v := range t.Variables() {
			s.typ(v.Type())
		}
	case *types.Union:
		for term := range t.Terms() {
			s.typ(term.Type())
		}
	case *types.Map:
		s.typ(t.Key())
		s.typ(t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		s.typ(t.Elem())
	}
}

// named looks at a type of the package itself: its parameters, definition and
// exported methods. A type that is not exported counts too once it is reached.
func (s *search) named(t *types.Named) {
	s.params(t.TypeParams())
	s.typ(t.Underlying())
	for m := range t.Methods() {
		if m.Exported() {
			s.typ(m.Type())
		}
	}
}

func (s *search) params(list *types.TypeParamList) {
	for p := range list.TypeParams() {
		s.typ(p.Constraint())
	}
}

func (s *search) list(list *types.TypeList) {
	for t := range list.Types() {
		s.typ(t)
	}
}

// name notes a type that is internal to this module.
func (s *search) name(obj *types.TypeName) {
	if obj.Pkg() == nil || s.found != "" {
		return
	}
	if dir, ours := own(obj.Pkg().Path()); ours && !isPublic(dir) {
		s.found = obj.Pkg().Path() + "." + obj.Name()
	}
}
