package conformance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// matcher compares what a case expects with what there is:
//
//	${X}     binds X at its first use and is equal to it afterwards
//	${/re/}  the value's text matches
//	'*'      anything
//	{}       the key is there
//
// Keys that are not expected are ignored, lists have the same length.
type matcher struct {
	vars     variables
	problems []string
}

// history matches expected events, each with the one that has its EventId. An
// event that is not expected is a problem too, where the case tells all of them:
// the execution's own events and the ends of its invocations need no mention.
func (m *matcher) history(expected, actual []map[string]any) []string {
	byID := make(map[int]map[string]any)
	for i, ev := range actual {
		if ev["EventId"] != i+1 {
			m.problem("history", "event %d has the EventId %v", i+1, ev["EventId"])
		}
		byID[i+1] = ev
	}
	listed := make(map[int]bool)
	for _, want := range expected {
		id, _ := want["EventId"].(int)
		listed[id] = true
		at := fmt.Sprintf("event %d", id)
		if byID[id] == nil {
			m.problem(at, "%v is expected, there is none", want["EventType"])
			continue
		}
		m.value(at, want, byID[id])
	}
	if len(expected) == 1 {
		return m.problems // the case tells how the history begins
	}
	for i, ev := range actual {
		kind, _ := ev["EventType"].(string)
		if !listed[i+1] && !strings.HasPrefix(kind, "Execution") && kind != "InvocationCompleted" {
			m.problem(fmt.Sprintf("event %d", i+1), "%s is not expected", kind)
		}
	}
	return m.problems
}

func lastEventID(events []map[string]any) (last int) {
	for _, ev := range events {
		if id, ok := ev["EventId"].(int); ok {
			last = max(last, id)
		}
	}
	return last
}

func (m *matcher) problem(at, format string, args ...any) {
	m.problems = append(m.problems, at+": "+fmt.Sprintf(format, args...))
}

func (m *matcher) value(at string, want, got any) {
	switch want := want.(type) {
	case map[string]any:
		if len(want) == 0 {
			return
		}
		fields, ok := got.(map[string]any)
		if !ok {
			m.problem(at, "an object is expected, got %v", got)
			return
		}
		for key, inner := range want {
			value, ok := fields[key]
			if !ok && !(inner == "*" && onlyOnLambda[key]) {
				m.problem(at+"."+key, "is missing, %v is expected", inner)
				continue
			}
			m.value(at+"."+key, inner, value)
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			m.problem(at, "%d elements are expected, got %v", len(want), got)
			return
		}
		for i := range want {
			m.value(fmt.Sprintf("%s[%d]", at, i), want[i], list[i])
		}
	case string:
		m.text(at, want, got)
	default:
		if !equal(want, got) {
			m.problem(at, "%v is expected, got %v", want, got)
		}
	}
}

func (m *matcher) text(at, want string, got any) {
	if want == "*" {
		return
	}
	if re, ok := regexpOf(want); ok {
		if !re.MatchString(fmt.Sprint(got)) {
			m.problem(at, "%v does not match %s", got, re)
		}
		return
	}
	if name, ok := placeholder(want); ok {
		bound, isBound := m.vars[name]
		if !isBound {
			m.vars[name] = got
		} else if !equal(bound, got) {
			m.problem(at, "%v is expected, as before, got %v", bound, got)
		}
		return
	}
	want = m.vars.inText(want)
	if !equal(want, got) && !equal(ourNames[want], got) {
		m.problem(at, "%q is expected, got %v", want, got)
	}
}

// payload is an encoded value in a history. One that is not JSON is shown as a
// JSON string, so the text that is expected may be either.
type payload json.RawMessage

func (p payload) String() string { return string(p) }

