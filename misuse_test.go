package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// everyOperation calls each kind of operation on a context and returns the error.
var everyOperation = map[string]func(ctx *durable.Context) error{
	"Step": func(ctx *durable.Context) error {
		return durable.Do(ctx, "x", func(context.Context) error { return nil })
	},
	"Wait": func(ctx *durable.Context) error { return durable.Wait(ctx, "x", time.Hour) },
	"After": func(ctx *durable.Context) error {
		return durable.After(ctx, "x", time.Hour).Await(ctx)
	},
	"CreateCallback": func(ctx *durable.Context) error { _, err := durable.CreateCallback[int](ctx, "x"); return err },
	"WaitForCallback": func(ctx *durable.Context) error {
		_, err := durable.WaitForCallback[int](ctx, "x", func(context.Context, string) error { return nil })
		return err
	},
	"WaitForCondition": func(ctx *durable.Context) error {
		_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, nil }, func(int, int) durable.Poll { return durable.PollDone() })
		return err
	},
	"Child": func(ctx *durable.Context) error {
		_, err := durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { return 0, nil })
		return err
	},
	"Go": func(ctx *durable.Context) error {
		_, err := durable.Go(ctx, "x", func(*durable.Context) (int, error) { return 0, nil }).Await(ctx)
		return err
	},
	"Map": func(ctx *durable.Context) error {
		_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, nil })
		return err
	},
	"Parallel": func(ctx *durable.Context) error {
		_, err := durable.Parallel(ctx, "x", []durable.Branch[int]{{Run: func(*durable.Context) (int, error) { return 0, nil }}})
		return err
	},
	"Invoke": func(ctx *durable.Context) error { _, err := durable.InvokeByName[int](ctx, "x", "f", 0); return err },
}

