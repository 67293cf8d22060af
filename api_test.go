package durable_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateAPI = flag.Bool("api.update", false, "write testdata/api.txt anew, behind a change of the public API that is meant")

// TestAPI holds the exported names of the package, and their signatures, against
// testdata/api.txt: whatever moves behind them, users see the same.
func TestAPI(t *testing.T) {
	t.Parallel()
	const golden = "testdata/api.txt"
	now := strings.Join(exported(t), "\n") + "\n"
	if *updateAPI {
		require.NoError(t, os.WriteFile(golden, []byte(now), 0o644))
	}
	known, err := os.ReadFile(golden)
	require.NoError(t, err)
	before, after := strings.Split(string(known), "\n"), strings.Split(now, "\n")
	added := slices.DeleteFunc(slices.Clone(after), func(line string) bool { return slices.Contains(before, line) })
	removed := slices.DeleteFunc(before, func(line string) bool { return slices.Contains(after, line) })
	require.Empty(t, slices.Concat(added, removed), "the public API has changed (%d added, the others removed): if it is meant to, go test -run '^TestAPI$' -api.update . and commit %s", len(added), golden)
}

// exported are the exported declarations of this package, a line each: types with their
// exported fields and methods, functions with their signatures.
func exported(t *testing.T) (lines []string) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	fset := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "_go127.go") { // that is for a later language
			continue
		}
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.FileExports(parsed)
		for _, decl := range parsed.Decls {
			lines = append(lines, signatures(t, fset, decl)...)
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// signatures are the lines of a declaration that has been trimmed to what is exported.
func signatures(t *testing.T, fset *token.FileSet, decl ast.Decl) (lines []string) {
	line := func(prefix string, node any) {
		var b bytes.Buffer
		require.NoError(t, printer.Fprint(&b, fset, node))
		lines = append(lines, strings.Join(strings.Fields(prefix+b.String()), " "))
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
			return nil
		}
		d.Doc, d.Body = nil, nil
		line("", d)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				s.Doc, s.Comment = nil, nil
				ast.Inspect(s, func(n ast.Node) bool {
					if f, ok := n.(*ast.Field); ok {
						f.Doc, f.Comment = nil, nil
					}
					return true
				})
				line("type ", s)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if s.Type != nil {
						line(d.Tok.String()+" "+name.Name+" ", s.Type)
					} else {
						lines = append(lines, d.Tok.String()+" "+name.Name)
					}
				}
			}
		}
	}
	return lines
}

// receiver is the name of the type that a method is of.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}