func equal(want, got any) bool {
	if p, ok := got.(payload); ok {
		text := fmt.Sprint(want)
		var raw string
		return sameJSON([]byte(text), p) || json.Unmarshal(p, &raw) == nil && raw == text && !json.Valid([]byte(text))
	}
	if x, ok := number(want); ok {
		y, ok := number(got)
		return ok && x == y
	}
	return reflect.DeepEqual(want, got)
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

var (
	placeholderForm = regexp.MustCompile(`^\$\{([^/}]+)\}$`)
	regexpForm      = regexp.MustCompile(`^\$\{/(.+)/\}$`)
)

// placeholder is X of "${X}".
func placeholder(s string) (name string, ok bool) {
	if m := placeholderForm.FindStringSubmatch(s); m != nil {
		return m[1], true
	}
	return "", false
}

// regexpOf is re of "${/re/}".
func regexpOf(s string) (*regexp.Regexp, bool) {
	if m := regexpForm.FindStringSubmatch(s); m != nil {
		re, err := regexp.Compile(m[1])
		return re, err == nil
	}
	return nil, false
}

func TestMatcher(t *testing.T) {
	event := func(id int, fields map[string]any) map[string]any {
		fields["EventId"] = id
		if fields["EventType"] == nil {
			fields["EventType"] = "StepStarted"
		}
		return fields
	}
	for name, c := range map[string]struct {
		expected, actual []map[string]any
		problems         []string
	}{
		"BindsAndCompares": {
			[]map[string]any{event(1, map[string]any{"Id": "${A}"}), event(2, map[string]any{"Id": "${A}"})},
			[]map[string]any{event(1, map[string]any{"Id": "1"}), event(2, map[string]any{"Id": "2"})},
			[]string{"event 2.Id: 1 is expected, as before, got 2"},
		},
		"RegexpsMatchNumbersToo": {
			[]map[string]any{event(1, map[string]any{"D": "${/^[0-5]$/}"}), event(2, map[string]any{"D": "${/^[0-5]$/}"})},
			[]map[string]any{event(1, map[string]any{"D": 5}), event(2, map[string]any{"D": 6})},
			[]string{"event 2.D: 6 does not match ^[0-5]$"},
		},
		"AnEmptyObjectWantsTheKey": {
			[]map[string]any{event(1, map[string]any{"D": map[string]any{}}), event(2, map[string]any{"D": map[string]any{}})},
			[]map[string]any{event(1, map[string]any{"D": map[string]any{"x": 1}}), event(2, map[string]any{})},
			[]string{"event 2.D: is missing, map[] is expected"},
		},
		"PayloadsAreComparedAsJSON": {
			[]map[string]any{event(1, map[string]any{"P": `{"a": 1}`}), event(2, map[string]any{"P": "RAW TEXT"}), event(3, map[string]any{"P": `"x"`})},
			[]map[string]any{event(1, map[string]any{"P": payload(`{"a":1}`)}), event(2, map[string]any{"P": payload(`"RAW TEXT"`)}), event(3, map[string]any{"P": payload(`"y"`)})},
			[]string{`event 3.P: "\"x\"" is expected, got "y"`},
		},
		"ListsHaveEqualLength": {
			[]map[string]any{event(1, map[string]any{"L": []any{"*"}})},
			[]map[string]any{event(1, map[string]any{"L": []any{"a", "b"}})},
			[]string{"event 1.L: 1 elements are expected, got [a b]"},
		},
		"EventsThatAreNotExpected": {
			[]map[string]any{event(1, map[string]any{}), event(3, map[string]any{})},
			[]map[string]any{event(1, map[string]any{}), event(2, map[string]any{"EventType": "WaitStarted"}), event(3, map[string]any{}), event(4, map[string]any{"EventType": "InvocationCompleted"})},
			[]string{"event 2: WaitStarted is not expected"},
		},
		"NamesThatDiffer": {
			[]map[string]any{event(1, map[string]any{"T": "Callback.Timeout"}), event(2, map[string]any{"T": "Callback.Timeout"})},
			[]map[string]any{event(1, map[string]any{"T": "Timeout"}), event(2, map[string]any{"T": "HeartbeatTimeout"})},
			[]string{`event 2.T: "Callback.Timeout" is expected, got HeartbeatTimeout`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &matcher{vars: variables{}}
			require.Equal(t, c.problems, m.history(c.expected, c.actual))
		})
	}
}
