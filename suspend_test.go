package durable_test

import (
	"context"
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

// notes is what code under test did, in order.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.lines...)
}

// take is all, and begins anew.
func (n *notes) take() []string {
	defer n.clear()
	return n.all()
}

func (n *notes) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = nil
}

// body is a step's body that notes its name and returns it.
func (n *notes) body(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		n.add("%s", name)
		return name, nil
	}
}

// invocations counts how often an execution came into memory.
func invocations(b *bundle) int64 { return b.engine.Stats().Invocations }

func TestSuspend(t *testing.T) {
	inBubble(t, "DefersRunAndNoLineAfterABlockedOperation", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			defer n.add("outer defer")
			defer func() { n.add("recovered %v", recover()) }()
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				defer n.add("inner defer")
				err := durable.Wait(ctx, "sleep", time.Hour)
				n.add("awake, %v", err)
				return 0, err
			})
			n.add("child done, %v", err)
			return "done", err
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		require.Equal(t, []string{"inner defer", "recovered <nil>", "outer defer"}, n.all(), "suspended")
		require.False(t, b.describe(x.ID()).Resident)

		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "done", out)
		require.Equal(t, []string{"awake, <nil>", "inner defer", "child done, <nil>", "recovered <nil>", "outer defer"}, n.all()[3:])
	})

	inBubble(t, "DefersOfBranchesRunToo", func(t *testing.T) {
		var deferred, after atomic.Int32
		branch := func(ctx *durable.Context) (int, error) {
			defer deferred.Add(1)
			err := durable.Wait(ctx, "sleep", time.Hour)
			after.Add(1)
			return 1, err
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			future := durable.Go(ctx, "go", branch)
			_, err := durable.Parallel(ctx, "parallel", []durable.Branch[int]{{Name: "a", Run: branch}, {Name: "b", Run: branch}})
			if err != nil {
				return 0, err
			}
			return future.Await(ctx)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		require.EqualValues(t, 3, deferred.Load())
		require.Zero(t, after.Load())
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.EqualValues(t, 6, deferred.Load())
		require.EqualValues(t, 3, after.Load())
	})

	inBubble(t, "AnOperationInADeferEndsTheGoroutineAgain", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			defer n.add("last defer")
			defer func() {
				n.add("in defer")
				_, err := durable.Step(ctx, "release", n.body("release"))
				n.add("released, %v", err)
			}()
			return 1, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		require.Equal(t, []string{"in defer", "last defer"}, n.all(), "suspended")
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"in defer", "release", "released, <nil>", "last defer"}, n.all()[2:])
	})

	inBubble(t, "ContextEndsAtSuspension", func(t *testing.T) {
		var ended atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			std := ctx.Context()
			go func() {
				<-std.Done()
				ended.Add(1)
			}()
			return 1, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		require.EqualValues(t, 1, ended.Load())
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		synctest.Wait()
		require.EqualValues(t, 2, ended.Load())
	})

	inBubble(t, "QuickWakeNeedsNoReplay", func(t *testing.T) {
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			entered.Add(1)
			return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
		})
		b := setupWith(t, durable.Options{}, f)
		x := start(b, f, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		time.Sleep(900 * time.Millisecond)
		require.True(t, b.describe(x.ID()).Resident)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "yes"))
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "yes", out)
		require.EqualValues(t, 1, entered.Load())
		require.EqualValues(t, 1, invocations(b))
	})

	for name, opts := range map[string][]durable.CallbackOption{
		"ParkedLongEnoughItIsSuspended":               nil,
		"ParkedLongEnoughItIsSuspended/WhateverIsDue": {durable.WithTimeout(24 * time.Hour), durable.WithHeartbeatTimeout(time.Hour)},
	} {
		inBubble(t, name, func(t *testing.T) {
			if opts != nil {
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb", opts...)
				if err != nil {
					return "", err
				}
				return cb.Await(ctx)
			})
			b := setupWith(t, durable.Options{ParkFor: time.Minute}, f)
			x := start(b, f, 0)
			time.Sleep(59 * time.Second)
			synctest.Wait()
			require.True(t, b.describe(x.ID()).Resident)
			require.Equal(t, 1, b.engine.Stats().Idle)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			require.False(t, b.describe(x.ID()).Resident)
			require.Zero(t, b.engine.Stats().Resident)
			id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.NoError(t, err)
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "yes"))
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "yes", out)
			require.EqualValues(t, 2, invocations(b))
		})
	}

	inBubble(t, "ALongWaitSuspendsAtOnce", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (int, error) { return 1, durable.Wait(ctx, "sleep", d) })
		b := setupWith(t, durable.Options{ParkFor: time.Minute}, f)
		long, short := start(b, f, 61*time.Second), start(b, f, 59*time.Second)
		synctest.Wait()
		info := b.describe(long.ID())
		require.False(t, info.Resident, "its wait is longer than it would be parked")
		require.Equal(t, info.StartedAt.Add(61*time.Second), info.WakeAt)
		require.True(t, b.describe(short.ID()).Resident)
		for _, x := range []*durable.Execution[int]{short, long} {
			_, err := x.Result(b.ctx)
			require.NoError(t, err)
		}
		require.EqualValues(t, 3, invocations(b), "the short one was never suspended")
	})

	inBubble(t, "WhatIsAwaitedElsewhereDoesNotKeepItInMemory", func(t *testing.T) {
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 7, durable.Wait(ctx, "sleep", time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "invoke", child, 0) })
		b := setup(t, f, child)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, b.engine.Stats().Resident)
		began := b.describe(x.ID()).StartedAt
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		punctual(t, time.Hour, time.Since(began))
	})

	inBubble(t, "AnEventThatIsNotAwaitedYetIsTakenAndItGoesOnSleeping", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
				return "", err
			}
			return cb.Await(ctx)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "early"))
		synctest.Wait()
		info := b.describe(x.ID())
		require.False(t, info.Resident)
		require.Equal(t, info.StartedAt.Add(time.Hour), info.WakeAt)
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "early", out)
		require.Equal(t, []string{
			"ExecutionStarted", "CallbackStarted 1 cb", "WaitStarted 2 sleep", "InvocationCompleted",
			"CallbackSucceeded 1 cb", "InvocationCompleted",
			"WaitSucceeded 2 sleep", "InvocationCompleted", "ExecutionSucceeded",
		}, b.history(x.ID()))
	})
}

