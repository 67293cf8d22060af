package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

// newDB is the path of a file that does not exist yet.
func newDB(t *testing.T) string { return filepath.Join(t.TempDir(), "test.db") }

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct {
		input string
		about []string
	}{
		"NotJSON":   {"{\n  \"workflowId\": \"w\",\n  \"inputData\": }\n", []string{"bad.json", "line 3, column 16", "not JSON"}},
		"Truncated": {"{\"workflowId\": \"w\"", []string{"line 1, column 18", "not JSON"}},
		"Empty":     {"", []string{"line 1, column 1", "not JSON"}},
		"Item":      {"{\"inputData\": {\"items\": [\"a\",\n 17]}}", []string{"line 2, column 3", "items", "a string", "a number"}},
		"List":      {"[]", []string{"line 1", "an object", "a list"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			do(t, "-db", db, "-input", writeFile(t, "bad.json", bad.input)).requireOneLine(t, 1, bad.about...)
			require.NoFileExists(t, db, "nothing was begun")
		})
	}
	do(t, "-db", newDB(t), "-input", "-").requireOneLine(t, 1, "standard input", "not JSON")
	do(t, "-db", newDB(t), "-input", filepath.Join(t.TempDir(), "absent.json")).requireOneLine(t, 1, "absent.json", "no such file")
	do(t, "-db", newDB(t), "-input", t.TempDir()).requireOneLine(t, 1, "is a directory")
}

func TestNoItems(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for name, input := range map[string]string{"NoData": `{}`, "NoItems": `{"workflowId": "w", "inputData": {}}`, "Null": `{"inputData": {"items": null}}`} {
		o := do(t, "-quiet", "-db", db, "-id", name, "-input", writeFile(t, "event.json", input))
		o.requireOneLine(t, 1, name, "inputData.items")
		history := do(t, "history", "-db", db, "-id", name)
		require.Equal(t, 1, strings.Count(history.stdout, "StepFailed"), "it was retried:\n%s", history.stdout)
		// Asking again gives the same, and no new execution.
		do(t, "-quiet", "-db", db, "-id", name).requireOneLine(t, 1, name, "inputData.items")
	}
}

func TestUnfitFiles(t *testing.T) {
	t.Parallel()
	foreign := strings.Repeat("These are the voyages of the starship Enterprise.\n", 500)
	for name, file := range map[string]struct {
		path  string
		about string
	}{
		"Foreign":      {writeFile(t, "foreign.db", foreign), "foreign.db"},
		"ShortForeign": {writeFile(t, "short.db", "hello"), "short.db"},
		"Folder":       {t.TempDir(), ""},
		"NotAFolder":   {filepath.Join(writeFile(t, "file", ""), "x.db"), "x.db"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t, "-db", file.path).requireOneLine(t, 1, file.about)
			do(t, "history", "-db", file.path).requireOneLine(t, 1, file.about)
			do(t, "resume", "-db", file.path, "abc").requireOneLine(t, 1, file.about)
		})
	}
}

// TestForeignFileIsLeftAlone checks that a file that is not ours stays as it is.
func TestForeignFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hello", strings.Repeat("not a database\n", 5000)} {
		path := writeFile(t, "foreign.db", text)
		do(t, "-db", path).requireOneLine(t, 1, "foreign.db")
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
		left, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		require.Len(t, left, 1, "nothing else was left there")
	}
}

// TestDamagedFile damages a file of ours.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	begin(t, db, "x")
	data, err := os.ReadFile(db)
	require.NoError(t, err)
	clear(data[:8192]) // both of the pages that say where everything is
	require.NoError(t, os.WriteFile(db, data, 0o600))
	do(t, "-db", db).requireOneLine(t, 1, db)
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	do(t, "resume", "-db", db, "abc").requireOneLine(t, 1, db)
	do(t, "history", "-db", db).requireOneLine(t, 1, db)
	require.NoFileExists(t, db)
}

