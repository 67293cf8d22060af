package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// within is x.Result with an end: a test whose execution never ends fails.
func within[O any](b *bundle, x *durable.Execution[O], d time.Duration) (O, error) {
	b.Helper()
	ctx, done := context.WithTimeout(b.ctx, d)
	defer done()
	return x.Result(ctx)
}

// punctual checks that something took as long as it should: never less, and not
// more than due times may be rounded up.
func punctual(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, got, want)
	require.Less(t, got, want+10*time.Millisecond)
}

func TestDeadline(t *testing.T) {
	sleep := func(ctx *durable.Context) error { return durable.Wait(ctx, "sleep", 100*time.Hour) }
	slow := func(ctx *durable.Context) error {
		return durable.Do(ctx, "slow", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
	}
	for _, s := range []struct {
		name    string
		parkFor time.Duration
		body    func(ctx *durable.Context) error
	}{
		{"Suspended", -1, sleep},
		{"Parked", 1000 * time.Hour, sleep},
		{"InABody", -1, slow},
		{"InABodyThatIgnoresItsContext", -1, func(ctx *durable.Context) error {
			return durable.Do(ctx, "stubborn", func(context.Context) error { time.Sleep(3 * time.Hour); return nil })
		}},
		{"InTheLastAttemptsOfAStep", -1, func(ctx *durable.Context) error {
			return durable.Do(ctx, "retry", func(context.Context) error { return errors.New("not yet") },
				durable.WithRetry(durable.RetryPolicy{MaxAttempts: 1000, Initial: time.Minute, Multiplier: 1, Jitter: durable.NoJitter}))
		}},
		{"InACancelledScope", -1, func(ctx *durable.Context) error { return sleep(ctx.WithoutCancel()) }},
		{"InTheHandler", -1, func(ctx *durable.Context) error { <-ctx.Context().Done(); return nil }},
	} {
		inBubble(t, "EndsItWhereverItIs/"+s.name, func(t *testing.T) {
			var deadline time.Time
			var after atomic.Bool
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				deadline = ctx.Deadline()
				err := s.body(ctx)
				_, next := durable.Step(ctx, "next", func(context.Context) (int, error) { after.Store(true); return 0, nil })
				return 0, errors.Join(err, next)
			}, durable.WithExecutionTimeout(time.Minute))
			b := setupWith(t, durable.Options{ParkFor: s.parkFor}, f)
			began := time.Now()
			x := start(b, f, 0, durable.WithExecutionTimeout(time.Hour+time.Nanosecond)) // that of the start counts
			if s.name == "InACancelledScope" {
				synctest.Wait()
				b.cancel(x.ID())
			}
			_, err := within(b, x, 2*time.Hour)
			require.ErrorIs(t, err, durable.ErrTimeout)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			punctual(t, time.Hour+time.Nanosecond, time.Since(began))
			require.True(t, began.Add(time.Hour+time.Nanosecond).Equal(deadline))
			info := b.describe(x.ID())
			require.Equal(t, durable.ExecutionTimedOut, info.Status)
			require.Equal(t, "Timeout", info.Failure.Type)
			require.True(t, info.Deadline.Equal(deadline))
			history := b.history(x.ID())
			require.Equal(t, "ExecutionTimedOut", history[len(history)-1])
			time.Sleep(110 * time.Hour)
			synctest.Wait()
			require.Equal(t, history, b.history(x.ID()), "nothing is recorded any more")
			require.False(t, after.Load())
			require.Zero(t, b.engine.Stats().Resident)
		})
	}

	inBubble(t, "OfAHeldExecution", func(t *testing.T) {
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			name := []string{"old", "new"}[min(entered.Add(1), 2)-1]
			if err := durable.Wait(ctx, name, time.Minute); err != nil {
				return 0, err
			}
			return 0, nil
		}, durable.WithExecutionTimeout(time.Hour))
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(10 * time.Minute)
		require.NotNil(t, b.describe(x.ID()).Held)
		_, err := within(b, x, time.Hour)
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.Equal(t, durable.ExecutionTimedOut, b.describe(x.ID()).Status)
		require.EqualValues(t, 2, entered.Load())
	})

	inBubble(t, "BeforeItFirstRan", func(t *testing.T) {
		var entered atomic.Bool
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { entered.Store(true); return 0, nil }, durable.WithExecutionTimeout(time.Minute))
		block := make(chan struct{})
		blocker := durable.Define("blocker", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "block", func(context.Context) error { <-block; return nil })
		})
		m := newMachine(t)
		m.onClaim = func() error { <-block; return nil }
		b := m.open(durable.Options{MaxResident: 1}, f, blocker)
		start(b, blocker, 0)
		x := start(b, f, 0)
		time.Sleep(time.Hour)
		close(block)
		_, err := within(b, x, time.Minute)
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.False(t, entered.Load())
		require.Equal(t, []string{"ExecutionStarted", "InvocationCompleted", "ExecutionTimedOut"}, b.history(x.ID()))
	})

	inBubble(t, "ThatPassedWhileNothingRan", func(t *testing.T) {
		m := newMachine(t)
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			entered.Add(1)
			return 0, durable.Wait(ctx, "sleep", 10*time.Minute)
		}, durable.WithExecutionTimeout(time.Hour))
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		m.kill(b)
		time.Sleep(24 * time.Hour)
		b = m.open(durable.Options{ParkFor: -1}, f)
		_, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.EqualValues(t, 1, entered.Load(), "its wait was over in time, but nobody was there: it is too late to go on")
	})

	inBubble(t, "OfAnInvokedExecutionIsItsCallersError", func(t *testing.T) {
		leaf := durable.Define("leaf", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", 100*time.Hour) })
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "leaf", leaf, 0) }, durable.WithExecutionTimeout(time.Hour))
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			_, err := durable.Invoke(ctx, "child", child, 0)
			if !errors.Is(err, durable.ErrTimeout) {
				return "", err
			}
			return "timed out", nil
		})
		b := setup(t, f, child, leaf)
		x := start(b, f, 0)
		out, err := within(b, x, 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "timed out", out)
		require.Equal(t, durable.OperationTimedOut, b.operation(x.ID(), "1").Status)
		synctest.Wait()
		for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "leaf"}) {
			require.NoError(t, err)
			require.Equal(t, durable.ExecutionFailed, info.Status, "what it had invoked is cancelled")
		}
	})

	inBubble(t, "IsKeptByAStoreThatFailsForAMoment", func(t *testing.T) {
		m := newMachine(t)
		var failed atomic.Bool
		m.onEnd = func(*checkpoint.Ending) error {
			if failed.CompareAndSwap(false, true) {
				return errors.New("connection reset")
			}
			return nil
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, slow(ctx) }, durable.WithExecutionTimeout(time.Hour))
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		_, err := within(b, x, 2*time.Hour)
		require.ErrorIs(t, err, durable.ErrTimeout)
	})
}

