package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// allowPrefix begins a comment that allows what is reported on its line or, if
// it stands alone, on the line below:
//
//	//durable:allow <rule>[,<rule>…] <reason>
const allowPrefix = "//durable:allow"

// allowance is such a comment.
type allowance struct {
	comment *ast.Comment
	rules   []string
	reason  string
	file    string
	line    int             // what it covers
	used    map[string]bool // its rules that covered something
}

type allowances []*allowance

func (c *code) findAllowances() allowances {
	var found allowances
	for _, file := range c.pass.Files {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				rest, ok := strings.CutPrefix(comment.Text, allowPrefix)
				if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
					continue
				}
				rest, _, _ = strings.Cut(rest, " //") // a comment on the comment
				names, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
				at := c.pass.Fset.Position(comment.Pos())
				a := &allowance{comment: comment, reason: strings.TrimSpace(reason), file: at.Filename, line: at.Line, used: map[string]bool{}}
				if names != "" {
					a.rules = strings.Split(names, ",")
				}
				if c.alone(comment, at) {
					a.line = c.pass.Fset.Position(group.End()).Line + 1
				}
				found = append(found, a)
			}
		}
	}
	return found
}

// alone reports whether nothing but space stands before a comment on its line.
func (c *code) alone(comment *ast.Comment, at token.Position) bool {
	source, err := c.pass.ReadFile(c.pass.Fset.File(comment.Pos()).Name())
	if err != nil || at.Offset > len(source) {
		return false
	}
	before := source[:at.Offset]
	line := before[strings.LastIndexByte(string(before), '\n')+1:]
	return strings.TrimSpace(string(line)) == ""
}

// cover reports whether a finding is allowed.
func (as allowances) cover(at token.Position, rule string) bool {
	covered := false
	for _, a := range as {
		if a.file == at.Filename && a.line == at.Line && slices.Contains(a.rules, rule) {
			a.used[rule] = true
			covered = true
		}
	}
	return covered
}

// problem is what is wrong with the comment, once all findings are known.
func (a *allowance) problem(disabled ruleSet) string {
	if len(a.rules) == 0 {
		return allowPrefix + " names no rule: write " + allowPrefix + " <rule> <reason>"
	}
	for _, name := range a.rules {
		switch {
		case !knownRule(name):
			return fmt.Sprintf("%s: there is no rule %q", allowPrefix, name)
		case !a.used[name] && !disabled[name]:
			return fmt.Sprintf("%s %s allows nothing: remove it, or put it on the line of what is reported, or the line above", allowPrefix, name)
		}
	}
	if a.reason == "" {
		return fmt.Sprintf("%s %s gives no reason: say why this is right on every replay", allowPrefix, strings.Join(a.rules, ","))
	}
	return ""
}
