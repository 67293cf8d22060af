package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// TestNils gives nil where something is needed. What can be reported is, see
// TestNilFromOutside; the rest panics in the caller's goroutine, as a nil pointer does.
// Nobody else is harmed.
func TestNils(t *testing.T) {
	t.Parallel()
	t.Run("FunctionsWithoutCodeAreReportedByNew", func(t *testing.T) {
		t.Parallel()
		for _, f := range []durable.Definition{durable.Define[int, int]("f", nil), durable.DefinePlain[int, int]("f", nil)} {
			_, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{f}})
			require.ErrorContains(t, err, `"f" has no code`)
		}
		_, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{new(durable.Function[int, int])}, Codec: (*nilCodec)(nil)})
		require.ErrorContains(t, err, "Functions[0] is nil")
		require.ErrorContains(t, err, "Options.Codec")
	})
	t.Run("NilContextsOfCallers", func(t *testing.T) {
		t.Parallel()
		tried := 0
		noLeaks(t, func(t *testing.T) {
			b := setupWith(t, durable.Options{ParkFor: -1, MaxResident: 1}, awaitCallback)
			defer b.engine.Close()
			x := start(b, awaitCallback, 0)
			id := b.callback(x.ID(), "cb")
			synctest.Wait() // it has left its place
			var none context.Context
			for _, call := range []func(){
				func() { awaitCallback.Start(none, b.engine, 1) },
				func() { awaitCallback.Run(none, b.engine, 1) },
				func() { b.engine.StartByName(none, "await", json.RawMessage("1")) },
				func() { awaitCallback.Start(b.ctx, nil, 1) },
				func() { (*durable.Function[int, int])(nil).Start(b.ctx, b.engine, 1) },
				func() { x.Result(none) },
				func() { b.engine.ResultJSON(none, x.ID()) },
				func() { b.engine.Describe(none, x.ID()) },
				func() { b.engine.Operations(none, x.ID()) },
				func() { b.engine.Recording(none, x.ID()) },
				func() { b.engine.Cancel(none, x.ID(), "") },
				func() { b.engine.Stop(none, x.ID(), "") },
				func() { b.engine.Resume(none, x.ID()) },
				func() { b.engine.Delete(none, x.ID()) },
				func() { b.engine.CallbackID(none, x.ID(), "cb") },
				func() { b.engine.SucceedCallback(none, id, 1) },
				func() { b.engine.FailCallback(none, id, durable.Failure{}) },
				func() { b.engine.HeartbeatCallback(none, id) },
			} {
				require.NotPanics(t, call)
				tried++
			}
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "7"))
			out, err := within(b, x, time.Hour)
			require.NoError(t, err, "its place is free")
			require.Equal(t, "7", out)
			next := start(b, awaitCallback, 0)
			synctest.Wait()
			require.NoError(t, b.engine.SucceedCallback(b.ctx, b.callback(next.ID(), "cb"), "8"))
			out, err = within(b, next, time.Hour)
			require.NoError(t, err)
			require.Equal(t, "8", out)
		})
		t.Logf("nil arguments: %d calls", tried)
	})
	t.Run("NilArgumentsInHandlers", func(t *testing.T) {
		t.Parallel()
		calls := map[string]func(ctx *durable.Context) error{
			"Do": func(ctx *durable.Context) error { return durable.Do(ctx, "x", nil) },
			"Condition": func(ctx *durable.Context) error {
				_, err := durable.WaitForCondition[int](ctx, "x", 0, nil, nil)
				return err
			},
			"Next": func(ctx *durable.Context) error {
				_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, nil }, nil)
				return err
			},
			"Submit": func(ctx *durable.Context) error { _, err := durable.WaitForCallback[int](ctx, "x", nil); return err },
			"Child":  func(ctx *durable.Context) error { _, err := durable.RunInChildContext[int](ctx, "x", nil); return err },
			"Go":     func(ctx *durable.Context) error { _, err := durable.Go[int](ctx, "x", nil).Await(ctx); return err },
			"Map":    func(ctx *durable.Context) error { _, err := durable.Map[int, int](ctx, "x", []int{1}, nil); return err },
			"Invoke": func(ctx *durable.Context) error { _, err := durable.Invoke[int, int](ctx, "x", nil, 1); return err },
			"StepOption": func(ctx *durable.Context) error {
				return durable.Do(ctx, "x", func(context.Context) error { return nil }, nil)
			},
			"Callback": func(ctx *durable.Context) error { _, err := (*durable.Callback[int])(nil).Await(ctx); return err },
			"Future":   func(ctx *durable.Context) error { _, err := (*durable.Future[int])(nil).Await(ctx); return err },
			"Timer":    func(ctx *durable.Context) error { return (*durable.Timer)(nil).Await(ctx) },
			"Settled":  func(ctx *durable.Context) error { durable.Settled(ctx, "x", nil); return nil },
			"Context":  func(*durable.Context) error { return durable.Do(nil, "x", func(context.Context) error { return nil }) },
		}
		for name, call := range calls {
			t.Run(name, func(t *testing.T) {
				noLeaks(t, func(t *testing.T) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, call(ctx) })
					b := setup(t, f)
					defer b.engine.Close()
					x := start(b, f, 0)
					_, err := within(b, x, time.Hour)
					require.ErrorIs(t, err, durable.ErrPanic)
					if name != "Go" && name != "Map" { // on a goroutine of its own there is no line of the user's
						require.Contains(t, b.describe(x.ID()).Failure.Stack, "closing_test.go", "the stack says where")
					}
				})
			})
		}
		t.Logf("nil arguments in handlers: %d", len(calls))
	})
}

type nilCodec struct{ durable.Codec }

