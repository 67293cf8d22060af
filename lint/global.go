package lint

import (
	"fmt"
	"go/ast"
	"go/types"
	"strings"

	"golang.org/x/tools/go/ast/inspector"
)

const globalInstead = "keep it in a variable of the handler, and take it from an operation's result"

// checkGlobals looks for state of handlers in package-level variables: written by
// handler code, or read by it and written by a body.
func (c *code) checkGlobals() {
	byBody := map[*types.Var][]string{} // files with a body that writes to it
	written := map[*ast.Ident]bool{}
	c.writes(func(w write, cur inspector.Cursor) {
		written[w.name] = true
		at := c.placeOf(cur)
		switch {
		case !isGlobal(w.v) || at.function == nil:
		case at.kind == handler:
			c.found("global", w.node, fmt.Sprintf("handler code writes to %s, a package-level variable", w.v.Name()),
				"a replay writes to it again, a restart forgets it, and all executions share it", globalInstead)
		case at.kind == body:
			byBody[w.v] = append(byBody[w.v], c.file(w.node))
		}
	})
	for cur := range c.root.Preorder((*ast.Ident)(nil)) {
		ident := cur.Node().(*ast.Ident)
		v, ok := c.pass.TypesInfo.Uses[ident].(*types.Var)
		if !ok || written[ident] || !seenFrom(c.file(ident), byBody[v]) || !c.placeOf(cur).inHandler() {
			continue
		}
		c.found("global", ident, fmt.Sprintf("handler code reads %s, a package-level variable that a body writes to", v.Name()),
			"a replay does not run a body whose outcome is recorded, and a restart forgets the variable", globalInstead)
	}
}

func isGlobal(v *types.Var) bool { return v.Pkg() != nil && v.Parent() == v.Pkg().Scope() }

func (c *code) file(n ast.Node) string { return c.pass.Fset.Position(n.Pos()).Filename }

// seenFrom reports whether one of the files counts for code in a file: test files
// count for test files only, so that a package says the same with and without them.
func seenFrom(file string, files []string) bool {
	for _, f := range files {
		if strings.HasSuffix(file, "_test.go") || !strings.HasSuffix(f, "_test.go") {
			return true
		}
	}
	return false
}
