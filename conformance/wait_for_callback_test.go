package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

func TestWaitForCallback(t *testing.T) {
	waiting := func(submit func(context.Context, string) error, opts ...durable.CallbackOption) handler {
		return handle(func(ctx *durable.Context, _ any) (string, error) {
			return durable.WaitForCallback[string](ctx, "approval", submit, opts...)
		})
	}
	begin := []string{
		"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval", "StepStarted 1-2 approval", "StepSucceeded 1-2 approval = {}", "InvocationCompleted",
	}
	with := func(list []string, more ...string) []string { return append(append([]string(nil), list...), more...) }
	runScenarios(t, []scenario{
		{
			name: "NeedsNoName",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.WaitForCallback[string](ctx, "", submitted)
			}),
			outside: func(w *world) {
				w.succeed("", "yes")
			},
			history: []string{
				"ContextStarted WaitForCallback 1", "CallbackStarted 1-1", "StepStarted 1-2", "StepSucceeded 1-2 = {}", "InvocationCompleted",
				`CallbackSucceeded 1-1 = "yes"`, `ContextSucceeded WaitForCallback 1 = "yes"`, "InvocationCompleted", `ExecutionSucceeded = "yes"`,
			},
		},
		{
			name: "TheSubmitterGetsTheSameIDAtEachAttempt",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				return durable.WaitForCallback[string](ctx, "approval", func(c context.Context, id string) error {
					w.count(id)
					_, err := failingUntil(2, "")(c)
					return err
				}, quick(3))
			}),
			outside: func(w *world) {
				id := w.openCallback("approval")
				w.untilEvents(9)
				w.succeed("approval", "yes")
				require.Equal(w, 2, w.counted(id))
			},
			history: []string{
				"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval", "StepStarted 1-2 approval", "StepFailed 1-2 approval #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1-2 approval #2", "StepSucceeded 1-2 approval #2 = {}", "InvocationCompleted",
				`CallbackSucceeded 1-1 approval = "yes"`, `ContextSucceeded WaitForCallback 1 approval = "yes"`, "InvocationCompleted", `ExecutionSucceeded = "yes"`,
			},
		},
		{
			name: "TwoInARow",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				a, err := durable.WaitForCallback[string](ctx, "a", submitted)
				if err != nil {
					return "", err
				}
				b, err := durable.WaitForCallback[string](ctx, "b", submitted)
				return a + b, err
			}),
			outside: func(w *world) {
				w.succeed("a", "first ")
				w.succeed("b", "second")
			},
			history: []string{
				"ContextStarted WaitForCallback 1 a", "CallbackStarted 1-1 a", "StepStarted 1-2 a", "StepSucceeded 1-2 a = {}", "InvocationCompleted",
				`CallbackSucceeded 1-1 a = "first "`, `ContextSucceeded WaitForCallback 1 a = "first "`,
				"ContextStarted WaitForCallback 2 b", "CallbackStarted 2-1 b", "StepStarted 2-2 b", "StepSucceeded 2-2 b = {}", "InvocationCompleted",
				`CallbackSucceeded 2-1 b = "second"`, `ContextSucceeded WaitForCallback 2 b = "second"`, "InvocationCompleted", `ExecutionSucceeded = "first second"`,
			},
		},
		{
			name: "BringsNothing",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				return durable.WaitForCallback[any](ctx, "approval", submitted)
			}),
			outside: func(w *world) {
				w.succeed("approval", nil)
			},
			result: `null`,
			history: with(begin,
				"CallbackSucceeded 1-1 approval", "ContextSucceeded WaitForCallback 1 approval = null", "InvocationCompleted", "ExecutionSucceeded = null"),
		},
		{
			name: "AFailureCanBeCaught",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				_, err := durable.WaitForCallback[string](ctx, "approval", submitted)
				return caught("", err), durable.Wait(ctx, "", time.Second)
			}),
			outside: func(w *world) { w.fail("approval", rejected) },
			result:  `"caught CONTEXT \"approval\" RejectedError: not approved (the callback failed)"`,
			history: with(begin,
				"CallbackFailed 1-1 approval !RejectedError", "ContextFailed WaitForCallback 1 approval !RejectedError", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "caught CONTEXT \"approval\" RejectedError: not approved (the callback failed)"`),
		},
		{
			name:   "NoHeartbeatComes",
			does:   waiting(submitted, durable.WithHeartbeatTimeout(time.Second)),
			status: durable.ExecutionFailed, failure: "HeartbeatTimeout",
			history: []string{
				"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval heartbeat 1s", "StepStarted 1-2 approval", "StepSucceeded 1-2 approval = {}", "InvocationCompleted",
				"CallbackTimedOut 1-1 approval !HeartbeatTimeout", "ContextFailed WaitForCallback 1 approval !HeartbeatTimeout", "InvocationCompleted", "ExecutionFailed !HeartbeatTimeout",
			},
		},
		{
			name: "IsCompletedByItsSubmitter",
			does: waiting(func(ctx context.Context, id string) error {
				info, _ := durable.StepInfoFrom(ctx)
				err := info.Engine.SucceedCallback(ctx, id, "at once")
				time.Sleep(time.Second)
				return err
			}),
			history: []string{
				"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval", "StepStarted 1-2 approval", `CallbackSucceeded 1-1 approval = "at once"`,
				"StepSucceeded 1-2 approval = {}", `ContextSucceeded WaitForCallback 1 approval = "at once"`, "InvocationCompleted", `ExecutionSucceeded = "at once"`,
			},
		},
		{
			name: "IsCompletedBetweenTwoAttemptsOfItsSubmitter",
			does: waiting(func(ctx context.Context, _ string) error {
				_, err := failingUntil(2, "")(ctx)
				return err
			}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: 2 * time.Second, Jitter: durable.NoJitter})),
			outside: func(w *world) { w.succeed("approval", "early") },
			history: []string{
				"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval", "StepStarted 1-2 approval", "StepFailed 1-2 approval #1 next 2s !error", "InvocationCompleted",
				`CallbackSucceeded 1-1 approval = "early"`, "InvocationCompleted",
				"StepStarted 1-2 approval #2", "StepSucceeded 1-2 approval #2 = {}", `ContextSucceeded WaitForCallback 1 approval = "early"`,
				"InvocationCompleted", `ExecutionSucceeded = "early"`,
			},
		},
		{
			name: "ASubmitterThatWasCutOffRunsAgain",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				return durable.WaitForCallback[string](ctx, "approval", func(c context.Context, _ string) error {
					_, err := once(w, "")(c)
					return err
				})
			}),
			outside: func(w *world) {
				w.untilEvents(7)
				w.succeed("approval", "yes")
			},
			counts: map[string]int{"calls": 2},
			history: []string{
				"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval", "StepStarted 1-2 approval", "InvocationCompleted !Runtime.ExitError",
				"StepSucceeded 1-2 approval = {}", "InvocationCompleted",
				`CallbackSucceeded 1-1 approval = "yes"`, `ContextSucceeded WaitForCallback 1 approval = "yes"`, "InvocationCompleted", `ExecutionSucceeded = "yes"`,
			},
		},
		{
			name: "AFailedSubmitterCanBeCaught",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				_, err := durable.WaitForCallback[string](ctx, "approval", notSubmitted, noRetry)
				return caught("", err), nil
			}),
			outside: func(w *world) {
				w.untilEnd()
				for _, ev := range w.history() {
					if ev.CallbackID != "" {
						require.ErrorIs(w, w.engine.SucceedCallback(w.ctx, ev.CallbackID, "late"), durable.ErrCallbackCompleted)
					}
				}
			},
			history: []string{
				"ContextStarted WaitForCallback 1 approval", "CallbackStarted 1-1 approval", "StepStarted 1-2 approval", "StepFailed 1-2 approval !error",
				"ContextFailed WaitForCallback 1 approval !error", "InvocationCompleted", `ExecutionSucceeded = "caught CONTEXT \"approval\" error: the submitter fails"`,
			},
		},
		{
			name: "ManyThatAreCompletedTogether",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				b, err := durable.Map(ctx, "approvals", make([]struct{}, 20), func(c *durable.Context, _ struct{}, i int) (int, error) {
					return durable.WaitForCallback[int](c, fmt.Sprint(i), submitted)
				})
				if err != nil {
					return 0, err
				}
				sum := 0
				for _, n := range b.Values() {
					sum += n
				}
				return sum, nil
			}),
			outside: func(w *world) {
				var ids []string
				for i := range 20 {
					ids = append(ids, w.openCallback(fmt.Sprint(i)))
				}
				var all sync.WaitGroup
				for i, id := range ids {
					all.Go(func() {
						if err := w.engine.SucceedCallback(w.ctx, id, i); err != nil {
							w.Error(err)
						}
					})
				}
				all.Wait()
			},
			result: `190`,
		},
		{
			name: "SeveralAtTheSameTime",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				return values(durable.Map(ctx, "approvals", []string{"a", "b"}, func(c *durable.Context, name string, _ int) (string, error) {
					return durable.WaitForCallback[string](c, name, submitted)
				}))
			}),
			outside: func(w *world) {
				w.succeed("b", "B")
				w.pass(500 * time.Millisecond)
				w.succeed("a", "A")
			},
			result:   `["A","B"]`,
			anyOrder: true,
			history: []string{
				"ContextStarted Map 1 approvals", "ContextStarted MapIteration 1-1", "ContextStarted MapIteration 1-2",
				"ContextStarted WaitForCallback 1-1-1 a", "CallbackStarted 1-1-1-1 a", "StepStarted 1-1-1-2 a", "StepSucceeded 1-1-1-2 a = {}",
				"ContextStarted WaitForCallback 1-2-1 b", "CallbackStarted 1-2-1-1 b", "StepStarted 1-2-1-2 b", "StepSucceeded 1-2-1-2 b = {}", "InvocationCompleted",
				`CallbackSucceeded 1-2-1-1 b = "B"`, `ContextSucceeded WaitForCallback 1-2-1 b = "B"`, `ContextSucceeded MapIteration 1-2 = "B"`, "InvocationCompleted",
				`CallbackSucceeded 1-1-1-1 a = "A"`, `ContextSucceeded WaitForCallback 1-1-1 a = "A"`, `ContextSucceeded MapIteration 1-1 = "A"`,
				"ContextSucceeded Map 1 approvals = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["A","B"]`,
			},
		},
	})
}
