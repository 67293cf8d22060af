package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/durable-go/durable"
)

// conformanceCase is one case as its file says it. What the file says in prose,
// to whoever writes the handler, is not read.
type conformanceCase struct {
	Variables map[string]string `yaml:"Variables"`
	Input     any               `yaml:"Input"`
	Expected  *struct {
		Status string `yaml:"ExecutionStatus"`
		Result any    `yaml:"Result"`
		Error  any    `yaml:"Error"`
	} `yaml:"ExpectedResult"`
	Actions []callbackAction `yaml:"CallbackActions"`
	Events  []map[string]any `yaml:"ExpectedExecutionHistory"`
	Logs    []expectedLog    `yaml:"ExpectedLogs"`

	hasResult bool // the file expects a result, which may be null
}

// callbackAction is what the outside does to a callback.
type callbackAction struct {
	Name      string  `yaml:"CallbackName"` // a name, "*", or "${/regexp/}"
	Operation string  `yaml:"Operation"`    // success, failure or heartbeat
	Payload   any     `yaml:"Payload"`      // sent as its JSON; of a failure: ErrorType, ErrorMessage, ErrorData
	Delay     float64 `yaml:"Delay"`        // seconds
}

// expectedLog counts lines.
type expectedLog struct {
	Match    struct{ Message, Level string } `yaml:"match"`
	Count    *int
	Optional bool
}

// casesFolder is where the cases are, "" if they are not here.
func casesFolder() string {
	folder := os.Getenv("DURABLE_CONFORMANCE")
	if folder == "" {
		folder = filepath.Join("..", "..", "shared", "conformance")
	}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return ""
	}
	return folder
}

// caseNames are the cases in a folder, "step/1-1", in a reader's order.
func caseNames(t *testing.T, folder string) []string {
	t.Helper()
	files, err := fs.Glob(os.DirFS(folder), "*/*.yaml")
	require.NoError(t, err)
	slices.SortFunc(files, func(a, b string) int {
		if len(a) != len(b) && filepath.Dir(a) == filepath.Dir(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f, ".yaml")
	}
	return names
}

// readCase reads a case and draws its variables. A key that it does not know is
// an error: it may be one that a test must heed.
func readCase(t *testing.T, folder, name string) (*conformanceCase, variables) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)+".yaml"))
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, yaml.Unmarshal(data, &keys))
	for key := range keys {
		switch key {
		case "description", "handler", "invocations", "optional", "async", "AsyncInvoke", "AsyncConfig", "DefaultRetryParameters", "TestDescription":
		case "Variables", "Input", "ExpectedResult", "CallbackActions", "ExpectedExecutionHistory", "ExpectedLogs":
		default:
			require.Fail(t, "the case has a key that the tests do not know", "%s: %s", name, key)
		}
	}
	c := &conformanceCase{}
	require.NoError(t, yaml.Unmarshal(data, c))
	result, _ := keys["ExpectedResult"].(map[string]any)
	_, c.hasResult = result["Result"]
	require.NotEmpty(t, c.Events, "%s expects no history", name)

	vars := drawVariables(t, c.Variables)
	c.Input = vars.in(c.Input)
	if c.Expected != nil {
		c.Expected.Result = vars.in(c.Expected.Result)
	}
	for i := range c.Actions {
		c.Actions[i].Name = vars.inText(c.Actions[i].Name)
		c.Actions[i].Payload = vars.in(c.Actions[i].Payload)
	}
	for i := range c.Logs {
		c.Logs[i].Match.Message = vars.inText(c.Logs[i].Match.Message)
	}
	return c, vars
}

// variables are the names of a case that are bound: its own from the start,
// those in its history at their first use.
type variables map[string]any

var generated = regexp.MustCompile(`^\$\{GEN_STR:(\d+)\}$`)

