package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// allOperations is a handler that uses them all; it takes 3 hours and a callback.
var allOperations = durable.Define("everything", func(ctx *durable.Context, in string) (string, error) {
	if _, err := durable.Step(ctx, "step", body(in)); err != nil { // 1
		return "", err
	}
	_, err := durable.Step(ctx, "retried", func(c context.Context) (int, error) { // 2
		if info, _ := durable.StepInfoFrom(c); info.Attempt == 1 {
			return 0, &transient{503}
		}
		return 7, nil
	}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Minute, Jitter: durable.NoJitter}))
	if err != nil {
		return "", err
	}
	if err := durable.Wait(ctx, "wait", time.Hour); err != nil { // 3
		return "", err
	}
	if _, err := durable.WaitForCondition(ctx, "condition", 0, increment, durable.PollEvery(time.Minute, atLeast(2))); err != nil { // 4
		return "", err
	}
	if _, err := durable.WaitForCallback[string](ctx, "callback", func(context.Context, string) error { return nil }, durable.WithTimeout(time.Hour), durable.WithHeartbeatTimeout(time.Minute)); err == nil { // 5
		return "", errors.New("it did not time out")
	}
	if _, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, n, _ int) (int, error) { return durable.Step(ctx, "item", body(n)) }, durable.WithMaxConcurrency(1)); err != nil { // 6
		return "", err
	}
	if _, err := durable.Invoke(ctx, "invoke", slow, "x"); err != nil { // 7
		return "", err
	}
	if _, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) }, durable.WithTimeout(time.Minute)); err == nil { // 8
		return "", errors.New("it did not time out")
	}
	first, err := durable.Select(ctx, "select", durable.After(ctx, "timer", time.Minute), durable.After(ctx, "later", time.Hour)) // 9, 10, 11
	if err != nil {
		return "", err
	}
	return first.Name(), nil
})

