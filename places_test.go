package durable_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

func TestPlaces(t *testing.T) {
	inBubble(t, "ABodyThatWaitsForAnExecutionGivesItsPlace", func(t *testing.T) {
		// Each body starts the next execution and waits for it, with one place.
		var f *durable.Function[int, int]
		f = durable.Define("f", func(ctx *durable.Context, depth int) (int, error) {
			if depth == 0 {
				return 0, nil
			}
			return durable.Step(ctx, "run", func(ctx context.Context) (int, error) {
				info, _ := durable.StepInfoFrom(ctx)
				below, err := f.Run(ctx, info.Engine, depth-1, durable.WithExecutionID(info.IdempotencyKey))
				return below + 1, err
			})
		})
		book := new(logBook)
		b := setupWith(t, durable.Options{MaxResident: 1, Logger: book.logger()}, f)
		began := time.Now()
		out, err := within(b, start(b, f, 30), time.Minute)
		require.NoError(t, err)
		require.Equal(t, 30, out)
		require.Less(t, time.Since(began), time.Second)
		require.Empty(t, book.lines("level=ERROR"))
	})

	inBubble(t, "ManyBodiesAtOnceDoSo", func(t *testing.T) {
		child := durable.Define("child", func(ctx *durable.Context, i int) (int, error) {
			return i, durable.Do(ctx, "work", func(context.Context) error { time.Sleep(time.Second); return nil })
		})
		f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
			batch, err := durable.Map(ctx, "map", make([]int, n), durable.AsStep(func(ctx context.Context, _ int) (int, error) {
				info, _ := durable.StepInfoFrom(ctx)
				return child.Run(ctx, info.Engine, 1, durable.WithExecutionID(info.IdempotencyKey))
			}))
			if err != nil {
				return 0, err
			}
			sum := 0
			for _, v := range batch.Values() {
				sum += v
			}
			return sum, nil
		})
		b := setupWith(t, durable.Options{MaxResident: 2}, f, child)
		var xs []*durable.Execution[int]
		for range 10 {
			xs = append(xs, start(b, f, 10))
		}
		for _, x := range xs {
			out, err := within(b, x, time.Hour)
			require.NoError(t, err)
			require.Equal(t, 10, out)
		}
		synctest.Wait()
		require.Zero(t, b.engine.Stats().Resident)
	})

	inBubble(t, "ABranchThatWaitsForAnExecutionGivesItsPlace", func(t *testing.T) {
		var e *durable.Engine
		child := durable.Define("child", func(ctx *durable.Context, i int) (int, error) { return i, nil })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			// An effect in handler code; it repeats itself, and finds the execution again.
			return child.Run(ctx.Context(), e, 7, durable.WithExecutionID("child"))
		})
		b := setupWith(t, durable.Options{MaxResident: 1}, f, child)
		e = b.engine
		began := time.Now()
		out, err := within(b, start(b, f, 0), time.Hour)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		require.Less(t, time.Since(began), time.Second, "it did not have to be stuck first")
	})

	inBubble(t, "APlaceIsGivenBackOnce", func(t *testing.T) {
		// A body still waits for another execution when its own one ends.
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "run", func(ctx context.Context) (int, error) {
					info, _ := durable.StepInfoFrom(ctx)
					return child.Run(context.WithoutCancel(ctx), info.Engine, 0)
				})
			})
			return 1, durable.Wait(ctx, "sleep", time.Minute)
		})
		quick := durable.Define("quick", func(ctx *durable.Context, i int) (int, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { return i, nil })
		})
		book := new(logBook)
		b := setupWith(t, durable.Options{MaxResident: 2, ParkFor: -1, Logger: book.logger()}, f, child, quick)
		for range 5 {
			_, err := within(b, start(b, f, 0), time.Hour)
			require.NoError(t, err)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		for i := range 10 {
			out, err := within(b, start(b, quick, i), time.Second)
			require.NoError(t, err)
			require.Equal(t, i, out)
		}
		require.Empty(t, book.lines("level=ERROR"))
	})

	inBubble(t, "ParkedOnesStayWhileNobodyWaits", func(t *testing.T) {
		b := setupWith(t, durable.Options{MaxResident: 2, ParkFor: 1000 * time.Hour}, awaitCallback)
		x, y := start(b, awaitCallback, 0), start(b, awaitCallback, 0)
		time.Sleep(10 * time.Hour)
		for _, x := range []*durable.Execution[string]{x, y} {
			require.True(t, b.describe(x.ID()).Resident)
			b.complete(x.ID(), "cb", "yes")
			_, err := within(b, x, time.Minute)
			require.NoError(t, err)
		}
		require.EqualValues(t, 2, invocations(b))
	})

	inBubble(t, "TheLongestIdleIsSuspendedFirst", func(t *testing.T) {
		b := setupWith(t, durable.Options{MaxResident: 2, ParkFor: 1000 * time.Hour}, awaitCallback)
		var xs []*durable.Execution[string]
		for range 4 {
			xs = append(xs, start(b, awaitCallback, 0))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		var resident []bool
		for _, x := range xs {
			resident = append(resident, b.describe(x.ID()).Resident)
		}
		require.Equal(t, []bool{false, false, true, true}, resident)
		for _, x := range xs {
			b.complete(x.ID(), "cb", "yes")
			out, err := within(b, x, time.Minute)
			require.NoError(t, err)
			require.Equal(t, "yes", out)
		}
	})

	for _, parkFor := range []time.Duration{-1, 0, 1000 * time.Hour} {
		inBubble(t, fmt.Sprintf("MoreExecutionsThanPlacesAllEnd/ParkFor=%s", parkFor), func(t *testing.T) {
			var b *bundle
			var most atomic.Int32
			child := durable.Define("child", func(ctx *durable.Context, i int) (int, error) { return i, durable.Wait(ctx, "nap", time.Minute) })
			f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
				if err := durable.Do(ctx, "work", func(context.Context) error {
					time.Sleep(time.Second)
					most.Store(max(most.Load(), int32(b.engine.Stats().Resident)))
					return nil
				}); err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "sleep", time.Duration(i%5)*time.Minute); err != nil {
					return 0, err
				}
				batch, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, k, _ int) (int, error) {
					return k, durable.Wait(ctx, "nap", time.Duration(k)*time.Second)
				})
				if err != nil {
					return 0, err
				}
				invoked, err := durable.Invoke(ctx, "invoke", child, i)
				return invoked + batch.Len(), err
			})
			book := new(logBook)
			b = setupWith(t, durable.Options{MaxResident: 3, ParkFor: parkFor, Logger: book.logger()}, f, child)
			var xs []*durable.Execution[int]
			for i := range 60 {
				xs = append(xs, start(b, f, i))
			}
			for i, x := range xs {
				out, err := within(b, x, 24*time.Hour)
				require.NoError(t, err)
				require.Equal(t, i+2, out)
			}
			require.Empty(t, book.lines("level=ERROR"))
			require.EqualValues(t, 3, most.Load())
			synctest.Wait()
			if parkFor < 0 {
				require.Zero(t, b.engine.Stats().Resident)
			}
		})
	}

	inBubble(t, "NoFunctionStarvesAnother", func(t *testing.T) {
		work := func(ctx *durable.Context, i int) (int, error) {
			return i, durable.Do(ctx, "work", func(ctx context.Context) error {
				select {
				case <-time.After(time.Second):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}
		busy, rare := durable.Define("busy", work), durable.Define("rare", work)
		b := setupWith(t, durable.Options{MaxResident: 2}, busy, rare)
		for i := range 200 {
			start(b, busy, i)
		}
		began := time.Now()
		_, err := within(b, start(b, rare, 0), time.Hour)
		require.NoError(t, err)
		require.Less(t, time.Since(began), 20*time.Second, "all of the busy ones take 100 s")
	})

	inBubble(t, "HeldByCodeThatIsStuckTheBoundIsExceededByATenth", func(t *testing.T) {
		book := new(logBook)
		release := make(chan struct{})
		stuck := durable.Define("stuck", func(ctx *durable.Context, i int) (int, error) {
			<-release // not in an operation: nobody can know that it is idle
			return i, nil
		})
		quick := durable.Define("quick", func(ctx *durable.Context, i int) (int, error) { return i, nil })
		b := setupWith(t, durable.Options{MaxResident: 20, Logger: book.logger()}, stuck, quick)
		var xs []*durable.Execution[int]
		for i := range 20 {
			xs = append(xs, start(b, stuck, i))
		}
		synctest.Wait()
		began := time.Now()
		x := start(b, quick, 0)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		require.Empty(t, book.lines("level=ERROR"))
		require.Equal(t, durable.ExecutionRunning, b.describe(x.ID()).Status)
		_, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.Less(t, time.Since(began), 15*time.Second)
		require.Len(t, book.lines("level=ERROR"), 1)
		// The tenth is stuck too; then nobody gets in.
		for i := range 2 {
			xs = append(xs, start(b, stuck, 20+i))
		}
		synctest.Wait()
		y := start(b, quick, 1)
		time.Sleep(time.Hour)
		require.Equal(t, durable.ExecutionRunning, b.describe(y.ID()).Status)
		require.Equal(t, 22, b.engine.Stats().Resident)
		close(release)
		for i, x := range xs {
			out, err := within(b, x, time.Minute)
			require.NoError(t, err)
			require.Equal(t, i, out)
		}
		_, err = within(b, y, time.Minute)
		require.NoError(t, err)
	})

	inBubble(t, "CodeThatIsStuckIsCountedNamedAndLogged", func(t *testing.T) {
		book := new(logBook)
		release := make(chan struct{})
		stuck := durable.Define("stuck", func(ctx *durable.Context, i int) (int, error) {
			<-release
			return i, nil
		})
		busy := durable.Define("busy", func(ctx *durable.Context, i int) (int, error) {
			return i, durable.Do(ctx, "work", func(context.Context) error { <-release; return nil })
		})
		b := setupWith(t, durable.Options{Logger: book.logger()}, stuck, busy)
		x, y := start(b, stuck, 1), start(b, busy, 2)
		time.Sleep(59 * time.Second)
		require.Zero(t, b.engine.Stats().Stalled)
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, b.engine.Stats().Stalled)
		require.Equal(t, 1, b.engine.Stats().Bodies)
		defer func() {
			close(release)
			for _, x := range []*durable.Execution[int]{x, y} {
				_, err := within(b, x, time.Minute)
				require.NoError(t, err)
			}
			synctest.Wait()
			require.Zero(t, b.engine.Stats().Stalled)
		}()
		time.Sleep(time.Minute)
		require.Len(t, book.lines("level=WARN", x.ID()), 1)
		require.Empty(t, book.lines("level=WARN", y.ID()), "a body may take its time")
	})
}

func TestAnIdleEngineIsQuiet(t *testing.T) {
	count := func(m *machine, d time.Duration) int32 {
		var claims atomic.Int32
		m.set(func() { m.onClaim = func() error { claims.Add(1); return nil } })
		time.Sleep(d)
		return claims.Load()
	}
	// It looks at the clock every 30 s, and that is all.
	inBubble(t, "WithNothing", func(t *testing.T) {
		m := newMachine(t)
		m.open(durable.Options{}, nap)
		require.LessOrEqual(t, count(m, time.Hour), int32(130))
	})

	inBubble(t, "WithExecutionsThatSleep", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
		for range 100 {
			start(b, awaitCallback, 0)
		}
		synctest.Wait()
		require.LessOrEqual(t, count(m, time.Hour), int32(130))
	})

	inBubble(t, "WithOneThatIsHeldAndDueAndOneWithoutItsFunction", func(t *testing.T) {
		m := newMachine(t)
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Wait(ctx, fmt.Sprint(entered.Add(1)), time.Minute)
		})
		b := m.open(durable.Options{ParkFor: -1}, f, nap)
		x := start(b, f, 0)
		start(b, nap, 0)
		synctest.Wait()
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1}, f)
		time.Sleep(10 * time.Minute)
		b.held(x.ID())
		require.LessOrEqual(t, count(m, 3*time.Hour), int32(400))
	})

	inBubble(t, "WhenTheStoreIsNotThere", func(t *testing.T) {
		book := new(logBook)
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1, Logger: book.logger()}, nap)
		x := start(b, nap, 0)
		synctest.Wait()
		var claims atomic.Int32
		m.set(func() { m.onClaim = func() error { claims.Add(1); return errors.New("connection refused") } })
		time.Sleep(3 * time.Hour) // it is due since an hour
		require.LessOrEqual(t, claims.Load(), int32(1000))
		require.LessOrEqual(t, len(book.lines("level=ERROR")), 1000)
		m.set(func() { m.onClaim = nil })
		began := time.Now()
		_, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), 30*time.Second)
	})

	inBubble(t, "WhenAllPlacesAreTaken", func(t *testing.T) {
		m := newMachine(t)
		busy := durable.Define("busy", func(ctx *durable.Context, i int) (int, error) {
			return i, durable.Do(ctx, "work", func(context.Context) error { time.Sleep(2 * time.Hour); return nil })
		})
		b := m.open(durable.Options{MaxResident: 2}, busy)
		var wg sync.WaitGroup
		for i := range 10 {
			x := start(b, busy, i)
			wg.Go(func() { _, _ = within(b, x, 100*time.Hour) })
		}
		time.Sleep(time.Minute)
		require.LessOrEqual(t, count(m, time.Hour), int32(5000))
		wg.Wait()
	})
}
