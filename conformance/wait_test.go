package conformance

import (
	"errors"
	"testing"
	"time"

	"github.com/durable-go/durable"
)

func TestWait(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name: "EachWaitIsAnInvocation",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				for _, name := range []string{"first", "second"} {
					if err := durable.Wait(ctx, name, time.Second); err != nil {
						return "", err
					}
				}
				return durable.Step(ctx, "", value("rested"))
			}),
			history: []string{
				"WaitStarted 1 first 1s", "InvocationCompleted", "WaitSucceeded 1 first",
				"WaitStarted 2 second 1s", "InvocationCompleted", "WaitSucceeded 2 second",
				"StepStarted 3", `StepSucceeded 3 = "rested"`, "InvocationCompleted", `ExecutionSucceeded = "rested"`,
			},
		},
		{
			name: "NoTimeIsNoWait",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				return nil, errors.Join(durable.Wait(ctx, "none", 0), durable.WaitUntil(ctx, "past", ctx.StartedAt()))
			}),
			history: []string{
				"WaitStarted 1 none 0s", "WaitSucceeded 1 none", "WaitStarted 2 past 0s", "WaitSucceeded 2 past",
				"InvocationCompleted", "ExecutionSucceeded = null",
			},
		},
		{
			name: "HoursPass",
			does: handle(func(ctx *durable.Context, _ any) (bool, error) {
				err := durable.Wait(ctx, "hours", 5*time.Hour)
				return durable.Now(ctx).Sub(ctx.StartedAt()) >= 5*time.Hour, err
			}),
			outside: func(w *world) {
				w.untilSuspended()
				time.Sleep(5 * time.Hour)
			},
			result: `true`,
			history: []string{
				"WaitStarted 1 hours 5h0m0s", "InvocationCompleted", "WaitSucceeded 1 hours",
				"StepStarted Now 2", "StepSucceeded Now 2 = 946702800000000000", "InvocationCompleted", "ExecutionSucceeded = true", // a bubble begins in the year 2000
			},
		},
		{
			name: "TimersRunAtTheSameTime",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				long, short := durable.After(ctx, "long", 2*time.Second), durable.After(ctx, "short", time.Second)
				return nil, errors.Join(long.Await(ctx), short.Await(ctx))
			}),
			history: []string{
				"WaitStarted 1 long 2s", "WaitStarted 2 short 1s", "InvocationCompleted",
				"WaitSucceeded 2 short", "InvocationCompleted",
				"WaitSucceeded 1 long", "InvocationCompleted", "ExecutionSucceeded = null",
			},
		},
		{
			name: "ATimerThatRanOutIsNotWaitedFor",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				short := durable.After(ctx, "short", time.Second)
				return nil, errors.Join(durable.Wait(ctx, "long", 2*time.Second), short.Await(ctx))
			}),
			history: []string{
				"WaitStarted 1 short 1s", "WaitStarted 2 long 2s", "InvocationCompleted",
				"WaitSucceeded 1 short", "InvocationCompleted",
				"WaitSucceeded 2 long", "InvocationCompleted", "ExecutionSucceeded = null",
			},
		},
		{
			name: "TimersThatFireWhileTheInvocationEnds",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				for i := range 200 {
					if err := durable.Wait(ctx, "", time.Duration(i%7)*50*time.Microsecond); err != nil {
						return i, err
					}
				}
				return 200, nil
			}),
			result: `200`,
		},
		{
			name: "ATimerRunsOutWhileNothingRuns",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (any, error) {
				return nil, durable.Wait(ctx, "", time.Second)
			}),
			outside: func(w *world) {
				w.untilSuspended()
				w.down(2 * time.Second)
			},
			history: []string{"WaitStarted 1 1s", "InvocationCompleted", "WaitSucceeded 1", "InvocationCompleted", "ExecutionSucceeded = null"},
		},
		{
			name: "ACrashDuringAWaitChangesNothing",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				out, err := durable.Step(ctx, "before", value("before"))
				if err != nil {
					return "", err
				}
				return out, durable.Wait(ctx, "", 2*time.Second)
			}),
			outside: func(w *world) {
				w.untilSuspended()
				w.down(time.Millisecond)
			},
			history: []string{
				"StepStarted 1 before", `StepSucceeded 1 before = "before"`, "WaitStarted 2 2s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "before"`,
			},
		},
	})
}