func drawVariables(t *testing.T, declared map[string]string) variables {
	t.Helper()
	vars := make(variables)
	for name, value := range declared {
		vars[name] = value
		if m := generated.FindStringSubmatch(value); m != nil {
			var n int
			_, err := fmt.Sscan(m[1], &n)
			require.NoError(t, err)
			letters := make([]byte, n)
			for i := range letters {
				letters[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[rand.IntN(52)]
			}
			vars[name] = string(letters)
		}
	}
	return vars
}

// in returns v with the bound variables in its strings replaced.
func (vars variables) in(v any) any {
	switch v := v.(type) {
	case string:
		if name, ok := placeholder(v); ok {
			if bound, ok := vars[name]; ok {
				return bound
			}
		}
		return vars.inText(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = vars.in(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = vars.in(v[key])
		}
		return out
	}
	return v
}

func (vars variables) inText(s string) string {
	for name, value := range vars {
		if text, ok := value.(string); ok {
			s = strings.ReplaceAll(s, "${"+name+"}", text)
		}
	}
	return s
}

// leftOut are the cases that the design leaves out on purpose, with the reason.
var leftOut = map[string]string{
	"invoke/5-8": "tenant isolation is a setting of Lambda functions; an invoked function here is one of the same engine, a tenant is part of its input",
}

// caseHandlers are the handlers of all suites.
var caseHandlers = []map[string]handler{
	stepCases, waitCases, childCases, callbackCases, invokeCases, conditionCases, waitForCallbackCases, parallelCases, mapCases,
}

func TestCases(t *testing.T) {
	t.Parallel()
	folder := casesFolder()
	if folder == "" {
		t.Skip("the conformance cases are not here: set DURABLE_CONFORMANCE to the folder that holds them")
	}
	names := caseNames(t, folder)
	require.NotEmpty(t, names, "no case in the folder")
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					if reason := leftOut[name]; reason != "" {
						t.Skip("left out on purpose: " + reason)
					}
					i := slices.IndexFunc(caseHandlers, func(m map[string]handler) bool { return m[name] != nil })
					require.GreaterOrEqual(t, i, 0, "no handler is written for this case")
					store.run(t, func(t *testing.T, w *world) { runCase(t, w, folder, name, caseHandlers[i][name]) })
				})
			}
		})
	}
}

// runCase runs a handler as a case says and compares what it says.
func runCase(t *testing.T, w *world, folder, name string, h handler) {
	c, vars := readCase(t, folder, name)
	w.start(h)
	input, err := json.Marshal(c.Input)
	require.NoError(t, err)
	w.begin(input)

	outside := &outside{w: w, actions: c.Actions}
	last := lastEventID(c.Events)
	w.until(func() bool {
		outside.act()
		if c.Expected != nil {
			return w.describe().Status != durable.ExecutionRunning
		}
		return len(w.history()) >= last
	})

	var problems []string
	if c.Expected != nil {
		problems = c.compareResult(w.describe())
	}
	history := shapes(w.history())
	m := &matcher{vars: vars}
	problems = append(problems, m.history(c.Events, history)...)
	problems = append(problems, c.compareLogs(w.log.lines())...)
	problems = append(problems, outside.problems...)
	if len(problems) > 0 {
		t.Errorf("%s\nthe history is:\n%s", strings.Join(problems, "\n"), show(history))
	}
}

func (c *conformanceCase) compareResult(info durable.ExecutionInfo) (problems []string) {
	if c.Expected.Status != "" && c.Expected.Status != string(info.Status) {
		problems = append(problems, fmt.Sprintf("status: %s is expected, got %s (%v)", c.Expected.Status, info.Status, info.Failure))
	}
	if c.hasResult && info.Status == durable.ExecutionSucceeded && !sameResult(c.Expected.Result, info.Result) {
		problems = append(problems, fmt.Sprintf("result: %v is expected, got %s", c.Expected.Result, info.Result))
	}
	if c.Expected.Error != nil {
		m := &matcher{vars: variables{}}
		if info.Failure == nil {
			problems = append(problems, "error: one is expected")
		} else {
			m.value("error", c.Expected.Error, errorShape(info.Failure))
		}
		problems = append(problems, m.problems...)
	}
	return problems
}