func TestTimeoutOfAStep(t *testing.T) {
	inBubble(t, "BoundsAllAttemptsAndTheWaitsBetweenThem", func(t *testing.T) {
		var attempts atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "retry", func(context.Context) error { attempts.Add(1); return errors.New("not yet") },
				durable.WithTimeout(time.Hour), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 1000, Initial: 25 * time.Minute, Multiplier: 1, Max: 25 * time.Minute, Jitter: durable.NoJitter}))
		})
		b := setup(t, f)
		began := time.Now()
		x := start(b, f, 0)
		_, err := within(b, x, 2*time.Hour)
		require.ErrorIs(t, err, durable.ErrTimeout)
		punctual(t, time.Hour, time.Since(began))
		require.EqualValues(t, 3, attempts.Load())
		o := b.operation(x.ID(), "1")
		require.Equal(t, durable.OperationTimedOut, o.Status)
		require.Equal(t, "Timeout", o.Failure.Type)
	})

	inBubble(t, "EndsTheContextOfItsBody", func(t *testing.T) {
		var cause error
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			err := durable.Do(ctx, "slow", func(ctx context.Context) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return ctx.Err()
			}, durable.WithTimeout(time.Hour))
			if !errors.Is(err, durable.ErrTimeout) {
				return "", err
			}
			return "went on", durable.Wait(ctx, "sleep", time.Hour) // the scope goes on
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 3*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "went on", out)
		require.Equal(t, durable.ErrTimeout, cause)
	})

	inBubble(t, "DoesNotWaitForABodyThatIgnoresIt", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			_, err := durable.Step(ctx, "stubborn", func(context.Context) (string, error) {
				n.add("begin")
				time.Sleep(5 * time.Hour)
				n.add("end")
				return "too late", nil
			}, durable.WithTimeout(time.Hour))
			n.add("timeout %v", errors.Is(err, durable.ErrTimeout))
			return "", durable.Wait(ctx, "sleep", 10*time.Hour)
		})
		b := setup(t, f)
		began := time.Now()
		x := start(b, f, 0)
		_, err := within(b, x, 20*time.Hour)
		require.NoError(t, err)
		punctual(t, 11*time.Hour, time.Since(began))
		require.Equal(t, []string{"begin", "timeout true", "end", "timeout true"}, n.all())
		require.Equal(t, durable.OperationTimedOut, b.operation(x.ID(), "1").Status)
	})

	inBubble(t, "ABodyThatGoesOnIsLoggedAndNamed", func(t *testing.T) {
		book := new(logBook)
		release := make(chan struct{})
		defer close(release)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_ = durable.Do(ctx, "stubborn", func(context.Context) error { <-release; return nil }, durable.WithTimeout(time.Hour))
			_, err := durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return nil })
			return 0, err
		})
		b := setupWith(t, durable.Options{Logger: book.logger(), ParkFor: 100 * time.Hour}, f)
		x := start(b, f, 0)
		time.Sleep(time.Hour + 9*time.Second)
		require.Empty(t, book.lines("WARN", "stubborn"))
		time.Sleep(2 * time.Second)
		require.Len(t, book.lines("WARN", "stubborn"), 1)
		require.Contains(t, b.describe(x.ID()).Bodies, "1")
	})

	inBubble(t, "IsDurableBeforeTheBodyBegins", func(t *testing.T) {
		m := newMachine(t)
		var wakeAt time.Time
		var known int
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "step", func(ctx context.Context) error {
				info, _ := durable.StepInfoFrom(ctx)
				for rec, err := range m.base.Records(ctx, info.ExecutionID, 0) {
					if err == nil && rec.Type == checkpoint.StepStarted {
						known++
						wakeAt = time.Unix(0, rec.TimeoutAt)
					}
				}
				return nil
			}, durable.WithTimeout(time.Hour))
		})
		b := m.open(durable.Options{}, f)
		began := time.Now()
		run(b, f, 0)
		require.Equal(t, 1, known)
		require.True(t, began.Add(time.Hour).Equal(wakeAt), "%s", wakeAt)
	})

	inBubble(t, "GoesOnOverCrashes", func(t *testing.T) {
		// Without a durable start each crash would give it a fresh minute.
		m := newMachine(t)
		var bodies atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "slow", func(ctx context.Context) error {
				bodies.Add(1)
				<-ctx.Done()
				return context.Cause(ctx)
			}, durable.WithTimeout(time.Minute), durable.WithRetry(durable.NoRetry()))
		})
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		began := time.Now()
		for range 2 {
			time.Sleep(20 * time.Second)
			m.kill(b)
			b = m.open(durable.Options{}, f)
		}
		_, err := within(b, f.Attach(b.engine, x.ID()), time.Hour)
		require.ErrorIs(t, err, durable.ErrTimeout)
		punctual(t, time.Minute, time.Since(began))
		require.EqualValues(t, 3, bodies.Load())
	})

	inBubble(t, "FoundOverItFailsWithoutRunning", func(t *testing.T) {
		for _, opts := range [][]durable.StepOption{
			{durable.WithTimeout(time.Minute)},
			{durable.WithTimeout(time.Minute), durable.AtMostOnce()},
		} {
			m := newMachine(t)
			var bodies atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return 0, durable.Do(ctx, "slow", func(ctx context.Context) error {
					bodies.Add(1)
					<-ctx.Done()
					return context.Cause(ctx)
				}, opts...)
			})
			b := m.open(durable.Options{}, f)
			x := start(b, f, 0)
			time.Sleep(20 * time.Second)
			m.kill(b)
			time.Sleep(time.Hour)
			b = m.open(durable.Options{}, f)
			_, err := within(b, f.Attach(b.engine, x.ID()), time.Hour)
			require.ErrorIs(t, err, durable.ErrTimeout)
			require.EqualValues(t, 1, bodies.Load())
			require.Equal(t, durable.OperationTimedOut, b.operation(x.ID(), "1").Status)
		}
	})

	inBubble(t, "OrTheResultWhicheverComesFirstStays", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) ([]bool, error) {
			err := durable.Do(ctx, "slow", func(context.Context) error { time.Sleep(time.Hour); return nil }, durable.WithTimeout(time.Hour))
			if err != nil && !errors.Is(err, durable.ErrTimeout) {
				return nil, err
			}
			first := durable.Now(ctx).IsZero() || err != nil
			said, err2 := durable.Step(ctx, "say", func(context.Context) (bool, error) { return first, nil })
			if err2 != nil {
				return nil, err2
			}
			return []bool{said, err != nil}, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		timedOut := 0
		for range 50 {
			out, err := within(b, start(b, f, 0), 5*time.Hour)
			require.NoError(t, err)
			require.Equal(t, out[0], out[1], "the first run and the replay saw the same")
			if out[0] {
				timedOut++
			}
		}
		t.Logf("%d of 50 timed out", timedOut)
	})

	inBubble(t, "OfAnAttemptMakesItFailAndTheNextOneRuns", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "flaky", func(ctx context.Context) (int, error) {
				info, _ := durable.StepInfoFrom(ctx)
				if info.Attempt < 3 {
					<-ctx.Done()
					n.add("%d %v", info.Attempt, context.Cause(ctx) == durable.ErrTimeout)
					return 0, ctx.Err()
				}
				time.Sleep(time.Hour) // it ignores its context and ends well
				return info.Attempt, nil
			}, durable.WithAttemptTimeout(time.Minute), durable.WithRetry(durable.RetryPolicy{Initial: time.Second, Jitter: durable.NoJitter}))
		})
		b := setup(t, f)
		x := start(b, f, 0)
		out, err := within(b, x, 5*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 3, out)
		require.Equal(t, []string{"1 true", "2 true"}, n.all())
		for ev := range b.events(x.ID()) {
			if ev.Type == "StepFailed" {
				require.Equal(t, "Timeout", ev.Failure.Type)
				require.ErrorIs(t, ev.Failure, durable.ErrTimeout)
			}
		}
	})
}