func TestMisuse(t *testing.T) {
	for name, operation := range everyOperation {
		inBubble(t, "InsideABody/"+name, func(t *testing.T) {
			var inner error
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				err := durable.Do(ctx, "outer", func(context.Context) error {
					inner = operation(ctx)
					return inner
				})
				n.add("outer failed: %v", errors.Is(err, durable.ErrConcurrentUse))
				return durable.Step(ctx, "next", n.body("next"))
			})
			b := setup(t, f)
			x := start(b, f, 0)
			out, err := within(b, x, time.Hour)
			require.NoError(t, err, "the handler can go on")
			require.Equal(t, "next", out)
			require.ErrorIs(t, inner, durable.ErrConcurrentUse)
			require.Equal(t, []string{"outer failed: true", "next"}, n.all(), "it is not tried again")
			opErr, ok := errors.AsType[*durable.OpError](inner)
			require.True(t, ok)
			require.Equal(t, x.ID(), opErr.ExecutionID)
			require.Equal(t, "x", opErr.Name)
			require.NotEmpty(t, opErr.Hint, "it says what to do")
		})
	}

	for name, around := range map[string]func(ctx *durable.Context, f func() error) error{
		"Child": func(ctx *durable.Context, f func() error) error {
			_, err := durable.RunInChildContext(ctx, "around", func(*durable.Context) (int, error) { return 0, f() })
			return err
		},
		"Branch": func(ctx *durable.Context, f func() error) error {
			_, err := durable.Parallel(ctx, "around", []durable.Branch[int]{{Run: func(*durable.Context) (int, error) { return 0, f() }}})
			return err
		},
		"Item": func(ctx *durable.Context, f func() error) error {
			_, err := durable.Map(ctx, "around", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, f() })
			return err
		},
		"FlatItem": func(ctx *durable.Context, f func() error) error {
			_, err := durable.Map(ctx, "around", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, f() }, durable.Flat())
			return err
		},
		"Future": func(ctx *durable.Context, f func() error) error {
			_, err := durable.Go(ctx, "around", func(*durable.Context) (int, error) { return 0, f() }).Await(ctx)
			return err
		},
		"Check": func(ctx *durable.Context, f func() error) error {
			_, err := durable.WaitForCondition(ctx, "around", 0, func(context.Context, int) (int, error) { return 0, f() }, func(int, int) durable.Poll { return durable.PollDone() })
			return err
		},
		"Submitter": func(ctx *durable.Context, f func() error) error {
			_, err := durable.WaitForCallback[int](ctx, "around", func(context.Context, string) error { return f() })
			return err
		},
	} {
		inBubble(t, "TheOuterContextInsideA/"+name, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return 0, around(ctx, func() error {
					time.Sleep(time.Second) // a future's caller awaits it by then
					return durable.Wait(ctx, "x", time.Hour)
				})
			})
			b := setup(t, f)
			_, err := within(b, start(b, f, 0), 2*time.Hour)
			require.ErrorIs(t, err, durable.ErrConcurrentUse)
		})
	}

	for name, operation := range map[string]func(*durable.Context) error{
		"Map": func(ctx *durable.Context) error {
			_, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, i, _ int) (int, error) { return i, durable.Wait(ctx, "sleep", time.Hour) })
			return err
		},
		"Future": func(ctx *durable.Context) error {
			_, err := durable.Go(ctx, "branch", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Hour) }).Await(ctx)
			return err
		},
	} {
		inBubble(t, "OnAGoroutineOfItsOwn/"+name, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				done := make(chan error)
				go func() { done <- operation(ctx) }()
				return 0, <-done
			})
			b := setup(t, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
			require.ErrorIs(t, b.held(x.ID()), durable.ErrConcurrentUse)
		})
	}

	inBubble(t, "TheOuterContextInsideAFutureWhileItsOwnerIsBusyElsewhere", func(t *testing.T) {
		// Nothing overlaps here: only who calls tells that it is wrong.
		for name, operation := range everyOperation {
			if name != "Wait" && name != "After" {
				continue // an operation that does not have to wait is not looked at
			}
			var inner error
			done := make(chan struct{})
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.Go(ctx, "branch", func(*durable.Context) (int, error) {
					defer close(done)
					inner = operation(ctx)
					return 0, nil
				})
				select {
				case <-done:
				case <-time.After(10 * time.Minute):
				}
				return 0, nil
			})
			b := setup(t, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
			require.ErrorIs(t, inner, durable.ErrConcurrentUse, name)
			require.ErrorIs(t, b.held(x.ID()), durable.ErrConcurrentUse)
			b.stop(x.ID())
		}
	})

	inBubble(t, "AUsersGoroutineThatOverlaps", func(t *testing.T) {
		var inner error
		var wg sync.WaitGroup
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			wg.Go(func() {
				time.Sleep(time.Minute)
				_, inner = durable.Step(ctx, "x", func(context.Context) (int, error) { return 0, nil })
			})
			return 1, durable.Do(ctx, "slow", func(context.Context) error { time.Sleep(time.Hour); return nil })
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, out)
		wg.Wait()
		require.ErrorIs(t, inner, durable.ErrConcurrentUse)
	})

	inBubble(t, "AUsersGoroutineThatWouldBlockHoldsTheExecution", func(t *testing.T) {
		// runtime.Goexit there would run its deferred wg.Done, and the handler would
		// go on with zero values and succeed.
		var inner error
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			var wg sync.WaitGroup
			var price string
			wg.Add(1)
			go func() {
				defer wg.Done()
				inner = durable.Wait(ctx, "sleep", time.Hour)
				if inner == nil {
					price = "42"
				}
			}()
			wg.Wait()
			return "price: " + price, nil
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		require.ErrorIs(t, inner, durable.ErrConcurrentUse)
		why := b.held(x.ID())
		require.Equal(t, "ConcurrentUse", why.Type)
		require.ErrorIs(t, why, durable.ErrConcurrentUse)
		time.Sleep(24 * time.Hour)
		require.Equal(t, durable.ExecutionRunning, b.describe(x.ID()).Status)
	})

	inBubble(t, "AUsersGoroutineSeesNoGoexitWhenTheExecutionLeavesMemory", func(t *testing.T) {
		var mu sync.Mutex
		var ended []error
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			go func() {
				time.Sleep(time.Minute) // suspended by then
				_, err := durable.Step(ctx, "x", func(context.Context) (int, error) { return 0, nil })
				mu.Lock()
				ended = append(ended, err)
				mu.Unlock()
			}()
			return 1, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := within(b, x, 2*time.Hour)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, ended, 2)
		for _, err := range ended {
			require.ErrorIs(t, err, durable.ErrConcurrentUse)
		}
		require.NotContains(t, strings.Join(b.history(x.ID()), "\n"), "StepStarted")
	})

	inBubble(t, "AContextThatHasReturned", func(t *testing.T) {
		var leaked, child *durable.Context
		var inner error
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			leaked = ctx
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { child = ctx; return 0, nil })
			inner = durable.Do(child, "x", func(context.Context) error { return nil })
			return 0, err
		})
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.ErrorIs(t, inner, durable.ErrConcurrentUse)
		require.ErrorContains(t, inner, "returned")
		for name, operation := range everyOperation {
			require.ErrorIs(t, operation(leaked), durable.ErrConcurrentUse, name)
			require.ErrorIs(t, operation(child), durable.ErrConcurrentUse, name)
		}
		require.Error(t, leaked.Context().Err())
		require.Equal(t, x.ID(), leaked.ExecutionID())
		leaked.Logger().Info("still here")
	})

	inBubble(t, "AFutureOfAnotherExecution", func(t *testing.T) {
		var leaked *durable.Future[int]
		f := durable.Define("f", func(ctx *durable.Context, first bool) (int, error) {
			if first {
				leaked = durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Hour) })
				return leaked.Await(ctx)
			}
			return leaked.Await(ctx)
		})
		b := setup(t, f)
		x := start(b, f, true)
		time.Sleep(time.Minute)
		y := start(b, f, false)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		_, err := within(b, x, time.Minute)
		require.NoError(t, err, "the one it belongs to is not harmed")
		_, err = within(b, y, time.Minute)
		require.ErrorIs(t, err, durable.ErrConcurrentUse)
	})

	// Nothing will ever settle what a context that has returned left behind:
	// awaiting it is an error, not a wait without an end.
	for name, leak := range map[string]func(ctx *durable.Context) (func(ctx *durable.Context) error, error){
		"Future": func(ctx *durable.Context) (func(ctx *durable.Context) error, error) {
			future := durable.Go(ctx, "leaked", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "sleep", time.Hour) })
			return func(ctx *durable.Context) error { _, err := future.Await(ctx); return err }, nil
		},
		"Timer": func(ctx *durable.Context) (func(ctx *durable.Context) error, error) {
			timer := durable.After(ctx, "leaked", time.Hour)
			return func(ctx *durable.Context) error { return timer.Await(ctx) }, nil
		},
		"Callback": func(ctx *durable.Context) (func(ctx *durable.Context) error, error) {
			cb, err := durable.CreateCallback[int](ctx, "leaked")
			return func(ctx *durable.Context) error { _, err := cb.Await(ctx); return err }, err
		},
		"Select": func(ctx *durable.Context) (func(ctx *durable.Context) error, error) {
			timer := durable.After(ctx, "leaked", time.Hour)
			return func(ctx *durable.Context) error { _, err := durable.Select(ctx, "select", timer); return err }, nil
		},
		"All": func(ctx *durable.Context) (func(ctx *durable.Context) error, error) {
			future := durable.Go(ctx, "leaked", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "sleep", time.Hour) })
			return func(ctx *durable.Context) error { _, err := durable.All(ctx, "all", future); return err }, nil
		},
	} {
		inBubble(t, "WhatAContextLeftBehindThatHasReturned/"+name, func(t *testing.T) {
			if name == "Select" || name == "All" {
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				var await func(ctx *durable.Context) error
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (_ int, err error) {
					await, err = leak(ctx)
					return 0, err
				})
				if err != nil {
					return 0, err
				}
				return 0, await(ctx)
			})
			b := setup(t, f)
			_, err := within(b, start(b, f, 0), 10*time.Hour)
			require.Error(t, err, name)
			require.NotErrorIs(t, err, context.DeadlineExceeded, name)
		})
	}

	inBubble(t, "OnceValueAroundAWait", func(t *testing.T) {
		// sync.OnceValue turns the Goexit of a suspension into a panic(nil).
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			entered.Add(1)
			price := sync.OnceValue(func() string {
				if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
					return err.Error()
				}
				return "42"
			})
			return price() + price(), nil
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "4242", out)
		require.EqualValues(t, 2, entered.Load())
	})

	inBubble(t, "RecoverAroundAWait", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (out string, err error) {
			defer func() {
				if p := recover(); p != nil {
					n.add("recovered %v", p)
					out = "wrong"
				}
			}()
			return "right", durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "right", out)
		require.Empty(t, n.all())
	})

	inBubble(t, "APanicInADeferWhileUnwinding", func(t *testing.T) {
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if entered.Add(1) == 1 {
				defer func() { panic("in a defer") }()
			}
			future := durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
				if entered.Load() == 1 {
					defer func() { panic("in a branch's defer") }()
				}
				return 1, durable.Wait(ctx, "sleep", time.Hour)
			})
			return future.Await(ctx)
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err, "what is done while leaving memory is nobody's result")
		require.Equal(t, 1, out)
	})
}

