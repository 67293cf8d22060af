package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable"
)

// pausing is a branch that waits before it returns v.
func pausing(v string, d time.Duration) durable.Branch[string] {
	return durable.Branch[string]{Run: func(c *durable.Context) (string, error) { return v, durable.Wait(c, "", d) }}
}

// named gives a branch a name.
func named[O any](name string, b durable.Branch[O]) durable.Branch[O] {
	b.Name = name
	return b
}

// outline tells of a batch and its items in a line.
func outline[O any](b *durable.Batch[O], err error) string {
	if b == nil {
		return "no batch: " + err.Error()
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s", b.Reason(), b.Status())
	for item := range b.All() {
		fmt.Fprintf(&s, " %d:%s", item.Index, item.Status)
		switch item.Status {
		case durable.ItemSucceeded:
			fmt.Fprintf(&s, "=%v", item.Value)
		case durable.ItemFailed:
			fmt.Fprintf(&s, "=%s", describeError(item.Err))
		}
	}
	for _, sentinel := range []error{durable.ErrFailureToleranceExceeded, durable.ErrMinSuccessfulNotReached} {
		if errors.Is(err, sentinel) {
			fmt.Fprintf(&s, " error: %s", strings.TrimPrefix(sentinel.Error(), "durable: "))
		}
	}
	return s.String()
}

// outlining runs branches and tells of the batch, before a wait and after it:
// on a replay it must say the same.
func outlining(branches []durable.Branch[string], opts ...durable.BatchOption) handler {
	return handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
		b, err := durable.Parallel(ctx, "p", branches, opts...)
		said := outline(b, err)
		w.slog.Info(said)
		return said, durable.Wait(ctx, "", time.Second)
	})
}

// twice is what outlining logs.
func twice(s string) []string { return []string{"[INFO] " + s, "[INFO] " + s} }

// thenWait are the events that outlining adds behind its batch.
func thenWait(more ...string) []string {
	return append(more, "WaitStarted 2 1s", "InvocationCompleted", "WaitSucceeded 2", "InvocationCompleted")
}

