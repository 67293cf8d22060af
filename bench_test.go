package durable_test

import (
	"context"
	"path/filepath"
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
