package lint

import (
	"fmt"
	"go/ast"
	"go/types"
	"strings"

	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

const (
	useNow     = "use durable.Now(ctx)"
	useWait    = "use durable.Wait"
	useAfter   = "use durable.After, or durable.Wait"
	useUUID    = "use durable.NewUUID(ctx)"
	useStep    = "do it in a step, whose result is recorded"
	useGo      = "use durable.Go with a durable.Wait in it"
	useInput   = "read it in a step, or take it with the input"
	useTheStep = "do it in a step's body, which gets a context.Context"
)

// undetermined are functions whose results differ from run to run, and what to
// use instead. "*" is all functions of a package but those that only make a
// generator of a seed.
var undetermined = map[string]map[string]string{
	"time": {
		"Now": useNow, "Since": useNow + ".Sub(t)", "Until": "use t.Sub(durable.Now(ctx))",
		"Sleep": useWait, "After": useAfter, "NewTimer": useAfter, "Tick": useAfter, "NewTicker": useAfter, "AfterFunc": useGo,
	},
	"math/rand":                       {"*": useStep},
	"math/rand/v2":                    {"*": useStep},
	"crypto/rand":                     {"*": useStep},
	"github.com/google/uuid":          {"New": useUUID, "NewString": useUUID + ".String()", "NewRandom": useUUID, "NewUUID": useUUID, "NewV6": useStep, "NewV7": useStep},
	"github.com/gofrs/uuid":           {"NewV1": useUUID, "NewV4": useUUID, "NewV6": useStep, "NewV7": useStep},
	"github.com/gofrs/uuid/v5":        {"NewV1": useUUID, "NewV4": useUUID, "NewV6": useStep, "NewV7": useStep},
	"github.com/rs/xid":               {"New": useUUID},
	"github.com/segmentio/ksuid":      {"New": useUUID, "NewRandom": useUUID},
	"github.com/oklog/ulid/v2":        {"Make": useUUID},
	"github.com/matoous/go-nanoid/v2": {"New": useUUID, "Must": useUUID, "Generate": useUUID, "MustGenerate": useUUID},
	"os": {
		"Getenv": useInput, "LookupEnv": useInput, "Environ": useInput, "ExpandEnv": useInput,
		"Hostname": useInput, "Getpid": useInput, "Getppid": useInput,
	},
	"runtime": {"NumCPU": useInput, "NumGoroutine": useInput, "GOMAXPROCS": useInput},
}

// seeded are the functions of the packages with "*" that are determined by what
// they are given.
var seeded = map[string]bool{"New": true, "NewSource": true, "NewZipf": true, "NewPCG": true, "NewChaCha8": true}

// waiting are those of them that take their time.
var waiting = set("time.Sleep", "time.After", "time.NewTimer", "time.Tick", "time.NewTicker", "time.AfterFunc")

// effects are functions and methods that do something outside, by their package
// and their receiver's type.
var effects = map[string]map[string]bool{
	"net/http":          set("Get", "Head", "Post", "PostForm"),
	"net/http.Client":   set("Do", "Get", "Head", "Post", "PostForm"),
	"net/smtp":          set("SendMail"),
	"database/sql.DB":   sqlEffects,
	"database/sql.Tx":   sqlEffects,
	"database/sql.Conn": sqlEffects,
	"database/sql.Stmt": sqlEffects,
	"os/exec.Cmd":       set("Run", "Start", "Output", "CombinedOutput"),
	"os": set("WriteFile", "Create", "CreateTemp", "Remove", "RemoveAll", "Rename", "Mkdir", "MkdirAll", "MkdirTemp",
		"Link", "Symlink", "Chmod", "Chown", "Truncate"),
}

var sqlEffects = set("Exec", "ExecContext", "Query", "QueryContext", "QueryRow", "QueryRowContext", "Begin", "BeginTx", "Commit")

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// checkCalls looks for calls in handler code that differ from run to run, or do
// something outside.
func (c *code) checkCalls() {
	drawing := c.findDrawing()
	for cur := range c.root.Preorder((*ast.CallExpr)(nil)) {
		call := cur.Node().(*ast.CallExpr)
		callee, _ := typeutil.Callee(c.pass.TypesInfo, call).(*types.Func)
		if callee == nil || !c.placeOf(cur).inHandler() || c.logged(cur) {
			continue
		}
		name := types.ExprString(callName(call))
		const why = "the handler runs again from the top at each wake-up, and would see another value than before"
		if instead := replacement(callee); instead != "" && waiting[callee.FullName()] {
			c.found("nondeterminism", call, name+" in handler code", "the time begins anew whenever the handler runs again, and the execution has to stay in memory meanwhile", instead)
		} else if instead != "" {
			c.found("nondeterminism", call, name+" in handler code", why, instead)
		} else if source := drawing[callee]; source != "" {
			c.found("nondeterminism", call, fmt.Sprintf("%s in handler code returns what comes from %s", name, source), why, "call it in a step, or give it the value of an operation")
		} else if hasEffect(callee) {
			c.found("effect", call, name+" in handler code", "the handler runs again from the top at each wake-up, and so would this", useTheStep)
		}
	}
}

// replacement is what to use instead of a function whose results differ.
func replacement(f *types.Func) string {
	if f.Pkg() == nil || f.Signature().Recv() != nil {
		return ""
	}
	names := undetermined[f.Pkg().Path()]
	if all := names["*"]; all != "" && !seeded[f.Name()] {
		return all
	}
	return names[f.Name()]
}

// hasEffect reports whether a function does something outside.
func hasEffect(f *types.Func) bool {
	if f.Pkg() == nil {
		return false
	}
	in := f.Pkg().Path()
	if recv := f.Signature().Recv(); recv != nil {
		t := types.Unalias(recv.Type())
		if p, ok := t.(*types.Pointer); ok {
			t = types.Unalias(p.Elem())
		}
		n, ok := t.(*types.Named)
		if !ok {
			return false
		}
		in += "." + n.Obj().Name()
	}
	return effects[in][f.Name()]
}

// findDrawing finds the functions of the package that return what differs from
// run to run, and the source of it.
func (c *code) findDrawing() map[*types.Func]string {
	drawing := map[*types.Func]string{}
	for changed := true; changed; {
		changed = false
		for cur := range c.root.Preorder((*ast.FuncDecl)(nil)) { // in order, so that messages are the same each time
			decl := cur.Node().(*ast.FuncDecl)
			f, _ := c.pass.TypesInfo.Defs[decl.Name].(*types.Func)
			if f == nil || drawing[f] != "" || decl.Body == nil || c.hasContext(f.Signature()) {
				continue
			}
			if source := c.drawnIn(decl, drawing); source != "" {
				drawing[f] = source
				changed = true
			}
		}
	}
	return drawing
}

// drawnIn is the first call in a return statement of decl that differs from run
// to run.
func (c *code) drawnIn(decl *ast.FuncDecl, drawing map[*types.Func]string) (source string) {
	returning := 0
	var visit func(ast.Node) bool
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			returning++
			for _, result := range n.Results {
				ast.Inspect(result, visit)
			}
			returning--
			return false
		case *ast.CallExpr:
			callee, _ := typeutil.Callee(c.pass.TypesInfo, n).(*types.Func)
			if returning == 0 || source != "" || callee == nil {
				break
			}
			if replacement(callee) != "" {
				source = types.ExprString(callName(n))
			} else {
				source = drawing[callee]
			}
		}
		return source == ""
	}
	ast.Inspect(decl.Body, visit)
	return source
}

// logged reports whether cur is an argument of a call that logs.
func (c *code) logged(cur inspector.Cursor) bool {
	for around := range cur.Enclosing((*ast.CallExpr)(nil), (*ast.FuncLit)(nil)) {
		if _, ok := around.Node().(*ast.FuncLit); ok {
			return false
		}
		callee, _ := typeutil.Callee(c.pass.TypesInfo, around.Node().(*ast.CallExpr)).(*types.Func)
		if callee != nil && callee.Pkg() != nil && strings.HasPrefix(callee.Pkg().Path()+"/", "log/") {
			return true
		}
	}
	return false
}
