package lint

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// write is a place where code changes a variable, or what it refers to.
type write struct {
	node    ast.Expr   // what is written to
	v       *types.Var // the variable that it is a part of
	name    *ast.Ident // which stands there
	element bool       // an element of a map or a slice
	pointee bool       // something behind a pointer
}

// writes calls visit with each write in the package.
func (c *code) writes(visit func(w write, cur inspector.Cursor)) {
	for cur := range c.root.Preorder((*ast.AssignStmt)(nil), (*ast.IncDecStmt)(nil), (*ast.RangeStmt)(nil), (*ast.CallExpr)(nil)) {
		for _, w := range c.written(cur.Node()) {
			if c.follow(w.node, &w) {
				visit(w, cur)
			}
		}
	}
}

// written is what a statement or a call writes to, or declares, before it is followed to its
// variable.
func (c *code) written(n ast.Node) (written []write) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for _, e := range n.Lhs {
			written = append(written, write{node: e})
		}
	case *ast.IncDecStmt:
		written = append(written, write{node: n.X})
	case *ast.RangeStmt:
		written = append(written, write{node: n.Key}, write{node: n.Value})
	case *ast.CallExpr:
		return c.writtenByCall(n)
	}
	return written
}

// writtenByCall is what a call fills or empties, of the calls that are known to do so.
func (c *code) writtenByCall(call *ast.CallExpr) (written []write) {
	switch callee := typeutil.Callee(c.pass.TypesInfo, call).(type) {
	case *types.Builtin:
		switch callee.Name() {
		case "delete", "clear", "copy":
			return []write{{node: call.Args[0], element: true}}
		}
	case *types.Func:
		switch callee.Name() {
		case "Scan", "Unmarshal", "Decode", "Sscan", "Sscanf", "Sscanln", "Fscan", "Fscanf", "Fscanln":
			for _, arg := range call.Args {
				if address, ok := ast.Unparen(arg).(*ast.UnaryExpr); ok && address.Op == token.AND {
					written = append(written, write{node: address.X})
				}
			}
		}
	}
	return written
}

// follow finds the variable that an expression is a part of.
func (c *code) follow(e ast.Expr, w *write) bool {
	info := c.pass.TypesInfo
	switch e := e.(type) {
	case *ast.Ident:
		w.name = e
		w.v, _ = info.ObjectOf(e).(*types.Var)
	case *ast.ParenExpr:
		return c.follow(e.X, w)
	case *ast.StarExpr:
		w.pointee = true
		return c.follow(e.X, w)
	case *ast.SliceExpr:
		return c.follow(e.X, w)
	case *ast.SelectorExpr:
		selection := info.Selections[e]
		if selection == nil { // of a package
			w.name = e.Sel
			w.v, _ = info.Uses[e.Sel].(*types.Var)
			break
		}
		w.pointee = w.pointee || selection.Indirect()
		return c.follow(e.X, w)
	case *ast.IndexExpr:
		switch t := info.TypeOf(e.X); t.Underlying().(type) {
		case *types.Array:
		case *types.Pointer:
			w.pointee = true
		default:
			w.element = true
		}
		return c.follow(e.X, w)
	}
	return w.v != nil
}
