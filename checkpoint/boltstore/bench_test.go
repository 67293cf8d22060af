package boltstore

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// BenchmarkAppend appends a record to each of many executions at once, one after
// another in each. With one execution compare p50-µs with that of the floor, which
// is measured in the same run.
func BenchmarkAppend(b *testing.B) {
	for _, executions := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(executions), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "store"), nil)
			require.NoError(b, err)
			defer s.Close()
			for i := range executions {
				_, _, err := s.Create(b.Context(), checkpoint.Creation{ID: fmt.Sprint(i), Claim: true, Started: checkpoint.Record{Function: "f"}})
				require.NoError(b, err)
			}
			took := make([][]time.Duration, executions)
			var wg sync.WaitGroup
			work := make(chan struct{}, 1024)
			before := s.batches.Load()
			for i := range executions {
				wg.Go(func() {
					tail := uint64(1)
					done := make(chan error, 1)
					id, payload := fmt.Sprint(i), make([]byte, 100)
					for range work {
						begun := time.Now()
						s.Append(checkpoint.Append{ID: id, Epoch: 1, Tail: tail, Records: []checkpoint.Record{{
							Seq: tail + 1, EventID: tail + 1, Events: 1, Type: checkpoint.StepSucceeded, OperationID: "12", Name: "charge", Time: 1780000000000000000,
							Codec: "json", Payload: payload, Attempt: 1,
						}}}, func(err error) { done <- err })
						if err := <-done; err != nil {
							b.Error(err)
						}
						took[i] = append(took[i], time.Since(begun))
						tail++
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(b.N)/float64(s.batches.Load()-before), "appends/batch")
			all := slices.Sorted(slices.Values(slices.Concat(took...)))
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkFloor is what a flush costs.
func BenchmarkFloor(b *testing.B) {
	r, err := DiskCheck(b.Context(), b.TempDir())
	require.NoError(b, err)
	for b.Loop() {
	}
	b.ReportMetric(float64(r.Floor.P50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(r.Floor.P99.Microseconds()), "p99-µs")
	b.ReportMetric(float64(r.Methods[0].P50.Microseconds()), "p50-used-µs")
}

// BenchmarkBareUpdate is what one commit of bbolt costs by itself.
func BenchmarkBareUpdate(b *testing.B) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare"), 0o600, nil)
	require.NoError(b, err)
	defer db.Close()
	require.NoError(b, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("journal"))
		return err
	}))
	value := make([]byte, 150)
	seq := uint64(0)
	for b.Loop() {
		seq++
		require.NoError(b, db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("journal")).Put(pairKey(1, seq), value)
		}))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
