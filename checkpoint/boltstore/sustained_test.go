//go:build unix

package boltstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// BenchmarkSustained has executions of ten steps under way all the time, with the
// appends that the engine makes for them. One operation is one step. Run it for long
// enough that bbolt has to keep up: -benchtime 2000000x.
func BenchmarkSustained(b *testing.B) {
	const executions, steps = 512, 10
	s, err := Open(filepath.Join(b.TempDir(), "store"), nil)
	require.NoError(b, err)
	defer s.Close()
	var next atomic.Int64
	var wg sync.WaitGroup
	before := cpu()
	b.ResetTimer()
	for range executions {
		wg.Go(func() {
			done := make(chan error, 1)
			for {
				n := next.Add(steps)
				if n > int64(b.N)+steps {
					return
				}
				id := fmt.Sprint("bench-", n)
				_, _, err := s.Create(b.Context(), checkpoint.Creation{ID: id, Claim: true, Digest: make([]byte, 16), Started: checkpoint.Record{
					Function: "program", Codec: "json", Payload: []byte(`{"Steps":10}`), Time: time.Now().UnixNano(),
				}})
				if err != nil {
					b.Error(err)
					return
				}
				for i := range uint64(steps) {
					a := checkpoint.Append{ID: id, Epoch: 1, Tail: i + 1, Records: []checkpoint.Record{{
						Seq: i + 2, EventID: i + 2, Events: 1, Type: checkpoint.StepSucceeded, OperationID: fmt.Sprint(i), Name: "step",
						SubType: checkpoint.Step, Time: time.Now().UnixNano(), Codec: "json", Payload: []byte("1"), Attempt: 1,
					}}}
					if i == steps-1 {
						a.Status = checkpoint.Succeeded
						a.Records = append(a.Records,
							checkpoint.Record{Seq: i + 3, EventID: i + 3, Events: 1, Type: checkpoint.InvocationCompleted, Time: time.Now().UnixNano()},
							checkpoint.Record{Seq: i + 4, EventID: i + 4, Events: 1, Type: checkpoint.ExecutionSucceeded, Time: time.Now().UnixNano(), Codec: "json", Payload: []byte("55")})
					}
					s.Append(a, func(err error) { done <- err })
					if err := <-done; err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "steps/s")
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/n, "cpu-ns/step")
	b.ReportMetric(0, "ns/op")
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