// quiet are the options of an engine that runs functions and logs nothing.
func quiet(functions ...durable.Definition) *durable.Options {
	return &durable.Options{Functions: functions, Logger: slog.New(slog.DiscardHandler)}
}

// open opens an engine that has the program's functions and keeps nothing.
func open(t *testing.T) *durable.Engine {
	t.Helper()
	e, err := durable.New(memstore.New(), quiet(workflow.Function, hello.Function))
	require.NoError(t, err)
	return e
}

// runToEnd runs the workflow, with the program as the external system.
func runToEnd(ctx context.Context, e *durable.Engine, id string, event workflow.Event) (workflow.Result, error) {
	x, err := workflow.Function.Start(ctx, e, event, durable.WithExecutionID(id))
	if err != nil {
		return workflow.Result{}, err
	}
	if err := workflow.PlayExternalSystem(ctx, e, id); err != nil {
		return workflow.Result{}, err
	}
	return x.Result(ctx)
}

func eventOf(items int) workflow.Event {
	event := workflow.Event{WorkflowID: fmt.Sprintf("workflow-of-%d", items), InputData: workflow.InputData{Items: make([]string, items)}}
	for i := range items {
		event.InputData.Items[i] = fmt.Sprintf("item-%d", i)
	}
	return event
}

// begin leaves an execution in db that waits for its callback, and returns the
// callback's ID.
func begin(t *testing.T, db, id string) (callbackID string) {
	t.Helper()
	e, err := durable.Open(db, quiet(workflow.Function))
	require.NoError(t, err)
	_, err = workflow.Function.Start(t.Context(), e, eventOf(2), durable.WithExecutionID(id))
	require.NoError(t, err)
	callbackID, err = e.CallbackID(t.Context(), id, workflow.CallbackName)
	require.NoError(t, err)
	require.NoError(t, e.Shutdown(t.Context()))
	return callbackID
}

func TestLockedFile(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	e, err := durable.Open(db, nil)
	require.NoError(t, err)
	defer e.Close()
	for _, args := range [][]string{{"-db", db}, {"history", "-db", db}, {"resume", "-db", db, "abc"}} {
		do(t, args...).requireOneLine(t, 1, db, "in another process")
	}
}

func TestCallbackIDs(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	id := begin(t, db, "x")
	do(t, "resume", "-db", db, "nonsense").requireOneLine(t, 1, "callback not found")
	do(t, "resume", "-db", db, begin(t, newDB(t), "x")).requireOneLine(t, 1, "callback not found")
	require.Equal(t, outcome{stdout: "Recorded in " + db + ". Go on with\n\n    " + invocation() + " -db " + db + "\n"}, do(t, "resume", "-db", db, id))
	do(t, "resume", "-db", db, id).requireOneLine(t, 1, "already completed")
	do(t, "resume", "-db", db, id, "failure").requireOneLine(t, 1, "already completed")
}

// TestResumeWithFailure answers on the file, and then goes on.
func TestResumeWithFailure(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	id := begin(t, db, "x")
	require.Zero(t, do(t, "resume", "-db", db, id, "failure", "too expensive").code)
	o := do(t, "-db", db)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "goes on where it was")
	require.Contains(t, o.stderr, "2/9 wait-for-external-callback  failed after")
	require.True(t, strings.HasSuffix(o.stderr, "fullworkflow: execution x failed: too expensive\n"), o.stderr)
}

