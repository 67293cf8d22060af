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

// stop stops an execution and fails the test if it can't.
func (b *bundle) stop(id string) {
	b.Helper()
	require.NoError(b, b.engine.Stop(context.Background(), id, "maintenance"))
}

func TestStop(t *testing.T) {
	// An execution is stopped in every state it may be in; body is what it runs.
	type state struct {
		name    string
		parkFor time.Duration
		body    func(ctx *durable.Context) error
	}
	var heard atomic.Value
	for _, s := range []state{
		{"Suspended", -1, func(ctx *durable.Context) error { return durable.Wait(ctx, "sleep", 100*time.Hour) }},
		{"Parked", 1000 * time.Hour, func(ctx *durable.Context) error { return durable.Wait(ctx, "sleep", 100*time.Hour) }},
		{"InABody", -1, func(ctx *durable.Context) error {
			return durable.Do(ctx, "slow", func(ctx context.Context) error {
				<-ctx.Done()
				heard.Store(context.Cause(ctx))
				return ctx.Err()
			})
		}},
		{"InABodyWithATimeout", -1, func(ctx *durable.Context) error {
			return durable.Do(ctx, "slow", func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}, durable.WithTimeout(100*time.Hour))
		}},
		{"InItsHandler", -1, func(ctx *durable.Context) error {
			<-ctx.Context().Done()
			return nil
		}},
		{"InBranches", -1, func(ctx *durable.Context) error {
			_, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, i, _ int) (int, error) {
				if i == 2 {
					return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { <-ctx.Done(); return nil })
				}
				_, err := durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return nil })
				return 0, err
			})
			return err
		}},
	} {
		inBubble(t, "AtOnce/"+s.name, func(t *testing.T) {
			var after atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				err := s.body(ctx)
				_, next := durable.Step(ctx, "next", func(context.Context) (int, error) { after.Add(1); return 0, nil })
				return 0, errors.Join(err, next)
			})
			b := setupWith(t, durable.Options{ParkFor: s.parkFor}, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
			began := time.Now()
			b.stop(x.ID())
			info := b.describe(x.ID())
			require.Equal(t, durable.ExecutionStopped, info.Status)
			require.Equal(t, began.UTC(), info.EndedAt)
			require.Equal(t, "Stopped", info.Failure.Type)
			require.Contains(t, info.Failure.Message, "maintenance")
			history := b.history(x.ID())
			require.Equal(t, "ExecutionStopped", history[len(history)-1])
			_, err := x.Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrStopped)
			require.Equal(t, began, time.Now())
			time.Sleep(120 * time.Hour)
			synctest.Wait()
			require.Equal(t, history, b.history(x.ID()), "nothing is recorded any more")
			require.Zero(t, after.Load(), "nothing begins any more")
			require.Zero(t, b.engine.Stats().Resident)
			if s.name == "InABody" {
				require.Equal(t, durable.ErrStopped, heard.Load())
			}
		})
	}

	inBubble(t, "ABodyThatIgnoresItsContextRunsOnUnrecorded", func(t *testing.T) {
		book := new(logBook)
		release := make(chan struct{})
		var ended, next atomic.Bool
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if err := durable.Do(ctx, "stubborn", func(context.Context) error {
				<-release
				ended.Store(true)
				return nil
			}); err != nil {
				return "", err
			}
			return durable.Step(ctx, "next", func(context.Context) (string, error) { next.Store(true); return "", nil })
		})
		b := setupWith(t, durable.Options{Logger: book.logger()}, f)
		x := start(b, f, 0)
		time.Sleep(time.Second)
		b.stop(x.ID())
		_, err := x.Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrStopped)
		history := b.history(x.ID())
		time.Sleep(9 * time.Second)
		require.Empty(t, book.lines("WARN", "stubborn"))
		time.Sleep(2 * time.Second)
		require.Len(t, book.lines("WARN", "stubborn"), 1)
		close(release)
		synctest.Wait()
		require.True(t, ended.Load())
		require.False(t, next.Load())
		require.Equal(t, history, b.history(x.ID()))
	})

	inBubble(t, "NothingBeginsAfterItReturned", func(t *testing.T) {
		// The handler works as fast as it can and never looks up.
		var stopped atomic.Bool
		var late atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for i := 0; ; i++ {
				_, err := durable.Map(ctx, "map", []int{1, 2, 3}, durable.AsStep(func(context.Context, int) (int, error) {
					if stopped.Load() {
						late.Add(1)
					}
					time.Sleep(time.Millisecond)
					return i, nil
				}))
				if err != nil {
					return 0, err
				}
			}
		})
		b := setup(t, f)
		for i := range 30 {
			x := start(b, f, 0)
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			b.stop(x.ID())
			stopped.Store(true)
			history := len(b.history(x.ID()))
			_, err := x.Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrStopped)
			time.Sleep(time.Second)
			require.Equal(t, history, len(b.history(x.ID())))
			require.Zero(t, late.Load())
			stopped.Store(false)
		}
	})

	inBubble(t, "ReachesTheInvokedAndTheCaller", func(t *testing.T) {
		leaf := durable.Define("leaf", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", 100*time.Hour) })
		middle := durable.Define("middle", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "leaf", leaf, 0) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			_, err := durable.Invoke(ctx, "middle", middle, 0)
			if !errors.Is(err, durable.ErrStopped) {
				return "", err
			}
			failure, _ := errors.AsType[*durable.Failure](err)
			return failure.Type, nil
		})
		b := setup(t, f, middle, leaf)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		ids := map[string]string{}
		for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
			require.NoError(t, err)
			ids[info.Function] = info.ID
		}
		b.stop(ids["middle"])
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "Stopped", out, "the caller sees it as an error")
		require.Equal(t, durable.OperationStopped, b.operation(x.ID(), "1").Status)
		_, err = leaf.Attach(b.engine, ids["leaf"]).Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled, "what it had invoked is cancelled")
	})

	inBubble(t, "ItsCallbacksAreClosed", func(t *testing.T) {
		b := setup(t, awaitCallback)
		x := start(b, awaitCallback, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		b.stop(x.ID())
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "late"), durable.ErrCallbackCompleted)
		require.ErrorIs(t, b.engine.FailCallback(b.ctx, id, durable.Failure{Type: "Late"}), durable.ErrCallbackCompleted)
		require.ErrorIs(t, b.engine.HeartbeatCallback(b.ctx, id), durable.ErrCallbackCompleted)
		_, err = b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.ErrorIs(t, err, durable.ErrCallbackNotFound)
	})

	inBubble(t, "WhatHasEndedIsLeftAlone", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 42, nil })
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		history := b.history(x.ID())
		b.stop(x.ID())
		require.Equal(t, history, b.history(x.ID()))
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, 42, out)
		require.ErrorIs(t, b.engine.Stop(b.ctx, "nobody", ""), durable.ErrExecutionNotFound)
	})

	inBubble(t, "OutlivesARestart", func(t *testing.T) {
		m := newMachine(t)
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", 100*time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "child", child, 0) })
		b := m.open(durable.Options{ParkFor: -1}, f, child)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.stop(x.ID())
		m.kill(b) // before the child has heard of it, perhaps
		b = m.open(durable.Options{ParkFor: -1}, f, child)
		_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrStopped)
		synctest.Wait()
		for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
			require.NoError(t, err)
			require.Equal(t, durable.ExecutionFailed, info.Status)
			require.Equal(t, "Canceled", info.Failure.Type)
		}
	})

	inBubble(t, "AnotherExecutionUnderItsIDHasNothingToDoWithIt", func(t *testing.T) {
		// The body of the first one is still running when the second one starts.
		release := make(chan struct{})
		var first atomic.Bool
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "slow", func(context.Context) (int, error) {
				if first.CompareAndSwap(false, true) {
					<-release
					return 1, nil
				}
				return 2, nil
			})
		})
		b := setup(t, f)
		x := start(b, f, 0, durable.WithExecutionID("same"))
		synctest.Wait()
		b.stop(x.ID())
		require.NoError(t, b.engine.Delete(b.ctx, x.ID()))
		x = start(b, f, 0, durable.WithExecutionID("same"))
		time.Sleep(time.Minute)
		close(release)
		ctx, done := context.WithTimeout(b.ctx, time.Hour)
		defer done()
		out, err := x.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, out)
	})

	inBubble(t, "ALateHintOfItDoesNotEndAnotherExecutionUnderItsID", func(t *testing.T) {
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, fast bool) (int, error) {
			if fast {
				return 1, nil
			}
			return 2, durable.Do(ctx, "slow", func(ctx context.Context) error {
				select {
				case <-time.After(time.Hour):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		})
		b := m.open(durable.Options{}, f)
		run(b, f, true, durable.WithExecutionID("same"))
		require.NoError(t, b.engine.Delete(b.ctx, "same"))
		x := start(b, f, false, durable.WithExecutionID("same"))
		synctest.Wait()
		m.hint(checkpoint.Hint{Kind: checkpoint.HintEnded, ID: "same"}) // a hint may come late, or twice
		ctx, done := context.WithTimeout(b.ctx, 24*time.Hour)
		defer done()
		out, err := x.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, out)
	})
}

