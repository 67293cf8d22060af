package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/pgstep"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Appends of one step each, by as many executions at once as the name says. The figure
// to compare with is BenchmarkInsert.
func BenchmarkAppend(b *testing.B) {
	for _, executions := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(executions), func(b *testing.B) {
			s := open(b, need(b).Schema(), pgstore.Options{})
			var sums []checkpoint.Summary
			for i := range executions {
				sums = append(sums, create(b, s, fmt.Sprint(i), true))
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, sum := range sums {
				n := b.N / executions
				if i < b.N%executions {
					n++
				}

				wg.Go(func() {
					for tail := range uint64(n) {
						if err := appendTo(s, step(sum, tail+1)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
		})
	}
}

// A single row, inserted and committed.
func BenchmarkInsert(b *testing.B) {
	c := need(b)
	schema := c.Schema()
	c.exec(b, `CREATE SCHEMA "`+schema+`"`)
	c.exec(b, `CREATE TABLE "`+schema+`".bare (n bigint PRIMARY KEY, data bytea)`)
	conn, err := pgx.Connect(b.Context(), c.url)
	require.NoError(b, err)
	defer conn.Close(context.Background())
	for i := 0; b.Loop(); i++ {
		_, err := conn.Exec(b.Context(), `INSERT INTO "`+schema+`".bare VALUES ($1, $2)`, i, make([]byte, 100))
		require.NoError(b, err)
	}
}

var tenSteps = durable.Define("tenSteps", func(ctx *durable.Context, n int) (int, error) {
	for i := range 10 {
		v, err := durable.Step(ctx, "add", func(context.Context) (int, error) { return n + i, nil })
		if err != nil {
			return 0, err
		}
		n = v
	}
	return n, nil
})

// Executions of 10 steps, 512 at once, from their start to their result.
func BenchmarkEngine(b *testing.B) {
	quiet := slog.New(slog.DiscardHandler)
	e, err := durable.New(open(b, need(b).Schema(), pgstore.Options{Logger: quiet}), &durable.Options{Functions: []durable.Definition{tenSteps}, Logger: quiet})
	require.NoError(b, err)
	defer e.Close()
	b.ResetTimer()
	var wg sync.WaitGroup
	places := make(chan struct{}, 512)
	for range b.N {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if _, err := tenSteps.Run(b.Context(), e, 1); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(10*float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}

// Executions of 10 steps in transactions, which write nothing of their own, by as many at
// once as the name says.
func BenchmarkSteps(b *testing.B) {
	quiet := slog.New(slog.DiscardHandler)
	f := durable.Define("steps", func(ctx *durable.Context, n int) (int, error) {
		for i := range 10 {
			v, err := pgstep.Step(ctx, "add", func(context.Context, pgx.Tx) (int, error) { return n + i, nil })
			if err != nil {
				return 0, err
			}
			n = v
		}
		return n, nil
	})
	for _, executions := range []int{1, 16} {
		b.Run(fmt.Sprint(executions), func(b *testing.B) {
			s := open(b, need(b).Schema(), pgstore.Options{Logger: quiet, StepConns: 16})
			e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{f}, Logger: quiet})
			require.NoError(b, err)
			defer e.Close()
			b.ResetTimer()
			var wg sync.WaitGroup
			places := make(chan struct{}, executions)
			for range b.N {
				places <- struct{}{}
				wg.Go(func() {
					defer func() { <-places }()
					if _, err := f.Run(b.Context(), e, 1); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(10*float64(b.N)/b.Elapsed().Seconds(), "steps/s")
		})
	}
}
