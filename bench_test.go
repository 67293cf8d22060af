package durable_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// stepped is an execution of n steps, one after the other.
var stepped = durable.Define("steps", func(ctx *durable.Context, n int) (int, error) {
	for i := range n {
		if _, err := durable.Step(ctx, "step", func(context.Context) (int, error) { return i, nil }); err != nil {
			return 0, err
		}
	}
	return n, nil
})

// eachStore runs a benchmark on memory and on a file.
func eachStore(b *testing.B, run func(b *testing.B, e *durable.Engine)) {
	opts := &durable.Options{Functions: []durable.Definition{stepped}, Retention: -1}
	b.Run("memory", func(b *testing.B) {
		e, err := durable.New(memstore.New(), opts)
		require.NoError(b, err)
		defer e.Close()
		run(b, e)
	})
	b.Run("file", func(b *testing.B) {
		e, err := durable.Open(filepath.Join(b.TempDir(), "bench.db"), opts)
		require.NoError(b, err)
		defer e.Close()
		run(b, e)
	})
}

// BenchmarkSteps is a step of one execution.
func BenchmarkSteps(b *testing.B) {
	eachStore(b, func(b *testing.B, e *durable.Engine) {
		b.ReportAllocs()
		_, err := stepped.Run(b.Context(), e, b.N)
		require.NoError(b, err)
	})
}

// BenchmarkExecution is an execution of one step, from its start to its result.
func BenchmarkExecution(b *testing.B) {
	eachStore(b, func(b *testing.B, e *durable.Engine) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := stepped.Run(b.Context(), e, 1)
			require.NoError(b, err)
		}
	})
}

// Benchmark512Executions is a step of 512 executions at once that have ten each.
func Benchmark512Executions(b *testing.B) {
	const executions, each = 512, 10
	eachStore(b, func(b *testing.B, e *durable.Engine) {
		b.ReportAllocs()
		for b.Loop() {
			var group sync.WaitGroup
			for range executions {
				group.Go(func() {
					if _, err := stepped.Run(b.Context(), e, each); err != nil {
						b.Error(err)
					}
				})
			}
			group.Wait()
		}
		b.ReportMetric(float64(b.N*executions*each)/b.Elapsed().Seconds(), "steps/s")
	})
}

// benchmarked is an engine on memory and the function that it runs.
func benchmarked[O any](b *testing.B, h func(*durable.Context, int) (O, error), opts durable.Options) (*durable.Engine, *durable.Function[int, O]) {
	b.Helper()
	f := durable.Define("f", h)
	opts.Functions = []durable.Definition{f}
	e, err := durable.New(memstore.New(), &opts)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close()) })
	b.ReportAllocs()
	return e, f
}

func itself(_ context.Context, i int) (int, error) { return i, nil }

// BenchmarkMap is a Map of 10,000 items of one step each, from start to result.
func BenchmarkMap(b *testing.B) {
	const items = 10_000
	for form, opts := range map[string][]durable.BatchOption{"Contexts": nil, "Flat": {durable.Flat()}} {
		b.Run(form, func(b *testing.B) {
			list := make([]int, items)
			e, f := benchmarked(b, func(ctx *durable.Context, _ int) (int, error) {
				batch, err := durable.Map(ctx, "map", list, durable.AsStep(itself), opts...)
				return batch.Succeeded(), err
			}, durable.Options{})
			for b.Loop() {
				n, err := f.Run(b.Context(), e, 0)
				require.NoError(b, err)
				require.Equal(b, items, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*items), "ns/item")
		})
	}
}

// BenchmarkReplay wakes an execution that has finished 10,000 steps and is not in
// memory: its journal is read and folded, its handler entered again, and every
// step's outcome returned.
func BenchmarkReplay(b *testing.B) {
	const steps = 10_000
	past := make(chan struct{})
	e, f := benchmarked(b, func(ctx *durable.Context, _ int) (int, error) {
		for i := range steps {
			if _, err := durable.Call(ctx, "step", itself, i); err != nil {
				return 0, err
			}
		}
		select {
		case past <- struct{}{}:
		case <-b.Context().Done():
		}
		for i := 0; ; i++ {
			cb, err := durable.CreateCallback[int](ctx, fmt.Sprint("wake ", i))
			if err != nil {
				return 0, err
			}
			if _, err := cb.Await(ctx); err != nil {
				return 0, err
			}
		}
	}, durable.Options{ParkFor: -1})
	x, err := f.Start(b.Context(), e, 0, durable.WithExecutionID("x"))
	require.NoError(b, err)
	<-past
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		callback, err := e.CallbackID(b.Context(), x.ID(), fmt.Sprint("wake ", i))
		require.NoError(b, err)
		for e.Stats().Resident > 0 { // about to be suspended
			runtime.Gosched()
		}
		b.StartTimer()
		require.NoError(b, e.SucceedCallback(b.Context(), callback, 0))
		<-past
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*steps), "ns/step")
}
