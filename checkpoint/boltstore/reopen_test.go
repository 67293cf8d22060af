//go:build unix

package boltstore

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	"github.com/stretchr/testify/require"
)

// BenchmarkReopen opens a store whose process died while executions waited: what
// it did last is in the log alone. open-ms is until Open returns, work-ms until a
// new execution is durable.
func BenchmarkReopen(b *testing.B) {
	for _, parked := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprint(parked), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "store"), nil)
			require.NoError(b, err)
			defer s.Close()
			ctx := context.Background()
			acks := make(chan error, parked)
			places := make(chan struct{}, 64)
			for i := range parked {
				places <- struct{}{}
				go func() {
					id := fmt.Sprint("parked-", i)
					_, _, err := s.Create(ctx, checkpoint.Creation{ID: id, Claim: true, Digest: make([]byte, 16), Started: checkpoint.Record{Function: "program", Codec: "json", Payload: []byte(`{}`), Time: time.Now().UnixNano()}})
					<-places
					if err != nil {
						acks <- err
						return
					}
					wakeAt := time.Now().Add(24 * time.Hour).UnixNano()
					s.Append(checkpoint.Append{ID: id, Epoch: 1, Tail: 1, Release: &checkpoint.Release{WakeAt: wakeAt}, Records: []checkpoint.Record{
						{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.WaitStarted, OperationID: "1", Name: "sleep", SubType: checkpoint.Wait, Time: time.Now().UnixNano(), WakeAt: wakeAt},
						{Seq: 3, EventID: 3, Events: 1, Type: checkpoint.InvocationCompleted, Time: time.Now().UnixNano()},
					}}, func(err error) { acks <- err })
				}()
			}
			for range parked {
				require.NoError(b, <-acks)
			}
			killed := filepath.Join(b.TempDir(), "killed")
			s.CopyAsKilled(b, killed)
			var open, work, used time.Duration
			for n := range b.N {
				path := filepath.Join(b.TempDir(), fmt.Sprint(n))
				copyStore(b, killed, path)
				segments, err := filepath.Glob(globEscape(path) + logSuffix + "/*")
				require.NoError(b, err)
				for _, name := range append(segments, path) { // the copy is not part of it
					require.NoError(b, wal.Disk{}.Sync(name))
				}
				began, before := time.Now(), cpu()
				again, err := Open(path, nil)
				require.NoError(b, err)
				open += time.Since(began)
				used += cpu() - before
				_, _, err = again.Create(ctx, checkpoint.Creation{ID: "new", Claim: true, Started: checkpoint.Record{Function: "program"}})
				require.NoError(b, err)
				work += time.Since(began)
				require.NoError(b, again.Close())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(open.Seconds()*1000/float64(b.N), "open-ms")
			b.ReportMetric(used.Seconds()*1000/float64(b.N), "open-cpu-ms")
			b.ReportMetric(work.Seconds()*1000/float64(b.N), "work-ms")
		})
	}
}
