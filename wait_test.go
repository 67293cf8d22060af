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
	"github.com/durable-go/durable/checkpoint/memstore"
)

// timed is how long op takes by the recorded time.
func timed(ctx *durable.Context, op func() error) (time.Duration, error) {
	began := durable.Now(ctx)
	err := op()
	return durable.Now(ctx).Sub(began), err
}

// timedHistory is the history of op under timed, as operation 2.
func timedHistory(lines ...string) []string {
	return append(append([]string{"StepStarted 1", "StepSucceeded 1"}, lines...), "StepStarted 3", "StepSucceeded 3")
}

// cancelled cancels a trial a minute after its start.
func cancelled(b *bundle, id string) {
	time.Sleep(time.Minute)
	require.NoError(b, b.engine.Cancel(b.ctx, id, "enough"))
}

func TestWait(t *testing.T) {
	t.Parallel()

	t.Run("TakesExactlyItsTime", func(t *testing.T) {
		t.Parallel()
		for _, d := range []time.Duration{1, time.Microsecond, 999 * time.Millisecond, time.Second, 1500 * time.Millisecond, time.Minute, 90 * time.Hour, 40*time.Hour + 1} {
			t.Run(d.String(), func(t *testing.T) {
				trial[time.Duration]{
					op: func(ctx *durable.Context) (time.Duration, error) {
						return timed(ctx, func() error { return durable.Wait(ctx, "w", d) })
					},
					check: func(t *testing.T, took time.Duration, err error) {
						require.NoError(t, err)
						require.Equal(t, d, took)
					},
					history: timedHistory("WaitStarted 2 w", "WaitSucceeded 2 w"),
				}.run(t)
			})
		}
	})

	t.Run("NothingToWaitForIsRecordedAtOnce", func(t *testing.T) {
		t.Parallel()
		for _, d := range []time.Duration{0, -1, -time.Hour, math.MinInt64} {
			t.Run(d.String(), func(t *testing.T) {
				trial[time.Duration]{
					op: func(ctx *durable.Context) (time.Duration, error) {
						return timed(ctx, func() error { return durable.Wait(ctx, "w", d) })
					},
					check: func(t *testing.T, took time.Duration, err error) {
						require.NoError(t, err)
						require.Zero(t, took)
					},
					history: timedHistory("WaitStarted 2 w", "WaitSucceeded 2 w"),
				}.run(t)
			})
		}
	})

	t.Run("UntilATime", func(t *testing.T) {
		t.Parallel()
		until := func(d time.Duration) func(*durable.Context) (time.Duration, error) {
			return func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					return durable.WaitUntil(ctx, "w", ctx.StartedAt().Add(d).In(time.FixedZone("far", 3600)))
				})
			}
		}
		for _, d := range []time.Duration{time.Hour, 1, 0, -time.Hour} {
			t.Run(d.String(), func(t *testing.T) {
				trial[time.Duration]{
					op: until(d),
					check: func(t *testing.T, took time.Duration, err error) {
						require.NoError(t, err)
						require.Equal(t, max(d, 0), took)
					},
					history: timedHistory("WaitStarted 2 w", "WaitSucceeded 2 w"),
				}.run(t)
			})
		}
		t.Run("ZeroTime", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error { return durable.WaitUntil(ctx, "w", time.Time{}) })
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.NoError(t, err)
					require.Zero(t, took)
				},
			}.run(t)
		})
	})

	t.Run("NeverReturnsEarlyHoweverFarTheTimeIs", func(t *testing.T) {
		t.Parallel()
		for name, wait := range map[string]func(ctx *durable.Context) error{
			"LongestDuration": func(ctx *durable.Context) error { return durable.Wait(ctx, "w", math.MaxInt64) },
			"Year9999": func(ctx *durable.Context) error {
				return durable.WaitUntil(ctx, "w", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
			},
			"Year2300": func(ctx *durable.Context) error {
				return durable.WaitUntil(ctx, "w", time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))
			},
		} {
			t.Run(name, func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, wait(ctx) })
					b := setupWith(t, opts, f)
					x := start(b, f, 1)
					time.Sleep(24 * time.Hour)
					info := b.describe(x.ID())
					require.Equal(t, durable.ExecutionRunning, info.Status)
					require.Equal(t, []string{"ExecutionStarted", "WaitStarted 1 w"}, b.history(x.ID())[:2])
				})
			})
		}
	})

	t.Run("LongestTimeoutsAndDelaysNeverFire", func(t *testing.T) {
		t.Parallel()
		for name, op := range map[string]func(ctx *durable.Context) error{
			"TimeoutOfAStep": func(ctx *durable.Context) error {
				return durable.Do(ctx, "s", func(context.Context) error { time.Sleep(time.Minute); return nil }, durable.WithTimeout(math.MaxInt64), durable.WithAttemptTimeout(math.MaxInt64))
			},
			"TimeoutOfAChild": func(ctx *durable.Context) error {
				_, err := durable.RunInChildContext(ctx, "c", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", time.Minute) }, durable.WithTimeout(math.MaxInt64))
				return err
			},
			"TimeoutsOfACallback": func(ctx *durable.Context) error {
				cb, err := durable.CreateCallback[int](ctx, "cb", durable.WithTimeout(math.MaxInt64), durable.WithHeartbeatTimeout(math.MaxInt64))
				if err != nil {
					return err
				}
				first, err := durable.Select(ctx, "s", cb, durable.After(ctx, "t", time.Minute))
				if err == nil && first == cb {
					_, err = cb.Await(ctx)
				}
				return err
			},
			"TimeoutOfAnInvoke": func(ctx *durable.Context) error {
				_, err := durable.Invoke(ctx, "i", slow, "x", durable.WithTimeout(math.MaxInt64))
				return err
			},
			"PollAfter": func(ctx *durable.Context) error {
				_, err := durable.WaitForCondition(ctx, "c", 0, increment, func(n, _ int) durable.Poll {
					if n == 1 {
						return durable.PollAfter(math.MaxInt64)
					}
					return durable.PollDone()
				}, durable.WithTimeout(time.Minute))
				if !errors.Is(err, durable.ErrTimeout) {
					return fmt.Errorf("the next check came: %w", err)
				}
				return nil
			},
			"RetryAfter": func(ctx *durable.Context) error {
				err := durable.Do(ctx, "s", func(context.Context) error { return durable.RetryAfter(math.MaxInt64, errors.New("no")) }, durable.WithTimeout(time.Minute))
				if !errors.Is(err, durable.ErrTimeout) {
					return fmt.Errorf("the next attempt came: %w", err)
				}
				return nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				trial[durable.None]{
					functions: []durable.Definition{slow},
					op:        func(ctx *durable.Context) (durable.None, error) { return durable.None{}, op(ctx) },
					check:     func(t *testing.T, _ durable.None, err error) { require.NoError(t, err) },
				}.run(t)
			})
		}
		t.Run("TimeoutOfAnExecution", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				b := setupWith(t, opts, slow)
				require.Equal(t, "x!", run(b, slow, "x", durable.WithExecutionTimeout(math.MaxInt64)))
			})
		})
	})

	t.Run("DurationIsThatOfTheFirstRun", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var code atomic.Int64
			code.Store(int64(time.Hour))
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return 1, durable.Wait(ctx, "w", time.Duration(code.Load()))
			})
			b := setup(t, f)
			x := start(b, f, 1)
			began := time.Now()
			synctest.Wait()
			code.Store(int64(5 * time.Hour)) // a deploy with another setting
			_, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, time.Hour, time.Since(began))
		})
	})

	t.Run("FiresAfterARestart", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (time.Duration, error) {
				return timed(ctx, func() error { return durable.Wait(ctx, "w", time.Hour) })
			})
			d := newDisk(t)
			for _, down := range []time.Duration{0, 10 * time.Minute, 5 * time.Hour} {
				b := boot(t, d, opts, f)
				x := start(b, f, 1)
				time.Sleep(30 * time.Minute)
				b.crash()
				time.Sleep(down)
				b = boot(t, d, opts, f)
				took, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.NoError(t, err)
				require.Equal(t, max(time.Hour, 30*time.Minute+down), took)
				require.NoError(t, b.engine.Close())
			}
		})
	})

	t.Run("LeavesMemory", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			name     string
			parkFor  time.Duration
			wait     time.Duration
			resident bool // right after the wait began
		}{
			{"AtOnceIfParkForIsNegative", -1, time.Millisecond, false},
			{"AtOnceIfTheWaitIsLonger", 0, 1001 * time.Millisecond, false},
			{"NotIfTheWaitIsShort", 0, 999 * time.Millisecond, true},
			{"NotIfTheWaitIsAsLong", time.Minute, time.Minute, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", c.wait) })
					b := setupWith(t, durable.Options{ParkFor: c.parkFor}, f)
					x := start(b, f, 1)
					synctest.Wait()
					info := b.describe(x.ID())
					require.Equal(t, c.resident, info.Resident)
					if !c.resident {
						require.Equal(t, info.StartedAt.Add(c.wait).UnixNano(), info.WakeAt.UnixNano())
					}
					require.Equal(t, 1, run(b, f, 1))
				})
			})
		}
	})

	t.Run("DeferredCallsRunAtEachSuspensionAndRecoverSeesNothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			deferred, recovered, after := 0, 0, 0
			f := durable.Define("f", func(ctx *durable.Context, _ int) (out int, err error) {
				defer func() {
					deferred++
					if recover() != nil {
						recovered++
					}
				}()
				for range 3 {
					if err := durable.Wait(ctx, "w", time.Hour); err != nil {
						return 0, err
					}
					after++
				}
				return 7, nil
			})
			b := setup(t, f)
			require.Equal(t, 7, run(b, f, 1))
			require.Equal(t, 4, deferred)
			require.Zero(t, recovered)
			require.Equal(t, 1+2+3, after, "a line after a wait never runs before its time")
		})
	})

	t.Run("DeferredOperationsDoNothingAtASuspension", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			runs := 0
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				defer durable.Do(ctx, "clean up", func(context.Context) error { runs++; return nil })
				return 7, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			_, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 1, runs)
			require.Equal(t, []string{"WaitStarted 1 w", "WaitSucceeded 1 w", "StepStarted 2 clean up", "StepSucceeded 2 clean up"}, outcomes(b, x.ID()))
		})
	})

	t.Run("CancelEndsIt", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				began := durable.Now(ctx)
				err := durable.Wait(ctx, "w", 50*time.Hour)
				return durable.Now(ctx.WithoutCancel()).Sub(began), err
			},
			outside: func(b *bundle, id string) {
				time.Sleep(time.Minute)
				require.NoError(b, b.engine.Cancel(b.ctx, id, "changed my mind"))
				require.NoError(b, b.engine.Cancel(b.ctx, id, "again"), "asking twice does nothing")
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.ErrorIs(t, err, durable.ErrCanceled)
				require.NotErrorIs(t, err, context.Canceled)
				require.Equal(t, "WAIT", opError(err).Type)
				require.Equal(t, "Canceled", failure(err).Type)
				require.Contains(t, failure(err).Message, "changed my mind")
				require.Equal(t, time.Minute, took)
			},
			history: timedHistory("WaitStarted 2 w", "WaitCancelled 2 w"),
		}.run(t)
	})

	t.Run("OperationsAfterACancelAreRefused", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				if durable.Wait(ctx, "w", 50*time.Hour) == nil {
					return 0, nil
				}
				return durable.Step(ctx, "next", body(1))
			},
			outside: cancelled,
			check: func(t *testing.T, got int, err error) {
				require.ErrorIs(t, err, durable.ErrCanceled)
				require.Equal(t, "next", opError(err).Name)
			},
			history: []string{"WaitStarted 1 w", "WaitCancelled 1 w"},
		}.run(t)
	})

	t.Run("CompensationRunsAfterACancel", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				err := durable.Wait(ctx, "w", 50*time.Hour)
				if err == nil {
					return "waited", nil
				}
				if err := durable.Wait(ctx.WithoutCancel(), "breathe", time.Minute); err != nil {
					return "", err
				}
				return durable.Step(ctx.WithoutCancel(), "undo", func(c context.Context) (string, error) { return "undone", c.Err() })
			},
			outside: cancelled,
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "undone", got)
			},
			history: []string{"WaitStarted 1 w", "WaitCancelled 1 w", "WaitStarted 2 breathe", "WaitSucceeded 2 breathe", "StepStarted 3 undo", "StepSucceeded 3 undo"},
		}.run(t)
	})

	t.Run("HandlerThatIgnoresTheCancelIsEnded", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				for {
					_ = durable.Wait(ctx, "w", time.Minute)
				}
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			time.Sleep(time.Hour)
			require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), ""))
			_, err := finish(b, x)
			require.ErrorIs(t, err, durable.ErrCanceled)
			require.Equal(t, durable.ExecutionFailed, b.describe(x.ID()).Status)
			require.Equal(t, "Canceled", b.describe(x.ID()).Failure.Type)
		})
	})
}