func TestTimeoutOfAContext(t *testing.T) {
	bothWays(t, "CancelsWhatIsInsideAndNothingElse", func(t *testing.T, parkFor time.Duration) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
				err := durable.Wait(ctx, "sleep", 100*time.Hour)
				n.add("inside: timeout %v, canceled %v", errors.Is(err, durable.ErrTimeout), errors.Is(err, durable.ErrCanceled))
				_, err = durable.Step(ctx, "refused", n.body("refused"))
				n.add("next: timeout %v", errors.Is(err, durable.ErrTimeout))
				_, err = durable.Step(ctx.WithoutCancel(), "undo", n.body("undo"))
				return "value", err
			}, durable.WithTimeout(time.Hour))
			n.add("outside: timeout %v", errors.Is(err, durable.ErrTimeout))
			return durable.Step(ctx, "next", n.body("next"))
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		began := time.Now()
		x := start(b, f, 0)
		out, err := within(b, x, 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "next", out)
		punctual(t, time.Hour, time.Since(began))
		require.Equal(t, []string{"inside: timeout true, canceled false", "next: timeout true", "undo", "outside: timeout true", "next"}, n.all())
		require.Equal(t, durable.OperationFailed, b.operation(x.ID(), "1").Status)
		require.Equal(t, "Timeout", b.operation(x.ID(), "1").Failure.Type)
		require.Equal(t, durable.OperationCancelled, b.operation(x.ID(), "1-1").Status)
	})

	bothWays(t, "TheInnermostOneThatPassedCounts", func(t *testing.T, parkFor time.Duration) {
		nest := func(outer, inner time.Duration) *durable.Function[int, []bool] {
			return durable.Define("f", func(ctx *durable.Context, _ int) ([]bool, error) {
				return durable.RunInChildContext(ctx.WithoutCancel(), "around", func(ctx *durable.Context) ([]bool, error) {
					var in error
					_, out := durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (int, error) {
						_, in = durable.RunInChildContext(ctx, "inner", func(ctx *durable.Context) (int, error) {
							return 1, durable.Wait(ctx, "sleep", 100*time.Hour)
						}, durable.WithTimeout(inner))
						if in != nil && outer > inner {
							return 7, nil
						}
						return 8, in
					}, durable.WithTimeout(outer))
					return []bool{errors.Is(in, durable.ErrTimeout), errors.Is(out, durable.ErrTimeout)}, nil
				})
			})
		}
		f := nest(2*time.Hour, time.Hour)
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		out, err := within(b, start(b, f, 0), 5*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []bool{true, false}, out)

		f = nest(time.Hour, 2*time.Hour)
		b = setupWith(t, durable.Options{ParkFor: parkFor}, f)
		out, err = within(b, start(b, f, 0), 5*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []bool{true, true}, out)
	})

	bothWays(t, "OfABatch", func(t *testing.T, parkFor time.Duration) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			batch, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, i, _ int) (int, error) {
				return i, durable.Wait(ctx, "sleep", time.Duration(i*i)*time.Hour)
			}, durable.WithTimeout(2*time.Hour), durable.WithMaxConcurrency(2))
			if !errors.Is(err, durable.ErrTimeout) {
				return "", err
			}
			return fmt.Sprint("timed out with ", batch.Values()), nil
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		began := time.Now()
		x := start(b, f, 0)
		out, err := within(b, x, 20*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "timed out with [1]", out)
		punctual(t, 2*time.Hour, time.Since(began))
		require.Equal(t, "Timeout", b.operation(x.ID(), "1").Failure.Type)
	})

	inBubble(t, "GoesOnOverACrashAndWhileNothingRuns", func(t *testing.T) {
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (time.Time, error) {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				return 0, durable.Wait(ctx, "sleep", 100*time.Hour)
			}, durable.WithTimeout(time.Hour))
			if !errors.Is(err, durable.ErrTimeout) {
				return time.Time{}, err
			}
			return durable.Now(ctx), nil
		})
		for _, down := range []time.Duration{time.Minute, 10 * time.Hour} {
			b := m.open(durable.Options{ParkFor: -1}, f)
			x := start(b, f, 0)
			began := time.Now()
			time.Sleep(time.Minute)
			m.kill(b)
			time.Sleep(down)
			b = m.open(durable.Options{ParkFor: -1}, f)
			at, err := within(b, f.Attach(b.engine, x.ID()), 5*time.Hour)
			require.NoError(t, err)
			require.Equal(t, max(time.Hour, time.Minute+down), at.Sub(began))
			m.kill(b)
		}
	})
}

