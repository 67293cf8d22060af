package lint

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
)

const durablePath = "github.com/durable-go/durable"

// Analyzers are all analyzers of this package.
func Analyzers() []*analysis.Analyzer { return []*analysis.Analyzer{New()} }

// New returns the analyzer. Each has settings of its own: the flag "disable"
// names rules that are not to be checked, separated by commas.
func New() *analysis.Analyzer {
	disabled := ruleSet{}
	a := &analysis.Analyzer{
		Name:     "durablelint",
		Doc:      doc(),
		URL:      "https://pkg.go.dev/" + durablePath + "/lint",
		Requires: []*analysis.Analyzer{inspect.Analyzer},
		Run:      func(pass *analysis.Pass) (any, error) { return nil, run(pass, disabled) },
	}
	a.Flags.Var(disabled, "disable", "`rules` that are not checked, separated by commas")
	return a
}

func doc() string {
	var b strings.Builder
	b.WriteString("finds code in durable functions that a replay would run differently\n\nThe rules:\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "\n  %-15s %s", r.name, r.finds)
	}
	b.WriteString("\n\nTo allow what is reported, on its line or the line above:\n\n  //durable:allow <rule> <reason>")
	return b.String()
}

// code is a package under analysis.
type code struct {
	pass      *analysis.Pass
	durable   *types.Package
	root      inspector.Cursor
	functions functions
	operates  map[ast.Node]string // what a function performs, by its declaration or literal
	findings  []finding
}

// finding is something to report, unless it is allowed.
type finding struct {
	rule     string
	pos, end token.Pos
	message  string
}

func run(pass *analysis.Pass, disabled ruleSet) error {
	i := slices.IndexFunc(pass.Pkg.Imports(), func(p *types.Package) bool { return p.Path() == durablePath })
	if i < 0 {
		return nil
	}
	c := &code{
		pass:    pass,
		durable: pass.Pkg.Imports()[i],
		root:    pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root(),
	}
	c.functions = c.findFunctions()
	c.operates = c.findOperating()
	c.checkOperations()
	c.checkCalls()
	c.checkBranching()
	c.checkWrites()
	c.checkGlobals()
	c.report(disabled)
	return nil
}

// found notes a finding at a node. What, why and what to do are one sentence each.
func (c *code) found(rule string, n ast.Node, what, why, instead string) {
	c.findings = append(c.findings, finding{rule, n.Pos(), n.End(), fmt.Sprintf("%s: %s; %s (%s)", what, why, instead, rule)})
}

// report reports the findings that no comment allows, and the comments that are
// not as they should be.
func (c *code) report(disabled ruleSet) {
	allowances := c.findAllowances()
	slices.SortStableFunc(c.findings, func(a, b finding) int { return cmp.Compare(a.pos, b.pos) })
	for _, f := range c.findings {
		if !disabled[f.rule] && !allowances.cover(c.pass.Fset.Position(f.pos), f.rule) {
			c.pass.Report(analysis.Diagnostic{Pos: f.pos, End: f.end, Category: f.rule, Message: f.message})
		}
	}
	if disabled["allow"] {
		return
	}
	for _, a := range allowances {
		if message := a.problem(disabled); message != "" {
			c.pass.Report(analysis.Diagnostic{Pos: a.comment.Pos(), End: a.comment.End(), Category: "allow", Message: message + " (allow)"})
		}
	}
}
