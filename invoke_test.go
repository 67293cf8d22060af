package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// Functions to invoke.
var (
	echo = durable.DefinePlain("echo", func(_ context.Context, in string) (string, error) { return "<" + in + ">", nil })

	slow = durable.Define("slow", func(ctx *durable.Context, in string) (string, error) {
		if err := durable.Wait(ctx, "w", 30*time.Minute); err != nil {
			return "", err
		}
		return durable.Step(ctx, "s", body(in+"!"))
	})

	failing = durable.Define("failing", func(_ *durable.Context, how string) (string, error) {
		switch how {
		case "sentinel":
			return "", fmt.Errorf("deep: %w", errSoldOut)
		case "typed":
			return "", &transient{503}
		case "panic":
			panic("boom")
		}
		return "", errors.New(how)
	})
)

func TestInvoke(t *testing.T) {
	t.Parallel()
	functions := []durable.Definition{echo, slow, failing}

	t.Run("PlainFunction", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op:        func(ctx *durable.Context) (string, error) { return durable.Invoke(ctx, "call", echo, "hi") },
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "<hi>", got)
			},
			history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeSucceeded 1 call"},
		}.run(t)
	})

	t.Run("DurableFunction", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op: func(ctx *durable.Context) (out string, _ error) {
				took, err := timed(ctx, func() (err error) {
					out, err = durable.Invoke(ctx, "call", slow, "hi")
					return err
				})
				return fmt.Sprint(out, took), err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "hi!30m0s", got)
			},
			history: timedHistory("ChainedInvokeStarted 2 call", "ChainedInvokeSucceeded 2 call"),
		}.run(t)
	})

	t.Run("ByName", func(t *testing.T) {
		t.Parallel()
		trial[map[string]any]{
			functions: []durable.Definition{durable.DefinePlain("f2", func(_ context.Context, in map[string]any) (map[string]any, error) { in["seen"] = true; return in, nil })},
			op: func(ctx *durable.Context) (map[string]any, error) {
				return durable.InvokeByName[map[string]any](ctx, "call", "f2", struct{ A int }{1})
			},
			check: func(t *testing.T, got map[string]any, err error) {
				require.NoError(t, err)
				require.Equal(t, map[string]any{"A": 1.0, "seen": true}, got)
			},
		}.run(t)
	})

	t.Run("NilInputAndResult", func(t *testing.T) {
		t.Parallel()
		trial[*point]{
			functions: []durable.Definition{durable.DefinePlain("same", func(_ context.Context, in *point) (*point, error) { return in, nil })},
			op: func(ctx *durable.Context) (*point, error) {
				return durable.InvokeByName[*point](ctx, "call", "same", nil)
			},
			check: func(t *testing.T, got *point, err error) {
				require.NoError(t, err)
				require.Nil(t, got)
			},
		}.run(t)
	})

	t.Run("LeavesMemoryWhileItWaits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) { return durable.Invoke(ctx, "call", slow, "hi") })
			b := setup(t, f, slow)
			x := start(b, f, 1)
			time.Sleep(time.Minute)
			require.False(t, b.describe(x.ID()).Resident)
			_, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, []string{"ExecutionStarted", "ChainedInvokeStarted 1 call", "InvocationCompleted", "ChainedInvokeSucceeded 1 call", "InvocationCompleted", "ExecutionSucceeded"}, b.history(x.ID()))
		})
	})

	t.Run("TheExecutionIsLikeAnyOther", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) { return durable.Invoke(ctx, "call", slow, "hi") })
			b := setupWith(t, opts, f, slow)
			x := start(b, f, 1, durable.WithExecutionID("caller"))
			_, err := finish(b, x)
			require.NoError(t, err)
			var invoked string
			for ev := range b.events("caller") {
				if ev.Type == "ChainedInvokeStarted" {
					require.Equal(t, "slow", ev.Function)
					require.JSONEq(t, `"hi"`, string(ev.Input))
					require.Equal(t, "ChainedInvoke", ev.SubType)
					invoked = ev.InvokedID
				}
			}
			require.True(t, strings.HasPrefix(invoked, "inv-"))
			info := b.describe(invoked)
			require.Equal(t, "caller", info.Parent)
			require.Equal(t, "slow", info.Function)
			require.Equal(t, durable.ExecutionSucceeded, info.Status)
			require.JSONEq(t, `"hi!"`, string(info.Result))
			out, err := slow.Attach(b.engine, invoked).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "hi!", out)
			var listed []string
			for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
				require.NoError(t, err)
				listed = append(listed, info.Function)
			}
			require.Equal(t, []string{"slow", "f"}, listed)
		})
	})

	t.Run("IsStartedOnceHoweverOftenTheCallerIsReplayed", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var calls atomic.Int32
			counted := durable.DefinePlain("counted", func(context.Context, int) (int32, error) { return calls.Add(1), nil })
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int32, error) {
				n, err := durable.Invoke(ctx, "call", counted, 1)
				for range 3 {
					if err == nil {
						err = durable.Wait(ctx, "w", time.Hour)
					}
				}
				return n, err
			})
			d := newDisk(t)
			b := boot(t, d, opts, f, counted)
			x := start(b, f, 1)
			for range 2 {
				time.Sleep(50 * time.Minute)
				b.crash()
				b = boot(t, d, opts, f, counted)
			}
			n, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
			require.EqualValues(t, 1, calls.Load())
		})
	})

	t.Run("EachOperationStartsItsOwn", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int32
		counted := durable.DefinePlain("counted", func(context.Context, int) (int32, error) { return calls.Add(1), nil })
		trial[int]{
			functions: []durable.Definition{counted},
			op: func(ctx *durable.Context) (int, error) {
				for range 3 {
					if _, err := durable.Invoke(ctx, "call", counted, 1); err != nil {
						return 0, err
					}
				}
				b, err := durable.Map(ctx, "m", []int{1, 2}, func(ctx *durable.Context, n, _ int) (int32, error) { return durable.Invoke(ctx, "call", counted, n) })
				return b.Len(), err
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.EqualValues(t, 5, calls.Swap(0))
			},
		}.runLoosely(t)
	})

	t.Run("CallerIDUsedAgainStartsAnother", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var calls atomic.Int32
			counted := durable.DefinePlain("counted", func(context.Context, int) (int32, error) { return calls.Add(1), nil })
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int32, error) { return durable.Invoke(ctx, "call", counted, 1) })
			b := setupWith(t, opts, f, counted)
			id := durable.WithExecutionID("order-42")
			require.EqualValues(t, 1, run(b, f, 1, id))
			require.EqualValues(t, 1, run(b, f, 1, id))
			require.NoError(t, b.engine.Delete(b.ctx, "order-42"))
			require.EqualValues(t, 2, run(b, f, 1, id))
		})
	})

	t.Run("Failures", func(t *testing.T) {
		t.Parallel()
		for how, want := range map[string]durable.Failure{
			"no":       {Type: "error", Message: "no"},
			"sentinel": {Type: "error", Message: "deep: sold out"},
			"typed":    {Type: "transient", Message: "code 503"},
			"panic":    {Type: "Panic", Message: "panic: boom", Stack: "some"},
		} {
			t.Run(how, func(t *testing.T) {
				trial[string]{
					opts:      durable.Options{Errors: []error{errSoldOut, &transient{}}},
					functions: functions,
					op:        func(ctx *durable.Context) (string, error) { return durable.Invoke(ctx, "call", failing, how) },
					check: func(t *testing.T, got string, err error) {
						require.Empty(t, got)
						require.Equal(t, want, describeError(err).failure)
						require.Equal(t, durable.OpError{Type: "CHAINED_INVOKE", ExecutionID: "x", OperationID: "1", Name: "call"}, describeError(err).op)
						require.Equal(t, how == "sentinel", errors.Is(err, errSoldOut))
						require.Equal(t, how == "panic", errors.Is(err, durable.ErrPanic))
						typed, ok := errors.AsType[*transient](err)
						require.Equal(t, how == "typed", ok)
						if ok {
							require.Equal(t, 503, typed.Code)
						}
					},
					history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeFailed 1 call"},
				}.run(t)
			})
		}
	})

	t.Run("UnknownFunction", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.InvokeByName[string](ctx, "call", "nobody", "hi")
			},
			check: func(t *testing.T, _ string, err error) {
				require.Equal(t, "ErrFunctionNotFound", matching(err))
				require.Equal(t, "FunctionNotFound", failure(err).Type)
				require.ErrorContains(t, err, `"nobody"`)
			},
			history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeFailed 1 call"},
		}.run(t)
	})

	t.Run("BadNames", func(t *testing.T) {
		t.Parallel()
		for _, names := range [][2]string{{"call", ""}, {"call", "has space"}, {"call", strings.Repeat("x", 129)}, {"new\nline", "echo"}} {
			trial[string]{
				functions: functions,
				op: func(ctx *durable.Context) (string, error) {
					return durable.InvokeByName[string](ctx, names[0], names[1], "hi")
				},
				check:   func(t *testing.T, _ string, err error) { require.ErrorIs(t, err, durable.ErrInvalidID) },
				history: []string{},
			}.run(t)
		}
	})

	t.Run("InputThatCannotBeEncoded", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op: func(ctx *durable.Context) (string, error) {
				return durable.InvokeByName[string](ctx, "call", "echo", func() {})
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorIs(t, err, durable.ErrCodec)
				require.Equal(t, "CHAINED_INVOKE", opError(err).Type)
			},
		}.run(t)
	})

	t.Run("MaxPayload", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts:      durable.Options{MaxPayload: 100},
			functions: functions,
			op: func(ctx *durable.Context) (string, error) {
				return durable.Invoke(ctx, "call", echo, strings.Repeat("x", 99))
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
				require.ErrorContains(t, err, "input", "it is not a result")
			},
		}.run(t)
		trial[string]{ // the result of the invoked execution is larger
			opts:      durable.Options{MaxPayload: 100},
			functions: functions,
			op: func(ctx *durable.Context) (string, error) {
				return durable.Invoke(ctx, "call", echo, strings.Repeat("x", 98))
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
				require.Equal(t, "PayloadTooLarge", failure(err).Type)
			},
		}.run(t)
	})

	t.Run("LargeResult", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			opts:      durable.Options{InlineResult: 100},
			functions: functions,
			op: func(ctx *durable.Context) (int, error) {
				s, err := durable.Invoke(ctx, "call", echo, strings.Repeat("x", 1<<20))
				return len(s), err
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 1<<20+2, got)
			},
		}.run(t)
	})

	t.Run("ResultOfAnotherTypeIsAnErrorEachTime", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			functions: functions,
			op:        func(ctx *durable.Context) (int, error) { return durable.InvokeByName[int](ctx, "call", "echo", "hi") },
			check: func(t *testing.T, _ int, err error) {
				require.ErrorIs(t, err, durable.ErrCodec)
				require.Equal(t, "call", opError(err).Name)
			},
		}.run(t)
	})

	t.Run("InputOfAnotherTypeFailsIt", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op: func(ctx *durable.Context) (string, error) {
				return durable.InvokeByName[string](ctx, "call", "echo", 42)
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorIs(t, err, durable.ErrCodec)
				require.Equal(t, "Codec", failure(err).Type)
			},
			history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeFailed 1 call"},
		}.run(t)
	})

	t.Run("WithCodecEncodesTheInputAndDecodesTheResult", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op: func(ctx *durable.Context) (string, error) {
				return durable.Invoke(ctx, "call", echo, "hi", durable.WithCodec(shouting{}))
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "<HI in>OUT", strings.ReplaceAll(got, " out", "OUT"))
			},
		}.run(t)
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (time.Duration, error) {
				took, err := timed(ctx, func() error {
					_, err := durable.Invoke(ctx, "call", slow, "hi", durable.WithTimeout(10*time.Minute))
					return err
				})
				if matching(err) != "ErrTimeout" || failure(err).Type != "Timeout" || opError(err).Name != "call" {
					return 0, fmt.Errorf("not a timeout: %w", err)
				}
				return took, durable.Wait(ctx, "w", 40*time.Minute)
			})
			b := setupWith(t, opts, f, slow)
			x := start(b, f, 1, durable.WithExecutionID("caller"))
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 10*time.Minute, out)
			require.Contains(t, b.history("caller"), "ChainedInvokeTimedOut 2 call")
			_, err = slow.Attach(b.engine, invokedBy(b, "caller")[0]).Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrCanceled, "it was cancelled with the invoke")
		})
	})

	t.Run("TimeoutOfTheInvokedExecution", func(t *testing.T) {
		t.Parallel()
		brief := durable.Define("brief", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) }, durable.WithExecutionTimeout(time.Minute))
		trial[time.Duration]{
			functions: []durable.Definition{brief},
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error { _, err := durable.Invoke(ctx, "call", brief, 1); return err })
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, "ErrTimeout", matching(err))
				require.Equal(t, time.Minute, took)
			},
			history: timedHistory("ChainedInvokeStarted 2 call", "ChainedInvokeTimedOut 2 call"),
		}.run(t)
	})

	t.Run("StopOfTheInvokedExecution", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op:        func(ctx *durable.Context) (string, error) { return durable.Invoke(ctx, "call", slow, "hi") },
			outside: func(b *bundle, id string) {
				time.Sleep(time.Minute)
				require.NoError(b, b.engine.Stop(b.ctx, invokedBy(b, id)[0], "enough"))
			},
			check: func(t *testing.T, _ string, err error) {
				require.Equal(t, "ErrStopped", matching(err))
				require.Equal(t, "Stopped", failure(err).Type)
				require.ErrorContains(t, err, "enough")
			},
			history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeStopped 1 call"},
		}.run(t)
	})

	t.Run("CancelOfTheInvokedExecution", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op:        func(ctx *durable.Context) (string, error) { return durable.Invoke(ctx, "call", slow, "hi") },
			outside:   func(b *bundle, id string) { time.Sleep(time.Minute); cancelled(b, invokedBy(b, id)[0]) },
			check: func(t *testing.T, _ string, err error) {
				require.Equal(t, "ErrCanceled", matching(err))
				require.Equal(t, "Canceled", failure(err).Type)
			},
			history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeFailed 1 call"},
		}.run(t)
	})

	t.Run("ReachesTheInvokedExecution", func(t *testing.T) {
		t.Parallel()
		invoking := func(opts ...durable.FunctionOption) *durable.Function[string, int] {
			return durable.Define("caller", func(ctx *durable.Context, how string) (int, error) {
				if how == "abandon" {
					_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
						durable.Go(ctx, "left", func(ctx *durable.Context) (string, error) { return durable.Invoke(ctx, "call", slow, "hi") })
						return 1, durable.Wait(ctx, "short", 10*time.Minute)
					})
					return 1, errors.Join(err, durable.Wait(ctx, "long", time.Hour))
				}
				_, err := durable.Invoke(ctx, "call", slow, "hi")
				return 1, err
			}, opts...)
		}
		for name, c := range map[string]struct {
			end  func(b *bundle, id string)
			opts []durable.StartOption
			in   string
		}{
			"Cancel":          {func(b *bundle, id string) { require.NoError(b, b.engine.Cancel(b.ctx, id, "enough")) }, nil, ""},
			"Stop":            {func(b *bundle, id string) { require.NoError(b, b.engine.Stop(b.ctx, id, "enough")) }, nil, ""},
			"Deadline":        {func(b *bundle, id string) {}, []durable.StartOption{durable.WithExecutionTimeout(10 * time.Minute)}, ""},
			"AbandonedBranch": {func(b *bundle, id string) {}, nil, "abandon"},
		} {
			t.Run(name, func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					f := invoking()
					b := setupWith(t, opts, f, slow)
					x := start(b, f, c.in, c.opts...)
					began := time.Now()
					time.Sleep(time.Minute)
					inv := invokedBy(b, x.ID())[0]
					time.Sleep(8 * time.Minute)
					c.end(b, x.ID())
					_, err := slow.Attach(b.engine, inv).Result(b.ctx)
					require.ErrorIs(t, err, durable.ErrCanceled)
					require.LessOrEqual(t, time.Since(began), 10*time.Minute)
					require.Equal(t, durable.ExecutionFailed, b.describe(inv).Status)
				})
			})
		}
	})

	t.Run("CancelOfTheCaller", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			functions: functions,
			op:        func(ctx *durable.Context) (string, error) { return durable.Invoke(ctx, "call", slow, "hi") },
			outside:   cancelled,
			check: func(t *testing.T, _ string, err error) {
				require.Equal(t, "ErrCanceled", matching(err))
				require.Equal(t, "call", opError(err).Name)
			},
			history: []string{"ChainedInvokeStarted 1 call", "ChainedInvokeStopped 1 call"},
		}.run(t)
	})

	t.Run("ManyLevels", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			down := durable.Define("down", func(ctx *durable.Context, n int) (int, error) {
				if n == 0 {
					return 0, durable.Wait(ctx, "w", time.Minute)
				}
				v, err := durable.InvokeByName[int](ctx, "call", "down", n-1)
				return v + 1, err
			})
			b := setupWith(t, opts, down)
			require.Equal(t, 20, run(b, down, 20))
		})
	})

	t.Run("SmallMaxResidentIsEnough", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			down := durable.Define("down", func(ctx *durable.Context, n int) (int, error) {
				if n == 0 {
					return 0, nil
				}
				v, err := durable.InvokeByName[int](ctx, "call", "down", n-1)
				return v + 1, err
			})
			b := setupWith(t, durable.Options{MaxResident: 1}, down)
			require.Equal(t, 5, run(b, down, 5))
		})
	})

	t.Run("SurvivesCrashesAnywhere", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				a, err := durable.Invoke(ctx, "a", slow, "a")
				if err != nil {
					return "", err
				}
				z, err := durable.Invoke(ctx, "z", echo, a)
				return z, err
			})
			d := newDisk(t)
			b := boot(t, d, opts, f, slow, echo)
			x := start(b, f, 1)
			for range 5 {
				time.Sleep(7 * time.Minute)
				b.crash()
				time.Sleep(time.Second)
				b = boot(t, d, opts, f, slow, echo)
			}
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "<a!>", out)
		})
	})

	t.Run("AnotherFunctionThanRecordedIsNoticed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var code atomic.Value
			code.Store("slow")
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.InvokeByName[string](ctx, "call", code.Load().(string), "hi")
			})
			b := setup(t, f, slow, echo)
			x := start(b, f, 1)
			time.Sleep(time.Minute)
			code.Store("echo")
			time.Sleep(time.Hour)
			info := b.describe(x.ID())
			require.NotNil(t, info.Held)
			require.ErrorIs(t, info.Held, durable.ErrNonDeterministic)
			require.ErrorContains(t, info.Held, "echo")
			require.ErrorContains(t, info.Held, "slow")
		})
	})

	t.Run("InvokedIDsAreNotForUsers", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, echo)
			_, err := b.engine.StartByName(b.ctx, "echo", json.RawMessage(`"x"`), durable.WithExecutionID("inv-1"))
			require.ErrorIs(t, err, durable.ErrInvalidID)
		})
	})
}

