package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// awaitingOne is awaiting with a fixed name.
func awaitingOne(between func(*durable.Context) error, opts ...durable.CallbackOption) handler {
	return handle(func(ctx *durable.Context, _ any) (string, error) {
		cb, err := durable.CreateCallback[string](ctx, "approval", opts...)
		if err != nil {
			return "", err
		}
		if between != nil {
			if err := between(ctx); err != nil {
				return "", err
			}
		}
		return cb.Await(ctx)
	})
}

func TestCallback(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:   "TimesOut",
			does:   awaitingOne(nil, durable.WithTimeout(time.Second)),
			status: durable.ExecutionFailed, failure: "Timeout",
			history: []string{
				"CallbackStarted 1 approval timeout 1s", "InvocationCompleted", "CallbackTimedOut 1 approval !Timeout",
				"InvocationCompleted", "ExecutionFailed !Timeout",
			},
		},
		{
			name:    "SucceedsAfterAStep",
			does:    awaitingOne(someStep),
			outside: func(w *world) { w.succeed("approval", "yes") },
			history: []string{
				"CallbackStarted 1 approval", "StepStarted 2 between", `StepSucceeded 2 between = "done"`, "InvocationCompleted",
				`CallbackSucceeded 1 approval = "yes"`, "InvocationCompleted", `ExecutionSucceeded = "yes"`,
			},
		},
		{
			name:    "SucceedsBeforeItIsAwaited",
			does:    awaitingOne(someWait(2 * time.Second)),
			outside: func(w *world) { w.succeed("approval", "early") },
			history: []string{
				"CallbackStarted 1 approval", "WaitStarted 2 2s", "InvocationCompleted",
				`CallbackSucceeded 1 approval = "early"`, "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "early"`,
			},
		},
		{
			name: "SucceedsWhileAStepRuns",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "approval")
				if err != nil {
					return "", err
				}
				err = durable.Do(ctx, "answers itself", func(c context.Context) error {
					info, _ := durable.StepInfoFrom(c)
					defer time.Sleep(time.Second)
					return info.Engine.SucceedCallback(c, cb.ID(), "quick")
				})
				if err != nil {
					return "", err
				}
				return cb.Await(ctx)
			}),
			history: []string{
				"CallbackStarted 1 approval", "StepStarted 2 answers itself", `CallbackSucceeded 1 approval = "quick"`, "StepSucceeded 2 answers itself = {}",
				"InvocationCompleted", `ExecutionSucceeded = "quick"`,
			},
		},
		{
			name: "IsReplayedAfterAWait",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "approval")
				if err != nil {
					return "", err
				}
				answer, err := cb.Await(ctx)
				if err != nil {
					return "", err
				}
				return answer, durable.Wait(ctx, "", time.Second)
			}),
			outside: func(w *world) { w.succeed("approval", "yes") },
			history: []string{
				"CallbackStarted 1 approval", "InvocationCompleted", `CallbackSucceeded 1 approval = "yes"`, "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "yes"`,
			},
		},
		{
			name: "BringsAnObject",
			does: handle(func(ctx *durable.Context, _ any) (response, error) {
				cb, err := durable.CreateCallback[response](ctx, "approval")
				if err != nil {
					return response{}, err
				}
				return cb.Await(ctx)
			}),
			outside: func(w *world) { w.succeed("approval", response{person{"Ann", []string{"a", "b"}}, 2}) },
			result:  `{"user":{"name":"Ann","tags":["a","b"]},"count":2}`,
			history: []string{
				"CallbackStarted 1 approval", "InvocationCompleted", `CallbackSucceeded 1 approval = {"user":{"name":"Ann","tags":["a","b"]},"count":2}`,
				"InvocationCompleted", `ExecutionSucceeded = {"user":{"name":"Ann","tags":["a","b"]},"count":2}`,
			},
		},
		{
			name: "DecodesWhatWasSentWithItsCodec",
			does: awaitingOne(nil, durable.WithCodec(textCodec{"lower", strings.ToUpper, func(s string) (string, error) { return strings.ToLower(s), nil }})),
			outside: func(w *world) {
				w.succeed("approval", []byte("PLAIN TEXT"))
			},
			history: []string{
				"CallbackStarted 1 approval", "InvocationCompleted", `CallbackSucceeded 1 approval = "PLAIN TEXT"`, "InvocationCompleted", `ExecutionSucceeded = "plain text"`,
			},
		},
		{
			name: "WithoutAPayloadItIsTheZeroValue",
			does: handle(func(ctx *durable.Context, _ any) ([]int, error) {
				var results []int
				for _, name := range []string{"nil", "empty", "null"} {
					cb, err := durable.CreateCallback[int](ctx, name)
					if err != nil {
						return nil, err
					}
					n, err := cb.Await(ctx)
					if err != nil {
						return nil, err
					}
					results = append(results, n)
				}
				return results, nil
			}),
			outside: func(w *world) {
				w.succeed("nil", nil)
				w.succeed("empty", []byte{})
				w.succeed("null", json.RawMessage("null"))
			},
			result: `[0,0,0]`,
			history: []string{
				"CallbackStarted 1 nil", "InvocationCompleted", "CallbackSucceeded 1 nil", "CallbackStarted 2 empty", "InvocationCompleted",
				"CallbackSucceeded 2 empty", "CallbackStarted 3 null", "InvocationCompleted", "CallbackSucceeded 3 null = null",
				"InvocationCompleted", "ExecutionSucceeded = [0,0,0]",
			},
		},
		{
			name: "TwoAreAwaitedInTheOrderOfTheirCreation",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				a, err := durable.CreateCallback[string](ctx, "a")
				if err != nil {
					return nil, err
				}
				b, err := durable.CreateCallback[string](ctx, "b")
				if err != nil {
					return nil, err
				}
				first, err := a.Await(ctx)
				if err != nil {
					return nil, err
				}
				second, err := b.Await(ctx)
				return []string{first, second}, err
			}),
			outside: func(w *world) {
				w.succeed("b", "second")
				w.pass(500 * time.Millisecond)
				w.succeed("a", "first")
			},
			history: []string{
				"CallbackStarted 1 a", "CallbackStarted 2 b", "InvocationCompleted", `CallbackSucceeded 2 b = "second"`, "InvocationCompleted",
				`CallbackSucceeded 1 a = "first"`, "InvocationCompleted", `ExecutionSucceeded = ["first","second"]`,
			},
		},
		{
			name: "AHeartbeatIsNoEventAndRestartsTheTimeout",
			does: awaitingOne(nil, durable.WithHeartbeatTimeout(3*time.Second)),
			outside: func(w *world) {
				id := w.openCallback("approval")
				for range 2 {
					w.pass(1750 * time.Millisecond)
					require.NoError(w, w.engine.HeartbeatCallback(w.ctx, id))
				}
				began := time.Now()
				w.untilEnd()
				require.GreaterOrEqual(w, time.Since(began), 2900*time.Millisecond)
				require.ErrorIs(w, w.engine.HeartbeatCallback(w.ctx, id), durable.ErrCallbackCompleted)
			},
			status: durable.ExecutionFailed, failure: "HeartbeatTimeout",
			history: []string{
				"CallbackStarted 1 approval heartbeat 3s", "InvocationCompleted", "CallbackTimedOut 1 approval !HeartbeatTimeout",
				"InvocationCompleted", "ExecutionFailed !HeartbeatTimeout",
			},
		},
		{
			name: "HeartbeatsDoNotMoveItsTimeout",
			does: awaitingOne(nil, durable.WithHeartbeatTimeout(3*time.Second), durable.WithTimeout(4*time.Second)),
			outside: func(w *world) {
				id := w.openCallback("approval")
				w.pass(1500 * time.Millisecond)
				require.NoError(w, w.engine.HeartbeatCallback(w.ctx, id))
			},
			status: durable.ExecutionFailed, failure: "Timeout",
			history: []string{
				"CallbackStarted 1 approval timeout 4s heartbeat 3s", "InvocationCompleted", "CallbackTimedOut 1 approval !Timeout",
				"InvocationCompleted", "ExecutionFailed !Timeout",
			},
		},
		{
			name: "TakesOneOutcome",
			does: awaitingOne(someWait(time.Second)),
			outside: func(w *world) {
				id := w.openCallback("approval")
				w.succeed("approval", "first")
				require.ErrorIs(w, w.engine.SucceedCallback(w.ctx, id, "second"), durable.ErrCallbackCompleted)
				require.ErrorIs(w, w.engine.FailCallback(w.ctx, id, rejected), durable.ErrCallbackCompleted)
				w.untilEnd()
				require.ErrorIs(w, w.engine.SucceedCallback(w.ctx, id, "third"), durable.ErrCallbackCompleted)
				require.ErrorIs(w, w.engine.SucceedCallback(w.ctx, id+"x", "other"), durable.ErrCallbackNotFound)
			},
			history: []string{
				"CallbackStarted 1 approval", "WaitStarted 2 1s", "InvocationCompleted", `CallbackSucceeded 1 approval = "first"`, "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "first"`,
			},
		},
		{
			name: "ACaughtFailureIsTheSameOnReplay",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "approval")
				if err != nil {
					return "", err
				}
				_, err = cb.Await(ctx)
				f, _ := errors.AsType[*durable.Failure](err)
				w.slog.Info(describeError(err) + " " + string(f.Data) + " " + f.Stack)
				return f.Type, durable.Wait(ctx, "", time.Second)
			}),
			outside: func(w *world) {
				w.fail("approval", durable.Failure{Type: "RejectedError", Message: "not approved", Data: json.RawMessage(`{"by":"Ann"}`), Stack: "at desk"})
			},
			result: `"RejectedError"`,
			logs: []string{
				`[INFO] CALLBACK "approval" RejectedError: not approved (the callback failed) {"by":"Ann"} at desk`,
				`[INFO] CALLBACK "approval" RejectedError: not approved (the callback failed) {"by":"Ann"} at desk`,
			},
			history: []string{
				"CallbackStarted 1 approval", "InvocationCompleted", "CallbackFailed 1 approval !RejectedError", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "RejectedError"`,
			},
		},
		{
			name: "TimesOutWhileNothingRuns",
			does: awaitingOne(nil, durable.WithTimeout(time.Second)),
			outside: func(w *world) {
				w.untilSuspended()
				w.down(2 * time.Second)
			},
			status: durable.ExecutionFailed, failure: "Timeout",
			history: []string{
				"CallbackStarted 1 approval timeout 1s", "InvocationCompleted", "CallbackTimedOut 1 approval !Timeout", "InvocationCompleted", "ExecutionFailed !Timeout",
			},
		},
		{
			name: "AnOutcomeOutlivesACrash",
			does: awaitingOne(someWait(2 * time.Second)),
			outside: func(w *world) {
				w.succeed("approval", "early")
				w.down(10 * time.Millisecond)
			},
			// No history: the process dies before or after the callback woke the execution.
			result: `"early"`,
		},
		{
			name: "OneThatNobodyAwaitsEndsWithTheExecution",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "approval")
				if err != nil {
					return "", err
				}
				_ = cb
				return "done", durable.Wait(ctx, "", time.Second)
			}),
			outside: func(w *world) {
				id := w.openCallback("approval")
				w.untilEnd()
				require.ErrorIs(w, w.engine.SucceedCallback(w.ctx, id, "late"), durable.ErrCallbackCompleted)
			},
			history: []string{"CallbackStarted 1 approval", "WaitStarted 2 1s", "InvocationCompleted", "WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "done"`},
		},
		{
			name: "OneOfManyWins",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "approval")
				if err != nil {
					return "", err
				}
				timer := durable.After(ctx, "give up", time.Minute)
				first, err := durable.Select(ctx, "first", cb, timer)
				if err != nil {
					return "", err
				}
				switch first {
				case cb:
					return cb.Await(ctx)
				default:
					return "gave up", nil
				}
			}),
			outside: func(w *world) { w.succeed("approval", "yes") },
			history: []string{
				"CallbackStarted 1 approval", "WaitStarted 2 give up 1m0s", "ContextStarted Select 3 first", "InvocationCompleted",
				`CallbackSucceeded 1 approval = "yes"`, "ContextSucceeded Select 3 first = 0", "InvocationCompleted", `ExecutionSucceeded = "yes"`,
			},
		},
	})
}
