package growth_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// growths do something with n of something.
var growths = map[string]func(t *testing.T, n int){
	"Callbacks/OfMap": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, _ int) error { return cbs.await(c) })
		b := setupWith(t, parked, f)
		ends(b, f, n, func(string) { cbs.completeAll(b) })
	},
	"Callbacks/Suspended": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, _ int) error { return cbs.await(c) })
		b := setup(t, f)
		ends(b, f, n, func(string) {
			time.Sleep(time.Minute)
			cbs.completeAll(b)
		})
	},
	"Callbacks/TimedOut": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, _ int) error { return cbs.await(c, durable.WithTimeout(time.Minute)) })
		ends(setupWith(t, parked, f), f, n)
	},
	"Callbacks/Heartbeats": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, _ int) error {
			return cbs.await(c, durable.WithHeartbeatTimeout(time.Hour))
		})
		b := setup(t, f)
		ends(b, f, n, func(string) {
			for _, id := range cbs.ids {
				require.NoError(t, b.engine.HeartbeatCallback(b.ctx, id))
			}
			time.Sleep(time.Minute)
			for _, id := range cbs.ids {
				require.NoError(t, b.engine.HeartbeatCallback(b.ctx, id))
			}
			cbs.completeAll(b)
		})
	},
	"Callbacks/Cancelled": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, _ int) error { return cbs.await(c) })
		b := setupWith(t, parked, f)
		ends(b, f, n, b.cancel)
	},
	"Callbacks/AbandonedOneByOne": func(t *testing.T, n int) {
		var cbs opened
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				_, err := durable.RunInChildContext(ctx, "c", func(c *durable.Context) (int, error) {
					_, err := cbs.open(c)
					return 0, err
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		ends(setup(t, f), f, n)
	},
	"Callbacks/AbandonedTogether": func(t *testing.T, n int) {
		var cbs opened
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				if _, err := cbs.open(ctx); err != nil {
					return err
				}
			}
			_, err := durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
				if i == n-1 {
					return 0, durable.Wait(c, "w", time.Second)
				}
				return 0, cbs.await(c)
			}, durable.WithMinSuccessful(1))
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Callbacks/WaitForCallback": func(t *testing.T, n int) {
		ids := make(chan string, n)
		f := each(func(c *durable.Context, _ int) error {
			_, err := durable.WaitForCallback[int](c, "cb", func(_ context.Context, id string) error {
				ids <- id
				return nil
			})
			return err
		})
		b := setupWith(t, parked, f)
		ends(b, f, n, func(string) {
			for range n {
				require.NoError(t, b.engine.SucceedCallback(b.ctx, <-ids, 1))
			}
		})
	},
	"Callbacks/OneIsLookedFor": func(t *testing.T, n int) {
		var cbs opened
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				if _, err := cbs.open(ctx); err != nil {
					return err
				}
			}
			cb, err := durable.CreateCallback[int](ctx, "last")
			if err == nil {
				_, err = cb.Await(ctx)
			}
			return err
		})
		b := setup(t, f)
		var id string
		var err error
		var looking sync.WaitGroup
		looking.Go(func() {
			time.Sleep(time.Nanosecond)
			id, err = b.engine.CallbackID(b.ctx, "x", "last")
		})
		ends(b, f, n, func(string) {
			looking.Wait()
			require.NoError(t, err)
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, 1))
		})
	},
	"Bodies/ShutDown": func(t *testing.T, n int) {
		bodies := newBlocked(n)
		f := each(func(c *durable.Context, _ int) error { return durable.Do(c, "s", bodies.body) })
		b := setup(t, f)
		start(b, f, n)
		bodies.running.Wait()
		bodies.later()
		require.NoError(t, b.engine.Shutdown(b.ctx))
	},
	"Bodies/Closed": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error { return durable.Do(c, "s", hang) })
		b := setup(t, f)
		start(b, f, n)
		synctest.Wait()
		require.NoError(t, b.engine.Close())
	},
	"Bodies/Stopped": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error { return durable.Do(c, "s", hang) })
		b := setup(t, f)
		ends(b, f, n, b.stop)
	},
	"Bodies/Cancelled": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error { return durable.Do(c, "s", hang) })
		b := setup(t, f)
		ends(b, f, n, b.cancel)
	},
	"Bodies/DeadlinePassed": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error { return durable.Do(c, "s", hang) })
		b := setup(t, f)
		_, err := start(b, f, n, durable.WithExecutionTimeout(time.Minute)).Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrTimeout)
	},
	"Bodies/Held": func(t *testing.T, n int) {
		bodies := newBlocked(n)
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.Map(ctx, "m", make([]int, n+1), func(c *durable.Context, _, i int) (int, error) {
				if i == n {
					_ = durable.Do(c, "first", func(context.Context) error { return nil })
					_ = durable.Wait(c, "w", time.Second)
					return durable.Version(c, "\x00", 1), nil // held
				}
				return 0, durable.Do(c, "s", bodies.body)
			})
			return err
		})
		b := setupWith(t, parked, f)
		x := start(b, f, n)
		bodies.running.Wait()
		bodies.later()
		time.Sleep(time.Minute)
		require.NotNil(t, b.describe(x.ID()).Held)
	},
	"Bodies/AbandonedByABatch": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
				if i == n-1 {
					return 0, durable.Wait(c, "w", time.Second)
				}
				return 0, durable.Do(c, "s", hang)
			}, durable.WithMinSuccessful(1))
			return err
		})
		ends(setup(t, f), f, n)
	},
	"Timeouts/OfChildrenThatWait": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error {
			_, err := durable.RunInChildContext(c, "bounded", func(c *durable.Context) (int, error) {
				return 1, durable.Wait(c, "w", time.Hour)
			}, durable.WithTimeout(time.Minute))
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Timeouts/OfChildrenFoundLate": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error {
			_, err := durable.RunInChildContext(c, "bounded", func(c *durable.Context) (int, error) {
				return 1, durable.Wait(c, "w", time.Hour)
			}, durable.WithTimeout(time.Minute))
			return err
		})
		ends(setup(t, f), f, n)
	},
	"Timeouts/OfChildrenWithCallbacks": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, _ int) error {
			_, err := durable.RunInChildContext(c, "bounded", func(c *durable.Context) (int, error) {
				return 1, cbs.await(c)
			}, durable.WithTimeout(time.Minute))
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Timeouts/OfChildrenWithBodies": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error {
			_, err := durable.RunInChildContext(c, "bounded", func(c *durable.Context) (int, error) {
				return 1, durable.Do(c, "s", hang)
			}, durable.WithTimeout(time.Minute))
			return err
		})
		ends(setup(t, f), f, n)
	},
	"Timeouts/OfSteps": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, _ int) error {
			return durable.Do(c, "s", func(context.Context) error {
				time.Sleep(time.Hour)
				return nil
			}, durable.WithTimeout(time.Minute))
		})
		ends(setup(t, f), f, n)
		time.Sleep(time.Hour)
	},
	"Timeouts/OneByOne": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				_, _ = durable.RunInChildContext(ctx, "bounded", func(c *durable.Context) (int, error) {
					return 1, durable.Wait(c, "w", time.Hour)
				}, durable.WithTimeout(time.Second))
			}
			return nil
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Timeouts/NeverPass": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				if err := durable.Do(ctx, "s", func(context.Context) error { return nil }, durable.WithTimeout(time.Hour)); err != nil {
					return err
				}
			}
			return nil
		})
		ends(setup(t, f), f, n)
	},
	"Waits/Parked": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Duration(i)*time.Second) })
		ends(setupWith(t, parked, f), f, n)
	},
	"Waits/Cancelled": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Hour) })
		b := setupWith(t, parked, f)
		ends(b, f, n, b.cancel)
	},
	"Waits/CancelledAndShielded": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error {
			_ = durable.Wait(c, "w", time.Hour)
			return durable.Wait(c.WithoutCancel(), "w", time.Minute)
		})
		b := setupWith(t, parked, f)
		ends(b, f, n, b.cancel)
	},
	"Retries": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error {
			return durable.Do(c, "s", func(context.Context) error { return errors.New("no") })
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Polls": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.WaitForCondition(ctx, "c", 0, func(_ context.Context, i int) (int, error) { return i + 1, nil },
				durable.PollEvery(time.Second, func(i int) bool { return i == n }))
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/RaceAndLosers": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			fs := futures(ctx, n, func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Duration(1+i)*time.Second) })
			if _, err := durable.Race(ctx, "race", fs...); err != nil {
				return err
			}
			return awaitAll(ctx, fs)
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/AnyOfFailures": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			fs := futures(ctx, n, func(c *durable.Context, i int) error {
				_ = durable.Wait(c, "w", time.Duration(1+i)*time.Second)
				return errors.New("no")
			})
			_, err := durable.Any(ctx, "any", fs...)
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/All": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.All(ctx, "all", futures(ctx, n, func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Duration(1+i)*time.Second) })...)
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/AllReplayed": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.All(ctx, "all", futures(ctx, n, func(c *durable.Context, i int) error { return nil })...)
			_ = durable.Wait(ctx, "w", time.Hour)
			return err
		})
		ends(setup(t, f), f, n)
	},
	"Futures/Abandoned": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			futures(ctx, n, func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Hour) })
			return nil
		})
		ends(setup(t, f), f, n)
	},
	"Futures/ManyAwaitOne": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			one := durable.Go(ctx, "one", func(c *durable.Context) (int, error) { return 1, durable.Wait(c, "w", time.Hour) })
			return awaitAll(ctx, futures(ctx, n, func(c *durable.Context, i int) error {
				_, err := one.Await(c)
				return err
			}))
		})
		ends(setup(t, f), f, n)
	},
	"Futures/SelectedOneByOne": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			long := durable.After(ctx, "long", 1000*time.Hour)
			for range n {
				if _, err := durable.Select(ctx, "s", long, durable.After(ctx, "short", time.Second)); err != nil {
					return err
				}
			}
			return nil
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/SettledParked": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			fs := futures(ctx, n, func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Duration(n-i)*time.Second) })
			for range durable.Settled(ctx, "settled", durable.Awaitables(fs)...) {
			}
			return nil
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/SettledReplayed": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			timers := make([]*durable.Timer, n)
			for i := range timers {
				timers[i] = durable.After(ctx, "now", 0)
			}
			for range durable.Settled(ctx, "settled", durable.Awaitables(timers)...) {
			}
			return durable.Wait(ctx, "w", time.Hour)
		})
		ends(setup(t, f), f, n)
	},
	"Replay/AfterACancel": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				if err := durable.After(ctx, "now", 0).Await(ctx); err != nil {
					return err
				}
			}
			_ = durable.Wait(ctx, "w", 24*time.Hour)
			return durable.Wait(ctx.WithoutCancel(), "pause", time.Hour)
		})
		b := setup(t, f)
		ends(b, f, n, b.cancelLater)
	},
	"Replay/AfterACancelOfOpenFutures": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			fs := futures(ctx, n, func(c *durable.Context, i int) error { return durable.Wait(c, "w", 24*time.Hour) })
			_ = awaitAll(ctx, fs)
			for range n {
				_ = durable.Wait(ctx.WithoutCancel(), "pause", 0)
			}
			return durable.Wait(ctx.WithoutCancel(), "pause", time.Hour)
		})
		b := setup(t, f)
		ends(b, f, n, b.cancelLater)
	},
	"Replay/OfRefusals": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_ = durable.Wait(ctx, "w", 24*time.Hour)
			for range n {
				_ = durable.Wait(ctx, "refused", 0)
				_ = durable.Wait(ctx.WithoutCancel(), "pause", 0)
			}
			return durable.Wait(ctx.WithoutCancel(), "pause", time.Hour)
		})
		b := setup(t, f)
		ends(b, f, n, b.cancelLater)
	},
	"Replay/OfARecording": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error {
			return durable.Do(c, "s", func(context.Context) error { return nil })
		})
		b := setup(t, f)
		ends(b, f, n)
		rec, err := b.engine.Recording(b.ctx, "x")
		require.NoError(t, err)
		require.NoError(t, durable.Replay(b.ctx, rec, &durable.Options{Functions: []durable.Definition{f}}))
	},
	"Replay/OfABegunRecording": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error { return durable.Wait(c, "w", time.Hour) })
		b := setup(t, f)
		ends(b, f, n, func(id string) {
			rec, err := b.engine.Recording(b.ctx, id)
			require.NoError(t, err)
			require.NoError(t, durable.Replay(b.ctx, rec, &durable.Options{Functions: []durable.Definition{f}}))
		})
	},
	"Steps/InARow": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				durable.Now(ctx)
				durable.Version(ctx, fmt.Sprint(n), 1)
				if err := durable.Do(ctx, "s", func(context.Context) error { return nil }); err != nil {
					return err
				}
			}
			return durable.Wait(ctx, "w", time.Hour)
		})
		ends(setup(t, f), f, n)
	},
	"Steps/AtMostOnceOfMap": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error {
			return durable.Do(c, "s", func(context.Context) error { return nil }, durable.AtMostOnce())
		})
		ends(setup(t, f), f, n)
	},
	"Steps/OfFlatMapObserved": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.Map(ctx, "m", make([]int, n), durable.AsStep(func(context.Context, int) (int, error) { return 1, nil }), durable.Flat(), durable.WithToleratedFailures(n))
			return err
		})
		ends(setupWith(t, durable.Options{Observer: &durable.Observer{
			OperationEnded: func(context.Context, string, durable.Operation) {},
			Event:          func(string, durable.Event) {},
		}}, f), f, n)
	},
	"Steps/FailedOfMap": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.Map(ctx, "m", make([]int, n), durable.AsStep(func(context.Context, int) (int, error) { return 1, durable.Permanent(errors.New("no")) }), durable.WithMinSuccessful(n))
			return err
		})
		ends(setup(t, f), f, n)
	},
	"Versions": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			for i := range n {
				durable.Version(ctx, fmt.Sprint(i), 1)
			}
			return durable.Wait(ctx, "w", time.Hour)
		})
		ends(setup(t, f), f, n)
	},
	"Steps/AFewAtATime": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			_, err := durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
				return i, durable.Wait(c, "w", time.Second)
			}, durable.WithMaxConcurrency(10))
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Futures/SelectsCancelled": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, i int) error {
			cb, err := cbs.open(c)
			if err != nil {
				return err
			}
			_, err = durable.Select(c, "s", cb, durable.After(c, "t", time.Hour))
			return err
		})
		b := setupWith(t, parked, f)
		ends(b, f, n, b.cancel)
	},
	"Futures/SelectsTimedOut": func(t *testing.T, n int) {
		var cbs opened
		f := each(func(c *durable.Context, i int) error {
			cb, err := cbs.open(c)
			if err != nil {
				return err
			}
			_, err = durable.Select(c, "s", cb, durable.After(c, "t", time.Hour))
			return err
		})
		ends(setup(t, f), f, n)
	},
	"Futures/OneAwaitedByBoundedChildren": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			one := durable.After(ctx, "one", 24*time.Hour)
			_, err := durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
				_, _ = durable.RunInChildContext(c, "c", func(c *durable.Context) (int, error) { return 1, one.Await(c) }, durable.WithTimeout(time.Duration(i+1)*time.Second))
				return i, nil
			})
			return err
		})
		ends(setupWith(t, parked, f), f, n)
	},
	"Replay/OfLargeResults": func(t *testing.T, n int) {
		f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
			_, err := durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (string, error) {
				return durable.RunInChildContext(c, "c", func(c *durable.Context) (string, error) {
					return fmt.Sprintf("%0100d", i), durable.Wait(c, "w", time.Second)
				})
			})
			if err == nil {
				err = durable.Wait(ctx, "w", time.Hour)
			}
			return n, err
		})
		ends(setupWith(t, durable.Options{InlineResult: 10, ParkFor: -1}, f), f, n)
	},
	"Waits/WithLooks": func(t *testing.T, n int) {
		f := each(func(c *durable.Context, i int) error {
			for c.Context().Err() == nil {
				if err := durable.Wait(c, "w", time.Minute); err != nil {
					return err
				}
			}
			return nil
		})
		b := setupWith(t, parked, f)
		ends(b, f, n, func(id string) { time.Sleep(5 * time.Minute); b.cancel(id) })
	},
	"Replay/OfLooks": func(t *testing.T, n int) {
		f := many(func(ctx *durable.Context, n int) error {
			for range n {
				if ctx.Context().Err() == nil {
					_ = durable.Wait(ctx, "w", 0)
				}
			}
			_ = durable.Wait(ctx, "w", 24*time.Hour)
			for range n {
				if ctx.Context().Err() != nil {
					_ = durable.Wait(ctx.WithoutCancel(), "w", 0)
				}
			}
			return durable.Wait(ctx.WithoutCancel(), "w", time.Hour)
		})
		b := setup(t, f)
		ends(b, f, n, func(id string) { time.Sleep(5 * time.Minute); b.cancel(id) })
	},
}
