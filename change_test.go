package durable_test

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// The guide docs/changing-code.md says what becomes of executions under way when
// code changes. Each row of its tables is a change here, under the row's words:
// an execution of the function "order" runs the old code for half an hour, its engine
// is killed or shut down, and the same store is opened with the new code.

// release is what a binary can run. "order" is the function that is started.
type release func(n *notes) []durable.Definition

// code is a release with one function.
func code[I, O any](h func(ctx *durable.Context, n *notes, in I) (O, error)) release {
	return func(n *notes) []durable.Definition {
		return []durable.Definition{durable.Define("order", func(ctx *durable.Context, in I) (O, error) { return h(ctx, n, in) })}
	}
}

// does is a release whose handler performs the named operations in a row: "wait"
// is a wait of an hour, all others are steps that note that they ran. The result
// is those of the steps.
func does(names ...string) release {
	return code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return performed(ctx, n, names...) })
}

func performed(ctx *durable.Context, n *notes, names ...string) (string, error) {
	var results []string
	for _, name := range names {
		if name == "wait" {
			if err := durable.Wait(ctx, name, time.Hour); err != nil {
				return "", err
			}
			continue
		}
		result, err := durable.Step(ctx, name, n.body(name))
		if err != nil {
			return "", err
		}
		results = append(results, result)
	}
	return strings.Join(results, " "), nil
}

// and is a release with more functions.
func (r release) and(more ...durable.Definition) release {
	return func(n *notes) []durable.Definition { return append(r(n), more...) }
}

// codeChange is a change and what becomes of it.
type codeChange struct {
	old, new         release
	oldOpts, newOpts durable.Options
	input            string          // of the execution, as JSON; 0 if empty
	after            time.Duration   // the deploy; half an hour if zero
	first            func(b *bundle) // done before the execution is started
	cutOff           bool            // a body runs at the deploy, and is cut off by a crash

	ran    string // bodies that ran under the old code
	runs   string // bodies that run under the new code, or the fixed one if it is held
	result string // the execution's, as JSON
	fails  string // type of the failure with which it ends instead

	tells  string   // what Replay says of a change that is not held; empty: nothing
	says   []string // why it is held; empty: it isn't
	held   string   // the failure's type; NonDeterministic if empty
	sealed bool     // Describe can't read the execution either

	guarded release // the new code behind a Version: goes on with the old execution, and does the new thing in others
	renewed string  // the result of an execution that begins under guarded
}

// ends are the ways in which the old engine ends.
func (c codeChange) ends() map[string]func(*machine, *bundle) {
	ends := map[string]func(*machine, *bundle){"Killed": (*machine).kill, "ShutDown": (*machine).shutDown}
	if c.cutOff {
		delete(ends, "ShutDown")
	}
	return ends
}

// deployed runs the old code, ends its engine and opens the store with the new
// code. It returns what stands behind both.
func (c codeChange) deployed(t *testing.T, end func(*machine, *bundle), logs *lockedBuffer) (m *machine, b *bundle, n *notes, rec *durable.Recording) {
	m, n = newMachine(t), &notes{}
	b = m.open(c.opts(c.oldOpts, "old"), c.old(n)...)
	if c.first != nil {
		c.first(b)
	}
	id, err := b.engine.StartByName(b.ctx, "order", json.RawMessage(cmp.Or(c.input, "0")), durable.WithExecutionID("order-42"))
	require.NoError(t, err)
	time.Sleep(cmp.Or(c.after, 30*time.Minute))
	synctest.Wait()
	rec, err = b.engine.Recording(b.ctx, id)
	require.NoError(t, err)
	end(m, b)
	require.Equal(t, c.ran, strings.Join(n.all(), " "), "under the old code")
	n.clear()
	opts := c.opts(c.newOpts, "new")
	opts.Logger = slog.New(slog.NewTextHandler(logs, nil))
	return m, m.open(opts, c.new(n)...), n, rec
}

func (c codeChange) opts(opts durable.Options, build string) durable.Options {
	if opts.ParkFor == 0 {
		opts.ParkFor = -1
	}
	if opts.Build == "" {
		opts.Build = build
	}
	return opts
}

