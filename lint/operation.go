package lint

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// operation is a call that performs an operation, itself or in what it calls.
type operation struct {
	call    *ast.CallExpr
	name    string       // as the code has it: durable.Step, ctx.Wait, chargeAll
	ctx     ast.Expr     // the *Context that it is performed on; nil if it is not in the call
	literal *ast.FuncLit // what is called, if it is a literal with a name
}

// operationOf tells whether a call performs an operation.
func (c *code) operationOf(call *ast.CallExpr) (operation, bool) {
	op := operation{call: call, name: types.ExprString(callName(call))}
	switch callee := typeutil.Callee(c.pass.TypesInfo, call).(type) {
	case *types.Func:
		if callee.Pkg() == c.durable {
			return c.libraryOperation(op, callee)
		}
		op.ctx = c.contextArgument(call)
		if decl := c.functions.declared[callee]; decl != nil {
			return op, c.operates[decl] != ""
		}
		return op, op.ctx != nil
	case *types.Var: // a value that is called
		op.ctx = c.contextArgument(call)
		if op.literal = c.functions.named[callee]; op.literal != nil {
			return op, c.operates[op.literal] != ""
		}
		return op, op.ctx != nil
	case nil: // a literal or a conversion, or what a call returned
		if lit, ok := ast.Unparen(call.Fun).(*ast.FuncLit); ok {
			op.name, op.ctx = "the function literal", c.contextArgument(call)
			return op, op.ctx != nil && c.operates[lit] != ""
		}
	}
	return operation{}, false
}

// libraryOperation: a function of the library is an operation if it takes a
// *Context first, and a method of Context if there is such a function of its name.
func (c *code) libraryOperation(op operation, callee *types.Func) (operation, bool) {
	signature := callee.Signature()
	if recv := signature.Recv(); recv != nil && isContext(recv.Type()) {
		function, _ := c.durable.Scope().Lookup(callee.Name()).(*types.Func)
		selector, ok := ast.Unparen(withoutTypes(op.call.Fun)).(*ast.SelectorExpr)
		if function == nil || !ok || !takesContext(function.Signature()) {
			return op, false
		}
		op.ctx = selector.X
		return op, true
	}
	if !takesContext(signature) || len(op.call.Args) == 0 {
		return op, false
	}
	op.ctx = op.call.Args[0]
	return op, true
}

// takesContext reports whether the first parameter is a *Context.
func takesContext(s *types.Signature) bool {
	return s.Params().Len() > 0 && isContext(s.Params().At(0).Type())
}

// contextArgument is the first argument that is a *Context.
func (c *code) contextArgument(call *ast.CallExpr) ast.Expr {
	for _, arg := range call.Args {
		if t := c.pass.TypesInfo.TypeOf(arg); t != nil && isContext(t) {
			return arg
		}
	}
	return nil
}

// callName is what is called, without type arguments.
func callName(call *ast.CallExpr) ast.Expr { return withoutTypes(ast.Unparen(call.Fun)) }

func withoutTypes(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.IndexExpr:
		return e.X
	case *ast.IndexListExpr:
		return e.X
	}
	return e
}

// findOperating finds the functions that perform operations when they are called,
// and the first one that each performs.
func (c *code) findOperating() map[ast.Node]string {
	c.operates = map[ast.Node]string{}
	for changed := true; changed; {
		changed = false
		for cur := range c.root.Preorder((*ast.CallExpr)(nil)) {
			op, ok := c.operationOf(cur.Node().(*ast.CallExpr))
			if !ok {
				continue
			}
			for around := range cur.Enclosing((*ast.FuncDecl)(nil), (*ast.FuncLit)(nil)) {
				f := c.functions.of[around.Node()]
				if f == nil {
					break
				}
				if c.operates[f.node] == "" {
					c.operates[f.node] = op.name
					changed = true
				}
				if f.kind != inner || f.goroutine {
					break // it is not part of what calls the function around it
				}
			}
		}
	}
	return c.operates
}

// operationIn is the first operation that is performed in a statement, other than
// by a function in it that runs at another time.
func (c *code) operationIn(stmt inspector.Cursor) (first operation, found bool) {
	stmt.Inspect([]ast.Node{(*ast.CallExpr)(nil), (*ast.FuncLit)(nil)}, func(cur inspector.Cursor) bool {
		if found {
			return false
		}
		switch n := cur.Node().(type) {
		case *ast.FuncLit:
			f := c.functions.of[n]
			return f.kind == inner && !f.goroutine
		case *ast.CallExpr:
			first, found = c.operationOf(n)
		}
		return !found
	})
	return first, found
}