// TestClosingAtBadTimes closes an engine from where, and when, one should not.
func TestClosingAtBadTimes(t *testing.T) {
	t.Parallel()
	engineOf := func(ctx context.Context) *durable.Engine { info, _ := durable.StepInfoFrom(ctx); return info.Engine }
	for name, end := range map[string]func(ctx context.Context) error{
		"Close": func(ctx context.Context) error { return engineOf(ctx).Close() },
		"Twice": func(ctx context.Context) error { return errors.Join(engineOf(ctx).Close(), engineOf(ctx).Close()) },
		"ShutdownWithAnEnd": func(ctx context.Context) error {
			c, done := context.WithTimeout(ctx, time.Minute)
			defer done()
			if err := engineOf(ctx).Shutdown(c); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("not the deadline: %w", err)
			}
			return nil
		},
	} {
		t.Run("InABody/"+name, func(t *testing.T) {
			t.Parallel()
			noLeaks(t, func(t *testing.T) {
				ended := make(chan error, 1)
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					return 0, durable.Do(ctx, "x", func(c context.Context) error { err := end(c); ended <- err; return err })
				})
				b := setup(t, f)
				x := start(b, f, 0)
				require.NoError(t, <-ended)
				_, err := x.Result(b.ctx)
				require.ErrorIs(t, err, durable.ErrClosed)
				require.NoError(t, b.engine.Close())
				require.ErrorIs(t, b.engine.Shutdown(b.ctx), durable.ErrClosed)
			})
		})
	}
	for _, store := range []string{"memstore", "boltstore"} {
		t.Run("WhileStarting/"+store, func(t *testing.T) {
			t.Parallel()
			const rounds, many = 10, 50
			dir := t.TempDir()
			var started, refused atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
				return durable.Step(ctx, "x", func(context.Context) (int, error) { return n, nil })
			})
			require.Empty(t, leaks(t.Name(), dir, func() {
				for round := range rounds {
					opts := &durable.Options{Functions: []durable.Definition{f}}
					open := func() (*durable.Engine, error) { return durable.Open(fmt.Sprintf("%s/%d.db", dir, round), opts) }
					if store == "memstore" {
						open = func() (*durable.Engine, error) { return durable.New(memstore.New(), opts) }
					}
					e, err := open()
					require.NoError(t, err)
					_, err = f.Run(context.Background(), e, round)
					require.NoError(t, err)
					var all errgroup.Group
					for i := range many {
						all.Go(func() error {
							_, err := f.Run(context.Background(), e, i)
							switch {
							case err == nil:
								started.Add(1)
							case errors.Is(err, durable.ErrClosed):
								refused.Add(1)
							default:
								return err
							}
							return nil
						})
						if i == many/2 {
							all.Go(e.Close)
							all.Go(e.Close)
						}
					}
					require.NoError(t, all.Wait())
				}
			}))
			require.EqualValues(t, rounds*many, started.Load()+refused.Load())
			t.Logf("%s: closed %d times among %d starts: %d ran to their end, %d got ErrClosed", store, rounds, rounds*many, started.Load(), refused.Load())
		})
	}
}

// TestEngineFromInside calls every method of the engine that takes an execution ID
// from a handler and from a body, for the execution itself and for another one.
func TestEngineFromInside(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, where := range []string{"Handler", "Body", "BodyWithATimeout"} {
		for _, who := range []string{"itself", "another"} {
			for method := range byID(&bundle{T: t}) {
				if who == "itself" && (method == "Result" || method == "ResultJSON" || method == "Run" || method == "CallbackID") {
					continue // waits for itself: see TestCarelessHandlers
				}
				if who == "another" && (method == "CallbackID" || method == "Result" || method == "ResultJSON" || method == "Run") {
					continue // waits for one that waits
				}
				tried++
				t.Run(where+"/"+who+"/"+method, func(t *testing.T) {
					noLeaks(t, func(t *testing.T) {
						var b *bundle
						called := make(chan struct{}, 10)
						g := durable.Define("g", func(ctx *durable.Context, _ int) (int, error) {
							call := func(context.Context) error { _ = byID(b)[method](who); called <- struct{}{}; return nil }
							switch where {
							case "Handler":
								return 1, call(nil)
							case "Body":
								return 1, durable.Do(ctx, "x", call)
							}
							return 1, durable.Do(ctx, "x", call, durable.WithTimeout(time.Hour))
						})
						f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "w", time.Hour) })
						b = setup(t, f, g)
						defer b.engine.Close()
						start(b, f, 1, durable.WithExecutionID("another"))
						x := start(b, g, 0, durable.WithExecutionID("itself"))
						<-called
						_, err := within(b, x, time.Hour)
						require.NotErrorIs(t, err, context.DeadlineExceeded)
						if err != nil {
							require.True(t, who == "itself" && (method == "Stop" || method == "Cancel"), "%v", err)
						}
					})
				})
			}
		}
	}
	t.Logf("calls of the engine from inside: %d", tried)
}

// keepsContexts is a store that waits for the ends of the contexts that it was called with.
type keepsContexts struct {
	*memstore.Store
	ended chan error
}

func (s *keepsContexts) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	done := ctx.Done()
	go func() {
		<-done
		s.ended <- ctx.Err()
	}()
	return s.Store.Get(ctx, id)
}

// A store may derive a context from the one that it is given. When that has ended, which it
// may have with the call, it says so: else the standard library panics.
func TestContextsOfStores(t *testing.T) {
	s := &keepsContexts{memstore.New(), make(chan error, 1)}
	e, err := durable.New(s, nil)
	require.NoError(t, err)
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 100 {
		_, err := e.Describe(ctx, "nobody")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		require.ErrorIs(t, <-s.ended, context.Canceled)
	}
}