func TestTimeoutOfAnInvoke(t *testing.T) {
	bothWays(t, "CancelsTheExecution", func(t *testing.T, parkFor time.Duration) {
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", 100*time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (bool, error) {
			_, err := durable.Invoke(ctx, "invoke", child, 0, durable.WithTimeout(time.Hour))
			return errors.Is(err, durable.ErrTimeout), nil
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f, child)
		began := time.Now()
		x := start(b, f, 0)
		out, err := within(b, x, 20*time.Hour)
		require.NoError(t, err)
		require.True(t, out)
		punctual(t, time.Hour, time.Since(began))
		require.Equal(t, durable.OperationTimedOut, b.operation(x.ID(), "1").Status)
		synctest.Wait()
		for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
			require.NoError(t, err)
			require.Equal(t, "Canceled", info.Failure.Type)
		}
	})
}

func TestTimeoutOfACallback(t *testing.T) {
	waitFor := func(opts ...durable.CallbackOption) *durable.Function[int, string] {
		return durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb, err := durable.CreateCallback[string](ctx, "cb", opts...)
			if err != nil {
				return "", err
			}
			v, err := cb.Await(ctx)
			switch {
			case errors.Is(err, durable.ErrHeartbeatTimeout):
				return "heartbeat timeout", nil
			case errors.Is(err, durable.ErrTimeout):
				return "timeout", nil
			}
			return v, err
		})
	}

	bothWays(t, "HeartbeatsDoNotMoveIt", func(t *testing.T, parkFor time.Duration) {
		f := waitFor(durable.WithTimeout(10*time.Minute), durable.WithHeartbeatTimeout(4*time.Minute))
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		for range 20 {
			began := time.Now()
			x := start(b, f, 0)
			id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.NoError(t, err)
			for _, d := range []time.Duration{3 * time.Minute, 3*time.Minute + 30*time.Second, 2*time.Minute + 30*time.Second} {
				time.Sleep(d)
				require.NoError(t, b.engine.HeartbeatCallback(b.ctx, id))
			}
			out, err := within(b, x, time.Hour)
			require.NoError(t, err)
			punctual(t, 10*time.Minute, time.Since(began))
			require.Equal(t, "timeout", out)
		}
	})

	bothWays(t, "HeartbeatsKeepItOpen", func(t *testing.T, parkFor time.Duration) {
		f := waitFor(durable.WithHeartbeatTimeout(4 * time.Minute))
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		began := time.Now()
		x := start(b, f, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		for range 1000 {
			time.Sleep(3 * time.Minute)
			require.NoError(t, b.engine.HeartbeatCallback(b.ctx, id))
		}
		require.LessOrEqual(t, len(b.history(x.ID())), 3, "a heartbeat is no event and wakes nobody")
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "heartbeat timeout", out)
		punctual(t, 3004*time.Minute, time.Since(began))
		require.ErrorIs(t, b.engine.HeartbeatCallback(b.ctx, id), durable.ErrCallbackCompleted)
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "late"), durable.ErrCallbackCompleted)
	})

	inBubble(t, "IsKeptByAStoreThatFailsForAMoment", func(t *testing.T) {
		m := newMachine(t)
		var failed atomic.Bool
		m.onDeliver = func(d *checkpoint.Delivery) error {
			if d.Record.Type == checkpoint.CallbackTimedOut && failed.CompareAndSwap(false, true) {
				return errors.New("connection reset")
			}
			return nil
		}
		f := waitFor(durable.WithTimeout(time.Hour))
		b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
		out, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "timeout", out)
	})

	inBubble(t, "ASuccessThatComesTooLateIsRefusedWhetherOrNotItsTimerRan", func(t *testing.T) {
		m := newMachine(t)
		f := waitFor(durable.WithTimeout(time.Hour))
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		synctest.Wait()
		claims := make(chan struct{})
		m.set(func() { m.onClaim = func() error { <-claims; return nil } })
		time.Sleep(time.Hour)
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "late"), durable.ErrCallbackCompleted, "it is due now")
		time.Sleep(time.Hour)
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "late"), durable.ErrCallbackCompleted)
		require.Len(t, b.history(x.ID()), 3, "the timer has not run")
		close(claims)
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "timeout", out)
	})

	inBubble(t, "ASuccessInTimeIsTakenHoweverLateItIsSeen", func(t *testing.T) {
		m := newMachine(t)
		f := waitFor(durable.WithTimeout(time.Hour))
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		synctest.Wait()
		m.set(func() { m.onClaim = func() error { return errors.New("connection reset") } })
		time.Sleep(time.Hour - time.Nanosecond)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "in time"))
		time.Sleep(time.Minute)
		m.set(func() { m.onClaim = nil })
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "in time", out)
	})
}

