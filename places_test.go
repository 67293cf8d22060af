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
	"github.com/durable-go/durable/checkpoint"
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

// TestPlacesOfWhatIsOver: executions that were stopped, or asked to leave, and whose code
// goes on, keep the others from running for a moment only, and are shown.
func TestPlacesOfWhatIsOver(t *testing.T) {
	release := func(t *testing.T) (func(), chan struct{}) {
		ch := make(chan struct{})
		once := sync.OnceFunc(func() { close(ch) })
		t.Cleanup(once)
		return once, ch
	}
	slow := func(ch chan struct{}) *durable.Function[int, string] {
		return durable.Define("slow", func(ctx *durable.Context, _ int) (string, error) {
			defer func() { <-ch }()
			return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
		})
	}
	hung := func(ch chan struct{}) *durable.Function[int, string] {
		return durable.Define("hung", func(ctx *durable.Context, _ int) (string, error) {
			return "", durable.Do(ctx, "hang", func(context.Context) error { <-ch; return nil })
		})
	}
	quick := durable.Define("quick", func(ctx *durable.Context, i int) (int, error) {
		return durable.Step(ctx, "x", func(context.Context) (int, error) { return i, nil })
	})
	// runs fails the test if new work does not run soon.
	runs := func(b *bundle, times int) {
		b.Helper()
		for i := range times {
			out, err := within(b, start(b, quick, i), 30*time.Second)
			require.NoError(b, err)
			require.Equal(b, i, out)
		}
	}

	inBubble(t, "OneThatLeavesSlowlyIsNotTheOnlyOneAsked", func(t *testing.T) {
		free, ch := release(t)
		book := new(logBook)
		f := slow(ch)
		b := setupWith(t, durable.Options{MaxResident: 10, ParkFor: 1000 * time.Hour, Logger: book.logger()}, f, awaitCallback, quick)
		start(b, f, 0)
		time.Sleep(time.Second)
		for range 9 {
			start(b, awaitCallback, 0)
		}
		time.Sleep(time.Second)
		began := time.Now()
		runs(b, 1)
		require.Less(t, time.Since(began), 3*time.Second)
		require.Empty(t, book.lines("level=ERROR"), "the bound is kept")
		free()
		synctest.Wait()
	})

	inBubble(t, "AllLeaveSlowly", func(t *testing.T) {
		free, ch := release(t)
		f := slow(ch)
		b := setupWith(t, durable.Options{MaxResident: 3, ParkFor: 1000 * time.Hour}, f, quick)
		for range 3 {
			start(b, f, 0)
		}
		time.Sleep(time.Second)
		runs(b, 10)
		free()
		synctest.Wait()
	})

	for _, c := range []struct {
		name           string
		places         int
		hung           int // stopped, and their bodies hang
		stuck, working int // handlers that hang, bodies that take their time
	}{
		{"All", 3, 3, 0, 0},
		{"TheOnlyOne", 1, 1, 0, 0},
		{"OneBesideHandlersThatAreStuck", 3, 1, 2, 0},
		{"OneBesideBodiesThatTakeTheirTime", 3, 1, 0, 2},
		{"OneOfEach", 3, 1, 1, 1},
		{"MoreThanATenth", 20, 20, 0, 0},
	} {
		inBubble(t, "Stopped/"+c.name, func(t *testing.T) {
			free, ch := release(t)
			book := new(logBook)
			f := hung(ch)
			stuck := durable.Define("stuck", func(ctx *durable.Context, _ int) (int, error) { <-ch; return 0, nil })
			working := durable.Define("working", func(ctx *durable.Context, _ int) (int, error) {
				return 0, durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, 100*time.Hour) })
			})
			b := setupWith(t, durable.Options{MaxResident: c.places, Logger: book.logger()}, f, stuck, working, quick)
			var ids []string
			for range c.hung {
				ids = append(ids, start(b, f, 0).ID())
			}
			for range c.stuck {
				start(b, stuck, 0)
			}
			for range c.working {
				start(b, working, 0)
			}
			time.Sleep(time.Second)
			for _, id := range ids {
				b.stop(id)
			}
			runs(b, 10)
			require.NotEmpty(t, book.lines("level=ERROR", "holds its place"))
			require.LessOrEqual(t, b.engine.Stats().Resident, c.places+max(c.places/10, 1))

			time.Sleep(2 * time.Minute)
			require.Equal(t, c.hung+c.stuck, b.engine.Stats().Stalled)
			for _, id := range ids {
				info := b.describe(id)
				require.Equal(t, durable.ExecutionStopped, info.Status)
				require.True(t, info.Resident)
				require.Equal(t, []string{"1"}, info.Bodies)
				require.NotZero(t, info.StalledSince)
				require.Len(t, book.lines("level=WARN", "its code goes on", id), 1)
			}
			free()
			synctest.Wait()
			require.Zero(t, b.engine.Stats().Stalled)
			require.Equal(t, c.working, b.engine.Stats().Resident)
			require.False(t, b.describe(ids[0]).Resident)
		})
	}

	inBubble(t, "ALostOneThatWaitsForItsBody", func(t *testing.T) {
		// It can't be replayed before the body of the invocation that was lost has returned.
		free, ch := release(t)
		var bodies atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			durable.Go(ctx, "beside", func(ctx *durable.Context) (int, error) {
				return 0, durable.Do(ctx, "beside", func(ctx context.Context) error { return rest(ctx, time.Second) })
			})
			return 1, durable.Do(ctx, "hang", func(context.Context) error { bodies.Add(1); <-ch; return nil })
		})
		m := newMachine(t)
		var failed atomic.Bool
		m.onAppend = func(a *checkpoint.Append) error {
			if len(a.Records) > 0 && a.Records[0].OperationID == "1-1" && a.Records[0].Type == checkpoint.StepSucceeded && failed.CompareAndSwap(false, true) {
				return errors.New("the connection was reset")
			}
			return nil
		}
		b := m.open(durable.Options{MaxResident: 1}, f, quick)
		x := start(b, f, 0)
		time.Sleep(30 * time.Second)
		require.True(t, failed.Load())
		runs(b, 3)
		time.Sleep(time.Minute)
		info := b.describe(x.ID())
		require.Equal(t, []string{"2"}, info.Bodies)
		require.NotZero(t, info.StalledSince)
		free()
		out, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.Equal(t, 1, out)
		require.EqualValues(t, 2, bodies.Load())
		runs(b, 3)
		synctest.Wait()
		require.Zero(t, b.engine.Stats().Stalled)
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
