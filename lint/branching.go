package lint

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/ast/edge"
	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// checkBranching looks at statements that decide which operation comes next.
func (c *code) checkBranching() {
	for cur := range c.root.Preorder((*ast.RangeStmt)(nil), (*ast.SelectStmt)(nil), (*ast.IfStmt)(nil), (*ast.CallExpr)(nil)) {
		if at := c.placeOf(cur); at.onGoroutine || at.function != nil && at.kind == body {
			continue // an operation there is reported as such
		}
		switch n := cur.Node().(type) {
		case *ast.RangeStmt:
			if c.inRandomOrder(n.X) {
				c.checkRandomOrder(n.X, cur.ChildAt(edge.RangeStmt_Body, -1))
			}
		case *ast.CallExpr:
			if selector, ok := ast.Unparen(n.Fun).(*ast.SelectorExpr); ok && c.isSyncMapRange(selector) && len(n.Args) == 1 {
				c.checkRandomOrder(selector, cur.ChildAt(edge.CallExpr_Args, 0))
			}
		case *ast.SelectStmt:
			c.checkSelect(n, cur)
		case *ast.IfStmt:
			c.checkReplaying(n, cur)
		}
	}
}

// inRandomOrder reports whether ranging over an expression has another order
// each time: over a map, or an iterator of one.
func (c *code) inRandomOrder(e ast.Expr) bool {
	if t := c.pass.TypesInfo.TypeOf(e); t == nil {
		return false
	} else if _, ok := t.Underlying().(*types.Map); ok {
		return true
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.CallExpr:
		callee, _ := typeutil.Callee(c.pass.TypesInfo, e).(*types.Func)
		if callee == nil || callee.Pkg() == nil || callee.Pkg().Path() != "maps" && callee.Pkg().Path() != "golang.org/x/exp/maps" {
			return false
		}
		return callee.Name() == "Keys" || callee.Name() == "Values" || callee.Name() == "All"
	case *ast.SelectorExpr:
		return c.isSyncMapRange(e)
	}
	return false
}

func (c *code) isSyncMapRange(e *ast.SelectorExpr) bool {
	f, ok := c.pass.TypesInfo.Uses[e.Sel].(*types.Func)
	return ok && f.FullName() == "(*sync.Map).Range"
}

// checkRandomOrder reports operations in a loop over x, and branches that are
// made in it.
func (c *code) checkRandomOrder(x ast.Expr, loop inspector.Cursor) {
	what := ""
	if op, ok := c.operationIn(loop); ok {
		what = op.name + " in a loop over " + types.ExprString(x)
	} else if c.makesBranch(loop) {
		what = "a durable.Branch made in a loop over " + types.ExprString(x)
	} else {
		return
	}
	c.found("maprange", x, what, "the order of a map is another one on each run, operations are numbered in the order of their calls, and a replay that asks in another order is held as non-deterministic",
		"sort the keys: for _, k := range slices.Sorted(maps.Keys(m))")
}

// makesBranch reports whether a durable.Branch is made in a loop.
func (c *code) makesBranch(loop inspector.Cursor) bool {
	for cur := range loop.Preorder((*ast.CompositeLit)(nil)) {
		if isNamed(c.pass.TypesInfo.TypeOf(cur.Node().(*ast.CompositeLit)), durablePath, "Branch") {
			return true
		}
	}
	return false
}

// checkSelect reports a select statement of several cases with an operation in one.
func (c *code) checkSelect(stmt *ast.SelectStmt, cur inspector.Cursor) {
	if len(stmt.Body.List) < 2 {
		return
	}
	for i := range stmt.Body.List {
		clause := cur.ChildAt(edge.SelectStmt_Body, -1).ChildAt(edge.BlockStmt_List, i)
		for j := range clause.Node().(*ast.CommClause).Body {
			if op, ok := c.operationIn(clause.ChildAt(edge.CommClause_Body, j)); ok {
				c.found("select", stmt, op.name+" in a case of a select statement", "which case comes first is not recorded, so a replay may choose another one and ask for other operations",
					"use durable.Select over futures, callbacks and timers, whose choice is recorded")
				return
			}
		}
	}
}

// checkReplaying reports an operation that depends on Context.Replaying.
func (c *code) checkReplaying(stmt *ast.IfStmt, cur inspector.Cursor) {
	asks := false
	for call := range cur.ChildAt(edge.IfStmt_Cond, -1).Preorder((*ast.CallExpr)(nil)) {
		callee, _ := typeutil.Callee(c.pass.TypesInfo, call.Node().(*ast.CallExpr)).(*types.Func)
		asks = asks || callee != nil && callee.Pkg() == c.durable && callee.Name() == "Replaying"
	}
	if !asks {
		return
	}
	op, ok := c.operationIn(cur.ChildAt(edge.IfStmt_Body, -1))
	if !ok && stmt.Else != nil {
		op, ok = c.operationIn(cur.ChildAt(edge.IfStmt_Else, -1))
	}
	if ok {
		c.found("replaying", stmt.Cond, op.name+" depends on Replaying", "a replay must ask for the operations that the first run asked for, and Replaying is not the same in both",
			"call it always: what is recorded returns at once, without doing anything again")
	}
}