func TestDefinePlain(t *testing.T) {
	t.Parallel()

	t.Run("IsOneAttempt", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var calls atomic.Int32
			f := durable.DefinePlain("f", func(c context.Context, in string) (string, error) {
				calls.Add(1)
				info, ok := durable.StepInfoFrom(c)
				return "", fmt.Errorf("%v %s %q %d %v", ok, info.ExecutionID, info.OperationID, info.Attempt, info.Engine != nil)
			})
			b := setupWith(t, opts, f)
			x := start(b, f, "in", durable.WithExecutionID("x"))
			_, err := finish(b, x)
			require.ErrorContains(t, err, `true x "" 1 true`)
			require.EqualValues(t, 1, calls.Load())
			require.Equal(t, []string{"ExecutionStarted", "InvocationCompleted", "ExecutionFailed"}, b.history("x"))
		})
	})

	t.Run("InterruptedIsCalledAgain", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int32
			f := durable.DefinePlain("f", func(c context.Context, in string) (string, error) {
				if calls.Add(1) == 1 {
					<-c.Done()
					return "", c.Err()
				}
				return in, nil
			})
			d := newDisk(t)
			b := boot(t, d, durable.Options{}, f)
			x := start(b, f, "in")
			synctest.Wait()
			b.crash()
			b = boot(t, d, durable.Options{}, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "in", out)
		})
	})

	t.Run("Panic", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.DefinePlain("f", func(context.Context, int) (int, error) { panic("boom") })
			b := setupWith(t, opts, f)
			_, err := finish(b, start(b, f, 1))
			require.ErrorIs(t, err, durable.ErrPanic)
			require.Contains(t, failure(err).Stack, "invoke_test.go")
		})
	})

	t.Run("CancelEndsItsContext", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.DefinePlain("f", func(c context.Context, _ int) (int, error) { <-c.Done(); return 0, c.Err() })
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			synctest.Wait()
			require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), "enough"))
			_, err := finish(b, x)
			require.ErrorIs(t, err, durable.ErrCanceled)
			require.Equal(t, "Canceled", failure(err).Type)
		})
	})
}

// invokedBy are the IDs of the executions that one started, in order.
func invokedBy(b *bundle, id string) (ids []string) {
	b.Helper()
	for ev := range b.events(id) {
		if ev.Type == checkpoint.ChainedInvokeStarted.String() {
			ids = append(ids, ev.InvokedID)
		}
	}
	require.NotEmpty(b, ids)
	return ids
}

// shouting is a JSON codec that marks strings on both ways.
type shouting struct{}

func (shouting) Name() string { return "shouting" }

func (shouting) Encode(v any) ([]byte, error) {
	return json.Marshal(strings.ToUpper(v.(string)) + " in")
}

func (shouting) Decode(data []byte, v any) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	*v.(*string) = s + " out"
	return nil
}
