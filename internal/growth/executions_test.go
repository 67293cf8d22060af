package growth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// Growths of executions, of those who look at them, and of what is in a file.
func init() {
	maps.Copy(growths, map[string]func(t *testing.T, n int){
		"Invokes/OfMap": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", time.Hour) })
			f := each(func(c *durable.Context, i int) error {
				_, err := durable.Invoke(c, "i", g, i)
				return err
			})
			ends(setup(t, f, g), f, n)
		},
		"Invokes/Cancelled": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", 24*time.Hour) })
			f := each(func(c *durable.Context, i int) error {
				_, err := durable.Invoke(c, "i", g, i)
				return err
			})
			b := setup(t, f, g)
			ends(b, f, n, b.cancel)
		},
		"Invokes/CallerStopped": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", 24*time.Hour) })
			f := each(func(c *durable.Context, i int) error {
				_, err := durable.Invoke(c, "i", g, i)
				return err
			})
			b := setup(t, f, g)
			ends(b, f, n, b.stop)
		},
		"Invokes/KeptPastRetention": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, nil })
			f := each(func(c *durable.Context, i int) error {
				if _, err := durable.Invoke(c, "i", g, i); err != nil {
					return err
				}
				return durable.Wait(c, "w", 2*time.Hour)
			})
			b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, f, g)
			for i := range n {
				start(b, g, i)
			}
			ends(b, f, n)
			time.Sleep(3 * time.Hour)
			b.none()
		},
		"Executions/ManyWaitForOneResult": func(t *testing.T, n int) {
			var cbs opened
			f := each(func(c *durable.Context, i int) error { return cbs.await(c) })
			b := setupWith(t, parked, f)
			x := start(b, f, n)
			var all sync.WaitGroup
			for range n {
				all.Go(func() { x.Result(b.ctx) })
			}
			synctest.Wait()
			cbs.completeAll(b)
			all.Wait()
		},
		"Executions/ManyWaitForOneResultSuspended": func(t *testing.T, n int) {
			f := many(func(ctx *durable.Context, n int) error {
				for range 20 {
					if err := durable.Wait(ctx, "w", time.Second); err != nil {
						return err
					}
				}
				return nil
			})
			b := setup(t, f)
			x := start(b, f, n)
			var all sync.WaitGroup
			for range n {
				all.Go(func() { x.Result(b.ctx) })
			}
			all.Wait()
		},
		"Executions/InARow": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, nil })
			b := setup(t, g)
			for i := range n {
				run(b, g, i)
			}
		},
		"Executions/BeyondThePlaces": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", time.Hour) })
			b := setupWith(t, durable.Options{ParkFor: 2 * time.Hour, MaxResident: n}, g)
			var all sync.WaitGroup
			for i := range 2 * n {
				x := start(b, g, i)
				all.Go(func() { x.Result(b.ctx) })
			}
			all.Wait()
		},
		"Executions/BeyondTheBusyPlaces": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) {
				return i, durable.Do(ctx, "s", func(context.Context) error {
					time.Sleep(time.Duration(i+1) * time.Millisecond)
					return nil
				})
			})
			b := setupWith(t, durable.Options{MaxResident: n}, g)
			var all sync.WaitGroup
			for i := range 2 * n {
				x := start(b, g, i)
				all.Go(func() { x.Result(b.ctx) })
			}
			all.Wait()
		},
		"Executions/StoppedAndDeleted": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", time.Hour) })
			b := setup(t, g)
			for i := range n {
				start(b, g, i, durable.WithExecutionID(fmt.Sprint(i)))
			}
			synctest.Wait()
			for i := range n {
				b.stop(fmt.Sprint(i))
			}
			for i := range n {
				require.NoError(t, b.engine.Delete(b.ctx, fmt.Sprint(i)))
			}
		},
		"Executions/Expired": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, nil })
			b := setupWith(t, durable.Options{Retention: time.Hour}, g)
			for i := range n {
				run(b, g, i)
			}
			time.Sleep(2 * time.Hour)
			b.none()
		},
		"Executions/Held": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return durable.Version(ctx, "\x00", 1), nil })
			b := setup(t, g)
			for i := range n {
				start(b, g, i, durable.WithExecutionID(fmt.Sprint(i)))
			}
			synctest.Wait()
			for i := range n {
				require.NoError(t, b.engine.Resume(b.ctx, fmt.Sprint(i)))
			}
		},
		"Looking/Followed": func(t *testing.T, n int) {
			f := many(func(ctx *durable.Context, n int) error {
				for range n {
					if err := durable.Wait(ctx, "w", time.Second); err != nil {
						return err
					}
				}
				return nil
			})
			b := setupWith(t, parked, f)
			x := start(b, f, n)
			for _, err := range b.engine.Follow(b.ctx, x.ID(), 0) {
				require.NoError(t, err)
			}
		},
		"Looking/Read": func(t *testing.T, n int) {
			var cbs opened
			f := each(func(c *durable.Context, i int) error { return cbs.await(c) })
			b := setupWith(t, parked, f)
			ends(b, f, n, func(id string) {
				for range 3 {
					b.history(id)
					_, err := b.engine.Operations(b.ctx, id)
					require.NoError(t, err)
					b.describe(id)
					b.engine.Stats()
				}
				cbs.completeAll(b)
			})
		},
		"Looking/InPages": func(t *testing.T, n int) {
			var cbs opened
			f := each(func(c *durable.Context, i int) error { return cbs.await(c) })
			b := setupWith(t, parked, f)
			ends(b, f, n, func(id string) {
				for last, more := int64(0), true; more; {
					read := 0
					for ev, err := range b.engine.HistoryAfter(b.ctx, id, last) {
						require.NoError(t, err)
						if more = read == 10; more {
							break
						}
						read, last = read+1, ev.EventID
					}
				}
				cbs.completeAll(b)
			})
		},
		"Looking/Changes": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", time.Second) })
			b := setup(t, g)
			ctx, cancel := context.WithCancel(b.ctx)
			changes := b.engine.Changes(ctx)
			var looking sync.WaitGroup
			looking.Go(func() {
				for range changes {
				}
			})
			for i := range n {
				start(b, g, i)
			}
			time.Sleep(time.Minute)
			cancel()
			looking.Wait()
		},
		"Again/Restarted": func(t *testing.T, n int) {
			f := each(func(c *durable.Context, i int) error {
				return durable.Do(c, "s", func(context.Context) error { return nil })
			})
			b := setup(t, f)
			ends(b, f, n)
			id, err := b.engine.RestartFrom(b.ctx, "x", fmt.Sprintf("1-%d", n))
			require.NoError(t, err)
			_, err = b.engine.ResultJSON(b.ctx, id)
			require.NoError(t, err)
		},
		"Again/Retried": func(t *testing.T, n int) {
			f := many(func(ctx *durable.Context, n int) error {
				_, err := durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
					return 1, durable.Do(c, "s", func(context.Context) error { return durable.Permanent(fmt.Errorf("no %d", i)) })
				}, durable.WithToleratedFailures(n))
				if err == nil {
					err = errors.New("none did well")
				}
				return err
			})
			b := setup(t, f)
			ends(b, f, n)
			id, err := b.engine.Retry(b.ctx, "x")
			require.NoError(t, err)
			_, err = b.engine.ResultJSON(b.ctx, id)
			require.Error(t, err)
		},
		"Again/Imported": func(t *testing.T, n int) {
			var cbs opened
			f := each(func(c *durable.Context, i int) error { return cbs.await(c) })
			b := setupWith(t, parked, f)
			x := start(b, f, n)
			synctest.Wait()
			rec, err := b.engine.Recording(b.ctx, x.ID())
			require.NoError(t, err)
			data, err := json.Marshal(rec)
			require.NoError(t, err)
			var back durable.Recording
			require.NoError(t, json.Unmarshal(data, &back))
			_, err = b.engine.Import(b.ctx, &back, durable.WithExecutionID("copy"))
			require.NoError(t, err)
			synctest.Wait()
			b.cancel("copy")
			_, _ = b.engine.ResultJSON(b.ctx, "copy")
		},
		"Invokes/TimedOut": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "w", 24*time.Hour) })
			f := each(func(c *durable.Context, i int) error {
				_, err := durable.Invoke(c, "i", g, i, durable.WithTimeout(time.Minute))
				return err
			})
			ends(setup(t, f, g), f, n)
		},
		"Executions/ShutDown": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) {
				return i, durable.Do(ctx, "s", func(ctx context.Context) error { time.Sleep(time.Second); return nil })
			})
			b := setup(t, g)
			for i := range n {
				start(b, g, i)
			}
			synctest.Wait()
			require.NoError(t, b.engine.Shutdown(b.ctx))
		},
		"Executions/StoppedThatHang": func(t *testing.T, n int) {
			block := make(chan struct{})
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) {
				if i >= n {
					return i, durable.Wait(ctx, "w", time.Second)
				}
				return i, durable.Do(ctx, "s", func(context.Context) error { <-block; return nil })
			})
			b := setupWith(t, durable.Options{MaxResident: n, ParkFor: time.Hour}, g)
			for i := range n {
				start(b, g, i, durable.WithExecutionID(fmt.Sprint(i)))
			}
			synctest.Wait()
			for i := range n {
				b.stop(fmt.Sprint(i))
			}
			var all sync.WaitGroup
			for i := range n {
				x := start(b, g, n+i)
				all.Go(func() { x.Result(b.ctx) })
			}
			time.Sleep(time.Minute)
			close(block)
			all.Wait()
		},
		"Executions/StartedAndCancelledAgain": func(t *testing.T, n int) {
			f := many(func(ctx *durable.Context, n int) error { return durable.Wait(ctx, "w", time.Hour) })
			b := setup(t, f)
			for range n {
				start(b, f, n, durable.WithExecutionID("x"))
				b.cancel("x")
			}
			ends(b, f, n)
		},
		"File/Callbacks": func(t *testing.T, n int) {
			var cbs opened
			f := each(func(c *durable.Context, _ int) error { return cbs.await(c, durable.WithHeartbeatTimeout(time.Hour)) })
			path := file(t)
			b := onFile(t, path, durable.Options{ParkFor: -1}, f)
			x := start(b, f, n)
			synctest.Wait()
			require.NoError(t, b.engine.Close())
			b = onFile(t, path, durable.Options{}) // it has not the function: who goes on with each of them reads all of the journal each time
			for _, id := range cbs.ids {
				require.NoError(t, b.engine.HeartbeatCallback(b.ctx, id))
			}
			cbs.completeAll(b)
			require.NoError(t, b.engine.Close())
			b = onFile(t, path, durable.Options{ParkFor: -1}, f)
			_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
		},
		"File/Steps": func(t *testing.T, n int) {
			f := each(func(c *durable.Context, i int) error {
				return durable.Do(c, "s", func(context.Context) error { return nil })
			})
			path := file(t)
			b := onFile(t, path, durable.Options{}, f)
			ends(b, f, n)
			b.history("x")
			require.NoError(t, b.engine.Close())
			b = onFile(t, path, durable.Options{}, f)
			b.history("x")
		},
		"File/Followed": func(t *testing.T, n int) {
			f := many(func(ctx *durable.Context, n int) error {
				for range n {
					if err := durable.Wait(ctx, "w", time.Millisecond); err != nil {
						return err
					}
				}
				return nil
			})
			b := onFile(t, file(t), parked, f)
			x := start(b, f, n)
			for _, err := range b.engine.Follow(b.ctx, x.ID(), 0) {
				require.NoError(t, err)
			}
		},
		"File/KeptPastRetention": func(t *testing.T, n int) {
			g := durable.Define("g", func(ctx *durable.Context, i int) (int, error) { return i, nil })
			f := each(func(c *durable.Context, i int) error {
				if _, err := durable.Invoke(c, "i", g, i); err != nil {
					return err
				}
				return durable.Wait(c, "w", 2*time.Hour)
			})
			b := onFile(t, file(t), durable.Options{ParkFor: -1, Retention: time.Hour}, f, g)
			ends(b, f, n, func(string) {
				for i := range n {
					run(b, g, i)
				}
			})
			time.Sleep(3 * time.Hour)
			b.none()
		},
	})
}
