package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// circle is an error that wraps itself, by way of its kind.
type circle struct {
	inner error
}

type joinedCircle struct{ circle }

func (*circle) Error() string           { return "round and round" }
func (c *circle) Unwrap() error         { return c.inner }
func (*joinedCircle) Error() string     { return "round and round" }
func (c *joinedCircle) Unwrap() []error { return []error{errors.New("one"), c.inner} }
func newCircle() error                  { c := new(circle); c.inner = fmt.Errorf("again: %w", c); return c }
func newJoinedCircle() error            { c := new(joinedCircle); c.inner = errors.Join(c); return c }
func deepError(depth int) (err error) {
	err = errors.New("innermost")
	for range depth {
		err = &circle{inner: err}
	}
	return err
}

// TestErrorsThatWrapThemselves: errors.Is would look through them for ever, or
// until the stack is full, which ends the process.
func TestErrorsThatWrapThemselves(t *testing.T) {
	t.Parallel()
	ways := map[string]func(ctx *durable.Context, err error) error{
		"Handler": func(_ *durable.Context, err error) error { return err },
		"Step": func(ctx *durable.Context, err error) error {
			return durable.Do(ctx, "x", func(context.Context) error { return err })
		},
		"Panic": func(_ *durable.Context, err error) error { panic(err) },
		"Child": func(ctx *durable.Context, err error) error {
			_, err = durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { return 0, err })
			return err
		},
		"Item": func(ctx *durable.Context, err error) error {
			_, err = durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, err })
			return err
		},
		"Check": func(ctx *durable.Context, err error) error {
			_, err = durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, err }, func(int, int) durable.Poll { return durable.PollDone() })
			return err
		},
	}
	tried := 0
	for name, way := range ways {
		for kind, bad := range map[string]error{"Circle": newCircle(), "JoinedCircle": newJoinedCircle(), "TooDeep": deepError(20_000)} {
			tried++
			t.Run(name+"/"+kind, func(t *testing.T) {
				noLeaks(t, func(t *testing.T) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, way(ctx, bad) })
					b := setup(t, f)
					defer b.engine.Close()
					_, err := within(b, start(b, f, 0), time.Hour)
					require.ErrorContains(t, err, "wraps itself")
				})
			})
		}
	}
	noLeaks(t, func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, deepError(1000) })
		b := setupWith(t, durable.Options{ParkFor: -1, Errors: []error{errors.New("innermost")}}, f)
		defer b.engine.Close()
		_, err := within(b, start(b, f, 0), time.Hour)
		require.ErrorContains(t, err, "round and round", "a deep one is an error like any other")
	})
	t.Logf("errors that wrap themselves: %d", tried)
}