// sameResult compares as JSON. A string may also be expected as its JSON text.
func sameResult(expected any, result json.RawMessage) bool {
	if text, ok := expected.(string); ok && sameJSON([]byte(text), result) {
		return true
	}
	data, err := json.Marshal(expected)
	return err == nil && sameJSON(data, result)
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	xs, _ := json.Marshal(x)
	ys, _ := json.Marshal(y)
	return bytes.Equal(xs, ys)
}

func (c *conformanceCase) compareLogs(lines []string) (problems []string) {
	for _, want := range c.Logs {
		if want.Optional {
			continue
		}
		re, err := regexp.Compile(strings.TrimSuffix(strings.TrimPrefix(want.Match.Message, "/"), "/"))
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		n := 0
		for _, line := range lines {
			if re.MatchString(line) && strings.HasPrefix(line, "["+strings.ToUpper(want.Match.Level)) {
				n++
			}
		}
		if want.Count != nil && n != *want.Count {
			problems = append(problems, fmt.Sprintf("log: %d lines with %s are expected, got %d of %q", *want.Count, re, n, lines))
		} else if want.Count == nil && n == 0 {
			problems = append(problems, fmt.Sprintf("log: a line with %s is expected, got %q", re, lines))
		}
	}
	return problems
}

// outside is the outside world of a case: for each callback that has started it
// does the first of the actions that fits and was not done yet. A heartbeat
// leaves the callback open for the next one.
type outside struct {
	w        *world
	actions  []callbackAction
	done     map[int]bool
	handled  map[string]bool
	problems []string
}

func (o *outside) act() {
	if len(o.actions) == 0 {
		return
	}
	if o.done == nil {
		o.done, o.handled = make(map[int]bool), make(map[string]bool)
	}
	for _, ev := range o.w.history() {
		if ev.Type != "CallbackStarted" || o.handled[ev.CallbackID] {
			continue
		}
		i := o.next(ev.Name)
		if i < 0 {
			o.handled[ev.CallbackID] = true
			o.problems = append(o.problems, fmt.Sprintf("the case has no action for the callback %q", ev.Name))
			continue
		}
		a := o.actions[i]
		o.done[i] = true
		o.handled[ev.CallbackID] = a.Operation != "heartbeat"
		time.Sleep(time.Duration(a.Delay * float64(time.Second)))
		if err := a.do(o.w, ev.CallbackID); err != nil {
			o.problems = append(o.problems, fmt.Sprintf("%s of the callback %q: %v", a.Operation, ev.Name, err))
		}
	}
}

// next is the first action for a callback that was not done yet, -1 if there is none.
func (o *outside) next(callback string) int {
	for i, a := range o.actions {
		if !o.done[i] && a.fits(callback) {
			return i
		}
	}
	return -1
}

func (a callbackAction) fits(name string) bool {
	if re, ok := regexpOf(a.Name); ok {
		return re.MatchString(name)
	}
	return a.Name == "*" || a.Name == name
}

func (a callbackAction) do(w *world, id string) error {
	switch a.Operation {
	case "success":
		payload, err := json.Marshal(a.Payload)
		if err != nil {
			return err
		}
		if a.Payload == nil {
			payload = nil
		}
		return w.engine.SucceedCallback(w.ctx, id, json.RawMessage(payload))
	case "failure":
		fields, _ := a.Payload.(map[string]any)
		text := func(key string) string { s, _ := fields[key].(string); return s }
		f := durable.Failure{Type: text("ErrorType"), Message: text("ErrorMessage"), Stack: text("StackTrace")}
		if data, ok := fields["ErrorData"]; ok {
			f.Data, _ = json.Marshal(data)
		}
		return w.engine.FailCallback(w.ctx, id, f)
	case "heartbeat":
		return w.engine.HeartbeatCallback(w.ctx, id)
	}
	return fmt.Errorf("unknown operation %q", a.Operation)
}