// awaitCallback is a function that waits for a callback for a day.
var awaitCallback = durable.Define("await", func(ctx *durable.Context, _ int) (string, error) {
	cb, err := durable.CreateCallback[string](ctx, "cb", durable.WithTimeout(24*time.Hour))
	if err != nil {
		return "", err
	}
	return cb.Await(ctx)
})

func TestWakeIsNotLost(t *testing.T) {
	// What wakes an execution arrives at the worst moments of its suspension.
	events := map[string]func(b *bundle, id string) error{
		"Callback": func(b *bundle, id string) error {
			cb, err := b.engine.CallbackID(context.Background(), id, "cb")
			if err != nil {
				return err
			}
			return b.engine.SucceedCallback(context.Background(), cb, "yes")
		},
		"Cancel": func(b *bundle, id string) error { return b.engine.Cancel(context.Background(), id, "enough") },
	}
	check := func(t *testing.T, kind string, x *durable.Execution[string]) {
		out, err := x.Result(t.Context())
		if kind == "Cancel" {
			require.ErrorIs(t, err, durable.ErrCanceled)
		} else {
			require.NoError(t, err)
			require.Equal(t, "yes", out)
		}
	}
	for kind, event := range events {
		inBubble(t, kind+"JustBeforeTheRelease", func(t *testing.T) {
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
			var once sync.Once
			var problem error
			m.set(func() {
				m.onAppend = func(a *checkpoint.Append) error {
					if a.Release != nil {
						once.Do(func() { problem = event(b, a.ID) })
					}
					return nil
				}
			})
			x, began := start(b, awaitCallback, 0), time.Now()
			check(t, kind, x)
			require.NoError(t, problem)
			require.Less(t, time.Since(began), time.Second)
		})

		inBubble(t, kind+"JustAfterTheRelease", func(t *testing.T) {
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
			var once sync.Once
			var problem error
			m.set(func() {
				m.afterAppend = func(a *checkpoint.Append, err error) error {
					if a.Release != nil {
						once.Do(func() { problem = event(b, a.ID) })
					}
					return err
				}
			})
			x, began := start(b, awaitCallback, 0), time.Now()
			check(t, kind, x)
			require.NoError(t, problem)
			require.Less(t, time.Since(began), time.Second)
		})

		// The engine has asked when something is due next, and is about to sleep.
		inBubble(t, kind+"BetweenCheckAndSleep", func(t *testing.T) {
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
			x := start(b, awaitCallback, 0)
			synctest.Wait()
			require.False(t, b.describe(x.ID()).Resident)
			var once sync.Once
			var problem error
			var began time.Time
			m.set(func() {
				m.afterNextDue = func() {
					once.Do(func() {
						began = time.Now()
						problem = event(b, x.ID())
					})
				}
			})
			check(t, kind, x)
			require.NoError(t, problem)
			require.Less(t, time.Since(began), time.Second)
		})
	}

	inBubble(t, "ATimerThatIsDueWhenItIsParkedLongEnough", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (int, error) {
			cb, err := durable.CreateCallback[int](ctx, "cb")
			if err != nil {
				return 0, err
			}
			timer := durable.After(ctx, "timer", d)
			_, err = durable.Select(ctx, "first", cb, timer)
			return 1, err
		})
		b := setupWith(t, durable.Options{ParkFor: time.Minute}, f)
		for i := range 100 {
			began := time.Now()
			run(b, f, time.Minute+time.Duration(i-50))
			punctual(t, time.Minute+time.Duration(i-50), time.Since(began))
		}
	})

	inBubble(t, "TheEndOfAnInvokedExecutionJustBeforeTheRelease", func(t *testing.T) {
		m := newMachine(t)
		release := make(chan struct{})
		child := durable.DefinePlain("child", func(ctx context.Context, _ int) (int, error) {
			<-release
			return 7, nil
		})
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Invoke(ctx, "invoke", child, 0, durable.WithTimeout(24*time.Hour))
		})
		var once sync.Once
		var parent atomic.Value
		m.onAppend = func(a *checkpoint.Append) error {
			if a.Release != nil && a.ID == parent.Load() {
				once.Do(func() { close(release) })
			}
			return nil
		}
		b := m.open(durable.Options{ParkFor: -1}, f, child)
		parent.Store("parent")
		began := time.Now()
		require.Equal(t, 7, run(b, f, 0, durable.WithExecutionID("parent")))
		require.Less(t, time.Since(began), time.Second)
	})
}