// TestBadValues gives values that can't be recorded to each place that takes one.
func TestBadValues(t *testing.T) {
	t.Parallel()
	type ring struct{ Next *ring }
	round := new(ring)
	round.Next = round
	deep := any(1)
	for range 20_000 {
		deep = []any{deep}
	}
	bad := map[string]struct {
		value any
		is    error
	}{
		"Channel": {make(chan int), durable.ErrCodec}, "NilChannel": {(chan int)(nil), durable.ErrCodec}, "Func": {func() {}, durable.ErrCodec}, "Complex": {1i, durable.ErrCodec},
		"NaN": {math.NaN(), durable.ErrCodec}, "Inf": {math.Inf(-1), durable.ErrCodec}, "Cycle": {round, durable.ErrCodec}, "MapOfStructs": {map[struct{ A int }]int{{1}: 1}, durable.ErrCodec},
		"InAnInterface": {[]any{1, map[string]any{"x": make(chan int)}}, durable.ErrCodec}, "MarshalPanic": {badJSON{"panic"}, durable.ErrCodec}, "MarshalError": {badJSON{"error"}, durable.ErrCodec},
		"RawThatIsNoJSON": {[]json.RawMessage{json.RawMessage("{")}, durable.ErrCodec}, "Huge": {strings.Repeat("x", 3<<20), durable.ErrPayloadTooLarge},
		"HugeByEscapes": {strings.Repeat("\x00", 1<<20), durable.ErrPayloadTooLarge}, "Deep": {deep, durable.ErrCodec},
	}
	places := map[string]func(ctx *durable.Context, v any) error{
		"Handler": nil, // the result
		"Step": func(ctx *durable.Context, v any) error {
			_, err := durable.Step(ctx, "x", func(context.Context) (any, error) { return v, nil })
			return err
		},
		"StepAtMostOnce": func(ctx *durable.Context, v any) error {
			_, err := durable.Step(ctx, "x", func(context.Context) (any, error) { return v, nil }, durable.AtMostOnce())
			return err
		},
		"InitialState": func(ctx *durable.Context, v any) error {
			_, err := durable.WaitForCondition(ctx, "x", v, func(_ context.Context, v any) (any, error) { return v, nil }, func(any, int) durable.Poll { return durable.PollDone() })
			return err
		},
		"State": func(ctx *durable.Context, v any) error {
			_, err := durable.WaitForCondition(ctx, "x", any(nil), func(context.Context, any) (any, error) { return v, nil }, func(any, int) durable.Poll { return durable.PollDone() })
			return err
		},
		"Child": func(ctx *durable.Context, v any) error {
			_, err := durable.RunInChildContext(ctx, "x", func(*durable.Context) (any, error) { return v, nil })
			return err
		},
		"Future": func(ctx *durable.Context, v any) error {
			_, err := durable.Go(ctx, "x", func(*durable.Context) (any, error) { return v, nil }).Await(ctx)
			return err
		},
		"Item": func(ctx *durable.Context, v any) error {
			_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (any, error) { return v, nil })
			return err
		},
		"FlatItem": func(ctx *durable.Context, v any) error {
			_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (any, error) { return v, nil }, durable.Flat())
			return err
		},
		"InvokeInput": func(ctx *durable.Context, v any) error {
			_, err := durable.InvokeByName[any](ctx, "x", "f", v)
			return err
		},
		"Start": func(ctx *durable.Context, v any) error {
			return durable.Do(ctx, "start", func(c context.Context) error {
				info, _ := durable.StepInfoFrom(c)
				f := durable.Define("f", func(*durable.Context, any) (any, error) { return nil, nil })
				_, err := f.Start(c, info.Engine, v)
				return err
			})
		},
		"Payload": func(ctx *durable.Context, v any) error {
			cb, err := durable.CreateCallback[any](ctx, "x")
			if err != nil {
				return err
			}
			return durable.Do(ctx, "complete", func(c context.Context) error {
				info, _ := durable.StepInfoFrom(c)
				return info.Engine.SucceedCallback(c, cb.ID(), v)
			})
		},
	}
	for place, op := range places {
		for kind, c := range bad {
			if kind == "Deep" && (place == "Handler" || place == "Start" || place == "Payload") {
				continue // it can be encoded: who decodes it finds out
			}
			t.Run(place+"/"+kind, func(t *testing.T) {
				noLeaks(t, func(t *testing.T) {
					f := durable.Define("f", func(ctx *durable.Context, _ any) (any, error) {
						if op == nil {
							return c.value, nil
						}
						return nil, op(ctx, c.value)
					})
					b := setup(t, f)
					defer b.engine.Close()
					x := start(b, f, nil)
					_, err := within(b, x, time.Hour)
					require.ErrorIs(t, err, c.is)
					readable(t, err)
					require.Equal(t, durable.ExecutionFailed, b.describe(x.ID()).Status)
				})
			})
		}
	}
	t.Logf("values that can't be recorded: %d, at %d places", len(bad), len(places))
}

// restless is another value each time it is encoded.
type restless struct{ n *atomic.Int32 }

func (r restless) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `"%d %s"`, r.n.Add(1), strings.Repeat("x", 100)), nil
}

