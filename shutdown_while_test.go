package durable_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// TestShutdownWhile is what Shutdown promises while this or that goes on.
func TestShutdownWhile(t *testing.T) {
	one := durable.Define("one", func(ctx *durable.Context, _ int) (int, error) {
		return durable.Step(ctx, "a", func(ctx context.Context) (int, error) { return 1, rest(ctx, time.Minute) })
	})
	flaky := errors.New("the connection was reset")

	inBubble(t, "AnAppendFails", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{}, one)
		x := start(b, one, 0)
		time.Sleep(time.Second)
		m.set(func() {
			m.onAppend = func(a *checkpoint.Append) error {
				for i := range a.Records {
					if a.Records[i].Type == checkpoint.StepSucceeded {
						return flaky
					}
				}
				return nil
			}
		})
		err := b.engine.Shutdown(b.ctx)
		require.ErrorIs(t, err, durable.ErrStoreFailed)
		require.ErrorContains(t, err, "1 executions")
		s, err := m.base.Get(b.ctx, x.ID())
		require.NoError(t, err)
		require.False(t, s.Owned, "another process may go on with it")
	})

	inBubble(t, "AnExecutionIsWrittenOff", func(t *testing.T) {
		// It has lost what it did last, again and again, and is tried again later.
		m := newMachine(t)
		var failing atomic.Bool
		failing.Store(true)
		m.onAppend = func(*checkpoint.Append) error {
			if failing.Load() {
				return flaky
			}
			return nil
		}
		b := m.open(durable.Options{}, one)
		x := start(b, one, 0)
		time.Sleep(5*time.Minute + 10*time.Second)
		s, err := m.base.Get(b.ctx, x.ID())
		require.NoError(t, err)
		require.True(t, s.Owned)
		require.False(t, b.describe(x.ID()).Resident, "it is not tried just now")
		failing.Store(false)
		err = b.engine.Shutdown(b.ctx)
		require.ErrorContains(t, err, "1 executions")
		s, err = m.base.Get(b.ctx, x.ID())
		require.NoError(t, err)
		require.False(t, s.Owned)
		b = m.open(durable.Options{}, one)
		_, err = within(b, one.Attach(b.engine, x.ID()), time.Hour)
		require.NoError(t, err)
	})

	inBubble(t, "AnExecutionThatWasWrittenOffHasGoneOn", func(t *testing.T) {
		m := newMachine(t)
		var failed atomic.Bool
		m.onAppend = func(*checkpoint.Append) error {
			if failed.CompareAndSwap(false, true) {
				return flaky
			}
			return nil
		}
		b := m.open(durable.Options{}, one)
		start(b, one, 0)
		time.Sleep(3 * time.Minute)
		require.NoError(t, b.engine.Shutdown(b.ctx))
	})

	hangs := func(release chan struct{}) *durable.Function[int, int] {
		return durable.Define("hangs", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "hang", func(context.Context) error { <-release; return nil })
		})
	}
	inBubble(t, "TheBodyOfAStoppedExecutionHangs", func(t *testing.T) {
		book := new(logBook)
		release := make(chan struct{})
		defer close(release)
		f := hangs(release)
		m := newMachine(t)
		b := m.open(durable.Options{Logger: book.logger()}, f)
		x := start(b, f, 0)
		time.Sleep(time.Second)
		b.stop(x.ID())
		began := time.Now()
		require.NoError(t, b.engine.Shutdown(context.Background()), "it does not run again")
		require.Equal(t, 10*time.Second, time.Since(began), "it is given a moment")
		require.Len(t, book.lines("level=WARN", "executions=1"), 1)
	})

	inBubble(t, "BodiesThatRunAgainAreCountedNoOthers", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		f := hangs(release)
		abandoned := durable.Define("abandoned", func(ctx *durable.Context, _ int) (int, error) {
			_, err := durable.Parallel(ctx, "parallel", []durable.Branch[int]{
				{Run: func(ctx *durable.Context) (int, error) {
					return 0, durable.Do(ctx, "hang", func(context.Context) error { <-release; return nil })
				}},
				{Run: func(*durable.Context) (int, error) { return 1, nil }},
			}, durable.WithMinSuccessful(1))
			if err != nil {
				return 0, err
			}
			return 0, durable.Do(ctx, "hang", func(context.Context) error { <-release; return nil })
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f, abandoned)
		b.stop(start(b, f, 0).ID())
		stopped := start(b, f, 0)
		start(b, f, 0)
		start(b, abandoned, 0)
		time.Sleep(time.Second)
		b.stop(stopped.ID())
		ctx, done := context.WithTimeout(b.ctx, time.Minute)
		defer done()
		err := b.engine.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "2 bodies")
	})

	inBubble(t, "ADeferredCallHangs", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			defer func() { <-release }()
			return 0, durable.Wait(ctx, "nap", time.Hour)
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		start(b, f, 0)
		time.Sleep(time.Minute)
		began := time.Now()
		m.shutDown(b)
		require.Equal(t, 10*time.Second, time.Since(began))
	})

	inBubble(t, "ItIsClosed", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{}, one)
		start(b, one, 0)
		time.Sleep(time.Second)
		shut := make(chan error, 1)
		go func() { shut <- b.engine.Shutdown(context.Background()) }()
		synctest.Wait()
		require.NoError(t, b.engine.Close())
		require.ErrorIs(t, <-shut, durable.ErrClosed)
	})
}

// TestAtMostOnceWhileItLeaves: the start of a body that runs at most once is on its way to
// the disk when the engine shuts down, or the execution is held. It has not begun, or it
// runs; it does not fail as interrupted by that.
func TestAtMostOnceWhileItLeaves(t *testing.T) {
	define := func(n *notes, held bool) *durable.Function[int, string] {
		return durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			durable.Go(ctx, "other", func(ctx *durable.Context) (int, error) {
				if err := durable.Wait(ctx, "second", time.Second); err != nil {
					return 0, err
				}
				if held {
					durable.Version(ctx, "not\x00printable", 1)
				}
				return 0, durable.Wait(ctx, "long", 1000*time.Hour)
			})
			return durable.Step(ctx, "once", n.body("once"), durable.AtMostOnce())
		})
	}
	// slowly lets the record of the start take some seconds.
	slowly := func(m *machine) {
		m.wrap = func(s checkpoint.Store) checkpoint.Store {
			return newSlowStore(s, func() time.Duration { return 3 * time.Second })
		}
	}
	inBubble(t, "Shutdown", func(t *testing.T) {
		var n notes
		f := define(&n, false)
		m := newMachine(t)
		slowly(m)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0) // 6 s: created, and answered
		time.Sleep(time.Second)
		require.Empty(t, n.all())
		m.shutDown(b)
		b = m.open(durable.Options{}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Hour)
		require.NoError(t, err)
		require.Equal(t, "once", out)
		require.Equal(t, []string{"once"}, n.all())
	})
	inBubble(t, "Hold", func(t *testing.T) {
		var n notes
		f := define(&n, true)
		m := newMachine(t)
		slowly(m)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.held(x.ID())
		require.Equal(t, []string{"once"}, n.all())
		require.Contains(t, b.history(x.ID()), "StepSucceeded 2 once")
	})
}