func TestManyExecutions(t *testing.T) {
	for _, park := range []time.Duration{-1, 0} {
		inBubble(t, fmt.Sprintf("AllEnd/ParkFor=%s", park), func(t *testing.T) {
			const n = 1000
			var bodies atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
				cb, err := durable.CreateCallback[int](ctx, "cb")
				if err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "sleep", time.Duration(i%7)*time.Minute); err != nil {
					return 0, err
				}
				v, err := cb.Await(ctx)
				if err != nil {
					return 0, err
				}
				return durable.Step(ctx, "add", func(context.Context) (int, error) {
					bodies.Add(1)
					return v + i, nil
				})
			})
			b := setupWith(t, durable.Options{ParkFor: park}, f)
			xs := make([]*durable.Execution[int], n)
			var wg sync.WaitGroup
			for i := range xs {
				wg.Go(func() { xs[i] = start(b, f, i) })
			}
			wg.Wait()
			for i, x := range xs {
				wg.Go(func() {
					time.Sleep(time.Duration(i%11) * time.Minute)
					id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
					require.NoError(t, err)
					require.NoError(t, b.engine.SucceedCallback(b.ctx, id, 1000*i))
				})
			}
			for i, x := range xs {
				out, err := x.Result(b.ctx)
				require.NoError(t, err)
				require.Equal(t, 1001*i, out)
			}
			wg.Wait()
			require.EqualValues(t, n, bodies.Load(), "no step ran twice")
			synctest.Wait()
			require.Zero(t, b.engine.Stats().Resident)
		})
	}
}