func TestHistory(t *testing.T) {
	t.Parallel()

	t.Run("EventIDsAreGaplessAndTimesInOrder", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			b := setupWith(t, opts, allOperations, slow)
			x := start(b, allOperations, "in")
			var seen []durable.Event
			check := func() {
				last := int64(0)
				var at time.Time
				i := 0
				for ev := range b.events(x.ID()) {
					require.Equal(t, last+1, ev.EventID)
					last = ev.EventID
					if ev.Type != "ContextStarted" && ev.Type != "StepStarted" { // a lazy start has its own time
						require.False(t, ev.Time.Before(at), "%v", ev)
						at = ev.Time
					}
					if i < len(seen) {
						require.Equal(t, line(seen[i]), line(ev), "what was seen once does not change")
					} else {
						seen = append(seen, ev)
					}
					i++
				}
				require.Len(t, seen, i)
			}
			for range 20 {
				check()
				time.Sleep(7 * time.Minute)
			}
			_, err := finish(b, x)
			require.NoError(t, err)
			check()
		})
	})

	t.Run("TellsAllAboutEachEvent", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			b := setupWith(t, opts, allOperations, slow)
			x := start(b, allOperations, "in", durable.WithExecutionTimeout(100*time.Hour))
			began := time.Now()
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, "timer", out)
			var lines []string
			for ev := range b.events(x.ID()) {
				if ev.Type == "InvocationCompleted" {
					require.Nil(t, ev.Failure)
					continue
				}
				s := fmt.Sprintf("%v %s", ev.Time.Sub(began), line(ev))
				add := func(what string, v any, zero bool) {
					if !zero {
						s += fmt.Sprintf(" %s=%v", what, v)
					}
				}
				add("sub", ev.SubType, ev.SubType == "")
				add("parent", ev.ParentID, ev.ParentID == "")
				add("attempt", ev.Attempt, ev.Attempt == 0)
				add("input", string(ev.Input), ev.Input == nil)
				add("result", string(ev.Result), ev.Result == nil)
				if ev.Failure != nil {
					add("failure", ev.Failure.Type, false)
				}
				add("callback", "ID", ev.CallbackID == "")
				add("invoked", ev.InvokedID[:min(4, len(ev.InvokedID))], ev.InvokedID == "")
				add("duration", ev.Duration, ev.Duration == 0)
				add("timeout", ev.Timeout, ev.Timeout == 0)
				add("heartbeat", ev.HeartbeatTimeout, ev.HeartbeatTimeout == 0)
				add("next", ev.NextAttemptDelay, ev.NextAttemptDelay == 0)
				add("function", ev.Function, ev.Function == "")
				lines = append(lines, s)
			}
			require.Equal(t, []string{
				`0s ExecutionStarted input="in" timeout=100h0m0s function=everything`,
				`0s StepStarted 1 step sub=Step attempt=1`,
				`0s StepSucceeded 1 step sub=Step attempt=1 result="in"`,
				`0s StepStarted 2 retried sub=Step attempt=1`,
				`0s StepFailed 2 retried sub=Step attempt=1 failure=transient next=1m0s`,
				`1m0s StepStarted 2 retried sub=Step attempt=2`,
				`1m0s StepSucceeded 2 retried sub=Step attempt=2 result=7`,
				`1m0s WaitStarted 3 wait sub=Wait duration=1h0m0s`,
				`1h1m0s WaitSucceeded 3 wait sub=Wait duration=1h0m0s`,
				`1h1m0s StepStarted 4 condition sub=WaitForCondition attempt=1`,
				`1h1m0s StepSucceeded 4 condition sub=WaitForCondition attempt=1 result=1 next=1m0s`,
				`1h2m0s StepStarted 4 condition sub=WaitForCondition attempt=2`,
				`1h2m0s StepSucceeded 4 condition sub=WaitForCondition attempt=2 result=2`,
				`1h2m0s ContextStarted 5 callback sub=WaitForCallback`,
				`1h2m0s CallbackStarted 5-1 callback sub=Callback parent=5 callback=ID timeout=1h0m0s heartbeat=1m0s`,
				`1h2m0s StepStarted 5-2 callback sub=Step parent=5 attempt=1`,
				`1h2m0s StepSucceeded 5-2 callback sub=Step parent=5 attempt=1 result={}`,
				`1h3m0s CallbackTimedOut 5-1 callback sub=Callback parent=5 failure=HeartbeatTimeout`,
				`1h3m0s ContextFailed 5 callback sub=WaitForCallback failure=HeartbeatTimeout`,
				`1h3m0s ContextStarted 6 map sub=Map`,
				`1h3m0s ContextStarted 6-1 sub=MapIteration parent=6`,
				`1h3m0s StepStarted 6-1-1 item sub=Step parent=6-1 attempt=1`,
				`1h3m0s StepSucceeded 6-1-1 item sub=Step parent=6-1 attempt=1 result=1`,
				`1h3m0s ContextSucceeded 6-1 sub=MapIteration parent=6 result=1`,
				`1h3m0s ContextStarted 6-2 sub=MapIteration parent=6`,
				`1h3m0s StepStarted 6-2-1 item sub=Step parent=6-2 attempt=1`,
				`1h3m0s StepSucceeded 6-2-1 item sub=Step parent=6-2 attempt=1 result=2`,
				`1h3m0s ContextSucceeded 6-2 sub=MapIteration parent=6 result=2`,
				`1h3m0s ContextSucceeded 6 map sub=Map result={"completionReason":"ALL_COMPLETED","totalCount":2,"successCount":2,"failureCount":0,"startedCount":0}`,
				`1h3m0s ChainedInvokeStarted 7 invoke sub=ChainedInvoke input="x" invoked=inv- function=slow`,
				`1h33m0s ChainedInvokeSucceeded 7 invoke sub=ChainedInvoke result="x!"`,
				`1h33m0s ContextStarted 8 child sub=RunInChildContext timeout=1m0s`,
				`1h33m0s WaitStarted 8-1 w sub=Wait parent=8 duration=1h0m0s`,
				`1h34m0s WaitCancelled 8-1 w sub=Wait parent=8 failure=Timeout duration=1h0m0s`,
				`1h34m0s ContextFailed 8 child sub=RunInChildContext failure=Timeout`,
				`1h34m0s WaitStarted 9 timer sub=Wait duration=1m0s`,
				`1h34m0s WaitStarted 10 later sub=Wait duration=1h0m0s`,
				`1h34m0s ContextStarted 11 select sub=Select`,
				`1h35m0s WaitSucceeded 9 timer sub=Wait duration=1m0s`,
				`1h35m0s ContextSucceeded 11 select sub=Select result=0`,
				`1h35m0s ExecutionSucceeded result="timer"`,
			}, lines)
		})
	})

	t.Run("InvocationsOfASuspendedExecution", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if _, err := durable.Step(ctx, "s", func(context.Context) (int, error) { return 0, errors.New("no") }, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2})); err == nil {
					return 0, nil
				}
				if err := durable.Wait(ctx, "w", time.Second); err != nil {
					return 0, err
				}
				return 0, errors.New("the end")
			})
			b := setup(t, f)
			x := start(b, f, 1)
			_, err := finish(b, x)
			require.Error(t, err)
			require.Equal(t, []string{"ExecutionStarted", "StepStarted 1 s", "StepFailed 1 s", "InvocationCompleted", "StepStarted 1 s", "StepFailed 1 s",
				"WaitStarted 2 w", "InvocationCompleted", "WaitSucceeded 2 w", "InvocationCompleted", "ExecutionFailed"}, b.history(x.ID()))
		})
	})

	t.Run("StartOfAStepThatRunsIsSoonThere", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "s", func(c context.Context) (int, error) { time.Sleep(time.Minute); return 1, nil })
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			time.Sleep(100 * time.Millisecond)
			require.Equal(t, []string{"ExecutionStarted", "StepStarted 1 s"}, b.history(x.ID()))
			for ev := range b.events(x.ID()) {
				require.True(t, ev.Time.Equal(began), "it has its true time")
			}
			_, err := finish(b, x)
			require.NoError(t, err)
		})
	})

	t.Run("OfNobody", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			n := 0
			for _, err := range b.engine.History(b.ctx, "nobody") {
				require.ErrorIs(t, err, durable.ErrExecutionNotFound)
				n++
			}
			require.Equal(t, 1, n, "the error is the last one")
			_, err := b.engine.Operations(b.ctx, "nobody")
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
			_, err = b.engine.Operations(b.ctx, "no ID")
			require.ErrorIs(t, err, durable.ErrInvalidID)
		})
	})

	t.Run("CanBeLeft", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, slow)
			x := start(b, slow, "x")
			_, err := finish(b, x)
			require.NoError(t, err)
			n := 0
			for range b.engine.History(b.ctx, x.ID()) {
				if n++; n == 2 {
					break
				}
			}
			require.Equal(t, 2, n)
		})
	})

	t.Run("OutcomesFromOutsideAreSeenAtOnce", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return awaited[int]()(ctx) })
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			cb := b.callback(x.ID(), "cb")
			require.NoError(t, b.engine.Shutdown(b.ctx))
			b = boot(t, d, opts)
			require.Nil(t, b.describe(x.ID()).Held, "who has no functions only looks on")
			require.NoError(t, b.engine.Shutdown(b.ctx))
			other := durable.Define("other", func(*durable.Context, int) (int, error) { return 0, nil })
			b = boot(t, d, opts, other) // an engine without the function does not run it
			require.NoError(t, b.engine.SucceedCallback(b.ctx, cb, 42))
			history := b.history(x.ID())
			require.Equal(t, "CallbackSucceeded 1 cb", history[len(history)-1])
			ops, err := b.engine.Operations(b.ctx, x.ID())
			require.NoError(t, err)
			require.Equal(t, durable.OperationSucceeded, ops[0].Status)
			require.Empty(t, ops[0].CallbackID)
			require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, cb, 43), durable.ErrCallbackCompleted)
			require.NotNil(t, b.describe(x.ID()).Held, "it says why nothing happens")
			require.ErrorIs(t, b.describe(x.ID()).Held, durable.ErrFunctionNotFound)
			require.NoError(t, b.engine.Shutdown(b.ctx))
			b = boot(t, d, opts, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, 42, out)
			require.Equal(t, history, b.history(x.ID())[:len(history)], "it stays where it was seen")
		})
	})

	t.Run("EventAsJSON", func(t *testing.T) {
		t.Parallel()
		data, err := json.Marshal(durable.Event{EventID: 1, Type: "WaitStarted", Time: time.Unix(0, 0).UTC(), OperationID: "1", Duration: time.Second})
		require.NoError(t, err)
		require.JSONEq(t, `{"eventId":1,"type":"WaitStarted","time":"1970-01-01T00:00:00Z","operationId":"1","duration":1000000000}`, string(data))
	})
}

