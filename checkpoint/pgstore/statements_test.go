package pgstore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever the store sends that names its tables is in the table of statements, so that
// TestPlans has it explained, or makes the schema.
func TestStatementsAreInTheirTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	set := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "schema.go" {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || name == "statements.go" {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					require.NotEqual(t, "sqlFor", n.Name, set.Position(n.Pos()))
				case *ast.BasicLit:
					require.NotContains(t, n.Value, "$S", "%s: put it into the table of statements", set.Position(n.Pos()))
				}
				return true
			})
		}
	}
}