// goesOn checks a change that executions under way do not mind.
func (c codeChange) goesOn(t *testing.T) {
	for name, end := range c.ends() {
		inBubble(t, name, func(t *testing.T) {
			var logs lockedBuffer
			_, b, n, rec := c.deployed(t, end, &logs)
			if err := c.replayed(b, rec); c.tells == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.tells)
			}
			c.ended(b)
			require.Equal(t, c.runs, strings.Join(n.all(), " "), "under the new code")
			require.NotContains(t, logs.String(), "held")
		})
	}
}

// replayed holds the new code against what the old one recorded.
func (c codeChange) replayed(b *bundle, rec *durable.Recording) error {
	opts := c.newOpts
	opts.Functions = c.new(&notes{})
	return durable.Replay(b.ctx, rec, &opts)
}

// foretold checks that Replay tells before the deploy why the execution will be held.
func (c codeChange) foretold(b *bundle, rec *durable.Recording) {
	b.Helper()
	err := c.replayed(b, rec)
	switch {
	case c.sealed:
		require.NoError(b, err)
	case c.held == "FunctionNotFound":
		require.ErrorIs(b, err, durable.ErrFunctionNotFound)
	default:
		for _, words := range c.says {
			require.ErrorContains(b, err, words)
		}
	}
}

// ended checks the end of the execution.
func (c codeChange) ended(b *bundle) {
	b.Helper()
	ctx, done := context.WithTimeout(b.ctx, 1000*time.Hour)
	defer done()
	result, err := b.engine.ResultJSON(ctx, "order-42")
	if c.fails != "" {
		require.Error(b, err)
		require.Equal(b, c.fails, failure(err).Type)
		require.Equal(b, durable.ExecutionFailed, b.describe("order-42").Status)
		return
	}
	require.NoError(b, err, "held: %v", b.describe("order-42").Held)
	require.JSONEq(b, c.result, string(result))
	require.Nil(b, b.describe("order-42").Held)
}

// isHeld checks a change that holds executions under way, and that the old code
// goes on with them, and the guarded one.
func (c codeChange) isHeld(t *testing.T) {
	for name, end := range c.ends() {
		for fix, fixed := range map[string]release{"OldCode": c.old, "Guarded": c.guarded} {
			if fixed == nil {
				continue
			}
			inBubble(t, name+"/"+fix, func(t *testing.T) {
				var logs lockedBuffer
				m, b, n, rec := c.deployed(t, end, &logs)
				c.foretold(b, rec)
				c.checkHeld(b, n, rec, &logs)
				end(m, b)

				opts := c.oldOpts
				if fix == "Guarded" {
					opts = c.newOpts
				}
				b = m.open(c.opts(opts, "fixed"), fixed(n)...)
				c.ended(b)
				require.Equal(t, c.runs, strings.Join(n.all(), " "), "under the fixed code")
				if fix == "Guarded" {
					id, err := b.engine.StartByName(b.ctx, "order", json.RawMessage(cmp.Or(c.input, "0")))
					require.NoError(t, err)
					result, err := b.engine.ResultJSON(b.ctx, id)
					require.NoError(t, err)
					require.JSONEq(t, c.renewed, string(result))
				}
			})
		}
	}
}

