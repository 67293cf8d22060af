package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// patient is a durable target: it waits, then does a step.
var patient = durable.Define("patient", func(ctx *durable.Context, in string) (string, error) {
	if err := durable.Wait(ctx, "patience", time.Second); err != nil {
		return "", err
	}
	return durable.Step(ctx, "answer", value("patiently "+in))
})

// refuse is a target that fails with an error of its own type.
var refuse = durable.DefinePlain("refuse", func(ctx context.Context, in string) (string, error) {
	if err := aMoment(ctx); err != nil {
		return "", err
	}
	return "", &TransientError{in}
})

// forever is a durable target that waits for a callback that nobody completes.
var forever = durable.Define("forever", func(ctx *durable.Context, _ any) (string, error) {
	cb, err := durable.CreateCallback[string](ctx, "never")
	if err != nil {
		return "", err
	}
	return cb.Await(ctx)
})

// impatient is forever with a deadline of its own.
var impatient = durable.Define("impatient", func(ctx *durable.Context, _ any) (any, error) {
	return nil, durable.Wait(ctx, "", time.Hour)
}, durable.WithExecutionTimeout(time.Second))

// relay is a durable target that invokes another one.
var relay = durable.Define("relay", func(ctx *durable.Context, in string) (string, error) {
	return durable.Invoke(ctx, "next", patient, in)
})

// invoked is the ID of the execution that the invoke's first event names.
func (w *world) invoked() (id string) {
	w.Helper()
	w.until(func() bool {
		for _, ev := range w.history() {
			if ev.Type == "ChainedInvokeStarted" {
				id = ev.InvokedID
			}
		}
		return id != ""
	})
	return id
}