func TestParallel(t *testing.T) {
	branchFails := `CONTEXT "" error: the branch fails`
	runScenarios(t, []scenario{
		{
			name: "BranchesHaveNames",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{named("first", returning("a")), named("second", stepping("b"))}, oneByOne))
			}),
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1 first", `ContextSucceeded ParallelBranch 1-1 first = "a"`,
				"ContextStarted ParallelBranch 1-2 second", "StepStarted 1-2-1 step", `StepSucceeded 1-2-1 step = "b"`, `ContextSucceeded ParallelBranch 1-2 second = "b"`,
				"ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["a","b"]`,
			},
		},
		{
			name: "FailsFastByDefault",
			does: outlining([]durable.Branch[string]{returning("a"), broken(), returning("unreached")}, oneByOne),
			logs: twice(`FAILURE_TOLERANCE_EXCEEDED FAILED 0:SUCCEEDED=a 1:FAILED=` + branchFails + ` error: failure tolerance exceeded`),
			history: append(thenWait("ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", `ContextSucceeded ParallelBranch 1-1 = "a"`,
				"ContextStarted ParallelBranch 1-2", "ContextFailed ParallelBranch 1-2 !error",
				"ContextSucceeded Parallel 1 p = FAILURE_TOLERANCE_EXCEEDED: 1 ok, 1 failed, 0 started"), "ExecutionSucceeded = 129 bytes"),
		},
		{
			name: "AnExceededToleranceFailsAnExecutionThatReturnsIt",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{broken(), returning("unreached")}, oneByOne))
			}),
			status: durable.ExecutionFailed, failure: "FailureToleranceExceeded",
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "ContextFailed ParallelBranch 1-1 !error",
				"ContextSucceeded Parallel 1 p = FAILURE_TOLERANCE_EXCEEDED: 0 ok, 1 failed, 0 started", "InvocationCompleted", "ExecutionFailed !FailureToleranceExceeded",
			},
		},
		{
			name: "GoesOnWithinTheTolerance",
			does: outlining([]durable.Branch[string]{returning("a"), broken(), returning("c")}, oneByOne, durable.WithToleratedFailures(1)),
			logs: twice(`ALL_COMPLETED FAILED 0:SUCCEEDED=a 1:FAILED=` + branchFails + ` 2:SUCCEEDED=c`),
		},
		{
			name: "EndsAtTheMinimumWithinTheTolerance",
			does: outlining([]durable.Branch[string]{broken(), returning("b"), returning("c"), returning("unreached")}, oneByOne,
				durable.WithMinSuccessful(2), durable.WithToleratedFailures(1)),
			logs: twice(`MIN_SUCCESSFUL_REACHED FAILED 0:FAILED=` + branchFails + ` 1:SUCCEEDED=b 2:SUCCEEDED=c`),
		},
		{
			name: "TheToleranceComesBeforeTheMinimum",
			does: outlining([]durable.Branch[string]{returning("a"), broken(), broken(), returning("unreached")}, oneByOne,
				durable.WithMinSuccessful(2), durable.WithToleratedFailures(1)),
			logs: twice(`FAILURE_TOLERANCE_EXCEEDED FAILED 0:SUCCEEDED=a 1:FAILED=` + branchFails + ` 2:FAILED=` + branchFails + ` error: failure tolerance exceeded`),
		},
		{
			name: "AllCompletedComesBeforeTheMinimum",
			does: outlining([]durable.Branch[string]{returning("a"), returning("b")}, oneByOne, durable.WithMinSuccessful(2)),
			logs: twice("ALL_COMPLETED SUCCEEDED 0:SUCCEEDED=a 1:SUCCEEDED=b"),
		},
		{
			name: "AMinimumThatIsNotReachedIsAnErrorBesideTheBatch",
			does: outlining([]durable.Branch[string]{returning("a"), broken()}, oneByOne, durable.WithMinSuccessful(2)),
			logs: twice(`ALL_COMPLETED FAILED 0:SUCCEEDED=a 1:FAILED=` + branchFails + ` error: minimum of successful items not reached`),
		},
		{
			name: "ParallelsNest",
			does: handle(func(ctx *durable.Context, _ any) ([][]string, error) {
				inner := func(a, b string) durable.Branch[[]string] {
					return durable.Branch[[]string]{Run: func(c *durable.Context) ([]string, error) {
						return values(durable.Parallel(c, "inner", []durable.Branch[string]{stepping(a), returning(b)}, oneByOne))
					}}
				}
				return values(durable.Parallel(ctx, "outer", []durable.Branch[[]string]{inner("a", "b"), inner("c", "d")}, oneByOne))
			}),
			result: `[["a","b"],["c","d"]]`,
			history: []string{
				"ContextStarted Parallel 1 outer",
				"ContextStarted ParallelBranch 1-1", "ContextStarted Parallel 1-1-1 inner",
				"ContextStarted ParallelBranch 1-1-1-1", "StepStarted 1-1-1-1-1 step", `StepSucceeded 1-1-1-1-1 step = "a"`, `ContextSucceeded ParallelBranch 1-1-1-1 = "a"`,
				"ContextStarted ParallelBranch 1-1-1-2", `ContextSucceeded ParallelBranch 1-1-1-2 = "b"`,
				"ContextSucceeded Parallel 1-1-1 inner = ALL_COMPLETED: 2 ok, 0 failed, 0 started", `ContextSucceeded ParallelBranch 1-1 = ["a","b"]`,
				"ContextStarted ParallelBranch 1-2", "ContextStarted Parallel 1-2-1 inner",
				"ContextStarted ParallelBranch 1-2-1-1", "StepStarted 1-2-1-1-1 step", `StepSucceeded 1-2-1-1-1 step = "c"`, `ContextSucceeded ParallelBranch 1-2-1-1 = "c"`,
				"ContextStarted ParallelBranch 1-2-1-2", `ContextSucceeded ParallelBranch 1-2-1-2 = "d"`,
				"ContextSucceeded Parallel 1-2-1 inner = ALL_COMPLETED: 2 ok, 0 failed, 0 started", `ContextSucceeded ParallelBranch 1-2 = ["c","d"]`,
				"ContextSucceeded Parallel 1 outer = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = [["a","b"],["c","d"]]`,
			},
		},
		{
			name: "ItsCodecIsThatOfEachBranch",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				out, err := values(durable.Parallel(ctx, "p", []durable.Branch[string]{returning("a"), returning("b")}, oneByOne, durable.WithCodec(wrapped)))
				return out, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			history: append(thenWait("ContextStarted Parallel 1 p",
				"ContextStarted ParallelBranch 1-1", `ContextSucceeded ParallelBranch 1-1 = "wrapped:a"`,
				"ContextStarted ParallelBranch 1-2", `ContextSucceeded ParallelBranch 1-2 = "wrapped:b"`,
				"ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started"), `ExecutionSucceeded = ["a","b"]`),
		},
		{
			name: "FlatBranchesHaveNoContext",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				out, err := values(durable.Parallel(ctx, "p", []durable.Branch[string]{stepping("a"), stepping("b")}, oneByOne, durable.Flat()))
				return out, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			history: append(thenWait("ContextStarted Parallel 1 p",
				"StepStarted 1-1-1 step in 1", `StepSucceeded 1-1-1 step in 1 = "a"`, "StepStarted 1-2-1 step in 1", `StepSucceeded 1-2-1 step in 1 = "b"`,
				"ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started"), `ExecutionSucceeded = ["a","b"]`),
		},
		{
			name: "WaitsRunAtTheSameTime",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{pausing("slow", 2*time.Second), pausing("fast", time.Second)}))
			}),
			result:   `["slow","fast"]`,
			anyOrder: true,
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "WaitStarted 1-1-1 2s", "ContextStarted ParallelBranch 1-2", "WaitStarted 1-2-1 1s", "InvocationCompleted",
				"WaitSucceeded 1-2-1", `ContextSucceeded ParallelBranch 1-2 = "fast"`, "InvocationCompleted",
				"WaitSucceeded 1-1-1", `ContextSucceeded ParallelBranch 1-1 = "slow"`, "ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started",
				"InvocationCompleted", `ExecutionSucceeded = ["slow","fast"]`,
			},
		},
		{
			name: "NoMoreThanAllowedRunAtOnce",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{pausing("a", time.Second), pausing("b", 2*time.Second), returning("c")}, durable.WithMaxConcurrency(2)))
			}),
			result:   `["a","b","c"]`,
			anyOrder: true,
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "WaitStarted 1-1-1 1s", "ContextStarted ParallelBranch 1-2", "WaitStarted 1-2-1 2s", "InvocationCompleted",
				"WaitSucceeded 1-1-1", `ContextSucceeded ParallelBranch 1-1 = "a"`, "ContextStarted ParallelBranch 1-3", `ContextSucceeded ParallelBranch 1-3 = "c"`, "InvocationCompleted",
				"WaitSucceeded 1-2-1", `ContextSucceeded ParallelBranch 1-2 = "b"`, "ContextSucceeded Parallel 1 p = ALL_COMPLETED: 3 ok, 0 failed, 0 started",
				"InvocationCompleted", `ExecutionSucceeded = ["a","b","c"]`,
			},
		},
		{
			name: "EndsAtTheMinimumWhileABranchWaits",
			does: outlining([]durable.Branch[string]{pausing("never", time.Hour), returning("b"), pausing("c", time.Second)}, durable.WithMinSuccessful(2)),
			logs: []string{"[INFO] MIN_SUCCESSFUL_REACHED SUCCEEDED 0:STARTED 1:SUCCEEDED=b 2:SUCCEEDED=c", "[INFO] MIN_SUCCESSFUL_REACHED SUCCEEDED 0:STARTED 1:SUCCEEDED=b 2:SUCCEEDED=c"},

			anyOrder: true,
			history: append([]string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "WaitStarted 1-1-1 1h0m0s", "ContextStarted ParallelBranch 1-2", `ContextSucceeded ParallelBranch 1-2 = "b"`,
				"ContextStarted ParallelBranch 1-3", "WaitStarted 1-3-1 1s", "InvocationCompleted",
			}, append(thenWait("WaitSucceeded 1-3-1", `ContextSucceeded ParallelBranch 1-3 = "c"`, "ContextSucceeded Parallel 1 p = MIN_SUCCESSFUL_REACHED: 2 ok, 0 failed, 1 started"),
				`ExecutionSucceeded = "MIN_SUCCESSFUL_REACHED SUCCEEDED 0:STARTED 1:SUCCEEDED=b 2:SUCCEEDED=c"`)...),
		},
		{
			name: "ABranchThatFailsEndsItWhileAnotherWaits",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				late := durable.Branch[string]{Run: func(c *durable.Context) (string, error) {
					return "", errors.Join(durable.Wait(c, "", time.Second), errUnreliable)
				}}
				return outline(durable.Parallel(ctx, "p", []durable.Branch[string]{pausing("never", time.Hour), late})), nil
			}),
			result:   `"FAILURE_TOLERANCE_EXCEEDED FAILED 0:STARTED 1:FAILED=CONTEXT \"\" error: unreliable error: failure tolerance exceeded"`,
			anyOrder: true,
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "WaitStarted 1-1-1 1h0m0s", "ContextStarted ParallelBranch 1-2", "WaitStarted 1-2-1 1s", "InvocationCompleted",
				"WaitSucceeded 1-2-1", "ContextFailed ParallelBranch 1-2 !error", "ContextSucceeded Parallel 1 p = FAILURE_TOLERANCE_EXCEEDED: 0 ok, 1 failed, 1 started",
				"InvocationCompleted", "ExecutionSucceeded = 119 bytes",
			},
		},
		{
			name: "AFinishedBranchDoesNotRunAgainWhenAnotherRetries",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) ([]string, error) {
				finished := durable.Branch[string]{Run: func(*durable.Context) (string, error) { w.count("finished"); return "a", nil }}
				retries := durable.Branch[string]{Run: func(c *durable.Context) (string, error) {
					w.count("retries")
					return durable.Step(c, "unreliable", failingUntil(2, "b"), quick(2))
				}}
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{finished, retries}, oneByOne))
			}),
			counts: map[string]int{"finished": 1, "retries": 2},
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", `ContextSucceeded ParallelBranch 1-1 = "a"`,
				"ContextStarted ParallelBranch 1-2", "StepStarted 1-2-1 unreliable", "StepFailed 1-2-1 unreliable #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1-2-1 unreliable #2", `StepSucceeded 1-2-1 unreliable #2 = "b"`, `ContextSucceeded ParallelBranch 1-2 = "b"`,
				"ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["a","b"]`,
			},
		},
		{
			name: "ACrashRunsOnlyWhatHadNotEnded",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) ([]string, error) {
				first := durable.Branch[string]{Run: func(c *durable.Context) (string, error) {
					return durable.Step(c, "first", func(context.Context) (string, error) { w.count("first"); return "a", nil })
				}}
				second := durable.Branch[string]{Run: func(c *durable.Context) (string, error) { return durable.Step(c, "second", once(w, "b")) }}
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{first, second}, oneByOne))
			}),
			counts: map[string]int{"first": 1, "calls": 2},
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "StepStarted 1-1-1 first", `StepSucceeded 1-1-1 first = "a"`, `ContextSucceeded ParallelBranch 1-1 = "a"`,
				"ContextStarted ParallelBranch 1-2", "StepStarted 1-2-1 second", "InvocationCompleted !Runtime.ExitError",
				`StepSucceeded 1-2-1 second = "b"`, `ContextSucceeded ParallelBranch 1-2 = "b"`,
				"ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["a","b"]`,
			},
		},
		{
			name: "ABranchWaitsForACallback",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				asks := durable.Branch[string]{Run: func(c *durable.Context) (string, error) {
					cb, err := durable.CreateCallback[string](c, "approval")
					if err != nil {
						return "", err
					}
					return cb.Await(c)
				}}
				return values(durable.Parallel(ctx, "p", []durable.Branch[string]{asks, stepping("b")}, oneByOne))
			}),
			outside: func(w *world) { w.succeed("approval", "a") },
			history: []string{
				"ContextStarted Parallel 1 p", "ContextStarted ParallelBranch 1-1", "CallbackStarted 1-1-1 approval", "InvocationCompleted",
				`CallbackSucceeded 1-1-1 approval = "a"`, `ContextSucceeded ParallelBranch 1-1 = "a"`,
				"ContextStarted ParallelBranch 1-2", "StepStarted 1-2-1 step", `StepSucceeded 1-2-1 step = "b"`, `ContextSucceeded ParallelBranch 1-2 = "b"`,
				"ContextSucceeded Parallel 1 p = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["a","b"]`,
			},
		},
		{
			name: "LinesOfLoggersAppearOnce",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				logs := durable.Branch[string]{Run: func(c *durable.Context) (string, error) {
					c.Logger().Info("branch begins")
					err := durable.Wait(c, "", time.Second)
					c.Logger().Info("branch ends")
					return "", err
				}}
				_, err := durable.Parallel(ctx, "p", []durable.Branch[string]{logs, returning("b")}, oneByOne)
				ctx.Logger().Info("after the batch")
				return nil, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			logs: []string{"[INFO] branch begins", "[INFO] branch ends", "[INFO] after the batch"},
		},
		{
			name: "IsRefusedBeforeItBegins",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				refused := 0
				for _, o := range []durable.BatchOption{durable.WithMaxConcurrency(-1), durable.WithMinSuccessful(-1), durable.WithToleratedFailures(-1), durable.WithToleratedFailurePercent(101)} {
					if b, err := durable.Parallel(ctx, "p", []durable.Branch[string]{returning("a")}, o); b == nil && err != nil {
						refused++
					}
				}
				return refused, nil
			}),
			result:  `4`,
			history: []string{"InvocationCompleted", "ExecutionSucceeded = 4"},
		},
	})
}
