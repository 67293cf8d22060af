package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// edited is a recording whose JSON was changed.
func edited(t testing.TB, r *durable.Recording, edit func(file map[string]any, records []any)) (*durable.Recording, error) {
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var file map[string]any
	require.NoError(t, json.Unmarshal(data, &file))
	edit(file, file["records"].([]any))
	data, err = json.Marshal(file)
	require.NoError(t, err)
	back := new(durable.Recording)
	return back, json.Unmarshal(data, back)
}

func recording(b *bundle, id string) *durable.Recording {
	b.Helper()
	r, err := b.engine.Recording(b.ctx, id)
	require.NoError(b, err)
	return r
}

func TestImport(t *testing.T) {
	inBubble(t, "FinishedOnesStayAsTheyEnded", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, fails bool) (string, error) {
			if err := durable.Wait(ctx, "w", time.Hour); err != nil || !fails {
				return "result", err
			}
			return "", errors.New("no")
		})
		from, to := setup(t, f), setup(t, f)
		start(from, f, false, durable.WithExecutionID("good"))
		start(from, f, true, durable.WithExecutionID("bad"))
		start(from, f, false, durable.WithExecutionID("stopped"))
		start(from, f, false, durable.WithExecutionID("late"), durable.WithExecutionTimeout(time.Minute))
		synctest.Wait()
		require.NoError(t, from.engine.Stop(from.ctx, "stopped", "enough"))
		for _, id := range []string{"good", "bad", "stopped", "late"} {
			ended(from, id)
			got, err := to.engine.Import(to.ctx, recording(from, id))
			require.NoError(t, err)
			require.Equal(t, id, got)
		}
		for _, id := range []string{"good", "bad", "stopped", "late"} {
			was, is := from.describe(id), to.describe(id)
			is.Number = was.Number
			require.Equal(t, was, is)
			require.Equal(t, from.history(id), to.history(id))
			again, err := to.engine.Import(to.ctx, recording(from, id))
			require.NoError(t, err, "it is idempotent")
			require.Equal(t, id, again)
			again, err = from.engine.Import(from.ctx, recording(from, id))
			require.NoError(t, err, "it is where it was recorded, as it was")
			require.Equal(t, id, again)
			again, err = to.engine.Import(to.ctx, recording(to, id))
			require.NoError(t, err, "so is one that was imported")
			require.Equal(t, id, again)
		}
		_, err := to.engine.Import(to.ctx, recording(from, "good"), durable.WithExecutionID("bad"))
		require.ErrorIs(t, err, durable.ErrExecutionExists)
		retried, err := to.engine.Retry(to.ctx, "stopped")
		require.NoError(t, err)
		require.JSONEq(t, `"result"`, string(ended(to, retried).Result))
		// However long ago it ended, it is kept as long as others.
		time.Sleep(6 * 24 * time.Hour)
		old := recording(from, "good")
		young := setup(t, f)
		time.Sleep(3 * 24 * time.Hour)
		_, err = young.engine.Import(young.ctx, old)
		require.NoError(t, err)
		time.Sleep(6 * 24 * time.Hour)
		young.describe("good")
		time.Sleep(2 * 24 * time.Hour)
		_, err = young.engine.Describe(young.ctx, "good")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
	})

	inBubble(t, "WhatACancelHasLeftOpenIsCancelled", func(t *testing.T) {
		// A recording may end behind any record, also behind that of a cancel and before
		// what it did.
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 5, durable.Wait(ctx, "w", 100*time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			fs := []*durable.Future[int]{
				durable.Go(ctx, "wait", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "w", 100*time.Hour) }),
				durable.Go(ctx, "callback", func(ctx *durable.Context) (int, error) {
					cb, err := durable.CreateCallback[int](ctx, "cb")
					if err != nil {
						return 0, err
					}
					return cb.Await(ctx)
				}),
				durable.Go(ctx, "invoke", func(ctx *durable.Context) (int, error) { return durable.Invoke(ctx, "i", child, 0) }),
				durable.Go(ctx, "retry", func(ctx *durable.Context) (int, error) {
					return 0, durable.Do(ctx, "s", func(context.Context) error { return durable.RetryAfter(100*time.Hour, errors.New("later")) })
				}),
			}
			for _, future := range fs {
				if _, err := future.Await(ctx); !errors.Is(err, durable.ErrCanceled) {
					return 0, fmt.Errorf("%s: %w", future.Name(), err)
				}
			}
			return 1, nil
		})
		from := setup(t, f, child)
		x := start(from, f, 0)
		time.Sleep(time.Hour)
		from.cancel(x.ID())
		ended(from, x.ID())
		whole := recording(from, x.ID())
		cancelled := false
		for upTo := 1; ; upTo++ {
			last := ""
			part, err := edited(t, whole, func(file map[string]any, records []any) {
				if upTo == len(records) {
					return
				}
				last = records[upTo-1].(map[string]any)["type"].(string)
				file["status"], file["records"] = "RUNNING", records[:upTo]
			})
			require.NoError(t, err)
			if last == "" {
				break
			}
			cancelled = cancelled || last == "ScopeCancelled"
			to := setup(t, f, child)
			id, err := to.engine.Import(to.ctx, part)
			require.NoError(t, err)
			if !cancelled {
				synctest.Wait()
				to.cancel(id)
			}
			out, err := within(to, f.Attach(to.engine, id), 50*time.Hour)
			require.NoError(t, err, "cut behind record %d, %s", upTo, last)
			require.Equal(t, 1, out)
		}
		require.True(t, cancelled)
	})

	inBubble(t, "OthersGoOn", func(t *testing.T) {
		var n notes
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 5, durable.Wait(ctx, "w", time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			first, err := durable.Step(ctx, "first", n.body("first"))
			if err != nil {
				return "", err
			}
			cb, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			five, err := durable.Invoke(ctx, "i", child, 0)
			if err != nil {
				return "", err
			}
			said, err := cb.Await(ctx)
			return fmt.Sprint(first, five, said), err
		})
		from, to := setup(t, f, child), setup(t, f, child)
		x := start(from, f, 0)
		early := recording(from, x.ID())
		time.Sleep(time.Minute)
		_, err := from.engine.Import(from.ctx, early)
		require.ErrorIs(t, err, durable.ErrExecutionExists, "it has gone on since")
		require.ErrorContains(t, err, "import it under another ID")
		half := recording(from, x.ID())
		id, err := to.engine.Import(to.ctx, half)
		require.NoError(t, err)
		require.Equal(t, x.ID(), id)
		old, err := from.engine.CallbackID(from.ctx, id, "cb")
		require.NoError(t, err)
		is, err := to.engine.CallbackID(to.ctx, id, "cb")
		require.NoError(t, err)
		require.NotEqual(t, old, is)
		require.ErrorIs(t, to.engine.SucceedCallback(to.ctx, old, "no"), durable.ErrCallbackNotFound)
		require.NoError(t, to.engine.SucceedCallback(to.ctx, is, "yes"))
		require.JSONEq(t, `"first5yes"`, string(ended(to, id).Result))
		require.Equal(t, []string{"first"}, n.all())
		// Beside the one that was recorded, too.
		beside, err := from.engine.Import(from.ctx, half, durable.WithExecutionID("beside"), durable.WithExecutionTimeout(2*time.Hour))
		require.NoError(t, err)
		synctest.Wait()
		children := 0
		for range from.engine.Executions(from.ctx, durable.Query{Function: "child"}) {
			children++
		}
		require.Equal(t, 2, children, "it has an invoked execution of its own")
		require.Equal(t, durable.ExecutionTimedOut, ended(from, beside).Status)
		_, err = from.engine.Import(from.ctx, half)
		require.ErrorIs(t, err, durable.ErrExecutionExists)
	})

	t.Run("RefusesWhatIsDamaged", func(t *testing.T) {
		t.Parallel()
		b := setup(t, fuzzed)
		x := start(b, fuzzed, "in")
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "ok"))
		_, err = x.Result(b.ctx)
		require.NoError(t, err)
		good := recording(b, x.ID())
		all := parsed(t, good).Records
		at := func(typ, operation string) int {
			for i, rec := range all {
				if rec.Type == typ && rec.OperationID == operation {
					return i
				}
			}
			t.Fatal(typ, operation)
			return 0
		}
		step, wait, callback := at("StepSucceeded", "1"), at("WaitSucceeded", "4-1-1"), at("CallbackSucceeded", "3")
		set := func(i int, field string, value any) func(map[string]any, []any) {
			return func(_ map[string]any, records []any) { records[i].(map[string]any)[field] = value }
		}
		move := func(i, to int) func(map[string]any, []any) { // and numbers them anew
			return func(_ map[string]any, records []any) {
				a, b := records[i].(map[string]any), records[to].(map[string]any)
				for _, field := range []string{"seq", "eventId", "events"} {
					a[field], b[field] = b[field], a[field]
				}
				records[i], records[to] = b, a
			}
		}
		for name, c := range map[string]struct {
			edit func(map[string]any, []any)
			says string
		}{
			"no records":               {func(file map[string]any, _ []any) { file["records"] = nil }, "no records"},
			"cut off":                  {func(file map[string]any, records []any) { file["records"] = records[:5] }, "record 5"},
			"a record is missing":      {func(file map[string]any, records []any) { file["records"] = append(records[:3:3], records[4:]...) }, "record 4"},
			"another status":           {func(file map[string]any, _ []any) { file["status"] = "FAILED" }, "the status is FAILED"},
			"no status":                {func(file map[string]any, _ []any) { file["status"] = "" }, "head"},
			"still running":            {func(file map[string]any, _ []any) { file["status"] = "RUNNING" }, "the status is RUNNING"},
			"another function":         {func(file map[string]any, _ []any) { file["function"] = "g" }, "record 1"},
			"a bad ID":                 {func(file map[string]any, _ []any) { file["id"] = "a b" }, "head"},
			"a bad sequence":           {set(2, "seq", 7), "its number is 7"},
			"a bad event number":       {set(step, "eventId", 77), "77"},
			"three events":             {set(step, "events", 3), "3 events"},
			"unknown flags":            {set(step, "flags", 128), "flags"},
			"sealed":                   {set(step, "flags", 33), "flags"},
			"no time":                  {set(step, "time", nil), "time"},
			"a negative duration":      {set(wait, "duration", -1), "time"},
			"a name that is not one":   {set(step, "name", "a\nb"), "printable"},
			"a failure that is none":   {set(step, "failure", map[string]any{"type": 1}), "failure"},
			"a batch that is none":     {set(at("ContextSucceeded", "4"), "batch", map[string]any{"items": "SX"}), "batch"},
			"a bad operation ID":       {set(step, "operationId", "1--2"), "position"},
			"a leading zero":           {set(step, "operationId", "01"), "position"},
			"a far position":           {set(step, "operationId", "999999999"), "position"},
			"no operation ID":          {set(step, "operationId", ""), "no operation"},
			"inside a step":            {set(wait, "operationId", "1-1"), "around it is a STEP"},
			"an outcome without start": {move(callback, at("CallbackStarted", "3")), "has not begun"},
			"two outcomes":             {set(wait, "operationId", "1"), "has an outcome"},
			"another type":             {set(callback, "type", "WaitSucceeded"), "its operation is a CALLBACK"},
			"a cancel request":         {set(step, "type", "CancelRequested"), "record 2"},
			"a second start":           {set(step, "type", "ExecutionStarted"), "record 2"},
		} {
			back, err := edited(t, good, c.edit)
			if err == nil {
				_, err = b.engine.Import(b.ctx, back, durable.WithExecutionID("damaged"))
				require.ErrorIs(t, err, durable.ErrCorrupt, name)
			}
			require.ErrorContains(t, err, c.says, name)
		}
		_, err = b.engine.Import(b.ctx, nil)
		require.ErrorIs(t, err, durable.ErrCorrupt)
		_, err = b.engine.Describe(b.ctx, "damaged")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		same, err := edited(t, good, func(file map[string]any, _ []any) {
			maps.DeleteFunc(file, func(k string, _ any) bool { return k == "new" })
		})
		require.NoError(t, err)
		_, err = b.engine.Import(b.ctx, same, durable.WithExecutionID("good"))
		require.NoError(t, err)
	})
}

