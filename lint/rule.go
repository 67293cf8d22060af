package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rules are the kinds of mistakes, in the order of the README.
var rules = []struct{ name, finds string }{
	{"goroutine", "an operation on a goroutine that the library did not start"},
	{"nested", "an operation inside a step's body, a check or a submitter"},
	{"outercontext", "an operation on a context of outside, in a function that has its own"},
	{"nondeterminism", "time, randomness or the environment read in handler code"},
	{"effect", "a request, a query, a process or a change of files in handler code"},
	{"maprange", "operations in the random order of a map"},
	{"select", "a select statement that decides which operation comes next"},
	{"replaying", "an operation that depends on Context.Replaying"},
	{"capturedwrite", "a write to a handler's variable from code that a replay does not run"},
	{"global", "state of a handler in a package-level variable"},
	{"allow", "a //durable:allow without a reason, of no known rule, or without effect"},
}

func knownRule(name string) bool {
	for _, r := range rules {
		if r.name == name {
			return true
		}
	}
	return false
}

// ruleSet is a flag: names of rules, separated by commas.
type ruleSet map[string]bool

func (s ruleSet) String() string { return strings.Join(slices.Sorted(maps.Keys(s)), ",") }

// Set adds rules.
func (s ruleSet) Set(names string) error {
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); !knownRule(name) {
			return fmt.Errorf("there is no rule %q", name)
		}
		s[name] = true
	}
	return nil
}