func TestOperations(t *testing.T) {
	t.Parallel()

	t.Run("Statuses", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				at := func(name string, fn func(*durable.Context) error) {
					durable.Go(ctx, name, func(ctx *durable.Context) (int, error) { return 1, fn(ctx) })
				}
				at("step runs", func(ctx *durable.Context) error {
					return durable.Do(ctx, "", func(c context.Context) error { <-c.Done(); return nil })
				})
				at("step pends", func(ctx *durable.Context) error {
					return durable.Do(ctx, "", func(c context.Context) error { return errors.New("no") }, durable.WithRetry(durable.RetryPolicy{Initial: time.Hour, Max: time.Hour, Jitter: durable.NoJitter}))
				})
				at("step failed", func(ctx *durable.Context) error {
					_ = durable.Do(ctx, "", func(c context.Context) error { return durable.Permanent(errors.New("no")) })
					return durable.Wait(ctx, "", 2*time.Hour)
				})
				at("step timed out", func(ctx *durable.Context) error {
					_ = durable.Do(ctx, "", func(c context.Context) error { <-c.Done(); return c.Err() }, durable.WithTimeout(time.Second))
					return durable.Wait(ctx, "", 2*time.Hour)
				})
				at("callback open", func(ctx *durable.Context) error {
					_, err := awaited[int](durable.WithTimeout(time.Hour))(ctx)
					return err
				})
				at("callback timed out", func(ctx *durable.Context) error {
					_, _ = awaited[int](durable.WithTimeout(time.Second))(ctx)
					return durable.Wait(ctx, "", 2*time.Hour)
				})
				at("wait cancelled", func(ctx *durable.Context) error {
					_, _ = durable.RunInChildContext(ctx, "", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "", time.Hour) }, durable.WithTimeout(time.Second))
					return durable.Wait(ctx, "", 2*time.Hour)
				})
				at("invoke timed out", func(ctx *durable.Context) error {
					_, _ = durable.Invoke(ctx, "", slow, "x", durable.WithTimeout(time.Second))
					return durable.Wait(ctx, "", 2*time.Hour)
				})
				for range 4 {
					durable.Now(ctx)
				}
				return 1, durable.Wait(ctx, "end", 3*time.Hour)
			})
			b := setupWith(t, opts, f, slow)
			x := start(b, f, 1)
			began := time.Now()
			time.Sleep(time.Minute)
			ops, err := b.engine.Operations(b.ctx, x.ID())
			require.NoError(t, err)
			var lines []string
			for _, o := range ops {
				if o.ParentID == "" && slices.Contains([]string{"8", "9", "10", "11", "12", "13"}, o.ID) || strings.HasSuffix(o.ID, "-1") {
					wake := ""
					if !o.WakeAt.IsZero() {
						wake = o.WakeAt.Sub(began).String()
					}
					require.False(t, o.StartedAt.IsZero())
					open := o.Status == durable.OperationStarted || o.Status == durable.OperationPending
					require.Equal(t, open, o.EndedAt.IsZero(), "%v", o)
					require.Equal(t, open && o.Type == "CALLBACK", o.CallbackID != "")
					lines = append(lines, strings.TrimSpace(fmt.Sprint(o.ID, " ", o.Type, " ", o.Status, " ", wake)))
				}
			}
			require.Equal(t, []string{
				"1-1 STEP STARTED", "2-1 STEP PENDING 1h0m0s", "3-1 STEP FAILED", "4-1 STEP TIMED_OUT", "5-1 CALLBACK STARTED 1h0m0s", "6-1 CALLBACK TIMED_OUT",
				"7-1 CONTEXT FAILED", "7-1-1 WAIT CANCELLED", "8 CONTEXT STARTED", "8-1 CHAINED_INVOKE TIMED_OUT",
				"9 STEP SUCCEEDED", "10 STEP SUCCEEDED", "11 STEP SUCCEEDED", "12 STEP SUCCEEDED", "13 WAIT STARTED 3h0m0s"}, lines)
			require.NoError(t, b.engine.Stop(b.ctx, x.ID(), ""))
		})
	})
}