// TestRestlessValues: what was recorded first counts.
func TestRestlessValues(t *testing.T) {
	t.Parallel()
	inBubble(t, "AStepsResultIsThatOfItsRecord", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (any, error) {
			v, err := durable.Step(ctx, "x", func(context.Context) (any, error) { return restless{new(atomic.Int32)}, nil })
			if err != nil {
				return nil, err
			}
			n.add("%.2s", v)
			return v, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		_, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []string{"1 ", "1 "}, n.all())
	})
	inBubble(t, "AnInputThatDiffersIsAnotherOne", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in any) (any, error) { return in, nil })
		b := setup(t, f)
		value, id := restless{new(atomic.Int32)}, durable.WithExecutionID("x")
		require.Contains(t, run(b, f, any(value), id), "1 x")
		_, err := f.Start(b.ctx, b.engine, value, id)
		require.ErrorIs(t, err, durable.ErrExecutionExists)
	})
	inBubble(t, "ARebuiltOneIsHeld", func(t *testing.T) {
		var count atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (any, error) {
			v, err := durable.RunInChildContext(ctx, "x", func(*durable.Context) (any, error) { return restless{&count}, nil })
			if err != nil {
				return nil, err
			}
			return v, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, InlineResult: 50}, f)
		x := start(b, f, 0)
		time.Sleep(2 * time.Hour)
		why := b.held(x.ID())
		require.ErrorIs(t, why, durable.ErrNonDeterministic)
		require.ErrorContains(t, why, "make the function deterministic")
	})
	inBubble(t, "TextThatIsNoUTF8IsTheSameOnReplay", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ string) (string, error) {
			v, err := durable.Step(ctx, "x", func(context.Context) (string, error) { return "a\xff", nil })
			failed := durable.Do(ctx, "y", func(context.Context) error { return durable.Permanent(errors.New("a\xff")) })
			n.add("%q %v %q", v, err, failed)
			return v, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, "a\xff")
		time.Sleep(time.Minute)
		_, err := within(b, x, 2*time.Hour)
		require.NoError(t, err)
		require.Len(t, n.all(), 2)
		require.Equal(t, n.all()[0], n.all()[1])
	})
	inBubble(t, "AReasonThatIsNoUTF8IsTheSameOnReplay", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			first := durable.Wait(ctx, "open", 100*time.Hour)
			n.add("%q, then %q", first, durable.Wait(ctx, "late", time.Hour))
			return 1, durable.Wait(ctx.WithoutCancel(), "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), "a\xff\x00"))
		_, err := within(b, x, 2*time.Hour)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(n.all()), 2)
		for _, note := range n.all() {
			require.Equal(t, n.all()[0], note)
		}
	})
	inBubble(t, "AReasonIsBounded", func(t *testing.T) {
		b := setup(t, awaitCallback)
		x := start(b, awaitCallback, 0)
		huge := strings.Repeat("x", 3<<20)
		require.ErrorIs(t, b.engine.Cancel(b.ctx, x.ID(), huge), durable.ErrPayloadTooLarge)
		require.ErrorIs(t, b.engine.Stop(b.ctx, x.ID(), huge), durable.ErrPayloadTooLarge)
		require.Equal(t, durable.ExecutionRunning, b.describe(x.ID()).Status)
		b.stop(x.ID())
	})
}

// TestCarelessHandlers: whatever a handler does with its goroutines and its
// context, others run on, Close returns, and what it leaves ends with the engine.
func TestCarelessHandlers(t *testing.T) {
	t.Parallel()
	fine := durable.Define("fine", func(ctx *durable.Context, n int) (int, error) {
		return durable.Step(ctx, "one more", func(context.Context) (int, error) { return n + 1, nil })
	})
	// ends is the status it has after a day; release lets go what it blocks on.
	for name, c := range map[string]struct {
		handler func(ctx *durable.Context, release <-chan struct{}) error
		ends    durable.ExecutionStatus
		runs    bool // the handler returns only when it is released
	}{
		"NeverReturns": {func(_ *durable.Context, release <-chan struct{}) error { <-release; return nil }, durable.ExecutionRunning, true},
		"ABodyThatNeverReturns": {func(ctx *durable.Context, release <-chan struct{}) error {
			return durable.Do(ctx, "x", func(context.Context) error { <-release; return nil })
		}, durable.ExecutionRunning, true},
		"BlocksInADefer": {func(ctx *durable.Context, release <-chan struct{}) error {
			defer func() { <-release }()
			return durable.Wait(ctx, "x", time.Hour)
		}, durable.ExecutionRunning, true},
		"GoexitInADefer": {func(ctx *durable.Context, _ <-chan struct{}) error { defer runtime.Goexit(); return nil }, durable.ExecutionFailed, false},
		"AwaitsItself":   {func(ctx *durable.Context, _ <-chan struct{}) error { return awaitsItself(ctx) }, durable.ExecutionRunning, false},
		"AwaitsItselfInABody": {func(ctx *durable.Context, _ <-chan struct{}) error {
			return durable.Do(ctx, "x", func(c context.Context) error {
				info, _ := durable.StepInfoFrom(c)
				_, err := info.Engine.ResultJSON(c, info.ExecutionID)
				return err
			})
		}, durable.ExecutionRunning, false},
		"ABranchThatNeverReturns": {func(ctx *durable.Context, release <-chan struct{}) error {
			durable.Go(ctx, "x", func(*durable.Context) (int, error) { <-release; return 0, nil })
			return nil
		}, durable.ExecutionSucceeded, true},
		"IgnoresCancelForEver": {func(ctx *durable.Context, _ <-chan struct{}) error {
			info := selfCancel(ctx)
			for info == nil {
				_ = durable.Wait(ctx, "again", time.Hour)
			}
			return info
		}, durable.ExecutionFailed, false},
		"GoroutinesWithoutEnd": {func(ctx *durable.Context, release <-chan struct{}) error {
			for range 100 {
				go func() {
					<-release
					_ = durable.Wait(ctx, "late", time.Hour)
					ctx.Logger().Info("late")
					<-ctx.Context().Done()
				}()
			}
			return durable.Wait(ctx, "x", time.Hour)
		}, durable.ExecutionSucceeded, true},
		"AfterFuncOfItsContext": {func(ctx *durable.Context, _ <-chan struct{}) error {
			context.AfterFunc(ctx.Context(), func() { _ = durable.Wait(ctx, "late", time.Hour) })
			return durable.Wait(ctx, "x", time.Hour)
		}, durable.ExecutionSucceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noLeaks(t, func(t *testing.T) {
				release := make(chan struct{})
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, c.handler(ctx, release) })
				b := setup(t, f, fine)
				x := start(b, f, 0)
				time.Sleep(24 * time.Hour)
				require.Equal(t, 8, run(b, fine, 7), "the engine lives on")
				require.Equal(t, c.ends, b.describe(x.ID()).Status)
				ctx, done := context.WithTimeout(b.ctx, time.Minute)
				defer done()
				if err := b.engine.Shutdown(ctx); err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					readable(t, err)
				}
				require.NoError(t, b.engine.Close())
				close(release)
			})
		})
	}
}

