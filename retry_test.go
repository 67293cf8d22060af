package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// transient is an error that tells how the attempt failed.
type transient struct{ Code int }

func (e *transient) Error() string { return fmt.Sprintf("code %d", e.Code) }

// attempts is what is recorded of the attempts of operation 1.
type attempts struct {
	Numbers []int
	Delays  []time.Duration
}

func attemptsOf(b *bundle, id string) (a attempts) {
	for ev := range b.events(id) {
		if ev.OperationID == "1" && (ev.Type == "StepFailed" || ev.Type == "StepSucceeded") {
			a.Numbers = append(a.Numbers, ev.Attempt)
			a.Delays = append(a.Delays, ev.NextAttemptDelay)
		}
	}
	return a
}

func TestRetryPolicy(t *testing.T) {
	t.Parallel()

	t.Run("Delay", func(t *testing.T) {
		t.Parallel()
		sure := func(p durable.RetryPolicy) durable.RetryPolicy { p.Jitter = durable.NoJitter; return p }
		for _, c := range []struct {
			name    string
			policy  durable.RetryPolicy
			attempt int
			want    time.Duration
		}{
			{"DefaultInitial", durable.RetryPolicy{}, 1, 5 * time.Second},
			{"DefaultMultiplier", durable.RetryPolicy{}, 3, 20 * time.Second},
			{"DefaultMax", durable.RetryPolicy{}, 50, 5 * time.Minute},
			{"NoOverflow", durable.RetryPolicy{}, math.MaxInt, 5 * time.Minute},
			{"AttemptZeroIsTheFirst", durable.RetryPolicy{}, 0, 5 * time.Second},
			{"NegativeAttemptIsTheFirst", durable.RetryPolicy{}, -3, 5 * time.Second},
			{"AnyPrecision", durable.RetryPolicy{Initial: 1500 * time.Microsecond}, 2, 3 * time.Millisecond},
			{"Multiplier", durable.RetryPolicy{Initial: 2 * time.Second, Multiplier: 3}, 2, 6 * time.Second},
			{"MultiplierOfOneIsConstant", durable.RetryPolicy{Initial: time.Second, Multiplier: 1}, 9, time.Second},
			{"MultiplierBelowOneShrinks", durable.RetryPolicy{Initial: time.Second, Multiplier: 0.5}, 2, 500 * time.Millisecond},
			{"MaxBoundsTheFirstToo", durable.RetryPolicy{Initial: time.Hour, Max: time.Minute}, 1, time.Minute},
			{"LongestDelay", durable.RetryPolicy{Initial: math.MaxInt64, Max: math.MaxInt64}, 1, math.MaxInt64},
			{"GrowsToTheLongest", durable.RetryPolicy{Initial: time.Second, Max: math.MaxInt64}, 1000, math.MaxInt64},
			{"MultiplierIsNoNumber", durable.RetryPolicy{Multiplier: math.NaN()}, 2, 5 * time.Minute},
			{"MultiplierIsInfinite", durable.RetryPolicy{Multiplier: math.Inf(1)}, 2, 5 * time.Minute},
			{"Max", durable.RetryPolicy{Initial: time.Second, Max: 3 * time.Second}, 3, 3 * time.Second},
		} {
			t.Run(c.name, func(t *testing.T) {
				require.Equal(t, c.want, sure(c.policy).Delay(c.attempt))
				for range 100 {
					d := c.policy.Delay(c.attempt) // full jitter
					require.GreaterOrEqual(t, d, time.Duration(0))
					require.LessOrEqual(t, d, c.want)
					half := c.policy
					half.Jitter = durable.HalfJitter
					d = half.Delay(c.attempt)
					require.GreaterOrEqual(t, d, c.want/2)
					require.LessOrEqual(t, d, c.want)
				}
			})
		}
	})

	t.Run("JitterSpreads", func(t *testing.T) {
		t.Parallel()
		for _, jitter := range []durable.Jitter{durable.FullJitter, durable.HalfJitter} {
			seen := map[time.Duration]bool{}
			for range 50 {
				seen[durable.RetryPolicy{Jitter: jitter}.Delay(1)] = true
			}
			require.Greater(t, len(seen), 40)
		}
	})

	t.Run("NoRetryIsOneAttempt", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, 1, durable.NoRetry().MaxAttempts)
	})
}

