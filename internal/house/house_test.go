package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/outrigger-mesh/outrigger/"

// root is the checkout, seen from this package.
const root = "../.."

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Standard   bool
}

// name is the import path below the module.
func (p *pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []pkg {
	t.Helper()
	all, err := listed()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return all
}

// listed lists the packages once for all tests.
var listed = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-pgo=off", "-json=ImportPath,Dir,Imports,Standard", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool)
	for _, p := range packages(t) {
		rule, known := edges[p.name()]
		if !known {
			t.Errorf("package %s is not in the table of edges", p.name())
			continue
		}
		used[p.name()] = true
		for _, imp := range p.Imports {
			if name, own := strings.CutPrefix(imp, module); own && !slices.Contains(rule, "*") && !slices.Contains(rule, name) {
				t.Errorf("%s must not import %s", p.name(), name)
			}
		}
	}
	for name := range edges {
		if !used[name] {
			t.Errorf("the table of edges names %s, which does not exist", name)
		}
	}
}

func TestForeignImportsStayInTheirRooms(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module) {
				continue
			}
			for _, r := range rooms {
				if r.matches(imp) && !r.allows(p.name()) {
					t.Errorf("%s must not import %s: %s", p.name(), imp, r.why)
				}
			}
		}
	}
}

func TestEachPackageHasOneComment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		comments := 0
		for _, f := range goFiles(t, p.Dir) {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil && !strings.HasPrefix(parsed.Doc.Text(), "Code generated") {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("%s has %d package comments, want 1", p.name(), comments)
		}
	}
}

// saysNothing lists package names that would take in anything.
var saysNothing = regexp.MustCompile(`^(util|utils|common|helper|helpers|misc|types|base|shared|pkg|lib)$`)

func TestNamesSaySomething(t *testing.T) {
	t.Parallel()
	walk(t, func(path string) {
		for part := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(path)), "/") {
			if saysNothing.MatchString(part) {
				t.Errorf("%s: the folder %s says nothing", path, part)
			}
		}
		if slices.Contains([]string{"types.go", "utils.go", "util.go", "misc.go", "helpers.go", "common.go"}, filepath.Base(path)) {
			t.Errorf("%s: the file's name says nothing", path)
		}
	})
}

const (
	maxFileLines     = 800
	maxFunctionLines = 80
)

func TestFilesAndFunctionsAreSmall(t *testing.T) {
	t.Parallel()
	walk(t, func(path string) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if ast.IsGenerated(f) {
			return
		}
		if n := fset.File(f.Pos()).LineCount(); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
		}
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", path, fn.Name.Name, n, maxFunctionLines)
			}
		}
	})
}

func TestNothingIsRegisteredByInit(t *testing.T) {
	t.Parallel()
	walk(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !ast.IsGenerated(f) {
				t.Errorf("%s has an init function", path)
			}
		}
	})
}

// walk visits every Go file of the repository by its path below the root.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "dist" || name == "bin") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			visit(rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}