// badJSON does what values can do to an encoder.
type badJSON struct{ how string }

func (b badJSON) MarshalJSON() ([]byte, error) {
	if b.how == "panic" {
		panic("in MarshalJSON")
	}
	return nil, errors.New("in MarshalJSON")
}

type badError struct{}

func (badError) Error() string { panic("in Error") }

// badCodec panics.
type badCodec struct{}

func (badCodec) Name() string                 { return "bad" }
func (badCodec) Encode(v any) ([]byte, error) { panic("in Encode") }
func (badCodec) Decode([]byte, any) error     { panic("in Decode") }

func TestUsersCodeDoesNotHarmTheEngine(t *testing.T) {
	once := durable.WithRetry(durable.NoRetry())
	type want struct {
		is   error  // nil: any error
		kind string // the type of the failure; "": any
	}
	cases := map[string]struct {
		handler func(ctx *durable.Context) (any, error)
		want    want
	}{
		"PanicInTheHandler":    {func(ctx *durable.Context) (any, error) { panic("boom") }, want{durable.ErrPanic, "Panic"}},
		"PanicNilInTheHandler": {func(ctx *durable.Context) (any, error) { panic(nil) }, want{durable.ErrPanic, "Panic"}},
		"PanicInABody": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { panic("boom") }, once)
		}, want{durable.ErrPanic, "Panic"}},
		"PanicWithAnError": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { panic(errors.New("boom")) }, once)
		}, want{durable.ErrPanic, "Panic"}},
		"PanicWithABadError": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { panic(badError{}) }, once)
		}, want{nil, "Panic"}},
		"PanicInABodyWithATimeout": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { panic("boom") }, once, durable.WithTimeout(time.Hour))
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInAChild": {func(ctx *durable.Context) (any, error) {
			return durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { panic("boom") })
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInAnItem": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Map(ctx, "x", []int{1, 2}, func(*durable.Context, int, int) (int, error) { panic("boom") })
			return 0, err
		}, want{durable.ErrPanic, ""}},
		"PanicInAFlatItem": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Map(ctx, "x", []int{1, 2}, func(*durable.Context, int, int) (int, error) { panic("boom") }, durable.Flat())
			return 0, err
		}, want{durable.ErrPanic, ""}},
		"PanicInAFuture": {func(ctx *durable.Context) (any, error) {
			return durable.Go(ctx, "x", func(*durable.Context) (int, error) { panic("boom") }).Await(ctx)
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInACheck": {func(ctx *durable.Context) (any, error) {
			return durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { panic("boom") }, func(int, int) durable.Poll { return durable.PollDone() })
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInTheNextOfACondition": {func(ctx *durable.Context) (any, error) {
			return durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, nil }, func(int, int) durable.Poll { panic("boom") })
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInASubmitter": {func(ctx *durable.Context) (any, error) {
			return durable.WaitForCallback[int](ctx, "x", func(context.Context, string) error { panic("boom") }, once)
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInItemNames": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, nil }, durable.WithItemNames(func(int) string { panic("boom") }))
			return 0, err
		}, want{durable.ErrPanic, "Panic"}},
		"PanicInAnErrorsMethod": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { return 0, badError{} }, once)
		}, want{durable.ErrPanic, "Panic"}},
		"GoexitInTheHandler": {func(ctx *durable.Context) (any, error) { runtime.Goexit(); return 0, nil }, want{nil, ""}},
		"GoexitInABody": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { runtime.Goexit(); return 0, nil }, once)
		}, want{nil, ""}},
		"GoexitInABodyWithATimeout": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { runtime.Goexit(); return 0, nil }, once, durable.WithTimeout(time.Hour))
		}, want{nil, ""}},
		"GoexitInAChild": {func(ctx *durable.Context) (any, error) {
			return durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { runtime.Goexit(); return 0, nil })
		}, want{nil, ""}},
		"GoexitInAnItem": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Map(ctx, "x", []int{1, 2}, func(*durable.Context, int, int) (int, error) { runtime.Goexit(); return 0, nil })
			return 0, err
		}, want{nil, ""}},
		"GoexitInAFuture": {func(ctx *durable.Context) (any, error) {
			return durable.Go(ctx, "x", func(*durable.Context) (int, error) { runtime.Goexit(); return 0, nil }).Await(ctx)
		}, want{nil, ""}},
		"ValueThatCanNotBeEncoded": {func(ctx *durable.Context) (any, error) { return make(chan int), nil }, want{durable.ErrCodec, "Codec"}},
		"StepsValueThatCanNotBeEncoded": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Step(ctx, "x", func(context.Context) (chan int, error) { return make(chan int), nil })
			return 0, err
		}, want{durable.ErrCodec, "Codec"}},
		"PanicInAnEncoder": {func(ctx *durable.Context) (any, error) { return badJSON{"panic"}, nil }, want{durable.ErrCodec, "Codec"}},
		"PanicInAStepsEncoder": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Step(ctx, "x", func(context.Context) (badJSON, error) { return badJSON{"panic"}, nil })
			return 0, err
		}, want{durable.ErrCodec, "Codec"}},
		"PanicInACodec": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { return 1, nil }, durable.WithCodec(badCodec{}))
		}, want{durable.ErrCodec, "Codec"}},
		"PanicInACodecOfAChild": {func(ctx *durable.Context) (any, error) {
			return durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { return 1, nil }, durable.WithCodec(badCodec{}))
		}, want{durable.ErrCodec, "Codec"}},
		"PanicInACodecOfABatch": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 1, nil }, durable.WithBatchCodec(badCodec{}))
			return 0, err
		}, want{durable.ErrCodec, "Codec"}},
		"PanicInACodecOfAnInvoke": {func(ctx *durable.Context) (any, error) {
			return durable.InvokeByName[int](ctx, "x", "fine", 1, durable.WithCodec(badCodec{}))
		}, want{durable.ErrCodec, "Codec"}},
		"HugeResult": {func(ctx *durable.Context) (any, error) { return strings.Repeat("x", 3<<20), nil }, want{durable.ErrPayloadTooLarge, "PayloadTooLarge"}},
		"HugeStep": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "x", func(context.Context) (string, error) { return strings.Repeat("x", 3<<20), nil })
		}, want{durable.ErrPayloadTooLarge, "PayloadTooLarge"}},
		"HugeInput": {func(ctx *durable.Context) (any, error) {
			return durable.InvokeByName[int](ctx, "x", "fine", strings.Repeat("x", 3<<20))
		}, want{durable.ErrPayloadTooLarge, "PayloadTooLarge"}},
		"NameThatCanNotBeRead": {func(ctx *durable.Context) (any, error) {
			return durable.Step(ctx, "\x00", func(context.Context) (int, error) { return 1, nil })
		}, want{durable.ErrInvalidID, ""}},
		"NilBody": {func(ctx *durable.Context) (any, error) { return durable.Step[int](ctx, "x", nil, once) }, want{durable.ErrPanic, "Panic"}},
		"NilBranch": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Parallel(ctx, "x", []durable.Branch[int]{{}})
			return 0, err
		}, want{nil, ""}},
		"NilFuture":       {func(ctx *durable.Context) (any, error) { return durable.All[int](ctx, "x", nil) }, want{durable.ErrPanic, "Panic"}},
		"NilAwaitable":    {func(ctx *durable.Context) (any, error) { return durable.Select(ctx, "x", nil) }, want{durable.ErrPanic, "Panic"}},
		"NilContext":      {func(ctx *durable.Context) (any, error) { return 0, durable.Wait(nil, "x", time.Hour) }, want{durable.ErrPanic, "Panic"}},
		"NothingToSelect": {func(ctx *durable.Context) (any, error) { return durable.Select(ctx, "x") }, want{nil, ""}},
		"NoConcurrency": {func(ctx *durable.Context) (any, error) {
			_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, nil }, durable.WithMaxConcurrency(0))
			return 0, err
		}, want{nil, ""}},
	}
	for name, c := range cases {
		inBubble(t, name, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (any, error) { return c.handler(ctx) })
			fine := durable.Define("fine", func(ctx *durable.Context, i int) (int, error) {
				return durable.Step(ctx, "one more", func(context.Context) (int, error) { return i + 1, nil })
			})
			b := setup(t, f, fine)
			x := start(b, f, 0)
			_, err := within(b, x, time.Hour)
			require.Error(t, err)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "it ended")
			if c.want.is != nil {
				require.ErrorIs(t, err, c.want.is)
			}
			info := b.describe(x.ID())
			require.Equal(t, durable.ExecutionFailed, info.Status)
			if c.want.kind != "" {
				require.Equal(t, c.want.kind, info.Failure.Type)
			}
			if info.Failure.Type == "Panic" {
				require.Contains(t, info.Failure.Stack, "misuse_test.go", "the stack says where")
			}
			require.NotEmpty(t, info.Failure.Message)
			require.Equal(t, 8, run(b, fine, 7), "the engine lives on")
		})
	}

	inBubble(t, "AFailureIsBounded", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "x", func(context.Context) error { return errors.New("it said: " + strings.Repeat("x", 3<<20)) }, once)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := within(b, x, time.Hour)
		require.ErrorContains(t, err, "it said: x")
		require.Less(t, len(err.Error()), 2<<20)
		require.Less(t, len(b.describe(x.ID()).Failure.Message), 2<<20)
	})

	inBubble(t, "InputsThatCanNotBeStarted", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in any) (any, error) { return in, nil })
		b := setup(t, f)
		for in, want := range map[any]error{
			make(chan int):             durable.ErrCodec,
			badJSON{"panic"}:           durable.ErrCodec,
			badJSON{"error"}:           durable.ErrCodec,
			strings.Repeat("x", 3<<20): durable.ErrPayloadTooLarge,
		} {
			_, err := f.Start(b.ctx, b.engine, in)
			require.ErrorIs(t, err, want)
		}
		_, err := b.engine.StartByName(b.ctx, "f", json.RawMessage("{"))
		require.Error(t, err)
		_, err = b.engine.StartByName(b.ctx, "f", nil)
		require.Error(t, err)
		_, err = b.engine.StartByName(b.ctx, "nobody", json.RawMessage("1"))
		require.ErrorIs(t, err, durable.ErrFunctionNotFound)
	})

	inBubble(t, "AnInputThatItsFunctionCanNotReadFailsIt", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in int) (int, error) { return in, nil })
		b := setup(t, f)
		id, err := b.engine.StartByName(b.ctx, "f", json.RawMessage(`"text"`))
		require.NoError(t, err)
		_, err = within(b, f.Attach(b.engine, id), time.Hour)
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, "Codec", b.describe(id).Failure.Type)
	})

	inBubble(t, "AHandlerThatLeaksAndFails", func(t *testing.T) {
		// Branches that nobody awaits and that fail, panic or go on, in a handler
		// that returns at once.
		book := new(logBook)
		f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
			for k := range 10 {
				durable.Go(ctx, fmt.Sprint(k), func(ctx *durable.Context) (int, error) {
					switch k % 4 {
					case 0:
						panic("boom")
					case 1:
						return 0, errors.New("boom")
					case 2:
						return 0, durable.Wait(ctx, "sleep", time.Hour)
					}
					return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				})
			}
			return i, nil
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Logger: book.logger()}, f)
		for i := range 20 {
			out, err := within(b, start(b, f, i), time.Minute)
			require.NoError(t, err)
			require.Equal(t, i, out)
		}
		synctest.Wait()
		require.Zero(t, b.engine.Stats().Resident)
		require.Zero(t, b.engine.Stats().Bodies)
	})
}
