package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/durable-go/durable"
)

func TestWaitForCondition(t *testing.T) {
	type job struct {
		Status string `json:"status"`
		Checks int    `json:"checks"`
	}
	poll := func(_ context.Context, j job) (job, error) {
		j.Checks++
		if j.Status = "running"; j.Checks == 3 {
			j.Status = "done"
		}
		return j, nil
	}
	done := func(j job) bool { return j.Status == "done" }
	runScenarios(t, []scenario{
		{
			name: "HasAName",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				return durable.WaitForCondition(ctx, "poll", 0, increment, reaches(2, time.Second))
			}),
			history: []string{
				"StepStarted WaitForCondition 1 poll", "StepSucceeded WaitForCondition 1 poll #1 next 1s = 1", "InvocationCompleted",
				"StepStarted WaitForCondition 1 poll #2", "StepSucceeded WaitForCondition 1 poll #2 = 2", "InvocationCompleted", "ExecutionSucceeded = 2",
			},
		},
		{
			name: "DelaysGrow",
			does: handle(func(ctx *durable.Context, _ any) (job, error) {
				return durable.WaitForCondition(ctx, "poll", job{}, poll,
					durable.PollBackoff(durable.RetryPolicy{MaxAttempts: 10, Initial: time.Second, Multiplier: 2, Jitter: durable.NoJitter}, done))
			}),
			history: []string{
				"StepStarted WaitForCondition 1 poll", `StepSucceeded WaitForCondition 1 poll #1 next 1s = {"status":"running","checks":1}`, "InvocationCompleted",
				"StepStarted WaitForCondition 1 poll #2", `StepSucceeded WaitForCondition 1 poll #2 next 2s = {"status":"running","checks":2}`, "InvocationCompleted",
				"StepStarted WaitForCondition 1 poll #3", `StepSucceeded WaitForCondition 1 poll #3 = {"status":"done","checks":3}`,
				"InvocationCompleted", `ExecutionSucceeded = {"status":"done","checks":3}`,
			},
		},
		{
			name: "ThenAStep",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				j, err := durable.WaitForCondition(ctx, "", job{}, poll, durable.PollEvery(time.Second, done))
				if err != nil {
					return "", err
				}
				return durable.Step(ctx, "report", value(j.Status))
			}),
			history: []string{
				"StepStarted WaitForCondition 1", `StepSucceeded WaitForCondition 1 #1 next 1s = {"status":"running","checks":1}`, "InvocationCompleted",
				"StepStarted WaitForCondition 1 #2", `StepSucceeded WaitForCondition 1 #2 next 1s = {"status":"running","checks":2}`, "InvocationCompleted",
				"StepStarted WaitForCondition 1 #3", `StepSucceeded WaitForCondition 1 #3 = {"status":"done","checks":3}`,
				"StepStarted 2 report", `StepSucceeded 2 report = "done"`, "InvocationCompleted", `ExecutionSucceeded = "done"`,
			},
		},
		{
			name: "InAChild",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				return durable.RunInChildContext(ctx, "child", func(c *durable.Context) (int, error) {
					return durable.WaitForCondition(c, "poll", 0, increment, reaches(2, time.Second))
				})
			}),
			history: []string{
				"ContextStarted RunInChildContext 1 child", "StepStarted WaitForCondition 1-1 poll", "StepSucceeded WaitForCondition 1-1 poll #1 next 1s = 1", "InvocationCompleted",
				"StepStarted WaitForCondition 1-1 poll #2", "StepSucceeded WaitForCondition 1-1 poll #2 = 2", "ContextSucceeded RunInChildContext 1 child = 2",
				"InvocationCompleted", "ExecutionSucceeded = 2",
			},
		},
		{
			name: "FailsWhenItsChecksAreExhausted",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				return durable.WaitForCondition(ctx, "never", 0, increment,
					durable.PollBackoff(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Second, Jitter: durable.NoJitter}, func(int) bool { return false }))
			}),
			status: durable.ExecutionFailed,
			history: []string{
				"StepStarted WaitForCondition 1 never", "StepSucceeded WaitForCondition 1 never #1 next 1s = 1", "InvocationCompleted",
				"StepStarted WaitForCondition 1 never #2", "StepFailed WaitForCondition 1 never #2 !error", "InvocationCompleted", "ExecutionFailed !error",
			},
		},
		{
			name: "AnErrorOfALaterCheckFailsItAndIsTheSameOnReplay",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				_, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, n int) (int, error) {
					w.count("checks")
					if n == 1 {
						return 0, &TransientError{"second check"}
					}
					return n + 1, nil
				}, reaches(5, time.Second))
				return caught("", err), durable.Wait(ctx, "", time.Second)
			}),
			result: `"caught STEP \"poll\" TransientError: transient: second check"`,
			counts: map[string]int{"checks": 2},
			history: []string{
				"StepStarted WaitForCondition 1 poll", "StepSucceeded WaitForCondition 1 poll #1 next 1s = 1", "InvocationCompleted",
				"StepStarted WaitForCondition 1 poll #2", "StepFailed WaitForCondition 1 poll #2 !TransientError", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "caught STEP \"poll\" TransientError: transient: second check"`,
			},
		},
		{
			name: "ACheckThatWasCutOffIsMadeAgainFromTheSameState",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (int, error) {
				return durable.WaitForCondition(ctx, "poll", 10, func(c context.Context, n int) (int, error) {
					if w.count("checks") == 2 {
						time.Sleep(500 * time.Millisecond)
						w.crash(c)
					}
					return n + 1, nil
				}, reaches(12, time.Second))
			}),
			counts: map[string]int{"checks": 3},
			history: []string{
				"StepStarted WaitForCondition 1 poll", "StepSucceeded WaitForCondition 1 poll #1 next 1s = 11", "InvocationCompleted",
				"StepStarted WaitForCondition 1 poll #2", "InvocationCompleted !Runtime.ExitError",
				"StepSucceeded WaitForCondition 1 poll #2 = 12", "InvocationCompleted", "ExecutionSucceeded = 12",
			},
		},
		{
			name: "ItsResultIsReplayed",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (job, error) {
				j, err := durable.WaitForCondition(ctx, "", job{Checks: 2}, func(c context.Context, j job) (job, error) {
					w.count("checks")
					return poll(c, j)
				}, durable.PollEvery(time.Second, done))
				return j, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			counts: map[string]int{"checks": 1},
			history: []string{
				"StepStarted WaitForCondition 1", `StepSucceeded WaitForCondition 1 = {"status":"done","checks":3}`, "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = {"status":"done","checks":3}`,
			},
		},
		{
			name: "LinesOfALoggerAppearOnce",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				n, err := durable.WaitForCondition(ctx, "", 0, increment, reaches(2, time.Second))
				ctx.Logger().Info("after the condition")
				return n, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			logs: []string{"[INFO] after the condition"},
		},
	})
}