// FuzzImport imports anything, and runs it: it is refused, or the engine lives with it.
func FuzzImport(f *testing.F) {
	e, x, id := fuzzEngine(f)
	seed := func() []byte {
		r, err := e.Recording(f.Context(), x.ID())
		require.NoError(f, err)
		data, err := json.Marshal(r)
		require.NoError(f, err)
		f.Add(data)
		return data
	}
	seed()
	require.NoError(f, e.SucceedCallback(f.Context(), id, "ok"))
	_, err := x.Result(f.Context())
	require.NoError(f, err)
	whole := string(seed())
	for _, old := range []string{`"operationId":"4-1"`, `"type":"StepSucceeded"`, `"4-1-1"`, `"number":`, `"WaitStarted"`} {
		f.Add([]byte(strings.Replace(whole, old, `"operationId":"4-2"`, 1)))
		f.Add([]byte(strings.ReplaceAll(strings.Replace(whole, "SUCCEEDED", "RUNNING", 1), old, `"type":"ContextStarted"`)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r durable.Recording
		if json.Unmarshal(data, &r) != nil {
			return
		}
		e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{fuzzed}})
		require.NoError(t, err)
		defer e.Close()
		id, err := e.Import(t.Context(), &r)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _ = e.ResultJSON(ctx, id) // it may be held, or wait
		ctx = t.Context()
		_, err = e.Describe(ctx, id)
		require.NoError(t, err)
		ops, err := e.Operations(ctx, id)
		require.NoError(t, err)
		for ev, err := range e.History(ctx, id) {
			require.NoError(t, err)
			_, err = json.Marshal(ev)
			require.NoError(t, err)
		}
		require.NoError(t, e.Stop(ctx, id, ""))
		for _, o := range ops[:min(len(ops), 3)] {
			_, err = e.RestartFrom(ctx, id, o.ID)
			require.NoError(t, err)
		}
		_, err = e.Retry(ctx, id)
		if !errors.Is(err, durable.ErrExecutionSucceeded) {
			require.NoError(t, err)
		}
		again, err := e.Recording(ctx, id)
		require.NoError(t, err)
		_, err = e.Import(ctx, again, durable.WithExecutionID("again"))
		require.NoError(t, err)
	})
}