func TestTimersNeverFireEarly(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	far := []time.Duration{time.Duration(math.MaxInt64), 290 * 365 * 24 * time.Hour}
	for name, handler := range map[string]func(ctx *durable.Context, d time.Duration) error{
		"Wait": func(ctx *durable.Context, d time.Duration) error { return durable.Wait(ctx, "sleep", d) },
		"WaitUntil": func(ctx *durable.Context, d time.Duration) error {
			return durable.WaitUntil(ctx, "sleep", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		},
		"After": func(ctx *durable.Context, d time.Duration) error { return durable.After(ctx, "sleep", d).Await(ctx) },
		"Retry": func(ctx *durable.Context, d time.Duration) error {
			return durable.Do(ctx, "retry", func(ctx context.Context) error {
				if info, _ := durable.StepInfoFrom(ctx); info.Attempt > 1 {
					return nil
				}
				return durable.RetryAfter(d, errors.New("not yet"))
			})
		},
		"Poll": func(ctx *durable.Context, d time.Duration) error {
			_, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, n int) (int, error) { return n + 1, nil },
				durable.PollEvery(d, func(n int) bool { return n > 1 }))
			return err
		},
		"TimeoutOfACallback": func(ctx *durable.Context, d time.Duration) error {
			cb, err := durable.CreateCallback[int](ctx, "cb", durable.WithTimeout(d))
			if err != nil {
				return err
			}
			_, err = cb.Await(ctx)
			return err
		},
		"TimeoutOfAHeartbeat": func(ctx *durable.Context, d time.Duration) error {
			cb, err := durable.CreateCallback[int](ctx, "cb", durable.WithHeartbeatTimeout(d))
			if err != nil {
				return err
			}
			_, err = cb.Await(ctx)
			return err
		},
		"TimeoutOfAChild": func(ctx *durable.Context, d time.Duration) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				return 0, durable.Wait(ctx, "sleep", century)
			}, durable.WithTimeout(d))
			return err
		},
		"TimeoutOfAStep": func(ctx *durable.Context, d time.Duration) error {
			return durable.Do(ctx, "slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, durable.WithTimeout(d))
		},
	} {
		inBubble(t, "HoweverFarAway/"+name, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (int, error) { return 0, handler(ctx, d) })
			b := setup(t, f)
			for _, d := range far {
				x := start(b, f, d)
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				info := b.describe(x.ID())
				require.Equal(t, durable.ExecutionRunning, info.Status)
				require.Nil(t, info.Held)
				b.stop(x.ID())
			}
		})
	}

	inBubble(t, "HoweverFarAway/Deadline", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Hour) })
		b := setup(t, f)
		for _, d := range far {
			out, err := within(b, start(b, f, 0, durable.WithExecutionTimeout(d)), 10*time.Hour)
			require.NoError(t, err)
			require.Equal(t, 1, out)
		}
	})

	inBubble(t, "NorMuchTooLate", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (time.Duration, error) {
			began := durable.Now(ctx)
			if err := durable.Wait(ctx, "sleep", d); err != nil {
				return 0, err
			}
			return durable.Now(ctx).Sub(began), nil
		})
		b := setup(t, f)
		for _, d := range []time.Duration{1, 999, time.Millisecond + 1, time.Second - 1, time.Second, 30*time.Second + 1, time.Hour + 7} {
			punctual(t, d, run(b, f, d))
		}
	})
}