func TestInvoke(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name: "PassesObjectsBothWays",
			does: handle(func(ctx *durable.Context, in response) (response, error) {
				return durable.InvokeByName[response](ctx, "", "echo", in)
			}),
			in: response{person{"Ann", []string{"a"}}, 1}, result: `{"user":{"name":"Ann","tags":["a"]},"count":1}`,
			history: []string{
				`ChainedInvokeStarted 1 echo({"user":{"name":"Ann","tags":["a"]},"count":1})`, "InvocationCompleted",
				`ChainedInvokeSucceeded 1 = {"user":{"name":"Ann","tags":["a"]},"count":1}`, "InvocationCompleted",
				`ExecutionSucceeded = {"user":{"name":"Ann","tags":["a"]},"count":1}`,
			},
		},
		{
			name: "AFailureCanBeCaught",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				out, err := durable.Invoke(ctx, "ask", refuse, "no")
				return durable.Step(ctx, "fallback", value(caught(out, err)))
			}),
			result: `"caught CHAINED_INVOKE \"ask\" TransientError: transient: no"`,
			history: []string{
				`ChainedInvokeStarted 1 ask refuse("no")`, "InvocationCompleted", "ChainedInvokeFailed 1 ask !TransientError",
				"StepStarted 2 fallback", `StepSucceeded 2 fallback = "caught CHAINED_INVOKE \"ask\" TransientError: transient: no"`,
				"InvocationCompleted", `ExecutionSucceeded = "caught CHAINED_INVOKE \"ask\" TransientError: transient: no"`,
			},
		},
		{
			name: "IsReplayedAfterAWait",
			does: handle(func(ctx *durable.Context, in string) (string, error) {
				out, err := durable.Invoke(ctx, "", patient, in)
				return out, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			in: "yes",
			outside: func(w *world) {
				id := w.invoked()
				w.untilEnd()
				require.Equal(w, []string{
					"ExecutionStarted", "WaitStarted 1 patience 1s", "InvocationCompleted", "WaitSucceeded 1 patience",
					"StepStarted 2 answer", `StepSucceeded 2 answer = "patiently yes"`, "InvocationCompleted", `ExecutionSucceeded = "patiently yes"`,
				}, lines(w.historyOf(id)))
				info, err := w.engine.Describe(w.ctx, id)
				require.NoError(w, err)
				require.Equal(w, w.id, info.Parent)
			},
			history: []string{
				`ChainedInvokeStarted 1 patient("yes")`, "InvocationCompleted", `ChainedInvokeSucceeded 1 = "patiently yes"`, "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "patiently yes"`,
			},
		},
		{
			name: "ThenAStepThenAnother",
			does: handle(func(ctx *durable.Context, in string) (string, error) {
				first, err := durable.InvokeByName[string](ctx, "first", "echo", in)
				if err != nil {
					return "", err
				}
				second, err := durable.Step(ctx, "between", value(first+"!"))
				if err != nil {
					return "", err
				}
				return durable.InvokeByName[string](ctx, "second", "echo", second)
			}),
			in: "a",
			history: []string{
				`ChainedInvokeStarted 1 first echo("a")`, "InvocationCompleted", `ChainedInvokeSucceeded 1 first = "a"`,
				"StepStarted 2 between", `StepSucceeded 2 between = "a!"`, `ChainedInvokeStarted 3 second echo("a!")`, "InvocationCompleted",
				`ChainedInvokeSucceeded 3 second = "a!"`, "InvocationCompleted", `ExecutionSucceeded = "a!"`,
			},
		},
		{
			name: "ItsCodecEncodesTheInput",
			does: handle(func(ctx *durable.Context, in string) (json.RawMessage, error) {
				var out json.RawMessage
				text, err := durable.InvokeByName[string](ctx, "", "echo", in, durable.WithCodec(textCodec{
					"envelope",
					func(s string) string { return `{"wrapped":"` + s + `"}` },
					func(s string) (string, error) { return "unwrapped " + s, nil },
				}))
				out, _ = json.Marshal(text)
				return out, err
			}),
			in: "hello", result: `"unwrapped {\"wrapped\":\"hello\"}"`,
			history: []string{
				`ChainedInvokeStarted 1 echo({"wrapped":"hello"})`, "InvocationCompleted", `ChainedInvokeSucceeded 1 = {"wrapped":"hello"}`,
				"InvocationCompleted", `ExecutionSucceeded = "unwrapped {\"wrapped\":\"hello\"}"`,
			},
		},
		{
			name: "InvokesNest",
			does: handle(func(ctx *durable.Context, in string) (string, error) { return durable.Invoke(ctx, "", relay, in) }),
			in:   "yes",
			history: []string{
				`ChainedInvokeStarted 1 relay("yes")`, "InvocationCompleted", `ChainedInvokeSucceeded 1 = "patiently yes"`,
				"InvocationCompleted", `ExecutionSucceeded = "patiently yes"`,
			},
		},
		{
			name: "AFunctionThatIsNotThereFails",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				return durable.InvokeByName[any](ctx, "", "no-such-function", nil)
			}),
			status: durable.ExecutionFailed, failure: "FunctionNotFound",
			history: []string{
				"ChainedInvokeStarted 1 no-such-function(null)", "ChainedInvokeFailed 1 !FunctionNotFound", "InvocationCompleted", "ExecutionFailed !FunctionNotFound",
			},
		},
		{
			name: "TheTargetIsStopped",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				_, err := durable.Invoke(ctx, "", forever, nil)
				return caught("", err), nil
			}),
			outside: func(w *world) {
				id := w.invoked()
				w.untilSuspended()
				require.NoError(w, w.engine.Stop(w.ctx, id, "enough"))
			},
			result: `"caught CHAINED_INVOKE \"\" Stopped: stopped: enough (stopped)"`,
			history: []string{
				"ChainedInvokeStarted 1 forever(null)", "InvocationCompleted", "ChainedInvokeStopped 1 !Stopped",
				"InvocationCompleted", `ExecutionSucceeded = "caught CHAINED_INVOKE \"\" Stopped: stopped: enough (stopped)"`,
			},
		},
		{
			name: "TheTargetsDeadlinePasses",
			does: handle(func(ctx *durable.Context, _ any) (any, error) { return durable.Invoke(ctx, "", impatient, nil) }),

			status: durable.ExecutionFailed, failure: "Timeout",
			history: []string{
				"ChainedInvokeStarted 1 impatient(null)", "InvocationCompleted", "ChainedInvokeTimedOut 1 !Timeout", "InvocationCompleted", "ExecutionFailed !Timeout",
			},
		},
		{
			name: "ItsTimeoutCancelsTheTarget",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.Invoke(ctx, "", forever, nil, durable.WithTimeout(time.Second))
			}),
			outside: func(w *world) {
				id := w.invoked()
				w.untilEnd()
				w.until(func() bool {
					info, err := w.engine.Describe(w.ctx, id)
					require.NoError(w, err)
					return info.Status == durable.ExecutionFailed && info.Failure.Type == "Canceled"
				})
			},
			status: durable.ExecutionFailed, failure: "Timeout",
			history: []string{
				"ChainedInvokeStarted 1 forever(null)", "InvocationCompleted", "ChainedInvokeTimedOut 1 !Timeout", "InvocationCompleted", "ExecutionFailed !Timeout",
			},
		},
		{
			name: "ATargetThatDiesRunsAgainAndIsInvokedOnce",
			does: handleIn(func(w *world, ctx *durable.Context, in string) (string, error) {
				return durable.InvokeByName[string](ctx, "", "echo", in)
			}),
			in: "once",
			outside: func(w *world) {
				id := w.invoked()
				w.untilSuspended()
				w.down(10 * time.Millisecond)
				w.untilEnd()
				list := lines(w.historyOf(id))
				require.Equal(w, "ExecutionStarted", list[0])
				require.Equal(w, `ExecutionSucceeded = "once"`, list[len(list)-1])
			},
			history: []string{
				`ChainedInvokeStarted 1 echo("once")`, "InvocationCompleted", `ChainedInvokeSucceeded 1 = "once"`, "InvocationCompleted", `ExecutionSucceeded = "once"`,
			},
		},
		{
			name: "InvokesRunAtTheSameTime",
			does: handle(func(ctx *durable.Context, in []string) ([]string, error) {
				return values(durable.Map(ctx, "all", in, func(c *durable.Context, s string, _ int) (string, error) {
					return durable.Invoke(c, "", patient, s)
				}))
			}),
			in: []string{"a", "b", "c", "d", "e"}, result: `["patiently a","patiently b","patiently c","patiently d","patiently e"]`,
			outside: func(w *world) {
				began := time.Now()
				w.untilEnd()
				require.Less(w, time.Since(began), 4*time.Second)
			},
		},
	})
}
