package durable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

func TestRunInChildContext(t *testing.T) {
	t.Parallel()

	t.Run("RecordsItsResult", func(t *testing.T) {
		t.Parallel()
		var runs atomic.Int32
		trial[point]{
			op: func(ctx *durable.Context) (point, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (point, error) {
					runs.Add(1)
					return durable.Step(ctx, "s", body(point{1, 2, "lost"}))
				})
			},
			check: func(t *testing.T, got point, err error) {
				require.NoError(t, err)
				require.Equal(t, point{X: 1, Y: 2}, got)
				require.EqualValues(t, 1, runs.Swap(0), "it is not run again once it has ended")
			},
			history: []string{"ContextStarted 1 child", "StepStarted 1-1 s", "StepSucceeded 1-1 s", "ContextSucceeded 1 child"},
		}.run(t)
	})

	t.Run("ValueIsDecodedFromTheRecord", func(t *testing.T) {
		t.Parallel()
		trial[*point]{
			op: func(ctx *durable.Context) (*point, error) {
				return durable.RunInChildContext(ctx, "", func(*durable.Context) (*point, error) { return &point{1, 2, "lost"}, nil })
			},
			check: func(t *testing.T, got *point, err error) {
				require.NoError(t, err)
				require.Equal(t, &point{X: 1, Y: 2}, got)
			},
			history: []string{"ContextStarted 1", "ContextSucceeded 1"},
		}.run(t)
		trial[[]int]{
			op: func(ctx *durable.Context) ([]int, error) {
				return durable.RunInChildContext(ctx, "", func(*durable.Context) ([]int, error) { return nil, nil })
			},
			check: func(t *testing.T, got []int, err error) {
				require.NoError(t, err)
				require.Nil(t, got)
			},
		}.run(t)
	})

	t.Run("CountsItsOwnPositions", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				nest := func(ctx *durable.Context) (int, error) {
					if _, err := durable.Step(ctx, "a", body(1)); err != nil {
						return 0, err
					}
					return durable.RunInChildContext(ctx, "inner", func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "b", body(2)) })
				}
				if _, err := durable.RunInChildContext(ctx, "one", nest); err != nil {
					return 0, err
				}
				if _, err := durable.Step(ctx, "between", body(3)); err != nil {
					return 0, err
				}
				return durable.RunInChildContext(ctx, "two", nest)
			},
			check: func(t *testing.T, _ int, err error) { require.NoError(t, err) },
			history: []string{
				"ContextStarted 1 one", "StepStarted 1-1 a", "StepSucceeded 1-1 a", "ContextStarted 1-2 inner", "StepStarted 1-2-1 b", "StepSucceeded 1-2-1 b", "ContextSucceeded 1-2 inner", "ContextSucceeded 1 one",
				"StepStarted 2 between", "StepSucceeded 2 between",
				"ContextStarted 3 two", "StepStarted 3-1 a", "StepSucceeded 3-1 a", "ContextStarted 3-2 inner", "StepStarted 3-2-1 b", "StepSucceeded 3-2-1 b", "ContextSucceeded 3-2 inner", "ContextSucceeded 3 two"},
		}.run(t)
	})

	t.Run("Errors", func(t *testing.T) {
		t.Parallel()
		step := func(err error) func(*durable.Context) (int, error) {
			return func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "charge", func(context.Context) (int, error) { return 0, durable.Permanent(err) })
			}
		}
		type want struct {
			typ, message string
			matches      string
			sentinel     bool
			typed        *transient
			stack        bool
		}
		for _, c := range []struct {
			name string
			fn   func(*durable.Context) (int, error)
			want want
		}{
			{"Plain", func(*durable.Context) (int, error) { return 7, errors.New("no") }, want{"error", "no", "", false, nil, false}},
			{"Typed", func(*durable.Context) (int, error) { return 7, &transient{503} }, want{"transient", "code 503", "", false, &transient{503}, false}},
			{"Sentinel", func(*durable.Context) (int, error) { return 7, errSoldOut }, want{"error", "sold out", "", true, nil, false}},
			{"Panic", func(*durable.Context) (int, error) { panic("boom") }, want{"Panic", "panic: boom", "ErrPanic", false, nil, true}},
			{"PanicWithASentinel", func(*durable.Context) (int, error) { panic(errSoldOut) }, want{"Panic", "panic: sold out", "ErrPanic", true, nil, true}},
			{"OfAStep", step(&transient{503}), want{"transient", "code 503", "", false, &transient{503}, false}},
			{"OfAStepWrapped", func(ctx *durable.Context) (int, error) {
				_, err := step(fmt.Errorf("deep: %w", errSoldOut))(ctx)
				return 0, fmt.Errorf("while paying: %w", err)
			}, want{"error", `while paying: durable: step "charge" (operation 1-1 of x): deep: sold out`, "", true, nil, false}},
			{"OfAStepInACustomError", func(ctx *durable.Context) (int, error) {
				_, err := step(errSoldOut)(ctx)
				return 0, &wrapper{err}
			}, want{"wrapper", `wrapped: durable: step "charge" (operation 1-1 of x): sold out`, "", true, nil, false}},
			{"Joined", func(ctx *durable.Context) (int, error) {
				_, err := step(&transient{1})(ctx)
				return 0, errors.Join(err, errSoldOut)
			}, want{"transient", "durable: step \"charge\" (operation 1-1 of x): code 1\nsold out", "", true, &transient{1}, false}},
			{"TwoDeep", func(ctx *durable.Context) (int, error) {
				return durable.RunInChildContext(ctx, "inner", step(&transient{2}))
			}, want{"transient", "code 2", "", false, &transient{2}, false}},
			{"Timeout", func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "slow", func(c context.Context) (int, error) { <-c.Done(); return 0, c.Err() }, durable.WithTimeout(time.Minute))
			}, want{"Timeout", "timed out after 1m0s", "ErrTimeout", false, nil, false}},
			{"TimeoutByHand", func(*durable.Context) (int, error) { return 0, fmt.Errorf("own clock: %w", durable.ErrTimeout) },
				want{"Timeout", "own clock: durable: timed out", "ErrTimeout", false, nil, false}},
			{"BadName", func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "\n", body(1)) },
				want{"InvalidID", "", "ErrInvalidID", false, nil, false}},
			{"BadOption", func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "s", body(1), durable.WithTimeout(-1))
			},
				want{"error", "", "", false, nil, false}},
			{"NotEncodable", func(ctx *durable.Context) (int, error) {
				_, err := durable.RunInChildContext(ctx, "inner", func(*durable.Context) (any, error) { return func() {}, nil })
				return 0, err
			}, want{"Codec", "", "ErrCodec", false, nil, false}},
		} {
			t.Run(c.name, func(t *testing.T) {
				trial[int]{
					opts: durable.Options{Errors: []error{errSoldOut, &transient{}}},
					op:   func(ctx *durable.Context) (int, error) { return durable.RunInChildContext(ctx, "child", c.fn) },
					check: func(t *testing.T, got int, err error) {
						require.Zero(t, got)
						require.Equal(t, durable.OpError{Type: "CONTEXT", ExecutionID: "x", OperationID: "1", Name: "child"}, describeError(err).op)
						f := failure(err)
						typed, _ := errors.AsType[*transient](err)
						message := f.Message
						if c.want.message == "" {
							require.NotEmpty(t, message)
							message = ""
						}
						require.Equal(t, c.want, want{f.Type, message, matching(err), errors.Is(err, errSoldOut), typed, f.Stack != ""})
					},
				}.run(t)
			})
		}
	})

	t.Run("GoexitFailsTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (int, error) {
					(&testing.T{}).SkipNow() // what t.FailNow does in a handler, without a failed test
					return 1, nil
				})
			})
			b := setupWith(t, opts, f)
			_, err := finish(b, start(b, f, 1))
			require.ErrorContains(t, err, "runtime.Goexit")
		})
	})

	t.Run("ValueThatCannotBeEncoded", func(t *testing.T) {
		t.Parallel()
		trial[any]{
			op: func(ctx *durable.Context) (any, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (any, error) { return make(chan int), nil })
			},
			check:   func(t *testing.T, _ any, err error) { require.ErrorIs(t, err, durable.ErrCodec) },
			history: []string{"ContextStarted 1 child", "ContextFailed 1 child"},
		}.run(t)
	})

	t.Run("ValueThatCannotBeDecoded", func(t *testing.T) {
		t.Parallel()
		trial[badUnmarshaler]{
			op: func(ctx *durable.Context) (badUnmarshaler, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (badUnmarshaler, error) { return badUnmarshaler{}, nil })
			},
			check: func(t *testing.T, _ badUnmarshaler, err error) { require.ErrorIs(t, err, durable.ErrCodec) },
		}.run(t)
	})

	t.Run("MaxPayload", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: durable.Options{MaxPayload: 1000},
			op: func(ctx *durable.Context) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) { return strings.Repeat("x", 999), nil })
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
				require.Equal(t, "child", opError(err).Name)
			},
		}.run(t)
	})

	t.Run("IsRunAgainUntilItEnds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var runs, steps int
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					runs++
					for range 3 {
						if _, err := durable.Step(ctx, "s", func(context.Context) (int, error) { steps++; return 1, nil }); err != nil {
							return 0, err
						}
						if err := durable.Wait(ctx, "w", time.Minute); err != nil {
							return 0, err
						}
					}
					return runs, nil
				})
			})
			b := setup(t, f)
			require.Equal(t, 4, run(b, f, 1))
			require.Equal(t, 3, steps)
		})
	})

	t.Run("UnfinishedBranchesEndWithIt", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{}, 9)
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
						durable.Go(ctx, "waits", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 100*time.Hour) })
						durable.Go(ctx, "works", func(ctx *durable.Context) (int, error) {
							return durable.Step(ctx, "s", func(c context.Context) (int, error) { <-c.Done(); ended <- struct{}{}; return 1, nil })
						})
						return 1, durable.Wait(ctx, "short", time.Minute)
					})
					return err
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.NoError(t, err)
				require.Equal(t, time.Minute, took)
				<-ended
			},
			history: timedHistory("ContextStarted 2 child", "ContextStarted 2-1 waits", "ContextStarted 2-2 works", "WaitStarted 2-1-1 w", "StepStarted 2-2-1 s",
				"WaitStarted 2-3 short", "WaitSucceeded 2-3 short", "ContextSucceeded 2 child"),
		}.runLoosely(t)
	})

	t.Run("OuterContextInsideIsRefused", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.RunInChildContext(ctx, "child", func(*durable.Context) (int, error) { return durable.Step(ctx, "s", body(1)) })
			},
			check: func(t *testing.T, _ int, err error) {
				require.ErrorIs(t, err, durable.ErrConcurrentUse)
				require.Equal(t, "ConcurrentUse", failure(err).Type)
				require.ErrorContains(t, err, "durable.Go", "it says what to do")
			},
			history: []string{"ContextStarted 1 child", "ContextFailed 1 child"},
		}.run(t)
	})

	t.Run("ContextOfAFunctionThatReturnedIsRefused", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				var inner *durable.Context
				if _, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { inner = ctx; return 1, nil }); err != nil {
					return 0, err
				}
				if inner == nil {
					return 0, fmt.Errorf("replay: %w", &durable.OpError{Type: "STEP", ExecutionID: "x", Name: "s", Err: durable.ErrConcurrentUse}) // the child is not run again
				}
				_, err := durable.Step(inner, "s", body(1))
				return 0, fmt.Errorf("replay: %w", &durable.OpError{Type: "STEP", ExecutionID: "x", Name: "s", Err: errors.Unwrap(err)})
			},
			check:   func(t *testing.T, _ int, err error) { require.ErrorIs(t, err, durable.ErrConcurrentUse) },
			history: []string{"ContextStarted 1 child", "ContextSucceeded 1 child"},
		}.run(t)
	})

	t.Run("StandardContextEndsWithTheFunction", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var states []error
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				var inner context.Context
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					inner = ctx.Context()
					states = append(states, inner.Err())
					return 1, nil
				})
				states = append(states, inner.Err(), ctx.Context().Err())
				return 1, err
			})
			b := setupWith(t, opts, f)
			run(b, f, 1)
			require.Equal(t, []error{nil, context.Canceled, nil}, states)
		})
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()

		t.Run("CancelsWhatWaitsInside", func(t *testing.T) {
			var inside atomic.Value
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
							err := durable.Wait(ctx, "w", 50*time.Hour)
							inside.Store(fmt.Sprint(matching(err), " ", context.Cause(ctx.Context())))
							return 1, nil // it was too late all the same
						}, durable.WithTimeout(10*time.Minute))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.Equal(t, "ErrTimeout", matching(err))
					require.Equal(t, durable.Failure{Type: "Timeout", Message: "timed out after 10m0s"}, describeError(err).failure)
					require.Equal(t, "child", opError(err).Name)
					require.Equal(t, 10*time.Minute, took)
					require.Equal(t, "ErrTimeout durable: timed out", inside.Load())
				},
				history: timedHistory("ContextStarted 2 child", "WaitStarted 2-1 w", "WaitCancelled 2-1 w", "ContextFailed 2 child"),
			}.run(t)
		})

		t.Run("EndsTheContextsOfBodies", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
							return durable.Step(ctx, "s", func(c context.Context) (int, error) { <-c.Done(); return 0, context.Cause(c) })
						}, durable.WithTimeout(time.Minute))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.Equal(t, "ErrTimeout", matching(err))
					require.Equal(t, time.Minute, took)
				},
				history: timedHistory("ContextStarted 2 child", "StepStarted 2-1 s", "StepFailed 2-1 s", "ContextFailed 2 child"),
			}.run(t)
		})

		t.Run("DoesNotReachWithoutCancel", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
							if err := durable.Wait(ctx, "w", 50*time.Hour); err == nil {
								return 0, errors.New("it waited")
							}
							if err := durable.Wait(ctx.WithoutCancel(), "breathe", time.Minute); err != nil {
								return 0, err
							}
							return durable.Step(ctx.WithoutCancel(), "undo", body(1))
						}, durable.WithTimeout(10*time.Minute))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, 11*time.Minute, took)
				},
				history: timedHistory("ContextStarted 2 child", "WaitStarted 2-1 w", "WaitCancelled 2-1 w", "WaitStarted 2-2 breathe", "WaitSucceeded 2-2 breathe",
					"StepStarted 2-3 undo", "StepSucceeded 2-3 undo", "ContextFailed 2 child"),
			}.run(t)
		})

		t.Run("InTimeIsNotTouched", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", time.Minute) }, durable.WithTimeout(time.Minute+1))
				},
				check: func(t *testing.T, got int, err error) {
					require.NoError(t, err)
					require.Equal(t, 1, got)
				},
			}.run(t)
		})

		t.Run("InnerBeforeOuter", func(t *testing.T) {
			trial[string]{
				op: func(ctx *durable.Context) (string, error) {
					return durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (string, error) {
						_, err := durable.RunInChildContext(ctx, "inner", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 50*time.Hour) }, durable.WithTimeout(time.Minute))
						if !errors.Is(err, durable.ErrTimeout) {
							return "", err
						}
						return "went on", durable.Wait(ctx, "w", time.Minute)
					}, durable.WithTimeout(time.Hour))
				},
				check: func(t *testing.T, got string, err error) {
					require.NoError(t, err)
					require.Equal(t, "went on", got)
				},
			}.run(t)
		})

		t.Run("OuterBeforeInner", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (int, error) {
							return durable.RunInChildContext(ctx, "inner", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 50*time.Hour) }, durable.WithTimeout(time.Hour))
						}, durable.WithTimeout(time.Minute))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.Equal(t, "ErrTimeout", matching(err))
					require.Equal(t, time.Minute, took)
				},
			}.run(t)
		})

		t.Run("ClockGoesOnWhileTheProcessIsDown", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				var bodies atomic.Int32
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
						if err := durable.Wait(ctx, "w", 50*time.Hour); err != nil {
							return 0, err
						}
						return durable.Step(ctx, "s", func(context.Context) (int, error) { bodies.Add(1); return 1, nil })
					}, durable.WithTimeout(time.Hour))
				})
				d := newDisk(t)
				b := boot(t, d, opts, f)
				x := start(b, f, 1)
				time.Sleep(time.Minute)
				b.crash()
				time.Sleep(100 * time.Hour)
				b = boot(t, d, opts, f)
				_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.ErrorIs(t, err, durable.ErrTimeout)
				require.Zero(t, bodies.Load())
			})
		})
	})
}

