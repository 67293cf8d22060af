package lint

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// kind says when the code of a function runs.
type kind int

const (
	inner    kind = iota // a literal that is part of the function around it
	handler              // it has a *Context: at every replay
	body                 // the library calls it, and records what it returns
	detached             // nobody can say: it has a context.Context, or is declared without a *Context
)

// function is what is known of a function, declared or literal.
type function struct {
	node      ast.Node // *ast.FuncDecl or *ast.FuncLit
	kind      kind
	goroutine bool // it is run by a go statement or the like
	child     bool // it is given to an operation: once that is recorded, it does not run again
}

// functions are the functions of a package, and the names that stand for them.
type functions struct {
	of       map[ast.Node]*function
	declared map[*types.Func]*ast.FuncDecl
	named    map[*types.Var]*ast.FuncLit // variables that are set once, to a literal
}

func (c *code) findFunctions() functions {
	fs := functions{of: map[ast.Node]*function{}, declared: map[*types.Func]*ast.FuncDecl{}, named: map[*types.Var]*ast.FuncLit{}}
	for cur := range c.root.Preorder((*ast.FuncDecl)(nil), (*ast.FuncLit)(nil)) {
		switch n := cur.Node().(type) {
		case *ast.FuncDecl:
			f, _ := c.pass.TypesInfo.Defs[n.Name].(*types.Func)
			if f == nil {
				continue
			}
			fs.declared[f] = n
			fs.of[n] = &function{node: n, kind: detached}
			if c.hasContext(f.Signature()) {
				fs.of[n].kind = handler
			}
		case *ast.FuncLit:
			fs.of[n] = &function{node: n, kind: c.kindOfLiteral(n)}
		}
	}
	c.findNamed(fs)
	for cur := range c.root.Preorder((*ast.GoStmt)(nil), (*ast.CallExpr)(nil), (*ast.CompositeLit)(nil)) {
		switch n := cur.Node().(type) {
		case *ast.GoStmt:
			if f := fs.literal(c, n.Call.Fun); f != nil {
				f.goroutine = true
			}
		case *ast.CallExpr:
			c.classifyArguments(fs, n)
		case *ast.CompositeLit:
			c.classifyElements(fs, n)
		}
	}
	return fs
}

func (c *code) kindOfLiteral(lit *ast.FuncLit) kind {
	signature, _ := c.pass.TypesInfo.TypeOf(lit).(*types.Signature)
	switch {
	case signature == nil:
		return inner
	case c.hasContext(signature):
		return handler
	case signature.Params().Len() > 0 && isNamed(signature.Params().At(0).Type(), "context", "Context"):
		return detached
	}
	return inner
}

// findNamed notes the variables that are set once, to a literal.
func (c *code) findNamed(fs functions) {
	info, writes := c.pass.TypesInfo, map[*types.Var]int{}
	set := func(name ast.Expr, value ast.Expr) {
		ident, ok := name.(*ast.Ident)
		if !ok {
			return
		}
		v, ok := info.ObjectOf(ident).(*types.Var)
		if !ok {
			return
		}
		writes[v]++
		if lit, ok := value.(*ast.FuncLit); ok {
			fs.named[v] = lit
		}
	}
	for cur := range c.root.Preorder((*ast.AssignStmt)(nil), (*ast.ValueSpec)(nil), (*ast.UnaryExpr)(nil)) {
		switch n := cur.Node().(type) {
		case *ast.AssignStmt:
			for i, name := range n.Lhs {
				var value ast.Expr
				if len(n.Rhs) == len(n.Lhs) {
					value = n.Rhs[i]
				}
				set(name, value)
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					set(name, n.Values[i])
				}
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				set(n.X, nil)
			}
		}
	}
	for v := range fs.named {
		if writes[v] > 1 {
			delete(fs.named, v)
		}
	}
}

// classifyArguments notes what a call does with the functions that it is given.
func (c *code) classifyArguments(fs functions, call *ast.CallExpr) {
	callee, _ := typeutil.Callee(c.pass.TypesInfo, call).(*types.Func)
	if callee == nil {
		return
	}
	for _, arg := range call.Args {
		f := fs.literal(c, arg)
		if f == nil {
			continue
		}
		switch {
		case callee.Pkg() == c.durable:
			classifyArgument(callee.Name(), f)
		case f.kind == handler:
		case c.hasContext(callee.Signature()):
			f.kind = detached // it may well make a step of it
		case callee.Name() == "Go", callee.Name() == "TryGo", callee.Name() == "AfterFunc":
			f.goroutine = true
		}
	}
}

// classifyArgument notes what a function of the library does with one.
func classifyArgument(callee string, f *function) {
	switch {
	case callee == "WithItemNames": // called whenever the batch is
	case f.kind == handler:
		f.child = true
	default:
		f.kind = body
	}
}

// classifyElements looks into the library's structs: branches and retry policies.
func (c *code) classifyElements(fs functions, lit *ast.CompositeLit) {
	t := c.pass.TypesInfo.TypeOf(lit)
	branch, policy := isNamed(t, durablePath, "Branch"), isNamed(t, durablePath, "RetryPolicy")
	if !branch && !policy {
		return
	}
	for _, element := range lit.Elts {
		if kv, ok := element.(*ast.KeyValueExpr); ok {
			element = kv.Value
		}
		switch f := fs.literal(c, element); {
		case f == nil:
		case branch:
			f.child = true
		case policy:
			f.kind = body
		}
	}
}

// literal is the function literal that an expression is, or that it names.
func (fs functions) literal(c *code, e ast.Expr) *function {
	switch e := ast.Unparen(e).(type) {
	case *ast.FuncLit:
		return fs.of[e]
	case *ast.Ident:
		if v, ok := c.pass.TypesInfo.Uses[e].(*types.Var); ok {
			if lit := fs.named[v]; lit != nil {
				return fs.of[lit]
			}
		}
	}
	return nil
}

// place is where code stands: the function that says when it runs.
type place struct {
	*function                  // nil outside of functions
	onGoroutine bool           // on a goroutine that the library did not start
	handlers    []*ast.FuncLit // literals with a *Context around the code, the innermost first
	declaration *ast.FuncDecl  // around all of it; may be nil
}

func (c *code) placeOf(cur inspector.Cursor) place {
	var p place
	for around := range cur.Enclosing((*ast.FuncDecl)(nil), (*ast.FuncLit)(nil)) {
		f := c.functions.of[around.Node()]
		if f == nil || around == cur {
			continue
		}
		if p.function == nil {
			p.onGoroutine = p.onGoroutine || f.goroutine
			if f.kind != inner {
				p.function = f
			}
		}
		switch n := f.node.(type) {
		case *ast.FuncDecl:
			p.declaration = n
		case *ast.FuncLit:
			if f.kind == handler {
				p.handlers = append(p.handlers, n)
			}
		}
	}
	return p
}

// inHandler reports whether code at p runs at every replay.
func (p place) inHandler() bool { return p.function != nil && p.kind == handler }

// hasContext reports whether a function has a parameter of type *Context.
func (c *code) hasContext(s *types.Signature) bool {
	for v := range s.Params().Variables() {
		if isContext(v.Type()) {
			return true
		}
	}
	return false
}

// isContext reports whether t is *durable.Context.
func isContext(t types.Type) bool {
	p, ok := types.Unalias(t).(*types.Pointer)
	return ok && isNamed(p.Elem(), durablePath, "Context")
}

// isNamed reports whether t is a type, or an instance of one, of a package.
func isNamed(t types.Type, path, name string) bool {
	if t == nil {
		return false
	}
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Name() == name && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == path
}
