package durable_test

import (
	"context"
	"fmt"
	"log/slog"
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

// bundle is what tests of the engine need: an engine on a memory store, whose
// executions leave memory whenever they can, and shorthands that fail the test.
type bundle struct {
	*testing.T
	ctx    context.Context
	engine *durable.Engine
	store  checkpoint.Store
}

// setup makes a bundle with an engine that suspends at once. It is closed with the test.
func setup(t *testing.T, functions ...durable.Definition) *bundle {
	t.Helper()
	return setupWith(t, durable.Options{ParkFor: -1}, functions...)
}

func setupWith(t *testing.T, opts durable.Options, functions ...durable.Definition) *bundle {
	t.Helper()
	opts.Functions = append(opts.Functions, functions...)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	store := memstore.New()
	e, err := durable.New(store, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return &bundle{T: t, ctx: t.Context(), engine: e, store: store}
}

// history is the history of an execution, an event a line: type, operation, name.
func (b *bundle) history(id string) []string {
	b.Helper()
	var lines []string
	for ev := range b.events(id) {
		lines = append(lines, line(ev))
	}
	return lines
}

func line(ev durable.Event) string {
	s := ev.Type
	if ev.OperationID != "" {
		s += " " + ev.OperationID
	}
	if ev.Name != "" {
		s += " " + ev.Name
	}
	return s
}

func (b *bundle) events(id string) func(func(durable.Event) bool) {
	return func(yield func(durable.Event) bool) {
		for ev, err := range b.engine.History(context.Background(), id) {
			require.NoError(b, err)
			if !yield(ev) {
				return
			}
		}
	}
}

func (b *bundle) describe(id string) durable.ExecutionInfo {
	b.Helper()
	info, err := b.engine.Describe(context.Background(), id)
	require.NoError(b, err)
	return info
}

// start starts f and returns the handle.
func start[I, O any](b *bundle, f *durable.Function[I, O], in I, opts ...durable.StartOption) *durable.Execution[O] {
	b.Helper()
	x, err := f.Start(b.ctx, b.engine, in, opts...)
	require.NoError(b, err)
	return x
}

// run runs f to its end and returns the result.
func run[I, O any](b *bundle, f *durable.Function[I, O], in I, opts ...durable.StartOption) O {
	b.Helper()
	out, err := f.Run(b.ctx, b.engine, in, opts...)
	require.NoError(b, err)
	return out
}

func TestEngine(t *testing.T) {
	t.Run("RunsAnExecutionToItsEnd", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int32
			f := durable.Define("greet", func(ctx *durable.Context, name string) (string, error) {
				greeting, err := durable.Step(ctx, "greet", func(context.Context) (string, error) {
					calls.Add(1)
					return "Hello, " + name + "!", nil
				})
				if err != nil {
					return "", err
				}
				return greeting, durable.Wait(ctx, "rest", time.Hour)
			})
			b := setup(t, f)
			began := time.Now()
			x := start(b, f, "World")
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "Hello, World!", out)
			require.Equal(t, time.Hour, time.Since(began))
			require.EqualValues(t, 1, calls.Load(), "a recorded step does not run again")
			require.Equal(t, []string{
				"ExecutionStarted", "StepStarted 1 greet", "StepSucceeded 1 greet", "WaitStarted 2 rest", "InvocationCompleted",
				"WaitSucceeded 2 rest", "InvocationCompleted", "ExecutionSucceeded",
			}, b.history(x.ID()))
			info := b.describe(x.ID())
			require.Equal(t, durable.ExecutionSucceeded, info.Status)
			require.JSONEq(t, `"World"`, string(info.Input))
			require.JSONEq(t, `"Hello, World!"`, string(info.Result))
		})
	})

	t.Run("StartIsIdempotentByID", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, in map[string]int) (int, error) { return in["a"], nil })
			b := setup(t, f)
			id := durable.WithExecutionID("order-42")
			require.Equal(t, 7, run(b, f, map[string]int{"a": 7}, id))
			require.Equal(t, 7, run(b, f, map[string]int{"a": 7}, id))
			_, err := f.Start(b.ctx, b.engine, map[string]int{"a": 8}, id)
			require.ErrorIs(t, err, durable.ErrExecutionExists)
			for _, bad := range []string{"", "a b", "a/b", "inv-1", "ä", fmt.Sprintf("%0129d", 1)} {
				_, err := f.Start(b.ctx, b.engine, nil, durable.WithExecutionID(bad))
				require.ErrorIs(t, err, durable.ErrInvalidID, "%q", bad)
			}
		})
	})

	t.Run("StartedAThousandTimesAtOnceItRunsOnce", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int32
			f := durable.Define("once", func(ctx *durable.Context, in int) (int, error) {
				return durable.Step(ctx, "count", func(context.Context) (int, error) { return int(calls.Add(1)), nil })
			})
			b := setup(t, f)
			var starts errgroup.Group
			for range 1000 {
				starts.Go(func() error {
					out, err := f.Run(b.ctx, b.engine, 1, durable.WithExecutionID("same"))
					if err == nil && out != 1 {
						err = fmt.Errorf("result %d", out)
					}
					return err
				})
			}
			require.NoError(t, starts.Wait())
			require.EqualValues(t, 1, calls.Load())
		})
	})
}