func TestStopFromInside(t *testing.T) {
	inBubble(t, "ABodyMayStopItsOwnExecution", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "stop", func(ctx context.Context) error {
				info, _ := durable.StepInfoFrom(ctx)
				return info.Engine.Stop(ctx, info.ExecutionID, "by itself")
			})
		})
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := within(b, x, time.Minute)
		require.ErrorIs(t, err, durable.ErrStopped)
		require.Equal(t, []string{"ExecutionStarted", "InvocationCompleted", "ExecutionStopped"}, b.history(x.ID()))
	})
}

// TestOneEnd ends executions in several ways at the same moment: one of them
// counts, for everybody.
func TestOneEnd(t *testing.T) {
	for _, parkFor := range []time.Duration{-1, 0} {
		inBubble(t, fmt.Sprintf("ParkFor=%s", parkFor), func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 42, durable.Wait(ctx, "sleep", time.Hour) },
				durable.WithExecutionTimeout(time.Hour))
			parent := durable.Define("parent", func(ctx *durable.Context, _ int) (string, error) {
				v, err := durable.Invoke(ctx, "invoke", f, 0)
				return fmt.Sprint(v, errors.Is(err, durable.ErrStopped), errors.Is(err, durable.ErrTimeout), errors.Is(err, durable.ErrCanceled)), nil
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f, parent)
			var parents []*durable.Execution[string]
			for range 100 {
				parents = append(parents, start(b, parent, 0))
			}
			synctest.Wait()
			var ids []string
			for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "f"}) {
				require.NoError(t, err)
				ids = append(ids, info.ID)
			}
			var wg sync.WaitGroup
			for i, id := range ids {
				wg.Go(func() {
					time.Sleep(time.Hour)
					if i%3 != 0 {
						b.stop(id)
					}
				})
				wg.Go(func() {
					time.Sleep(time.Hour)
					if i%3 != 1 {
						b.cancel(id)
					}
				})
			}
			wg.Wait()
			seen := map[string]string{}
			for _, id := range ids {
				v, err := within(b, f.Attach(b.engine, id), time.Minute)
				info := b.describe(id)
				require.NotEqual(t, durable.ExecutionRunning, info.Status)
				seen[info.Parent] = fmt.Sprint(v, errors.Is(err, durable.ErrStopped), errors.Is(err, durable.ErrTimeout), errors.Is(err, durable.ErrCanceled))
				checkHistory(b, "one end", id)
				history := b.history(id)
				require.Equal(t, map[durable.ExecutionStatus]string{durable.ExecutionSucceeded: "ExecutionSucceeded", durable.ExecutionFailed: "ExecutionFailed",
					durable.ExecutionStopped: "ExecutionStopped", durable.ExecutionTimedOut: "ExecutionTimedOut"}[info.Status], history[len(history)-1])
			}
			for _, x := range parents {
				out, err := within(b, x, time.Minute)
				require.NoError(t, err)
				require.Equal(t, seen[x.ID()], out, "its caller saw the same")
			}
		})
	}
}

