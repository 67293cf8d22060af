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

func increment(_ context.Context, n int) (int, error) { return n + 1, nil }

func atLeast(limit int) func(int) bool { return func(n int) bool { return n >= limit } }

func TestWaitForCondition(t *testing.T) {
	t.Parallel()

	t.Run("ChecksUntilDone", func(t *testing.T) {
		t.Parallel()
		type outcome struct {
			State int
			Took  time.Duration
		}
		trial[outcome]{
			op: func(ctx *durable.Context) (o outcome, err error) {
				o.Took, err = timed(ctx, func() error {
					o.State, err = durable.WaitForCondition(ctx, "ready", 0, increment, durable.PollEvery(2*time.Second, atLeast(3)))
					return err
				})
				return o, err
			},
			check: func(t *testing.T, got outcome, err error) {
				require.NoError(t, err)
				require.Equal(t, outcome{3, 4 * time.Second}, got)
			},
			history: timedHistory("StepStarted 2 ready", "StepSucceeded 2 ready", "StepStarted 2 ready", "StepSucceeded 2 ready", "StepStarted 2 ready", "StepSucceeded 2 ready"),
		}.run(t)
	})

	t.Run("HistoryShowsStatesAndDelays", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.WaitForCondition(ctx, "ready", 5, increment, durable.PollEvery(1500*time.Millisecond, atLeast(7)))
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			_, err := finish(b, x)
			require.NoError(t, err)
			var got []string
			for ev := range b.events(x.ID()) {
				if ev.OperationID == "1" {
					require.Equal(t, "WaitForCondition", ev.SubType)
					got = append(got, fmt.Sprintf("%s %d %s %v", ev.Type, ev.Attempt, string(ev.Result), ev.NextAttemptDelay))
				}
			}
			require.Equal(t, []string{"StepStarted 1  0s", "StepSucceeded 1 6 1.5s", "StepStarted 2  0s", "StepSucceeded 2 7 0s"}, got)
		})
	})

	t.Run("DoneAtTheFirstCheckWaitsForNothing", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.WaitForCondition(ctx, "ready", 5, func(_ context.Context, n int) (int, error) { return n, nil }, durable.PollEvery(time.Hour, atLeast(5)))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 5, got)
			},
			history: []string{"StepStarted 1 ready", "StepSucceeded 1 ready"},
		}.run(t)
	})

	t.Run("StateIsThatOfTheRecord", func(t *testing.T) {
		t.Parallel()
		type seen struct {
			In, Next []string
			Out      point
		}
		trial[seen]{
			op: func(ctx *durable.Context) (seen, error) {
				// The body's and next's own view travels in the state.
				type state struct {
					Point    point
					In, Next []string
				}
				look := func(p point) string { return fmt.Sprintf("%d %q", p.X, p.hidden) }
				s, err := durable.WaitForCondition(ctx, "c", state{Point: point{0, 0, "initial"}},
					func(_ context.Context, s state) (state, error) {
						s.In = append(s.In, look(s.Point))
						s.Point.X++
						s.Point.hidden = "checked"
						return s, nil
					},
					func(s state, attempt int) durable.Poll {
						if s.Point.hidden != "" || s.Point.X != attempt {
							return durable.PollAfter(-time.Hour) // shown by the length of In
						}
						if attempt == 3 {
							return durable.PollDone()
						}
						return durable.PollAfter(time.Minute)
					})
				return seen{In: s.In, Out: s.Point}, err
			},
			check: func(t *testing.T, got seen, err error) {
				require.NoError(t, err)
				require.Equal(t, seen{In: []string{`0 ""`, `1 ""`, `2 ""`}, Out: point{X: 3}}, got)
			},
		}.run(t)
	})

	t.Run("NilState", func(t *testing.T) {
		t.Parallel()
		trial[*point]{
			op: func(ctx *durable.Context) (*point, error) {
				return durable.WaitForCondition(ctx, "c", &point{X: 1}, func(context.Context, *point) (*point, error) { return nil, nil },
					func(p *point, attempt int) durable.Poll {
						if p == nil && attempt == 2 {
							return durable.PollDone()
						}
						return durable.PollAfter(time.Minute)
					})
			},
			check: func(t *testing.T, got *point, err error) {
				require.NoError(t, err)
				require.Nil(t, got)
			},
		}.run(t)
	})

	t.Run("PollDelayOfZeroAndLess", func(t *testing.T) {
		t.Parallel()
		for _, d := range []time.Duration{0, -time.Hour} {
			t.Run(d.String(), func(t *testing.T) {
				trial[time.Duration]{
					op: func(ctx *durable.Context) (time.Duration, error) {
						return timed(ctx, func() error {
							_, err := durable.WaitForCondition(ctx, "c", 0, increment, durable.PollEvery(d, atLeast(4)))
							return err
						})
					},
					check: func(t *testing.T, took time.Duration, err error) {
						require.NoError(t, err)
						require.Zero(t, took)
					},
				}.run(t)
			})
		}
	})

	t.Run("ZeroPollGoesOnAtOnce", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.WaitForCondition(ctx, "c", 0, increment, func(n, _ int) durable.Poll {
					if n == 3 {
						return durable.PollDone()
					}
					return durable.Poll{}
				})
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 3, got)
			},
		}.run(t)
	})

	t.Run("PollBackoff", func(t *testing.T) {
		t.Parallel()
		policy := durable.RetryPolicy{MaxAttempts: 4, Initial: time.Second, Multiplier: 3, Max: 5 * time.Second, Jitter: durable.NoJitter}

		t.Run("WaitsAsThePolicySays", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.WaitForCondition(ctx, "c", 0, increment, durable.PollBackoff(policy, atLeast(4)))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.NoError(t, err, "done at the last check is done")
					require.Equal(t, (1+3+5)*time.Second, took)
				},
			}.run(t)
		})

		t.Run("FailsWhenExhausted", func(t *testing.T) {
			var checks atomic.Int32
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.WaitForCondition(ctx, "c", 0, func(c context.Context, n int) (int, error) { checks.Add(1); return n + 1, nil }, durable.PollBackoff(policy, atLeast(5)))
				},
				check: func(t *testing.T, got int, err error) {
					require.Zero(t, got)
					require.ErrorContains(t, err, "the condition was not met in 4 checks")
					require.Equal(t, "STEP", opError(err).Type)
					require.Equal(t, 4, opError(err).Attempts)
					require.EqualValues(t, 4, checks.Swap(0))
				},
			}.run(t)
		})

		t.Run("ChecksSixtyTimesByDefault", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.WaitForCondition(ctx, "c", 0, increment, durable.PollBackoff(durable.RetryPolicy{Initial: time.Second, Max: time.Second}, atLeast(61)))
				},
				check: func(t *testing.T, _ int, err error) { require.Equal(t, 60, opError(err).Attempts) },
			}.run(t)
		})

		t.Run("ExhaustionIsNotRetried", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.WaitForCondition(ctx, "c", 0, increment, durable.PollBackoff(policy, atLeast(99)), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 50}))
				},
				check: func(t *testing.T, _ int, err error) { require.Equal(t, 4, opError(err).Attempts) },
			}.run(t)
		})
	})

	t.Run("ErrorOfTheCheckFailsAtOnce", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.WaitForCondition(ctx, "c", 0, func(_ context.Context, n int) (int, error) {
					if n == 1 {
						return 99, &transient{503}
					}
					return n + 1, nil
				}, durable.PollEvery(time.Second, atLeast(9)))
			},
			check: func(t *testing.T, got int, err error) {
				require.Zero(t, got)
				require.Equal(t, "transient", failure(err).Type)
				require.Equal(t, durable.OpError{Type: "STEP", ExecutionID: "x", OperationID: "1", Name: "c", Attempts: 2}, describeError(err).op)
			},
			history: []string{"StepStarted 1 c", "StepSucceeded 1 c", "StepStarted 1 c", "StepFailed 1 c"},
		}.run(t)
	})

	t.Run("RetryOfTheCheckKeepsTheState", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.WaitForCondition(ctx, "c", 10, func(c context.Context, n int) (int, error) {
					if info, _ := durable.StepInfoFrom(c); info.Attempt%2 == 1 {
						return 0, errors.New("every other one fails")
					}
					return n + 1, nil
				}, durable.PollEvery(time.Second, atLeast(12)), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 9}))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 12, got)
			},
			history: []string{"StepStarted 1 c", "StepFailed 1 c", "StepStarted 1 c", "StepSucceeded 1 c", "StepStarted 1 c", "StepFailed 1 c", "StepStarted 1 c", "StepSucceeded 1 c"},
		}.run(t)
	})

	t.Run("RetryCountsFailuresNotChecks", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.WaitForCondition(ctx, "c", 0, func(c context.Context, n int) (int, error) {
					if info, _ := durable.StepInfoFrom(c); info.Attempt == 6 {
						return 0, errors.New("a hiccup after days of polling")
					}
					return n + 1, nil
				}, durable.PollEvery(time.Second, atLeast(7)), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Second}))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 7, got)
			},
		}.run(t)
	})

	t.Run("RetriesOfTheCheckAreExhausted", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.WaitForCondition(ctx, "c", 0, func(context.Context, int) (int, error) { return 0, errors.New("no") },
					durable.PollEvery(time.Second, atLeast(7)), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3}))
			},
			check: func(t *testing.T, _ int, err error) { require.Equal(t, 3, opError(err).Attempts) },
		}.run(t)
	})

	t.Run("Panics", func(t *testing.T) {
		t.Parallel()
		type fn struct {
			check func(context.Context, int) (int, error)
			next  func(int, int) durable.Poll
		}
		for name, f := range map[string]fn{
			"InCheck": {func(context.Context, int) (int, error) { panic("boom") }, durable.PollEvery(time.Second, atLeast(1))},
			"InNext":  {increment, func(int, int) durable.Poll { panic("boom") }},
			"InDone":  {increment, durable.PollEvery(time.Second, func(int) bool { panic("boom") })},
			"NilNext": {increment, nil},
			"NilDone": {increment, durable.PollEvery[int](time.Second, nil)},
		} {
			t.Run(name, func(t *testing.T) {
				trial[int]{
					op: func(ctx *durable.Context) (int, error) { return durable.WaitForCondition(ctx, "c", 0, f.check, f.next) },
					check: func(t *testing.T, _ int, err error) {
						require.ErrorIs(t, err, durable.ErrPanic)
						require.NotEmpty(t, failure(err).Stack)
					},
					history: []string{"StepStarted 1 c", "StepFailed 1 c"},
				}.run(t)
			})
		}
	})

	t.Run("StateThatCannotBeEncodedFails", func(t *testing.T) {
		t.Parallel()
		trial[any]{
			op: func(ctx *durable.Context) (any, error) {
				return durable.WaitForCondition(ctx, "c", any(nil), func(context.Context, any) (any, error) { return func() {}, nil },
					func(any, int) durable.Poll { return durable.PollDone() }, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 5}))
			},
			check: func(t *testing.T, _ any, err error) {
				require.ErrorIs(t, err, durable.ErrCodec)
				require.Equal(t, 1, opError(err).Attempts)
			},
		}.run(t)
	})

	t.Run("StateThatCannotBeDecodedFails", func(t *testing.T) {
		t.Parallel()
		type state struct{ Err error }
		trial[state]{
			op: func(ctx *durable.Context) (state, error) {
				return durable.WaitForCondition(ctx, "c", state{}, func(context.Context, state) (state, error) { return state{errors.New("x")}, nil },
					func(state, int) durable.Poll { return durable.PollDone() })
			},
			check:   func(t *testing.T, _ state, err error) { require.ErrorIs(t, err, durable.ErrCodec) },
			history: []string{"StepStarted 1 c", "StepFailed 1 c"},
		}.run(t)
	})

	t.Run("MaxPayloadBoundsTheState", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: durable.Options{MaxPayload: 100},
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCondition(ctx, "c", "", func(_ context.Context, s string) (string, error) { return s + strings.Repeat("x", 40), nil },
					func(string, int) durable.Poll { return durable.PollAfter(time.Second) })
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
				require.Equal(t, 3, opError(err).Attempts)
			},
		}.run(t)
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()
		t.Run("EndsThePolling", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.WaitForCondition(ctx, "c", 0, increment, durable.PollEvery(25*time.Second, atLeast(99)), durable.WithTimeout(time.Minute))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, "Timeout", failure(err).Type)
					require.Equal(t, 3, opError(err).Attempts)
					require.Equal(t, time.Minute, took)
				},
			}.run(t)
		})
		t.Run("EndsACheck", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.WaitForCondition(ctx, "c", 0, func(c context.Context, n int) (int, error) { <-c.Done(); return n, c.Err() },
							durable.PollEvery(time.Second, atLeast(99)), durable.WithTimeout(time.Minute))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, time.Minute, took)
				},
			}.run(t)
		})
		t.Run("OfAnAttempt", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.WaitForCondition(ctx, "c", 0, func(c context.Context, n int) (int, error) { <-c.Done(); return n, c.Err() },
							durable.PollEvery(time.Second, atLeast(99)), durable.WithAttemptTimeout(time.Minute),
							durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Second, Jitter: durable.NoJitter}))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, 2*time.Minute+time.Second, took)
				},
			}.run(t)
		})
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		t.Run("EndsTheDelay", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.WaitForCondition(ctx, "c", 0, increment, durable.PollEvery(time.Hour, atLeast(99)))
				},
				outside: cancelled,
				check: func(t *testing.T, _ int, err error) {
					require.ErrorIs(t, err, durable.ErrCanceled)
					require.Equal(t, "Canceled", failure(err).Type)
				},
				history: []string{"StepStarted 1 c", "StepSucceeded 1 c", "StepFailed 1 c"},
			}.run(t)
		})
		t.Run("EndsACheckThatWouldGoOn", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.WaitForCondition(ctx, "c", 0, func(c context.Context, n int) (int, error) { <-c.Done(); return n, nil }, durable.PollEvery(time.Hour, atLeast(99)))
				},
				outside: cancelled,
				check:   func(t *testing.T, _ int, err error) { require.ErrorIs(t, err, durable.ErrCanceled) },
				history: []string{"StepStarted 1 c", "StepFailed 1 c"},
			}.run(t)
		})
		t.Run("DoesNotUndoACheckThatIsDone", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.WaitForCondition(ctx, "c", 0, func(c context.Context, n int) (int, error) { <-c.Done(); return 7, nil }, durable.PollEvery(time.Hour, atLeast(7)))
				},
				outside: cancelled,
				check: func(t *testing.T, got int, err error) {
					require.NoError(t, err)
					require.Equal(t, 7, got)
				},
			}.run(t)
		})
	})

	t.Run("SurvivesRestarts", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var states []int
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.WaitForCondition(ctx, "c", 0, func(_ context.Context, n int) (int, error) { states = append(states, n); return n + 1, nil }, durable.PollEvery(time.Hour, atLeast(3)))
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			for range 2 {
				time.Sleep(50 * time.Minute)
				b.crash()
				b = boot(t, d, opts, f)
			}
			got, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, 3, got)
			require.Equal(t, []int{0, 1, 2}, states)
			require.Equal(t, 2*time.Hour, time.Since(began))
		})
	})

	t.Run("InitialStateIsNotSharedByAttempts", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				s, err := durable.WaitForCondition(ctx, "c", map[string]int{}, func(c context.Context, s map[string]int) (map[string]int, error) {
					s["calls"]++
					if info, _ := durable.StepInfoFrom(c); info.Attempt < 3 {
						return nil, errors.New("what a failed check did to the state must not count")
					}
					return s, nil
				}, func(map[string]int, int) durable.Poll { return durable.PollDone() }, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3}))
				return s["calls"], err
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 1, got)
			},
		}.run(t)
	})

	t.Run("OperationInsideACheckIsRefused", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCondition(ctx, "outer", "", func(context.Context, string) (string, error) {
					return fmt.Sprint(errors.Is(durable.Wait(ctx, "inner", 1), durable.ErrConcurrentUse)), nil
				}, func(string, int) durable.Poll { return durable.PollDone() })
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "true", got)
			},
			history: []string{"StepStarted 1 outer", "StepSucceeded 1 outer"},
		}.run(t)
	})

	t.Run("TwoInARow", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				n, err := durable.WaitForCondition(ctx, "a", 0, increment, durable.PollEvery(time.Second, atLeast(2)))
				if err != nil {
					return 0, err
				}
				return durable.WaitForCondition(ctx, "b", n, increment, durable.PollEvery(time.Second, atLeast(4)))
			})
			b := setup(t, f)
			x := start(b, f, 1)
			got, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 4, got)
			require.Equal(t, []string{"ExecutionStarted",
				"StepStarted 1 a", "StepSucceeded 1 a", "InvocationCompleted", "StepStarted 1 a", "StepSucceeded 1 a",
				"StepStarted 2 b", "StepSucceeded 2 b", "InvocationCompleted", "StepStarted 2 b", "StepSucceeded 2 b",
				"InvocationCompleted", "ExecutionSucceeded"}, b.history(x.ID()))
		})
	})
}
