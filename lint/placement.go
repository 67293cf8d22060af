package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// checkOperations looks at where each operation stands, and at its context.
func (c *code) checkOperations() {
	for cur := range c.root.Preorder((*ast.CallExpr)(nil)) {
		call := cur.Node().(*ast.CallExpr)
		if op, ok := c.operationOf(call); ok {
			c.checkOperation(op, c.placeOf(cur), cur)
		}
		c.checkFunctionsOnGoroutines(call)
	}
}

func (c *code) checkOperation(op operation, at place, cur inspector.Cursor) {
	_, started := cur.Parent().Node().(*ast.GoStmt)
	if _, ok := ast.Unparen(op.call.Fun).(*ast.FuncLit); ok || op.literal != nil && c.functions.of[op.literal].goroutine {
		return // what is in it is reported
	}
	switch {
	case started || at.onGoroutine:
		c.foundOnGoroutine(op.call, op.name)
	case at.function == nil:
	case at.kind == body:
		c.found("nested", op.call, op.name+" inside a body, which is no place for operations",
			"a replay does not run a body whose outcome is recorded, so the operation would be missing, and on the first run it fails with ErrConcurrentUse",
			"call it in the handler, before or after; or make the step a RunInChildContext, if both belong together")
	case at.kind == handler:
		c.checkContext(op, at)
	}
}

func (c *code) foundOnGoroutine(n ast.Node, name string) {
	c.found("goroutine", n, name+" on a goroutine that the library did not start",
		"operations are numbered in the order of their calls, which would be another one on replay, and a suspension can't end this goroutine",
		"use durable.Go, Parallel or Map, which give each branch a goroutine and a context of its own")
}

// checkFunctionsOnGoroutines reports functions that are given by name to
// something that runs them on a goroutine.
func (c *code) checkFunctionsOnGoroutines(call *ast.CallExpr) {
	callee, _ := typeutil.Callee(c.pass.TypesInfo, call).(*types.Func)
	if callee == nil || callee.Pkg() == c.durable {
		return
	}
	switch callee.Name() {
	case "Go", "TryGo", "AfterFunc":
	default:
		return
	}
	for _, arg := range call.Args {
		var f *types.Func
		switch arg := ast.Unparen(arg).(type) {
		case *ast.Ident:
			f, _ = c.pass.TypesInfo.Uses[arg].(*types.Func)
		case *ast.SelectorExpr:
			f, _ = c.pass.TypesInfo.Uses[arg.Sel].(*types.Func)
		}
		if f == nil || c.hasContext(f.Signature()) {
			continue
		}
		if decl := c.functions.declared[f]; decl != nil && c.operates[decl] != "" {
			c.foundOnGoroutine(arg, types.ExprString(arg))
		}
	}
}

// checkContext reports operations on a context of outside in a function that has
// one of its own.
func (c *code) checkContext(op operation, at place) {
	own, ok := at.node.(*ast.FuncLit)
	if !ok {
		return
	}
	const why = "its operations would be numbered among those outside, in the order in which the goroutines run, and they would be missing on a replay that has the child's result"
	switch {
	case op.ctx != nil:
		v := c.contextVariable(op.ctx)
		if v == nil || contains(own, v.Pos()) {
			return
		}
		c.found("outercontext", op.call, fmt.Sprintf("%s on %s, in a function that has a context of its own", op.name, types.ExprString(op.ctx)),
			why, c.useOwn(own))
	case op.literal != nil && !contains(own, op.literal.Pos()):
		c.found("outercontext", op.call, fmt.Sprintf("%s performs operations (%s) on a context of outside, in a function that has one of its own", op.name, c.operates[op.literal]),
			why, "give it the context as a parameter, and "+c.useOwn(own))
	}
}

// useOwn says which context to use.
func (c *code) useOwn(own *ast.FuncLit) string {
	for _, field := range own.Type.Params.List {
		if !isContext(c.pass.TypesInfo.TypeOf(field.Type)) {
			continue
		}
		for _, name := range field.Names {
			if name.Name != "_" {
				return "use " + name.Name
			}
		}
	}
	return "name the function's own *durable.Context and use that"
}

// contextVariable is the variable that an expression of type *Context is taken
// from: ctx in ctx and in ctx.WithoutCancel(), w in w.ctx.
func (c *code) contextVariable(e ast.Expr) *types.Var {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		v, _ := c.pass.TypesInfo.Uses[e].(*types.Var)
		return v
	case *ast.SelectorExpr:
		return c.contextVariable(e.X)
	case *ast.CallExpr:
		if selector, ok := ast.Unparen(e.Fun).(*ast.SelectorExpr); ok && selector.Sel.Name == "WithoutCancel" {
			return c.contextVariable(selector.X)
		}
	}
	return nil
}

// contains reports whether pos is in n.
func contains(n ast.Node, pos token.Pos) bool { return n.Pos() <= pos && pos < n.End() }
