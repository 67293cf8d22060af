package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/ast/inspector"
)

// checkWrites looks for writes to variables of a handler from code that a replay
// does not run: bodies, and the functions of children that are recorded.
func (c *code) checkWrites() {
	origins := c.findOrigins()
	c.writes(func(w write, cur inspector.Cursor) {
		at := c.placeOf(cur)
		if at.function == nil || at.kind != body && !at.child || contains(at.node, w.v.Pos()) || !c.ofHandlerAround(w.v, at) {
			return
		}
		if (w.element || w.pointee) && !origins.own(w.v, w.pointee, 0) {
			return // it may be what outlives the handler
		}
		where, why := "a body", "a replay does not run a body whose outcome is recorded, so the variable keeps its old value then"
		if at.kind == handler {
			where, why = "a child's function", "a replay does not run a child whose result is recorded, so the variable keeps its old value then"
		}
		c.found("capturedwrite", w.node, fmt.Sprintf("%s writes to %s, a variable of the handler", where, w.v.Name()), why,
			"return the value, and assign what the operation returns")
	})
}

// ofHandlerAround reports whether v is declared in a handler around at, other than
// as its receiver.
func (c *code) ofHandlerAround(v *types.Var, at place) bool {
	for _, lit := range at.handlers {
		if contains(lit, v.Pos()) {
			return true
		}
	}
	d := at.declaration
	return d != nil && c.functions.of[d].kind == handler && contains(d, v.Pos()) && (d.Recv == nil || !contains(d.Recv, v.Pos()))
}

// origins are where variables have their values from.
type origins struct {
	c    *code
	from map[*types.Var][]ast.Expr // nil in it: from somewhere else
	over map[*types.Var]ast.Expr   // what a range variable is an element of
	in   map[*types.Var]bool       // parameters
}

func (c *code) findOrigins() origins {
	o := origins{c, map[*types.Var][]ast.Expr{}, map[*types.Var]ast.Expr{}, map[*types.Var]bool{}}
	variable := func(e ast.Expr) *types.Var {
		if ident, ok := e.(*ast.Ident); ok {
			v, _ := c.pass.TypesInfo.ObjectOf(ident).(*types.Var)
			return v
		}
		return nil
	}
	for cur := range c.root.Preorder((*ast.AssignStmt)(nil), (*ast.ValueSpec)(nil), (*ast.RangeStmt)(nil), (*ast.FuncType)(nil)) {
		switch n := cur.Node().(type) {
		case *ast.AssignStmt:
			for i, e := range n.Lhs {
				if v := variable(e); v != nil && len(n.Rhs) == len(n.Lhs) {
					o.from[v] = append(o.from[v], n.Rhs[i])
				} else if v != nil {
					o.from[v] = append(o.from[v], n.Rhs[0])
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if v := variable(name); v != nil && len(n.Values) > 0 {
					o.from[v] = append(o.from[v], n.Values[min(i, len(n.Values)-1)])
				}
			}
		case *ast.RangeStmt:
			if n.Value != nil {
				if v := variable(n.Value); v != nil {
					o.over[v] = n.X
				}
			}
		case *ast.FuncType:
			for _, field := range n.Params.List {
				for _, name := range field.Names {
					if v := variable(name); v != nil {
						o.in[v] = true
					}
				}
			}
		}
	}
	return o
}

// own reports whether what v refers to is made anew whenever the handler runs: by
// the handler itself, or as its input. Calls are trusted to return new maps and
// slices, but not new structs.
func (o origins) own(v *types.Var, pointee bool, depth int) bool {
	if depth > 8 {
		return false
	}
	if _, isPointer := v.Type().Underlying().(*types.Pointer); pointee && !isPointer {
		return false // behind a field, or an element
	}
	if o.in[v] {
		return true
	}
	if x := o.over[v]; x != nil {
		w := write{node: x}
		return o.c.follow(x, &w) && o.in[w.v]
	}
	for _, e := range o.from[v] {
		if !o.made(e, pointee, depth) {
			return false
		}
	}
	return true
}

// made reports whether the value of an expression is new.
func (o origins) made(e ast.Expr, pointee bool, depth int) bool {
	switch e := ast.Unparen(e).(type) {
	case *ast.CompositeLit:
		return true
	case *ast.UnaryExpr:
		if e.Op != token.AND {
			return false
		}
		w := write{node: e.X}
		_, literal := ast.Unparen(e.X).(*ast.CompositeLit)
		return literal || o.c.follow(e.X, &w) && !w.element && !w.pointee && w.v.Pkg() != nil && w.v.Parent() != w.v.Pkg().Scope()
	case *ast.CallExpr:
		if name, ok := ast.Unparen(e.Fun).(*ast.Ident); ok && (name.Name == "make" || name.Name == "new") {
			return true
		}
		return !pointee
	case *ast.Ident:
		v, ok := o.c.pass.TypesInfo.Uses[e].(*types.Var)
		return ok && v.Parent() != v.Pkg().Scope() && o.own(v, pointee, depth+1)
	}
	return false
}