func TestFind(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	begin(t, db, "older")
	begin(t, db, "newer")
	e, err := durable.Open(db, quiet(workflow.Function))
	require.NoError(t, err)
	defer e.Close()
	other, err := e.StartByName(t.Context(), workflow.Function.Name(), []byte(`{"inputData": {"items": []}}`), durable.WithExecutionID("stopped"))
	require.NoError(t, err)
	require.NoError(t, e.Stop(t.Context(), other, "for the test"))

	opened := time.Now()
	pick := func(o runOptions, event workflow.Event) (id string, resumed bool, err error) {
		found, err := o.find(t.Context(), e, opened, event)
		if err != nil {
			return "", false, err
		}
		x, err := o.attach(t.Context(), e, found, event)
		if err != nil {
			return "", false, err
		}
		return x.ID(), found != nil, nil
	}
	t.Run("NewestUnfinished", func(t *testing.T) {
		id, resumed, err := pick(runOptions{}, eventOf(7))
		require.NoError(t, err)
		require.True(t, resumed)
		require.Equal(t, "newer", id)
	})
	t.Run("EndedSinceOpened", func(t *testing.T) {
		found, err := newestUnfinished(t.Context(), e, opened.Add(-time.Hour))
		require.NoError(t, err)
		require.Equal(t, "stopped", found.ID)
	})
	t.Run("ByID", func(t *testing.T) {
		id, resumed, err := pick(runOptions{id: "older"}, eventOf(7))
		require.NoError(t, err)
		require.True(t, resumed)
		require.Equal(t, "older", id)
	})
	t.Run("SameInput", func(t *testing.T) {
		_, resumed, err := pick(runOptions{id: "older", input: "event.json"}, eventOf(2))
		require.NoError(t, err)
		require.True(t, resumed)
	})
	t.Run("OtherInput", func(t *testing.T) {
		_, _, err := pick(runOptions{input: "event.json"}, eventOf(3))
		require.ErrorContains(t, err, "newer")
		require.ErrorContains(t, err, "event.json")
		require.ErrorContains(t, err, "-new")
	})
	t.Run("NewUnderATakenID", func(t *testing.T) {
		_, _, err := pick(runOptions{id: "older", startNew: true}, eventOf(2))
		require.ErrorContains(t, err, "older")
	})
	t.Run("NewUnderAFreeID", func(t *testing.T) {
		id, resumed, err := pick(runOptions{id: "free"}, eventOf(2))
		require.NoError(t, err)
		require.False(t, resumed)
		require.Equal(t, "free", id)
	})
	t.Run("New", func(t *testing.T) {
		id, resumed, err := pick(runOptions{startNew: true}, eventOf(2))
		require.NoError(t, err)
		require.False(t, resumed)
		require.NotContains(t, []string{"older", "newer", "free"}, id)
	})
	t.Run("InvalidID", func(t *testing.T) {
		_, _, err := pick(runOptions{id: "no spaces"}, eventOf(2))
		require.ErrorIs(t, err, durable.ErrInvalidID)
	})
}

// TestHeldExecution goes on with an execution that other code began.
func TestHeldExecution(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	blocked := make(chan struct{})
	otherCode := durable.Define(workflow.Function.Name(), func(ctx *durable.Context, _ workflow.Event) (workflow.Result, error) {
		if err := durable.Do(ctx, "somethingElse", func(context.Context) error { return nil }); err != nil {
			return workflow.Result{}, err
		}
		return workflow.Result{}, durable.Do(ctx, "block", func(ctx context.Context) error {
			close(blocked)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	e, err := durable.Open(db, quiet(otherCode))
	require.NoError(t, err)
	_, err = otherCode.Start(t.Context(), e, eventOf(1), durable.WithExecutionID("x"))
	require.NoError(t, err)
	<-blocked
	require.NoError(t, e.Close())

	for range 2 { // it is tried again each time
		o := do(t, "-db", db)
		require.Equal(t, 1, o.code)
		lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
		last := lines[len(lines)-1]
		require.Contains(t, last, "fullworkflow: execution x is held")
		require.Contains(t, last, "somethingElse")
	}

	e, err = durable.Open(db, nil)
	require.NoError(t, err)
	defer e.Close()
	info, err := e.Describe(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, durable.ExecutionRunning, info.Status, "nothing is lost")
}