// TestOneBodyAtATime checks that two bodies of one operation never run at once,
// however the execution comes back into memory while the first one runs.
func TestOneBodyAtATime(t *testing.T) {
	type counter struct{ running, most, runs atomic.Int32 }
	stubborn := func(c *counter, d time.Duration) func(context.Context) (int, error) {
		return func(context.Context) (int, error) {
			c.runs.Add(1)
			c.most.Store(max(c.most.Load(), c.running.Add(1)))
			defer c.running.Add(-1)
			time.Sleep(d) // whatever its context says
			return 1, nil
		}
	}
	// Each handler has a body of an hour running when an append fails that has
	// the result of some other work.
	work := func(ctx *durable.Context) (int, error) {
		return durable.Step(ctx, "work", func(context.Context) (int, error) { time.Sleep(time.Minute); return 1, nil })
	}
	handlers := map[string]func(ctx *durable.Context, c *counter) error{
		"Step": func(ctx *durable.Context, c *counter) error {
			future := durable.Go(ctx, "work", work)
			if _, err := durable.Step(ctx, "slow", stubborn(c, time.Hour)); err != nil {
				return err
			}
			_, err := future.Await(ctx)
			return err
		},
		"StepWithTimeout": func(ctx *durable.Context, c *counter) error {
			future := durable.Go(ctx, "work", work)
			if _, err := durable.Step(ctx, "slow", stubborn(c, time.Hour), durable.WithTimeout(100*time.Hour)); err != nil {
				return err
			}
			_, err := future.Await(ctx)
			return err
		},
		"AbandonedBranch": func(ctx *durable.Context, c *counter) error {
			_, err := durable.Parallel(ctx, "parallel", []durable.Branch[int]{
				{Name: "slow", Run: func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "slow", stubborn(c, time.Hour)) }},
				{Name: "fast", Run: work},
			}, durable.WithMinSuccessful(1))
			return err
		},
		"NobodyAwaitsIt": func(ctx *durable.Context, c *counter) error {
			durable.Go(ctx, "slow", func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "slow", stubborn(c, time.Hour)) })
			_, err := work(ctx)
			return err
		},
	}
	for name, handler := range handlers {
		inBubble(t, name, func(t *testing.T) {
			m := newMachine(t)
			var c counter
			var failed atomic.Bool
			m.onAppend = func(a *checkpoint.Append) error {
				for _, rec := range a.Records {
					if rec.Type == checkpoint.StepSucceeded && !failed.Swap(true) {
						return errors.New("connection reset")
					}
				}
				return nil
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, handler(ctx, &c) })
			b := m.open(durable.Options{}, f)
			x := start(b, f, 0)
			_, err := x.Result(b.ctx)
			require.NoError(t, err)
			time.Sleep(3 * time.Hour)
			require.True(t, failed.Load())
			require.EqualValues(t, 1, c.most.Load(), "bodies at once, of %d runs", c.runs.Load())
		})
	}
}

// Whoever waits for a result is told of a stop although the code of the execution never
// comes back.
func TestResultOfAStoppedExecutionWhoseCodeIsStuck(t *testing.T) {
	inBubble(t, "Handler", func(t *testing.T) {
		stuck := make(chan struct{})
		f := durable.Define("f", func(*durable.Context, int) (int, error) {
			<-stuck
			return 0, nil
		})
		b := setup(t, f)
		x := start(b, f, 0)
		result := make(chan error, 1)
		go func() {
			_, err := x.Result(context.Background())
			result <- err
		}()
		synctest.Wait()
		b.stop(x.ID())
		require.ErrorIs(t, <-result, durable.ErrStopped)
		close(stuck)
	})
}