func TestRetry(t *testing.T) {
	t.Parallel()
	always := func(err error) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return 0, err }
	}
	// steps runs a step that ends as fn says and returns what is recorded.
	steps := func(t *testing.T, fn func(context.Context) (int, error), opts ...durable.StepOption) (a attempts, err error) {
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Step(ctx, "s", fn, opts...) })
			b := setup(t, f)
			x := start(b, f, 1)
			_, err = finish(b, x)
			a = attemptsOf(b, x.ID())
		})
		return a, err
	}
	sure := durable.RetryPolicy{MaxAttempts: 4, Initial: time.Second, Jitter: durable.NoJitter}

	t.Run("ByDefaultSixTimesUpToAMinute", func(t *testing.T) {
		t.Parallel()
		for range 20 {
			a, err := steps(t, always(errors.New("no")))
			require.ErrorContains(t, err, "no")
			require.Equal(t, []int{1, 2, 3, 4, 5, 6}, a.Numbers)
			for i, limit := range []time.Duration{5, 10, 20, 40, 60, 0} {
				require.LessOrEqual(t, a.Delays[i], limit*time.Second)
			}
		}
	})

	t.Run("PolicyWithoutMaxAttemptsHasSix", func(t *testing.T) {
		t.Parallel()
		a, _ := steps(t, always(errors.New("no")), durable.WithRetry(durable.RetryPolicy{Initial: time.Second}))
		require.Len(t, a.Numbers, 6)
	})

	t.Run("DelaysAreRecordedAndKept", func(t *testing.T) {
		t.Parallel()
		a, err := steps(t, always(errors.New("no")), durable.WithRetry(sure))
		require.Error(t, err)
		require.Equal(t, attempts{[]int{1, 2, 3, 4}, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 0}}, a)
	})

	t.Run("AttemptsAreThatFarApart", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var at []time.Duration
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "s", func(context.Context) (int, error) {
					if at = append(at, time.Since(ctx.StartedAt())); len(at) < 4 {
						return 0, errors.New("not yet")
					}
					return 7, nil
				}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 9, Initial: 1234567 * time.Microsecond, Jitter: durable.NoJitter}))
			})
			b := setupWith(t, opts, f)
			require.Equal(t, 7, run(b, f, 1))
			d := 1234567 * time.Microsecond
			require.Equal(t, []time.Duration{0, d, 3 * d, 7 * d}, at)
		})
	})

	t.Run("DelayOfZeroRetriesAtOnce", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					_, err := durable.Step(ctx, "s", always(durable.RetryAfter(0, errors.New("no"))), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3}))
					return err
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, 3, opError(err).Attempts)
				require.Zero(t, took)
			},
			history: timedHistory("StepStarted 2 s", "StepFailed 2 s", "StepStarted 2 s", "StepFailed 2 s", "StepStarted 2 s", "StepFailed 2 s"),
		}.run(t)
	})

	t.Run("LastErrorCounts", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "s", func(c context.Context) (int, error) {
					info, _ := durable.StepInfoFrom(c)
					return 0, fmt.Errorf("attempt %d", info.Attempt)
				}, durable.WithRetry(sure))
			},
			check: func(t *testing.T, _ int, err error) {
				require.Equal(t, "attempt 4", failure(err).Message)
				require.Equal(t, 4, opError(err).Attempts)
				require.Equal(t, `durable: step "s" (operation 1 of x) failed after 4 attempts: attempt 4`, err.Error())
			},
		}.run(t)
	})

	t.Run("PermanentEndsIt", func(t *testing.T) {
		t.Parallel()
		for name, err := range map[string]error{
			"Plain":           durable.Permanent(errors.New("no")),
			"Wrapped":         fmt.Errorf("%w", durable.Permanent(errors.New("no"))),
			"AroundADelay":    durable.Permanent(durable.RetryAfter(time.Second, errors.New("no"))),
			"InsideADelay":    durable.RetryAfter(time.Second, durable.Permanent(errors.New("no"))),
			"JoinedWithOther": errors.Join(errors.New("no"), durable.Permanent(errors.New(""))),
		} {
			t.Run(name, func(t *testing.T) {
				a, got := steps(t, always(err), durable.WithRetry(sure))
				require.Len(t, a.Numbers, 1)
				require.ErrorContains(t, got, "no")
			})
		}
	})

	t.Run("MarksAreNotRecorded", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "s", always(durable.Permanent(durable.RetryAfter(time.Hour, &transient{503}))))
			},
			check: func(t *testing.T, _ int, err error) {
				require.Equal(t, "transient", failure(err).Type)
				require.Equal(t, "code 503", failure(err).Message)
			},
		}.run(t)
	})

	t.Run("MarksOfNilAreNil", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, durable.Permanent(nil))
		require.NoError(t, durable.RetryAfter(time.Hour, nil))
	})

	t.Run("MarksAreTransparent", func(t *testing.T) {
		t.Parallel()
		cause := errors.New("cause")
		require.ErrorIs(t, durable.Permanent(cause), cause)
		require.ErrorIs(t, durable.RetryAfter(1, cause), cause)
		require.EqualError(t, durable.Permanent(cause), "cause")
		require.EqualError(t, durable.RetryAfter(1, cause), "cause")
	})

	t.Run("RetryAfterSetsTheDelayNotTheNumber", func(t *testing.T) {
		t.Parallel()
		a, err := steps(t, always(durable.RetryAfter(90*time.Minute+1, errors.New("no"))), durable.WithRetry(sure))
		require.Error(t, err)
		d := 90*time.Minute + 1
		require.Equal(t, attempts{[]int{1, 2, 3, 4}, []time.Duration{d, d, d, 0}}, a)
	})

	t.Run("NegativeRetryAfterIsAtOnce", func(t *testing.T) {
		t.Parallel()
		a, _ := steps(t, always(durable.RetryAfter(-time.Hour, errors.New("no"))), durable.WithRetry(sure))
		require.Equal(t, []time.Duration{0, 0, 0, 0}, a.Delays)
	})

	t.Run("RetryableDecidesAboutTheErrorAsItWasReturned", func(t *testing.T) {
		t.Parallel()
		var asked []error
		policy := sure
		policy.Retryable = func(err error) bool {
			asked = append(asked, err)
			_, ok := errors.AsType[*transient](err)
			return ok
		}
		calls := 0
		original := &transient{503}
		last := errors.New("fatal")
		a, err := steps(t, func(context.Context) (int, error) {
			switch calls++; calls {
			case 1:
				return 0, original
			case 2:
				return 0, durable.RetryAfter(time.Minute, original)
			default:
				return 0, last
			}
		}, durable.WithRetry(policy))
		require.ErrorContains(t, err, "fatal")
		require.Equal(t, attempts{[]int{1, 2, 3}, []time.Duration{time.Second, time.Minute, 0}}, a)
		require.Len(t, asked, 3)
		require.Same(t, original, asked[0])
		require.Same(t, original, asked[1], "without the mark")
		require.Same(t, last, asked[2])
	})

	t.Run("RetryableIsNotAskedAboutPermanentOrTheLastAttempt", func(t *testing.T) {
		t.Parallel()
		asked := 0
		policy := durable.RetryPolicy{MaxAttempts: 2, Retryable: func(error) bool { asked++; return true }}
		_, err := steps(t, always(errors.New("no")), durable.WithRetry(policy))
		require.Error(t, err)
		require.Equal(t, 1, asked)
		_, err = steps(t, always(durable.Permanent(errors.New("no"))), durable.WithRetry(policy))
		require.Error(t, err)
		require.Equal(t, 1, asked)
	})

	t.Run("PanicInRetryableIsNotRetried", func(t *testing.T) {
		t.Parallel()
		policy := sure
		policy.Retryable = func(error) bool { panic("policy") }
		a, err := steps(t, always(errors.New("no")), durable.WithRetry(policy))
		require.ErrorContains(t, err, "no")
		require.Len(t, a.Numbers, 1)
	})

	t.Run("RetryableSeesPanics", func(t *testing.T) {
		t.Parallel()
		policy := sure
		policy.Retryable = func(err error) bool { return !errors.Is(err, durable.ErrPanic) }
		a, err := steps(t, func(context.Context) (int, error) { panic("bug") }, durable.WithRetry(policy))
		require.ErrorIs(t, err, durable.ErrPanic)
		require.Len(t, a.Numbers, 1)
	})

	t.Run("SurvivesRestarts", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var numbers []int
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "s", func(c context.Context) (int, error) {
					info, _ := durable.StepInfoFrom(c)
					numbers = append(numbers, info.Attempt)
					return 0, errors.New("no")
				}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Hour, Multiplier: 1, Max: time.Hour, Jitter: durable.NoJitter}))
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			for range 2 {
				time.Sleep(29 * time.Minute) // a crash at the very moment of an attempt may interrupt it
				b.crash()
				b = boot(t, d, opts, f)
			}
			_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.ErrorContains(t, err, "no")
			require.Equal(t, []int{1, 2, 3}, numbers)
			require.Equal(t, 2*time.Hour, time.Since(began))
		})
	})

	t.Run("LeavesMemoryBetweenAttempts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "s", always(errors.New("no")), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Hour, Max: time.Hour, Jitter: durable.NoJitter}))
			})
			b := setupWith(t, durable.Options{}, f)
			x := start(b, f, 1)
			time.Sleep(10 * time.Minute)
			info := b.describe(x.ID())
			require.False(t, info.Resident)
			require.Equal(t, info.StartedAt.Add(time.Hour), info.WakeAt)
		})
	})
}