// checkHeld waits until the execution has been tried by the new code, and checks
// that it is held, says why, and nothing happened to it.
func (c codeChange) checkHeld(b *bundle, n *notes, rec *durable.Recording, logs *lockedBuffer) {
	b.Helper()
	time.Sleep(12 * time.Hour)
	require.Empty(b, n.all(), "bodies under the new code")
	n.clear()
	c.held = cmp.Or(c.held, "NonDeterministic")
	if c.sealed {
		info, err := b.engine.Describe(b.ctx, "order-42")
		require.NotNil(b, info.Held)
		for _, words := range c.says {
			require.ErrorContains(b, err, words)
			require.Contains(b, info.Held.Message, words)
		}
		require.Contains(b, logs.String(), `level=ERROR msg="durable: execution held`)
		return
	}
	why := b.held("order-42")
	require.Equal(b, c.held, why.Type, why.Message)
	for _, words := range c.says {
		require.Contains(b, why.Message, words)
	}

	var found []string
	for info, err := range b.engine.Executions(b.ctx, durable.Query{Status: durable.ExecutionRunning}) {
		require.NoError(b, err)
		if info.Held != nil {
			found = append(found, info.ID)
		}
	}
	require.Equal(b, []string{"order-42"}, found)

	after, err := b.engine.Recording(b.ctx, "order-42")
	require.NoError(b, err)
	was, is := recordsOf(b, rec), recordsOf(b, after)
	require.Equal(b, was, is[:len(was)], "what is recorded stays")
	for _, r := range is[len(was):] {
		require.Regexp(b, `"type":"(InvocationCompleted|WaitSucceeded|ChainedInvokeSucceeded|CallbackTimedOut|ContextSucceeded|VersionChosen)"`, r, "only what became due is added")
	}
	if c.held == "FunctionNotFound" {
		return // nobody tried it
	}
	require.Contains(b, logs.String(), `level=ERROR msg="durable: execution held`)
	require.Contains(b, logs.String(), "execution=order-42 function=order build=new")
	if c.held == "NonDeterministic" {
		quoted, err := json.Marshal(why.Message)
		require.NoError(b, err)
		require.Contains(b, logs.String(), "reason="+string(quoted))
	}
}

// recordsOf are the records of a recording, one a line.
func recordsOf(b *bundle, rec *durable.Recording) (lines []string) {
	b.Helper()
	data, err := json.Marshal(rec)
	require.NoError(b, err)
	var journal struct{ Records []json.RawMessage }
	require.NoError(b, json.Unmarshal(data, &journal))
	for _, r := range journal.Records {
		lines = append(lines, string(r))
	}
	return lines
}

// guide reads the cells of each table of the guide, by the first cell of the
// table's head and of the row.
func guide(t *testing.T) map[string]map[string][]string {
	t.Helper()
	text, err := os.ReadFile("docs/changing-code.md")
	require.NoError(t, err)
	tables := map[string]map[string][]string{}
	head := ""
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			head = ""
		case head == "":
			head = cells[0]
			require.NotContains(t, tables, head, "two tables with this head")
			tables[head] = map[string][]string{}
		case strings.Trim(cells[0], "-") != "":
			require.NotContains(t, tables[head], cells[0], "two rows of a name")
			tables[head][cells[0]] = cells
		}
	}
	return tables
}

// TestGuide checks that the rows of the guide are exactly what is tested.
func TestGuide(t *testing.T) {
	t.Parallel()
	require.Equal(t, map[string][]string{
		"A safe change":      rowsOf(safeChanges),
		"An unsafe change":   rowsOf(unsafeChanges),
		"A change unnoticed": rowsOf(unnoticedChanges),
		"What ends a hold":   rowsOf(endsOfAHold),
		"With two builds":    rowsOf(twoBuilds),
	}, rowsOfAll(guide(t)), "what is tested, and what docs/changing-code.md says")
}

func rowsOfAll[V any](tables map[string]map[string]V) map[string][]string {
	all := map[string][]string{}
	for head, rows := range tables {
		all[head] = rowsOf(rows)
	}
	return all
}

func rowsOf[V any](rows map[string]V) (names []string) {
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var quotedWords = regexp.MustCompile("`([^`]*)`")

func TestSafeChanges(t *testing.T) {
	for row, c := range safeChanges {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			c.goesOn(t)
		})
	}
}

func TestUnsafeChanges(t *testing.T) {
	rows := guide(t)["An unsafe change"]
	for row, c := range unsafeChanges {
		if cells := rows[row]; len(cells) > 3 { // what the message says there, without what is left out
			for _, quoted := range quotedWords.FindAllStringSubmatch(cells[3], -1) {
				for words := range strings.SplitSeq(quoted[1], "…") {
					c.says = append(c.says, strings.TrimSpace(words))
				}
			}
		}
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			c.isHeld(t)
		})
	}
}

func TestUnnoticedChanges(t *testing.T) {
	for row, c := range unnoticedChanges {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			c.goesOn(t)
		})
	}
}

func TestEndsOfAHold(t *testing.T) {
	for row, test := range endsOfAHold {
		inBubble(t, row, test)
	}
}

func TestTwoBuilds(t *testing.T) {
	for row, test := range twoBuilds {
		inBubble(t, row, test)
	}
}