func TestAfter(t *testing.T) {
	t.Parallel()

	t.Run("RunsBesideTheHandler", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					timer := durable.After(ctx, "t", time.Hour)
					if err := durable.Wait(ctx, "w", 50*time.Minute); err != nil {
						return err
					}
					if err := timer.Await(ctx); err != nil {
						return err
					}
					return timer.Await(ctx) // again, at once
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.NoError(t, err)
				require.Equal(t, time.Hour, took)
			},
			history: []string{"StepStarted 1", "StepSucceeded 1", "WaitStarted 2 t", "WaitStarted 3 w", "WaitSucceeded 3 w", "WaitSucceeded 2 t", "StepStarted 4", "StepSucceeded 4"},
		}.run(t)
	})

	t.Run("Name", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				timer := durable.After(ctx, "tick", 0)
				return timer.Name(), timer.Await(ctx)
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "tick", got)
			},
			history: []string{"WaitStarted 1 tick", "WaitSucceeded 1 tick"},
		}.run(t)
	})

	t.Run("BadNameIsTheErrorOfAwait", func(t *testing.T) {
		t.Parallel()
		trial[durable.None]{
			op: func(ctx *durable.Context) (durable.None, error) {
				return durable.None{}, durable.After(ctx, "\n", time.Hour).Await(ctx)
			},
			check: func(t *testing.T, _ durable.None, err error) {
				require.ErrorIs(t, err, durable.ErrInvalidID)
				require.Equal(t, "WAIT", opError(err).Type)
			},
			history: []string{},
		}.run(t)
	})

	t.Run("NotAwaitedDelaysNothing", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.After(ctx, "t", 100*time.Hour)
				return 7, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			began := time.Now()
			require.Equal(t, 7, run(b, f, 1))
			require.Equal(t, time.Hour, time.Since(began))
		})
	})

	t.Run("CancelEndsIt", func(t *testing.T) {
		t.Parallel()
		trial[durable.None]{
			op: func(ctx *durable.Context) (durable.None, error) {
				timer := durable.After(ctx, "t", 50*time.Hour)
				return durable.None{}, timer.Await(ctx)
			},
			outside: cancelled,
			check:   func(t *testing.T, _ durable.None, err error) { require.ErrorIs(t, err, durable.ErrCanceled) },
			history: []string{"WaitStarted 1 t", "WaitCancelled 1 t"},
		}.run(t)
	})
}