func awaitsItself(ctx *durable.Context) error {
	var e *durable.Engine
	if err := durable.Do(ctx, "who", func(c context.Context) error { info, _ := durable.StepInfoFrom(c); e = info.Engine; return nil }); err != nil || e == nil {
		return err
	}
	_, err := e.ResultJSON(context.Background(), ctx.ExecutionID())
	return err
}

func selfCancel(ctx *durable.Context) error {
	return durable.Do(ctx, "cancel", func(c context.Context) error {
		info, _ := durable.StepInfoFrom(c)
		return info.Engine.Cancel(c, info.ExecutionID, "enough")
	})
}

// TestCrowds: many at once, of one execution.
func TestCrowds(t *testing.T) {
	t.Parallel()
	t.Run("CallbacksOfOneExecution", func(t *testing.T) {
		t.Parallel()
		const many = 3000
		noLeaks(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, n int) (sum int, err error) {
				cbs := make([]*durable.Callback[int], n)
				for i := range cbs {
					if cbs[i], err = durable.CreateCallback[int](ctx, fmt.Sprint("cb", i)); err != nil {
						return 0, err
					}
				}
				for _, cb := range cbs {
					v, err := cb.Await(ctx)
					if err != nil {
						return 0, err
					}
					sum += v
				}
				return sum, nil
			})
			b := setup(t, f)
			defer b.engine.Close()
			x := start(b, f, many)
			synctest.Wait()
			ops, err := b.engine.Operations(b.ctx, x.ID())
			require.NoError(t, err)
			require.Len(t, ops, many)
			var all errgroup.Group
			for _, op := range ops {
				for range 2 { // each is told twice
					all.Go(func() error {
						err := b.engine.SucceedCallback(b.ctx, op.CallbackID, 1)
						if errors.Is(err, durable.ErrCallbackCompleted) {
							return nil
						}
						return err
					})
				}
			}
			require.NoError(t, all.Wait())
			out, err := within(b, x, time.Hour)
			require.NoError(t, err)
			require.Equal(t, many, out, "each counts once")
		})
		t.Logf("callbacks to one execution at once: %d, each twice", many)
	})
	for _, store := range []string{"memstore", "boltstore"} {
		t.Run("StartsOfOneID/"+store, func(t *testing.T) {
			t.Parallel()
			const many, inputs = 1000, 10
			dir := t.TempDir()
			var ran atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
				return durable.Step(ctx, "count", func(context.Context) (int, error) { ran.Add(1); return n, nil })
			})
			require.Empty(t, leaks(t.Name(), dir, func() {
				opts := &durable.Options{Functions: []durable.Definition{f}}
				open := func() (*durable.Engine, error) { return durable.Open(dir+"/x.db", opts) }
				if store == "memstore" {
					open = func() (*durable.Engine, error) { return durable.New(memstore.New(), opts) }
				}
				e, err := open()
				require.NoError(t, err)
				var same, other atomic.Int32
				var won atomic.Pointer[int]
				var all errgroup.Group
				for i := range many {
					all.Go(func() error {
						in := i % inputs
						out, err := f.Run(t.Context(), e, in, durable.WithExecutionID("one"))
						switch {
						case err == nil && out == in:
							same.Add(1)
							won.Store(&in)
						case errors.Is(err, durable.ErrExecutionExists):
							other.Add(1)
						default:
							return fmt.Errorf("input %d: %d, %w", in, out, err)
						}
						return nil
					})
				}
				require.NoError(t, all.Wait())
				require.EqualValues(t, many/inputs, same.Load(), "those with the first one's input")
				require.EqualValues(t, many-many/inputs, other.Load())
				require.EqualValues(t, 1, ran.Load())
				require.NoError(t, e.Close())
			}))
			t.Logf("%s: starts of one ID at once: %d, with %d inputs", store, many, inputs)
		})
	}
}
