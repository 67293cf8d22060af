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

// once is a body that lets the process die in its first call. It waits a little
// before, so that the start of its attempt is durable by then.
func once[O any](w *world, v O) func(context.Context) (O, error) {
	return func(ctx context.Context) (O, error) {
		if w.count("calls") == 1 {
			time.Sleep(500 * time.Millisecond)
			w.crash(ctx)
		}
		return v, nil
	}
}

func TestStep(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name: "StepsInARowShareOneInvocation",
			does: handle(func(ctx *durable.Context, in int) (int, error) {
				for i := range 3 {
					next, err := durable.Call(ctx, fmt.Sprintf("add-%d", i), increment, in)
					if err != nil {
						return 0, err
					}
					in = next
				}
				return in, nil
			}),
			in:     1,
			result: `4`,
			history: []string{
				"StepStarted 1 add-0", "StepSucceeded 1 add-0 = 2",
				"StepStarted 2 add-1", "StepSucceeded 2 add-1 = 3",
				"StepStarted 3 add-2", "StepSucceeded 3 add-2 = 4",
				"InvocationCompleted", "ExecutionSucceeded = 4",
			},
		},
		{
			name: "ItsCodecIsUsedOnTheFirstRunAndOnReplay",
			does: handle(func(ctx *durable.Context, in string) (string, error) {
				out, err := durable.Step(ctx, "shout", value(in), durable.WithCodec(textCodec{"upper", strings.ToUpper, unchanged}))
				if err != nil {
					return "", err
				}
				return out, durable.Wait(ctx, "", time.Second)
			}),
			in: "hello",
			history: []string{
				"StepStarted 1 shout", `StepSucceeded 1 shout = "HELLO"`, "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "HELLO"`,
			},
		},
		{
			name: "FailsWhenItsRetriesAreExhausted",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.Step(ctx, "hopeless", fails, quick(3))
			}),
			status:  durable.ExecutionFailed,
			failure: "error",
			history: []string{
				"StepStarted 1 hopeless", "StepFailed 1 hopeless #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1 hopeless #2", "StepFailed 1 hopeless #2 next 1s !error", "InvocationCompleted",
				"StepStarted 1 hopeless #3", "StepFailed 1 hopeless #3 !error", "InvocationCompleted", "ExecutionFailed !error",
			},
		},
		{
			name: "RetriesOnlyWhatThePolicyWants",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				policy := durable.RetryPolicy{MaxAttempts: 5, Initial: time.Second, Multiplier: 1, Jitter: durable.NoJitter, Retryable: func(err error) bool {
					_, transient := errors.AsType[*TransientError](err)
					return transient
				}}
				return durable.Step(ctx, "picky", func(c context.Context) (string, error) {
					if info, _ := durable.StepInfoFrom(c); info.Attempt == 1 {
						return "", fmt.Errorf("wrapped: %w", &TransientError{"overloaded"})
					}
					return "", errUnreliable
				}, durable.WithRetry(policy))
			}),
			status: durable.ExecutionFailed,
			history: []string{
				"StepStarted 1 picky", "StepFailed 1 picky #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1 picky #2", "StepFailed 1 picky #2 !error", "InvocationCompleted", "ExecutionFailed !error",
			},
		},
		{
			name: "TheDefaultPolicyGivesUpAfterSixAttempts",
			does: handle(func(ctx *durable.Context, _ any) (string, error) { return durable.Step(ctx, "hopeless", fails) }),
			outside: func(w *world) {
				// The delays have full jitter: between nothing and 5, 10, 20, 40 and 60 s.
				w.untilEnd()
				limits := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 60 * time.Second}
				events := w.history()
				for i, ev := range events {
					if ev.Type != "StepFailed" {
						continue
					}
					if ev.Attempt <= 5 && (ev.NextAttemptDelay <= 0 || ev.NextAttemptDelay > limits[ev.Attempt-1]) || ev.Attempt == 6 && ev.NextAttemptDelay != 0 {
						w.Errorf("attempt %d: the next one is %s later", ev.Attempt, ev.NextAttemptDelay)
					}
					if again := i + 2; ev.Attempt <= 5 && events[again].Time.Before(ev.Time.Add(ev.NextAttemptDelay)) {
						w.Errorf("attempt %d began early", events[again].Attempt)
					}
				}
			},
			status: durable.ExecutionFailed,
		},
		{
			name: "AnErrorSetsItsOwnDelayOrEndsTheRetries",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.Step(ctx, "told", func(c context.Context) (string, error) {
					if info, _ := durable.StepInfoFrom(c); info.Attempt == 1 {
						return "", durable.RetryAfter(2*time.Second, errUnreliable)
					}
					return "", durable.Permanent(errUnreliable)
				}, quick(5))
			}),
			status: durable.ExecutionFailed,
			history: []string{
				"StepStarted 1 told", "StepFailed 1 told #1 next 2s !error", "InvocationCompleted",
				"StepStarted 1 told #2", "StepFailed 1 told #2 !error", "InvocationCompleted", "ExecutionFailed !error",
			},
		},
		{
			name: "AnInterruptedAttemptRunsAgainUnderItsNumber",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				return durable.Step(ctx, "interrupted", once(w, "done"), noRetry)
			}),
			history: []string{
				"StepStarted 1 interrupted", "InvocationCompleted !Runtime.ExitError",
				`StepSucceeded 1 interrupted = "done"`, "InvocationCompleted", `ExecutionSucceeded = "done"`,
			},
			counts: map[string]int{"calls": 2},
		},
		{
			name: "AttemptNumbersCountFailuresNotCrashes",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (int, error) {
				return durable.Step(ctx, "numbered", func(c context.Context) (int, error) {
					info, _ := durable.StepInfoFrom(c)
					w.slog.Info(fmt.Sprintf("attempt %d", info.Attempt))
					switch w.count("calls") {
					case 2, 3:
						time.Sleep(500 * time.Millisecond)
						w.crash(c)
					case 1, 4:
						return 0, errUnreliable
					}
					return info.Attempt, nil
				}, quick(3))
			}),
			result: `3`,
			logs:   []string{"[INFO] attempt 1", "[INFO] attempt 2", "[INFO] attempt 2", "[INFO] attempt 2", "[INFO] attempt 3"},
			history: []string{
				"StepStarted 1 numbered", "StepFailed 1 numbered #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1 numbered #2", "InvocationCompleted !Runtime.ExitError", "InvocationCompleted !Runtime.ExitError",
				"StepFailed 1 numbered #2 next 1s !error", "InvocationCompleted",
				"StepStarted 1 numbered #3", "StepSucceeded 1 numbered #3 = 3", "InvocationCompleted", "ExecutionSucceeded = 3",
			},
		},
		{
			name: "ACrashBeforeAnythingIsRecorded",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				if w.count("handler") == 1 {
					w.crash(ctx.Context())
				}
				return durable.Step(ctx, "first", value("done"))
			}),
			history: []string{
				"InvocationCompleted !Runtime.ExitError", "StepStarted 1 first", `StepSucceeded 1 first = "done"`, "InvocationCompleted", `ExecutionSucceeded = "done"`,
			},
		},
		{
			name: "AtMostOnceWithRetriesTriesAgainAfterAnInterruption",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				return durable.Step(ctx, "once", once(w, "done"), durable.AtMostOnce(), quick(3))
			}),
			history: []string{
				"StepStarted 1 once", "InvocationCompleted !Runtime.ExitError",
				"StepFailed 1 once #1 next 1s !Interrupted", "InvocationCompleted",
				"StepStarted 1 once #2", `StepSucceeded 1 once #2 = "done"`, "InvocationCompleted", `ExecutionSucceeded = "done"`,
			},
			counts: map[string]int{"calls": 2},
		},
		{
			name: "AnInterruptionCanBeCaught",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				out, err := durable.Step(ctx, "once", once(w, "done"), durable.AtMostOnce())
				out = caught(out, err)
				return out, durable.Wait(ctx, "", time.Second)
			}),
			result: `"caught STEP \"once\" Interrupted: durable: the attempt was interrupted (the attempt was interrupted)"`,
			history: []string{
				"StepStarted 1 once", "InvocationCompleted !Runtime.ExitError",
				"StepFailed 1 once !Interrupted", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", "ExecutionSucceeded = 102 bytes",
			},
			counts: map[string]int{"calls": 1},
		},
		{
			name: "AStepThatIsDurableDoesNotRunAgainAfterACrash",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				first, err := durable.Step(ctx, "first", func(context.Context) (string, error) {
					w.count("first")
					return "first", nil
				})
				if err != nil {
					return "", err
				}
				second, err := durable.Step(ctx, "second", once(w, "second"))
				return first + " " + second, err
			}),
			history: []string{
				"StepStarted 1 first", `StepSucceeded 1 first = "first"`, "StepStarted 2 second", "InvocationCompleted !Runtime.ExitError",
				`StepSucceeded 2 second = "second"`, "InvocationCompleted", `ExecutionSucceeded = "first second"`,
			},
			counts: map[string]int{"first": 1, "calls": 2},
		},
		{
			name: "ACrashBetweenStepsRunsTheHandlerAgain",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				if err := durable.Do(ctx, "first", func(context.Context) error { w.count("first"); return nil }); err != nil {
					return "", err
				}
				if w.count("handler") == 1 {
					time.Sleep(500 * time.Millisecond)
					w.crash(ctx.Context())
				}
				return durable.Step(ctx, "second", value("done"))
			}),
			history: []string{
				"StepStarted 1 first", "StepSucceeded 1 first = {}", "InvocationCompleted !Runtime.ExitError",
				"StepStarted 2 second", `StepSucceeded 2 second = "done"`, "InvocationCompleted", `ExecutionSucceeded = "done"`,
			},
			counts: map[string]int{"first": 1, "handler": 2},
		},
		{
			name: "ACaughtErrorIsTheSameOnReplay",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) ([]string, error) {
				_, err := durable.Step(ctx, "doomed", func(context.Context) (string, error) { return "", &TransientError{"gone"} }, noRetry)
				w.slog.Info(describeError(err))
				_, err2 := durable.Step(ctx, "panics", func(context.Context) (string, error) { panic("oh") }, noRetry)
				w.slog.Info(describeError(err2))
				return []string{describeError(err), describeError(err2)}, durable.Wait(ctx, "", time.Second)
			}),
			logs: []string{
				`[INFO] STEP "doomed" TransientError: transient: gone`, `[INFO] STEP "panics" Panic: panic: oh (panic)`,
				`[INFO] STEP "doomed" TransientError: transient: gone`, `[INFO] STEP "panics" Panic: panic: oh (panic)`,
			},
			history: []string{
				"StepStarted 1 doomed", "StepFailed 1 doomed !TransientError", "StepStarted 2 panics", "StepFailed 2 panics !Panic",
				"WaitStarted 3 1s", "InvocationCompleted", "WaitSucceeded 3", "InvocationCompleted", "ExecutionSucceeded = 94 bytes",
			},
		},
		{
			name: "LinesOfAContextsLoggerAppearOnce",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				ctx.Logger().Info("begin")
				_, err := durable.Step(ctx, "logs", func(c context.Context) (string, error) {
					info, _ := durable.StepInfoFrom(c)
					info.Logger.Info(fmt.Sprintf("attempt %d", info.Attempt))
					return failingUntil(2, "done")(c)
				}, quick(2))
				if err != nil {
					return nil, err
				}
				ctx.Logger().Info("after the step")
				if err := durable.Wait(ctx, "", time.Second); err != nil {
					return nil, err
				}
				ctx.Logger().Info("end")
				return nil, nil
			}),
			logs: []string{"[INFO] begin", "[INFO] attempt 1", "[INFO] attempt 2", "[INFO] after the step", "[INFO] end"},
			history: []string{
				"StepStarted 1 logs", "StepFailed 1 logs #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1 logs #2", `StepSucceeded 1 logs #2 = "done"`, "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", "ExecutionSucceeded = null",
			},
		},
		{
			name: "TwoStepsRetryOneAfterTheOther",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				a, err := durable.Step(ctx, "a", failingUntil(2, "a"), quick(2))
				if err != nil {
					return "", err
				}
				b, err := durable.Step(ctx, "b", failingUntil(2, "b"), quick(2))
				return a + b, err
			}),
			history: []string{
				"StepStarted 1 a", "StepFailed 1 a #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1 a #2", `StepSucceeded 1 a #2 = "a"`,
				"StepStarted 2 b", "StepFailed 2 b #1 next 1s !error", "InvocationCompleted",
				"StepStarted 2 b #2", `StepSucceeded 2 b #2 = "b"`, "InvocationCompleted", `ExecutionSucceeded = "ab"`,
			},
		},
		{
			name: "AHandlerFailsByItself",
			does: handle(func(*durable.Context, any) (any, error) { return nil, &TransientError{"at once"} }),

			status: durable.ExecutionFailed, failure: "TransientError",
			history: []string{"InvocationCompleted", "ExecutionFailed !TransientError"},
		},
		{
			name: "AHandlerDoesNothingDurable",
			does: handle(func(_ *durable.Context, in []int) (int, error) { return len(in), nil }),
			in:   []int{1, 2, 3}, result: `3`,
			history: []string{"InvocationCompleted", "ExecutionSucceeded = 3"},
		},
	})
}