// TestLargeResult is about results above InlineResult, which are rebuilt from
// what is recorded inside.
func TestLargeResult(t *testing.T) {
	t.Parallel()
	opts := durable.Options{InlineResult: 100}
	large := strings.Repeat("x", 200)

	t.Run("IsRebuiltFromItsOperations", func(t *testing.T) {
		t.Parallel()
		var steps atomic.Int32
		everything := func(ctx *durable.Context) (string, error) {
			var b strings.Builder
			note := func(v any, err error) error { fmt.Fprint(&b, v, " "); return err }
			s, err := durable.Step(ctx, "s", func(context.Context) (string, error) { steps.Add(1); return large, nil })
			if note(s, err) != nil {
				return "", err
			}
			if _, err := durable.Step(ctx, "handled", fails[int]("no")); note(err, nil) != nil || err == nil {
				return "", errors.New("it did not fail")
			}
			note(durable.Now(ctx), nil)
			note(durable.NewUUID(ctx), nil)
			note(durable.Version(ctx, "change", 3), nil)
			if err := durable.Wait(ctx, "w", time.Minute); err != nil {
				return "", err
			}
			n, err := durable.WaitForCondition(ctx, "c", 0, increment, durable.PollEvery(time.Minute, atLeast(2)))
			if note(n, err) != nil {
				return "", err
			}
			inner, err := durable.RunInChildContext(ctx, "inner", func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "s", body(large+"inner")) })
			if note(inner, err) != nil {
				return "", err
			}
			batch, err := durable.Map(ctx, "m", []int{1, 2}, func(ctx *durable.Context, n, _ int) (string, error) {
				return durable.Step(ctx, "s", body(strings.Repeat("m", 150*n)))
			}, durable.WithMaxConcurrency(1))
			if note(batch.Values(), err) != nil {
				return "", err
			}
			one, two := durable.Go(ctx, "one", func(ctx *durable.Context) (string, error) {
				return large + "one", durable.Wait(ctx, "w", 2*time.Minute)
			}),
				durable.Go(ctx, "two", func(ctx *durable.Context) (string, error) { return "two", durable.Wait(ctx, "w", time.Minute) })
			for a := range durable.Settled(ctx, "settled", one, two) {
				v, err := a.(*durable.Future[string]).Await(ctx)
				if note(v, err) != nil {
					return "", err
				}
			}
			all, err := durable.All(ctx, "all", one, two)
			if note(all, err) != nil {
				return "", err
			}
			first, err := durable.Select(ctx, "select", one, two, durable.After(ctx, "timer", time.Hour))
			if err != nil {
				return "", err
			}
			note(first.Name(), nil)
			durable.Go(ctx, "left behind", func(ctx *durable.Context) (string, error) { return "", durable.Wait(ctx, "w", 100*time.Hour) })
			if _, err := durable.CreateCallback[int](ctx, "left open"); err != nil {
				return "", err
			}
			return b.String(), nil
		}
		trial[string]{
			opts: opts,
			op: func(ctx *durable.Context) (string, error) {
				s, err := durable.RunInChildContext(ctx, "child", everything)
				i := strings.Index(s, "20") // the UUID differs between lives
				return s[:i+10] + s[max(strings.Index(s, " 3 "), 0):], err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.EqualValues(t, 1, steps.Swap(0))
				require.True(t, strings.HasSuffix(got, "two "), got[max(0, len(got)-50):])
			},
			varied: true, // whether what is left behind gets as far as its wait
		}.run(t)
	})

	t.Run("HasNoPayloadInTheHistory", func(t *testing.T) {
		t.Parallel()
		for size, stored := range map[int]bool{98: true, 99: false} {
			everyLife(t, func(t *testing.T, life durable.Options) {
				life.InlineResult = 100
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					s, err := durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) { return strings.Repeat("x", size), nil })
					if err != nil {
						return 0, err
					}
					return len(s), durable.Wait(ctx, "w", time.Hour)
				})
				b := setupWith(t, life, f)
				x := start(b, f, 1)
				out, err := finish(b, x)
				require.NoError(t, err)
				require.Equal(t, size, out)
				require.Equal(t, stored, results(b, x.ID())["1"] != "")
			})
		}
	})

	t.Run("OfAFuture", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			opts: opts,
			op: func(ctx *durable.Context) (int, error) {
				f := durable.Go(ctx, "f", func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "s", body(large)) })
				a, err := f.Await(ctx)
				if err != nil {
					return 0, err
				}
				b, err := f.Await(ctx)
				return len(a + b), err
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 400, got)
			},
		}.run(t)
	})

	t.Run("OfAFutureAwaitedElsewhere", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			opts: opts,
			op: func(ctx *durable.Context) (int, error) {
				f := durable.Go(ctx, "f", func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "s", body(large)) })
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					s, err := f.Await(ctx)
					return len(s), err
				})
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 200, got)
			},
		}.runLoosely(t)
	})

	t.Run("OfAFailedChildIsJustTheFailure", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: opts,
			op: func(ctx *durable.Context) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) { return large, errors.New(large) })
			},
			check: func(t *testing.T, got string, err error) {
				require.Empty(t, got)
				require.Equal(t, large, failure(err).Message)
			},
		}.run(t)
	})

	t.Run("WithCodec", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: opts,
			op: func(ctx *durable.Context) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "s", body(large)) }, durable.WithCodec(tagged("tag")))
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, large, got)
			},
		}.run(t)
	})

	t.Run("SilentWhileItIsRebuilt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var replaying []bool
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
					replaying = append(replaying, ctx.Replaying())
					return large, nil
				})
				if err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, durable.Options{ParkFor: -1, InlineResult: 100}, f)
			run(b, f, 1)
			require.Equal(t, []bool{false, true}, replaying)
		})
	})

	t.Run("DoesNotSeeALaterCancel", func(t *testing.T) {
		t.Parallel()
		for name, fn := range map[string]func(ctx *durable.Context) (string, error){
			"WithoutOperations": func(ctx *durable.Context) (string, error) { return large + fmt.Sprint(ctx.Context().Err()), nil },
			"AfterAnOperation": func(ctx *durable.Context) (string, error) {
				c := ctx.Context()
				_, err := durable.Step(ctx, "s", body(1))
				return large + fmt.Sprint(c.Err()), err
			},
		} {
			t.Run(name, func(t *testing.T) {
				trial[bool]{
					opts: opts,
					op: func(ctx *durable.Context) (bool, error) {
						s, err := durable.RunInChildContext(ctx, "child", fn)
						if err != nil {
							return false, err
						}
						err = durable.Wait(ctx, "w", 50*time.Hour)
						return strings.HasSuffix(s, "<nil>"), err
					},
					outside: cancelled,
					check: func(t *testing.T, same bool, err error) {
						require.ErrorIs(t, err, durable.ErrCanceled)
						require.True(t, same)
					},
				}.run(t)
			})
		}
	})

	t.Run("WithBatchesThatEndedEarly", func(t *testing.T) {
		t.Parallel()
		for form, flat := range map[string][]durable.BatchOption{"Contexts": nil, "Flat": {durable.Flat()}} {
			t.Run(form, func(t *testing.T) {
				trial[string]{
					opts: opts,
					op: func(ctx *durable.Context) (string, error) {
						s, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
							b, err := durable.Parallel(ctx, "p", branches(job{takes: time.Minute}, job{takes: 2 * time.Minute}, job{takes: 50 * time.Hour}), append(flat, durable.WithMinSuccessful(2))...)
							if err != nil {
								return "", err
							}
							w, err := durable.Parallel(ctx, "fails", branches(job{}, job{takes: time.Minute, fail: large}, job{takes: 50 * time.Hour}), flat...)
							return look(b).Items + look(w).Items + err.Error(), nil
						})
						return s, err
					},
					check: func(t *testing.T, got string, err error) {
						require.NoError(t, err)
						require.Contains(t, got, "0b0=SUCCEEDED 1b1=SUCCEEDED 2b2=STARTED"+"0b0=SUCCEEDED 1b1=FAILED 2b2=STARTED")
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("AfterACancelInside", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: opts,
			op: func(ctx *durable.Context) (string, error) {
				s, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
					c := ctx.Context()
					before := c.Err()
					err := durable.Wait(ctx, "w", 50*time.Hour)
					_, refused := durable.Step(ctx, "refused", body(1))
					undone, undo := durable.Step(ctx.WithoutCancel(), "undo", body("undone"))
					if undo != nil {
						return "", undo
					}
					return fmt.Sprint(large, before, matching(err), c.Err(), matching(refused), undone), nil
				})
				return strings.TrimPrefix(s, large), err
			},
			outside: cancelled,
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "<nil>ErrCanceledcontext canceledErrCanceledundone", strings.ReplaceAll(got, " ErrC", "ErrC"))
			},
			history: []string{"ContextStarted 1 child", "WaitStarted 1-1 w", "WaitCancelled 1-1 w", "StepStarted 1-3 undo", "StepSucceeded 1-3 undo", "ContextSucceeded 1 child"},
		}.run(t)
	})

	// What never had an outcome is awaited in vain on each run.
	t.Run("WithWhatWasLeftBehind", func(t *testing.T) {
		t.Parallel()
		slow := func(ctx *durable.Context) (string, error) { return "", durable.Wait(ctx, "w", 50*time.Hour) }
		for name, fn := range map[string]func(*durable.Context) (string, error){
			"BySettled": func(ctx *durable.Context) (string, error) {
				some := []durable.Awaitable{durable.Go(ctx, "slow", slow), durable.After(ctx, "quick", time.Minute)}
				for a := range durable.Settled(ctx, "settled", some...) {
					return large + a.Name(), nil
				}
				return "", errors.New("nothing has settled")
			},
			"ByWhatACancelEnded": func(ctx *durable.Context) (string, error) {
				f := durable.Go(ctx, "slow", slow)
				b, err := durable.Map(ctx, "m", []int{1}, func(ctx *durable.Context, _, _ int) (string, error) {
					_, err := f.Await(ctx)
					return large + matching(err), nil
				}, durable.WithTimeout(time.Minute))
				if !errors.Is(err, durable.ErrTimeout) {
					return "", fmt.Errorf("want a timeout, got %w", err)
				}
				return strings.Join(b.Values(), ""), nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				trial[string]{
					opts: opts,
					op: func(ctx *durable.Context) (string, error) {
						s, err := durable.RunInChildContext(ctx, "child", fn)
						return strings.TrimPrefix(s, large), err
					},
					check: func(t *testing.T, got string, err error) {
						require.NoError(t, err)
						require.Contains(t, []string{"quick", "ErrTimeout"}, strings.TrimSpace(got))
					},
					varied: true, // whether what is left behind gets as far as its wait
				}.run(t)
			})
		}
	})

	t.Run("AnotherValueIsNoticed", func(t *testing.T) {
		t.Parallel()
		for name, again := range map[string]func(ctx *durable.Context) (string, error){
			"OtherValue":     func(ctx *durable.Context) (string, error) { return large + "!", nil },
			"SmallValue":     func(ctx *durable.Context) (string, error) { return "", nil },
			"AnError":        func(ctx *durable.Context) (string, error) { return "", errors.New("no") },
			"APanic":         func(ctx *durable.Context) (string, error) { panic("no") },
			"MoreOperations": func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "new", body(large)) },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var code atomic.Value
					right := func(ctx *durable.Context) (string, error) { return large, nil }
					code.Store(right)
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
						s, err := durable.RunInChildContext(ctx, "child", code.Load().(func(*durable.Context) (string, error)))
						if err != nil {
							return 0, err
						}
						return len(s), durable.Wait(ctx, "w", time.Hour)
					})
					b := setupWith(t, durable.Options{ParkFor: -1, InlineResult: 100}, f)
					x := start(b, f, 1)
					synctest.Wait()
					code.Store(again)
					time.Sleep(2 * time.Hour)
					synctest.Wait()
					info := b.describe(x.ID())
					require.Equal(t, durable.ExecutionRunning, info.Status)
					require.NotNil(t, info.Held)
					require.ErrorIs(t, info.Held, durable.ErrNonDeterministic)
					code.Store(right)
					require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
					out, err := finish(b, x)
					require.NoError(t, err)
					require.Equal(t, 200, out)
				})
			})
		}
	})
}

// wrapper is an error of the user's around another one.
type wrapper struct{ err error }

func (w *wrapper) Error() string { return "wrapped: " + w.err.Error() }
func (w *wrapper) Unwrap() error { return w.err }