func TestExecutions(t *testing.T) {
	t.Parallel()

	t.Run("Queries", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			b := setupWith(t, opts, slow, failing, echo)
			began := time.Now()
			for i, begin := range []func(id durable.StartOption){
				func(id durable.StartOption) { start(b, slow, "x", id) },
				func(id durable.StartOption) { start(b, failing, "no", id) },
				func(id durable.StartOption) { start(b, echo, "x", id) },
				func(id durable.StartOption) { start(b, slow, "x", id, durable.WithExecutionTimeout(time.Minute)) },
				func(id durable.StartOption) { start(b, slow, "x", id) },
				func(id durable.StartOption) { start(b, slow, "x", id) },
			} {
				begin(durable.WithExecutionID(fmt.Sprintf("%c-%d", "ab"[i%2], i)))
				time.Sleep(time.Minute)
			}
			require.NoError(t, b.engine.Stop(b.ctx, "a-4", ""))
			at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
			for name, c := range map[string]struct {
				q    durable.Query
				want string
			}{
				"All":           {durable.Query{}, "b-5 a-4 b-3 a-2 b-1 a-0"},
				"Limit":         {durable.Query{Limit: 2}, "b-5 a-4"},
				"Function":      {durable.Query{Function: "slow"}, "b-5 a-4 b-3 a-0"},
				"NoSuch":        {durable.Query{Function: "nobody"}, ""},
				"Prefix":        {durable.Query{IDPrefix: "a-"}, "a-4 a-2 a-0"},
				"Running":       {durable.Query{Status: durable.ExecutionRunning}, "b-5 a-0"},
				"Succeeded":     {durable.Query{Status: durable.ExecutionSucceeded}, "a-2"},
				"Failed":        {durable.Query{Status: durable.ExecutionFailed}, "b-1"},
				"TimedOut":      {durable.Query{Status: durable.ExecutionTimedOut}, "b-3"},
				"Stopped":       {durable.Query{Status: durable.ExecutionStopped}, "a-4"},
				"StartedAfter":  {durable.Query{StartedAfter: at(3)}, "b-5 a-4"},
				"StartedBefore": {durable.Query{StartedBefore: at(2)}, "b-1 a-0"},
				"Between":       {durable.Query{StartedAfter: at(0), StartedBefore: at(3)}, "a-2 b-1"},
				"Together":      {durable.Query{Function: "slow", IDPrefix: "b", Status: durable.ExecutionRunning, StartedAfter: at(1), Limit: 9}, "b-5"},
			} {
				var ids []string
				for info, err := range b.engine.Executions(b.ctx, c.q) {
					require.NoError(t, err)
					ids = append(ids, info.ID)
				}
				require.Equal(t, c.want, strings.Join(ids, " "), name)
			}
			for _, err := range b.engine.Executions(b.ctx, durable.Query{Status: "running"}) {
				require.ErrorContains(t, err, `"running"`, "an unknown status is an error, not nothing")
			}
			for range b.engine.Executions(b.ctx, durable.Query{}) {
				break
			}
		})
	})

	t.Run("QueriesWithFarTimes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, echo)
			run(b, echo, "x")
			for _, q := range []durable.Query{
				{StartedBefore: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, {StartedAfter: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)},
			} {
				n := 0
				for _, err := range b.engine.Executions(b.ctx, q) {
					require.NoError(t, err)
					n++
				}
				require.Equal(t, 1, n, "%v", q)
			}
		})
	})

	t.Run("Describe", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, slow, failing)
			began := time.Now()
			x := start(b, slow, "x", durable.WithExecutionID("x"), durable.WithExecutionTimeout(time.Hour))
			time.Sleep(time.Minute)
			info := b.describe("x")
			require.Equal(t, "slow", info.Function)
			require.Equal(t, durable.ExecutionRunning, info.Status)
			require.True(t, info.StartedAt.Equal(began))
			require.True(t, info.Deadline.Equal(began.Add(time.Hour)))
			require.True(t, info.WakeAt.Equal(began.Add(30*time.Minute)))
			require.True(t, info.EndedAt.IsZero())
			require.False(t, info.Resident)
			require.Nil(t, info.Held)
			require.Nil(t, info.Failure)
			require.Nil(t, info.Result)
			require.Empty(t, info.Parent)
			require.JSONEq(t, `"x"`, string(info.Input))
			_, err := finish(b, x)
			require.NoError(t, err)
			info = b.describe("x")
			require.True(t, info.EndedAt.Equal(began.Add(30*time.Minute)))
			require.True(t, info.WakeAt.IsZero())
			require.JSONEq(t, `"x!"`, string(info.Result))
			data, err := json.Marshal(info)
			require.NoError(t, err)
			for _, absent := range []string{"wakeAt", "held", "parent", "failure", "bodies"} {
				require.NotContains(t, string(data), `"`+absent+`"`)
			}
			_, err = b.engine.Describe(b.ctx, "nobody")
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
			_, err = b.engine.Describe(b.ctx, "")
			require.ErrorIs(t, err, durable.ErrInvalidID)
		})
	})
}
