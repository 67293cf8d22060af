package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

func TestMap(t *testing.T) {
	itemFails := `CONTEXT "" error: the item fails`
	mapAndWait := func(items []string, opts ...durable.BatchOption) handler {
		return handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
			b, err := durable.Map(ctx, "m", items, func(c *durable.Context, in string, i int) (string, error) {
				w.count("items")
				return item(c, in, i)
			}, append(opts, oneByOne)...)
			said := outline(b, err)
			w.slog.Info(said)
			return said, durable.Wait(ctx, "", time.Second)
		})
	}
	runScenarios(t, []scenario{
		{
			name: "TheFunctionGetsTheIndex",
			does: handle(func(ctx *durable.Context, in []string) ([]string, error) {
				return values(durable.Map(ctx, "m", in, func(c *durable.Context, s string, i int) (string, error) {
					return durable.Step(c, "", value(fmt.Sprintf("%d:%s", i, s)))
				}, oneByOne))
			}),
			in: []string{"a", "b"},
			history: []string{
				"ContextStarted Map 1 m", "ContextStarted MapIteration 1-1", "StepStarted 1-1-1", `StepSucceeded 1-1-1 = "0:a"`, `ContextSucceeded MapIteration 1-1 = "0:a"`,
				"ContextStarted MapIteration 1-2", "StepStarted 1-2-1", `StepSucceeded 1-2-1 = "1:b"`, `ContextSucceeded MapIteration 1-2 = "1:b"`,
				"ContextSucceeded Map 1 m = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["0:a","1:b"]`,
			},
		},
		{
			name: "AFailureOfAnItemFailsTheExecutionThatReturnsIt",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				b, err := durable.Map(ctx, "m", []string{"a", "b"}, func(*durable.Context, string, int) (string, error) { return "", &TransientError{"item"} },
					oneByOne, durable.WithToleratedFailures(2))
				if err != nil {
					return nil, err
				}
				return nil, b.Errors()[0]
			}),
			status: durable.ExecutionFailed, failure: "TransientError",
			history: []string{
				"ContextStarted Map 1 m", "ContextStarted MapIteration 1-1", "ContextFailed MapIteration 1-1 !TransientError",
				"ContextStarted MapIteration 1-2", "ContextFailed MapIteration 1-2 !TransientError",
				"ContextSucceeded Map 1 m = ALL_COMPLETED: 0 ok, 2 failed, 0 started", "InvocationCompleted", "ExecutionFailed !TransientError",
			},
		},
		{
			name:   "StopsWhenTheToleranceIsExceededAndSaysTheSameOnReplay",
			does:   mapAndWait([]string{"not", "ok", "not", "ok"}, durable.WithToleratedFailures(1)),
			logs:   twice(`FAILURE_TOLERANCE_EXCEEDED FAILED 0:FAILED=` + itemFails + ` 1:SUCCEEDED=ok 2:FAILED=` + itemFails + ` error: failure tolerance exceeded`),
			counts: map[string]int{"items": 3},
		},
		{
			name:   "FailsThenWaitsAndSaysTheSameOnReplay",
			does:   mapAndWait([]string{"ok 1", "not", "ok 2"}, durable.WithToleratedFailures(1)),
			logs:   twice(`ALL_COMPLETED FAILED 0:SUCCEEDED=ok 1 1:FAILED=` + itemFails + ` 2:SUCCEEDED=ok 2`),
			counts: map[string]int{"items": 3},
			history: append(thenWait("ContextStarted Map 1 m", "ContextStarted MapIteration 1-1", `ContextSucceeded MapIteration 1-1 = "ok 1"`,
				"ContextStarted MapIteration 1-2", "ContextFailed MapIteration 1-2 !error", "ContextStarted MapIteration 1-3", `ContextSucceeded MapIteration 1-3 = "ok 2"`,
				"ContextSucceeded Map 1 m = ALL_COMPLETED: 2 ok, 1 failed, 0 started"), "ExecutionSucceeded = 100 bytes"),
		},
		{
			name: "AHalfOfThemMayFail",
			does: mapAndWait([]string{"not", "ok", "not", "ok"}, durable.WithToleratedFailurePercent(50)),
			logs: twice(`ALL_COMPLETED FAILED 0:FAILED=` + itemFails + ` 1:SUCCEEDED=ok 2:FAILED=` + itemFails + ` 3:SUCCEEDED=ok`),
		},
		{
			name: "NoneMayFailWithATolerancePercentageOfNothing",
			does: mapAndWait([]string{"ok", "not", "ok"}, durable.WithToleratedFailurePercent(0)),
			logs: twice(`FAILURE_TOLERANCE_EXCEEDED FAILED 0:SUCCEEDED=ok 1:FAILED=` + itemFails + ` error: failure tolerance exceeded`),
		},
		{
			name: "MapsNest",
			does: handle(func(ctx *durable.Context, in [][]int) ([][]int, error) {
				return values(durable.Map(ctx, "outer", in, func(c *durable.Context, row []int, _ int) ([]int, error) {
					return values(durable.Map(c, "inner", row, func(_ *durable.Context, n, _ int) (int, error) { return n * n, nil }, oneByOne))
				}, oneByOne))
			}),
			in: [][]int{{1, 2}, {3}},
			history: []string{
				"ContextStarted Map 1 outer",
				"ContextStarted MapIteration 1-1", "ContextStarted Map 1-1-1 inner", "ContextStarted MapIteration 1-1-1-1", "ContextSucceeded MapIteration 1-1-1-1 = 1",
				"ContextStarted MapIteration 1-1-1-2", "ContextSucceeded MapIteration 1-1-1-2 = 4",
				"ContextSucceeded Map 1-1-1 inner = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "ContextSucceeded MapIteration 1-1 = [1,4]",
				"ContextStarted MapIteration 1-2", "ContextStarted Map 1-2-1 inner", "ContextStarted MapIteration 1-2-1-1", "ContextSucceeded MapIteration 1-2-1-1 = 9",
				"ContextSucceeded Map 1-2-1 inner = ALL_COMPLETED: 1 ok, 0 failed, 0 started", "ContextSucceeded MapIteration 1-2 = [9]",
				"ContextSucceeded Map 1 outer = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", "ExecutionSucceeded = [[1,4],[9]]",
			},
		},
		{
			name: "ItemsThatWaitOneByOne",
			does: handle(func(ctx *durable.Context, in []string) ([]string, error) {
				return values(durable.Map(ctx, "m", in, func(c *durable.Context, s string, _ int) (string, error) {
					return s, durable.Wait(c, "", time.Second)
				}, oneByOne))
			}),
			in: []string{"a", "b"},
			history: []string{
				"ContextStarted Map 1 m", "ContextStarted MapIteration 1-1", "WaitStarted 1-1-1 1s", "InvocationCompleted",
				"WaitSucceeded 1-1-1", `ContextSucceeded MapIteration 1-1 = "a"`, "ContextStarted MapIteration 1-2", "WaitStarted 1-2-1 1s", "InvocationCompleted",
				"WaitSucceeded 1-2-1", `ContextSucceeded MapIteration 1-2 = "b"`, "ContextSucceeded Map 1 m = ALL_COMPLETED: 2 ok, 0 failed, 0 started",
				"InvocationCompleted", `ExecutionSucceeded = ["a","b"]`,
			},
		},
		{
			name: "TimersThatAreDueTogetherShareAnInvocation",
			does: handle(func(ctx *durable.Context, in []string) ([]string, error) {
				at := ctx.StartedAt().Add(3 * time.Second)
				return values(durable.Map(ctx, "m", in, func(c *durable.Context, s string, _ int) (string, error) { return s, durable.WaitUntil(c, "", at) }))
			}),
			in: []string{"a", "b", "c"}, result: `["a","b","c"]`,
			outside: func(w *world) {
				w.untilEnd()
				n := 0
				for _, ev := range w.history() {
					if ev.Type == "InvocationCompleted" {
						n++
					}
				}
				require.Equal(w, 2, n)
			},
		},
		{
			name: "AnItemRetriesItsStep",
			does: handle(func(ctx *durable.Context, in []string) ([]string, error) {
				return values(durable.Map(ctx, "m", in, durable.AsStep(func(c context.Context, s string) (string, error) {
					if s == "b" {
						return failingUntil(2, "b again")(c)
					}
					return s, nil
				}, quick(2)), oneByOne, durable.WithItemNames(func(i int) string { return in[i] })))
			}),
			in: []string{"a", "b"},
			history: []string{
				"ContextStarted Map 1 m", "ContextStarted MapIteration 1-1 a", "StepStarted 1-1-1 a", `StepSucceeded 1-1-1 a = "a"`, `ContextSucceeded MapIteration 1-1 a = "a"`,
				"ContextStarted MapIteration 1-2 b", "StepStarted 1-2-1 b", "StepFailed 1-2-1 b #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1-2-1 b #2", `StepSucceeded 1-2-1 b #2 = "b again"`, `ContextSucceeded MapIteration 1-2 b = "b again"`,
				"ContextSucceeded Map 1 m = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "InvocationCompleted", `ExecutionSucceeded = ["a","b again"]`,
			},
		},
		{
			name: "ALargeResultIsTheSameOnReplay",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) ([]int, error) {
				out, err := values(durable.Map(ctx, "m", []int{70 << 10, 300 << 10, 70 << 10, 70 << 10}, func(c *durable.Context, n, i int) (string, error) {
					w.count(fmt.Sprintf("item %d", i))
					return large(c, "x", n)
				}, oneByOne))
				sizes := make([]int, len(out))
				for i := range out {
					sizes[i] = len(out[i])
				}
				w.slog.Info(fmt.Sprint(sizes))
				return sizes, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			logs: twice("[71680 307200 71680 71680]"),
			// An item that is itself too large to be stored is built again.
			counts: map[string]int{"item 0": 1, "item 1": 2, "item 2": 1, "item 3": 1},
		},
		{
			name: "ALargeResultWithAnItemThatNeverEndedIsTheSameOnReplay",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) ([]string, error) {
				// Items 0, 2 and 3 end; item 1, between them, waits until the minimum is reached.
				sizes := []int{100 << 10, 0, 300 << 10, 100 << 10}
				b, err := durable.Map(ctx, "m", sizes, func(c *durable.Context, n, i int) (string, error) {
					if i == 1 {
						return "", durable.Wait(c, "", time.Hour)
					}
					return large(c, "x", n)
				}, durable.WithMinSuccessful(3))
				if err != nil {
					return nil, err
				}
				items := []string{string(b.Reason())}
				for it := range b.All() {
					items = append(items, fmt.Sprintf("%d:%s %d", it.Index, it.Status, len(it.Value)))
				}
				w.slog.Info(fmt.Sprint(items))
				return items, durable.Wait(ctx, "", time.Second)
			}),
			logs: twice("[MIN_SUCCESSFUL_REACHED 0:SUCCEEDED 102400 1:STARTED 0 2:SUCCEEDED 307200 3:SUCCEEDED 102400]"),
			outside: func(w *world) {
				w.untilEnd()
				n := 0
				for _, ev := range w.history() {
					if ev.Type == "ContextSucceeded" && ev.SubType == "Map" {
						n++
					}
				}
				require.Equal(w, 1, n, "the outcome of a batch is recorded once")
			},
		},
		{
			name: "FlatItemsWaitAndAreReplayed",
			does: handleIn(func(w *world, ctx *durable.Context, in []string) ([]string, error) {
				out, err := values(durable.Map(ctx, "m", in, func(c *durable.Context, s string, _ int) (string, error) {
					out, err := durable.Step(c, "step", func(context.Context) (string, error) { w.count("steps"); return s + s, nil })
					return out, errors.Join(err, durable.Wait(c, "", time.Second))
				}, durable.Flat(), oneByOne))
				return out, errors.Join(err, durable.Wait(ctx, "after", time.Second))
			}),
			in:     []string{"a", "b"},
			counts: map[string]int{"steps": 2},
			history: []string{
				"ContextStarted Map 1 m", "StepStarted 1-1-1 step in 1", `StepSucceeded 1-1-1 step in 1 = "aa"`, "WaitStarted 1-1-2 in 1 1s", "InvocationCompleted",
				"WaitSucceeded 1-1-2 in 1", "StepStarted 1-2-1 step in 1", `StepSucceeded 1-2-1 step in 1 = "bb"`, "WaitStarted 1-2-2 in 1 1s", "InvocationCompleted",
				"WaitSucceeded 1-2-2 in 1", "ContextSucceeded Map 1 m = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "WaitStarted 2 after 1s", "InvocationCompleted",
				"WaitSucceeded 2 after", "InvocationCompleted", `ExecutionSucceeded = ["aa","bb"]`,
			},
		},
		{
			name: "AMapInABranchOfAParallelInAChild",
			does: handle(func(ctx *durable.Context, _ any) ([]int, error) {
				return durable.RunInChildContext(ctx, "child", func(c *durable.Context) ([]int, error) {
					sum := func(numbers ...int) durable.Branch[int] {
						return durable.Branch[int]{Run: func(c *durable.Context) (int, error) {
							squares, err := values(durable.Map(c, "squares", numbers, func(c *durable.Context, n, _ int) (int, error) {
								return durable.Call(c, "square", func(_ context.Context, n int) (int, error) { return n * n, nil }, n)
							}, oneByOne))
							if err != nil {
								return 0, err
							}
							total := 0
							for _, n := range squares {
								total += n
							}
							return total, durable.Wait(c, "", time.Second)
						}}
					}
					return values(durable.Parallel(c, "sums", []durable.Branch[int]{sum(1, 2), sum(3)}, oneByOne))
				})
			}),
			result: `[5,9]`,
			history: []string{
				"ContextStarted RunInChildContext 1 child", "ContextStarted Parallel 1-1 sums", "ContextStarted ParallelBranch 1-1-1", "ContextStarted Map 1-1-1-1 squares",
				"ContextStarted MapIteration 1-1-1-1-1", "StepStarted 1-1-1-1-1-1 square", "StepSucceeded 1-1-1-1-1-1 square = 1", "ContextSucceeded MapIteration 1-1-1-1-1 = 1",
				"ContextStarted MapIteration 1-1-1-1-2", "StepStarted 1-1-1-1-2-1 square", "StepSucceeded 1-1-1-1-2-1 square = 4", "ContextSucceeded MapIteration 1-1-1-1-2 = 4",
				"ContextSucceeded Map 1-1-1-1 squares = ALL_COMPLETED: 2 ok, 0 failed, 0 started", "WaitStarted 1-1-1-2 1s", "InvocationCompleted",
				"WaitSucceeded 1-1-1-2", "ContextSucceeded ParallelBranch 1-1-1 = 5", "ContextStarted ParallelBranch 1-1-2", "ContextStarted Map 1-1-2-1 squares",
				"ContextStarted MapIteration 1-1-2-1-1", "StepStarted 1-1-2-1-1-1 square", "StepSucceeded 1-1-2-1-1-1 square = 9", "ContextSucceeded MapIteration 1-1-2-1-1 = 9",
				"ContextSucceeded Map 1-1-2-1 squares = ALL_COMPLETED: 1 ok, 0 failed, 0 started", "WaitStarted 1-1-2-2 1s", "InvocationCompleted",
				"WaitSucceeded 1-1-2-2", "ContextSucceeded ParallelBranch 1-1-2 = 9", "ContextSucceeded Parallel 1-1 sums = ALL_COMPLETED: 2 ok, 0 failed, 0 started",
				"ContextSucceeded RunInChildContext 1 child = [5,9]", "InvocationCompleted", "ExecutionSucceeded = [5,9]",
			},
		},
		{
			name: "AThousandItemsAreReplayed",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (int, error) {
				items := make([]int, 1000)
				for i := range items {
					items[i] = i
				}
				b, err := durable.Map(ctx, "m", items, func(c *durable.Context, n, _ int) (int, error) {
					if n%10 == 0 {
						if err := durable.Wait(c, "", time.Second); err != nil {
							return 0, err
						}
					}
					return durable.Step(c, "", func(context.Context) (int, error) { w.count("steps"); return n, nil })
				}, durable.WithMaxConcurrency(200))
				sum := 0
				for _, n := range b.Values() {
					sum += n
				}
				return sum, errors.Join(err, durable.Wait(ctx, "", time.Second))
			}),
			result: `499500`,
			counts: map[string]int{"steps": 1000},
		},
		{
			name: "EndsAtTheMinimumWhileAnItemRetries",
			does: handle(func(ctx *durable.Context, in []string) (string, error) {
				return outline(durable.Map(ctx, "m", in, func(c *durable.Context, s string, _ int) (string, error) {
					if s == "hopeless" {
						return durable.Step(c, "", fails, durable.WithRetry(durable.RetryPolicy{Initial: 2 * time.Second, Jitter: durable.NoJitter}))
					}
					return s, durable.Wait(c, "", 3*time.Second)
				}, durable.WithMinSuccessful(1))), nil
			}),
			in: []string{"hopeless", "patient"}, result: `"MIN_SUCCESSFUL_REACHED SUCCEEDED 0:STARTED 1:SUCCEEDED=patient"`,
			anyOrder: true,
			history: []string{
				"ContextStarted Map 1 m", "ContextStarted MapIteration 1-1", "StepStarted 1-1-1", "StepFailed 1-1-1 #1 next 2s !error", "ContextStarted MapIteration 1-2", "WaitStarted 1-2-1 3s", "InvocationCompleted",
				"StepStarted 1-1-1 #2", "StepFailed 1-1-1 #2 next 4s !error", "InvocationCompleted",
				"WaitSucceeded 1-2-1", `ContextSucceeded MapIteration 1-2 = "patient"`, "ContextSucceeded Map 1 m = MIN_SUCCESSFUL_REACHED: 1 ok, 0 failed, 1 started",
				"InvocationCompleted", `ExecutionSucceeded = "MIN_SUCCESSFUL_REACHED SUCCEEDED 0:STARTED 1:SUCCEEDED=patient"`,
			},
		},
		{
			name: "AnOperationsCodecEncodesOnlyWhatSucceeded",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				said := outline(durable.Map(ctx, "m", []string{"ok 1", "not", "ok 2"}, item, oneByOne, durable.WithToleratedFailures(1), durable.WithBatchCodec(joined{})))
				w.slog.Info(said)
				return said, durable.Wait(ctx, "", time.Second)
			}),
			logs: twice(`ALL_COMPLETED FAILED 0:SUCCEEDED=ok 1 1:FAILED=` + itemFails + ` 2:SUCCEEDED=ok 2`),
			history: append(thenWait("ContextStarted Map 1 m", "ContextStarted MapIteration 1-1", `ContextSucceeded MapIteration 1-1 = "ok 1"`,
				"ContextStarted MapIteration 1-2", "ContextFailed MapIteration 1-2 !error", "ContextStarted MapIteration 1-3", `ContextSucceeded MapIteration 1-3 = "ok 2"`,
				`ContextSucceeded Map 1 m = "OPSERDE:ok 1,ok 2"`), "ExecutionSucceeded = 100 bytes"),
		},
	})
}
