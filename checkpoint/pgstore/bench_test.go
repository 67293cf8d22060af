package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Appends of one step each, by as many executions at once as the name says. The figure
// to compare with is BenchmarkInsert.
func BenchmarkAppend(b *testing.B) {
	for _, executions := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(executions), func(b *testing.B) {
			s := open(b, need(b).schema(), pgstore.Options{})
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
	schema := c.schema()
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
