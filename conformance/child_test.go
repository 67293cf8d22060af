package conformance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable"
)

// stubborn is a codec that encodes nothing.
type stubborn struct{ decoding }

func (stubborn) Name() string               { return "stubborn" }
func (stubborn) Encode(any) ([]byte, error) { return nil, errors.New("never") }

// large is a string of n bytes that is made of what a step returned.
func large(ctx *durable.Context, name string, n int) (string, error) {
	s, err := durable.Step(ctx, name, value(name))
	return strings.Repeat(s, n/len(name)+1)[:n], err
}

func TestChild(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name: "StepsInsideCountTheirOwnPositions",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				joined, err := durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
					a, err := durable.Step(c, "a", value("a"))
					if err != nil {
						return "", err
					}
					b, err := durable.Step(c, "b", value("b"))
					return a + b, err
				})
				if err != nil {
					return "", err
				}
				return durable.Step(ctx, "c", value(joined+"c"))
			}),
			history: []string{
				"ContextStarted RunInChildContext 1 child", "StepStarted 1-1 a", `StepSucceeded 1-1 a = "a"`, "StepStarted 1-2 b", `StepSucceeded 1-2 b = "b"`,
				`ContextSucceeded RunInChildContext 1 child = "ab"`, "StepStarted 2 c", `StepSucceeded 2 c = "abc"`,
				"InvocationCompleted", `ExecutionSucceeded = "abc"`,
			},
		},
		{
			name: "FailsByItself",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) { return "", &TransientError{"inside"} })
			}),
			status: durable.ExecutionFailed, failure: "TransientError",
			history: []string{
				"ContextStarted RunInChildContext 1 child", "ContextFailed RunInChildContext 1 child !TransientError",
				"InvocationCompleted", "ExecutionFailed !TransientError",
			},
		},
		{
			name: "ACaughtErrorIsTheSameOnReplay",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				_, err := durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
					w.count("runs")
					return durable.Step(c, "failing", func(context.Context) (string, error) { return "", &TransientError{"inside"} }, noRetry)
				})
				w.slog.Info(describeError(err))
				return caught("", err), durable.Wait(ctx, "", time.Second)
			}),
			counts: map[string]int{"runs": 1},
			logs:   []string{`[INFO] CONTEXT "child" TransientError: transient: inside`, `[INFO] CONTEXT "child" TransientError: transient: inside`},
			history: []string{
				"ContextStarted RunInChildContext 1 child", "StepStarted 1-1 failing", "StepFailed 1-1 failing !TransientError",
				"ContextFailed RunInChildContext 1 child !TransientError", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "caught CONTEXT \"child\" TransientError: transient: inside"`,
			},
		},
		{
			name: "ChildrenNest",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.RunInChildContext(ctx, "outer", func(c *durable.Context) (string, error) {
					inner, err := durable.RunInChildContext(c, "inner", func(c *durable.Context) (string, error) {
						out, err := durable.Step(c, "deep", value("deep"))
						return out, errors.Join(err, durable.Wait(c, "", time.Second))
					})
					if err != nil {
						return "", err
					}
					return durable.Step(c, "shallow", value(inner+"er"))
				})
			}),
			history: []string{
				"ContextStarted RunInChildContext 1 outer", "ContextStarted RunInChildContext 1-1 inner", "StepStarted 1-1-1 deep", `StepSucceeded 1-1-1 deep = "deep"`,
				"WaitStarted 1-1-2 1s", "InvocationCompleted",
				"WaitSucceeded 1-1-2", `ContextSucceeded RunInChildContext 1-1 inner = "deep"`, "StepStarted 1-2 shallow", `StepSucceeded 1-2 shallow = "deeper"`,
				`ContextSucceeded RunInChildContext 1 outer = "deeper"`, "InvocationCompleted", `ExecutionSucceeded = "deeper"`,
			},
		},
		{
			name: "ACrashInsideRunsTheStepAgain",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
					first, err := durable.Step(c, "first", func(context.Context) (string, error) { w.count("first"); return "first", nil })
					if err != nil {
						return "", err
					}
					second, err := durable.Step(c, "second", once(w, "second"))
					return first + second, err
				})
			}),
			counts: map[string]int{"first": 1, "calls": 2},
			history: []string{
				"ContextStarted RunInChildContext 1 child", "StepStarted 1-1 first", `StepSucceeded 1-1 first = "first"`, "StepStarted 1-2 second",
				"InvocationCompleted !Runtime.ExitError",
				`StepSucceeded 1-2 second = "second"`, `ContextSucceeded RunInChildContext 1 child = "firstsecond"`,
				"InvocationCompleted", `ExecutionSucceeded = "firstsecond"`,
			},
		},
		{
			name: "ACodecHasNoPartInAFailure",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				_, err := durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) { return "", &TransientError{"inside"} },
					durable.WithCodec(textCodec{"upper", strings.ToUpper, unchanged}))
				return caught("", err), durable.Wait(ctx, "", time.Second)
			}),
			history: []string{
				"ContextStarted RunInChildContext 1 child", "ContextFailed RunInChildContext 1 child !TransientError", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", `ExecutionSucceeded = "caught CONTEXT \"child\" TransientError: transient: inside"`,
			},
		},
		{
			name: "FailsWhenItsResultCannotBeEncoded",
			does: handle(func(ctx *durable.Context, _ any) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) { return "x", nil }, durable.WithCodec(stubborn{}))
			}),
			status: durable.ExecutionFailed, failure: "Codec",
			history: []string{
				"ContextStarted RunInChildContext 1 child", "ContextFailed RunInChildContext 1 child !Codec", "InvocationCompleted", "ExecutionFailed !Codec",
			},
		},
		{
			name: "ALargeResultIsBuiltAgainFromLargeChildren",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (bool, error) {
				out, err := durable.RunInChildContext(ctx, "outer", func(c *durable.Context) (string, error) {
					w.count("outer")
					inner, err := durable.RunInChildContext(c, "inner", func(c *durable.Context) (string, error) {
						w.count("inner")
						return large(c, "in", 300<<10)
					})
					if err != nil {
						return "", err
					}
					more, err := large(c, "out", 1000)
					return inner + more, err
				})
				if err != nil {
					return false, err
				}
				sum := len(out) == 300<<10+1000 && strings.HasPrefix(out, "inin") && strings.HasSuffix(out, "outo")
				return sum, durable.Wait(ctx, "", time.Second)
			}),
			result: `true`,
			counts: map[string]int{"outer": 2, "inner": 2},
			history: []string{
				"ContextStarted RunInChildContext 1 outer", "ContextStarted RunInChildContext 1-1 inner", "StepStarted 1-1-1 in", `StepSucceeded 1-1-1 in = "in"`,
				"ContextSucceeded RunInChildContext 1-1 inner", "StepStarted 1-2 out", `StepSucceeded 1-2 out = "out"`, "ContextSucceeded RunInChildContext 1 outer",
				"WaitStarted 2 1s", "InvocationCompleted", "WaitSucceeded 2", "InvocationCompleted", "ExecutionSucceeded = true",
			},
		},
		{
			name: "ALargeResultWithAWaitInsideIsBuiltAgainWithoutWaiting",
			does: handle(func(ctx *durable.Context, _ any) (int, error) {
				out, err := durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
					out, err := large(c, "large", 300<<10)
					return out, errors.Join(err, durable.Wait(c, "inside", time.Second))
				})
				return len(out), errors.Join(err, durable.Wait(ctx, "outside", time.Second))
			}),
			result: `307200`,
			history: []string{
				"ContextStarted RunInChildContext 1 child", "StepStarted 1-1 large", `StepSucceeded 1-1 large = "large"`, "WaitStarted 1-2 inside 1s", "InvocationCompleted",
				"WaitSucceeded 1-2 inside", "ContextSucceeded RunInChildContext 1 child", "WaitStarted 2 outside 1s", "InvocationCompleted",
				"WaitSucceeded 2 outside", "InvocationCompleted", "ExecutionSucceeded = 307200",
			},
		},
		{
			name: "ChildrenRunAtTheSameTime",
			does: handle(func(ctx *durable.Context, _ any) ([]string, error) {
				pause := func(v string, d time.Duration) func(*durable.Context) (string, error) {
					return func(c *durable.Context) (string, error) { return v, durable.Wait(c, "", d) }
				}
				slow := durable.Go(ctx, "slow", pause("slow", 2*time.Second))
				fast := durable.Go(ctx, "fast", pause("fast", time.Second))
				return durable.All(ctx, "both", slow, fast)
			}),
			result:   `["slow","fast"]`,
			anyOrder: true,
			history: []string{
				"ContextStarted RunInChildContext 1 slow", "ContextStarted RunInChildContext 2 fast", "ContextStarted All 3 both",
				"WaitStarted 1-1 2s", "WaitStarted 2-1 1s", "InvocationCompleted",
				"WaitSucceeded 2-1", `ContextSucceeded RunInChildContext 2 fast = "fast"`, "InvocationCompleted",
				"WaitSucceeded 1-1", `ContextSucceeded RunInChildContext 1 slow = "slow"`, "ContextSucceeded All 3 both",
				"InvocationCompleted", `ExecutionSucceeded = ["slow","fast"]`,
			},
		},
		{
			name: "LinesOfLoggersAppearOnce",
			does: handleIn(func(w *world, ctx *durable.Context, _ any) (any, error) {
				_, err := durable.RunInChildContext(ctx, "child", func(c *durable.Context) (any, error) {
					c.Logger().Info("child begins")
					if _, err := durable.Step(c, "unreliable", failingUntil(2, "done"), quick(2)); err != nil {
						return nil, err
					}
					c.Logger().Info("child after its step")
					err := durable.Wait(c, "", time.Second)
					c.Logger().Info("child ends")
					return nil, err
				})
				ctx.Logger().Info("after the child")
				if err != nil {
					return nil, err
				}
				return nil, durable.Wait(ctx, "", time.Second)
			}),
			logs: []string{"[INFO] child begins", "[INFO] child after its step", "[INFO] child ends", "[INFO] after the child"},
			history: []string{
				"ContextStarted RunInChildContext 1 child", "StepStarted 1-1 unreliable", "StepFailed 1-1 unreliable #1 next 1s !error", "InvocationCompleted",
				"StepStarted 1-1 unreliable #2", `StepSucceeded 1-1 unreliable #2 = "done"`, "WaitStarted 1-2 1s", "InvocationCompleted",
				"WaitSucceeded 1-2", "ContextSucceeded RunInChildContext 1 child = null", "WaitStarted 2 1s", "InvocationCompleted",
				"WaitSucceeded 2", "InvocationCompleted", "ExecutionSucceeded = null",
			},
		},
		{
			name: "PanicsAsAFailure",
			does: handle(func(ctx *durable.Context, _ any) (any, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (any, error) { panic("oh") })
			}),
			status: durable.ExecutionFailed, failure: "Panic",
			history: []string{"ContextStarted RunInChildContext 1 child", "ContextFailed RunInChildContext 1 child !Panic", "InvocationCompleted", "ExecutionFailed !Panic"},
		},
	})
}