// clockCounter counts how often the clock is looked at.
type clockCounter struct {
	*memstore.Store
	looks atomic.Int64
}

func (s *clockCounter) Now() time.Time {
	s.looks.Add(1)
	return s.Store.Now()
}

// What is due soon after something else sets no second alarm: the engine looks at the
// clock some times for each wait, however many there are.
func TestManyWaitsThatEndTogether(t *testing.T) {
	t.Parallel()
	const branches, waits = 200, 10
	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		batch, err := durable.Map(ctx, "map", make([]int, branches), func(ctx *durable.Context, _, i int) (int, error) {
			for j := range waits {
				if err := durable.Wait(ctx, "wait", 5*time.Millisecond+time.Duration((i*7919+j*104729)%5000)*time.Microsecond); err != nil {
					return 0, err
				}
			}
			return 0, nil
		})
		return batch.Succeeded(), err
	})
	store := &clockCounter{Store: memstore.New()}
	e, err := durable.New(store, &durable.Options{Functions: []durable.Definition{f}})
	require.NoError(t, err)
	defer e.Close()
	n, err := f.Run(t.Context(), e, 0)
	require.NoError(t, err)
	require.Equal(t, branches, n)
	t.Logf("%d looks at the clock for %d waits", store.looks.Load(), branches*waits)
	require.Less(t, store.looks.Load(), int64(20*branches*waits))
}
