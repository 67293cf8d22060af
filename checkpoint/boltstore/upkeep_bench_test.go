package boltstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// suspended makes a file with a hundred thousand suspended executions of a few steps.
func suspended(b *testing.B, steps int) (path string) {
	path = filepath.Join(b.TempDir(), "store")
	s, err := Open(path, &Options{UnsafeNoSync: true})
	require.NoError(b, err)
	const executions, workers = 100_000, 64
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < executions; i += workers {
				id := fmt.Sprintf("execution-%d", i)
				_, _, err := s.Create(b.Context(), checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f", Payload: make([]byte, 200)}})
				if err != nil {
					b.Error(err)
				}
				for tail := range uint64(steps) {
					a := step(id, tail+1)
					a.Records[0].Payload = make([]byte, 100)
					if tail == uint64(steps)-1 {
						a.Release = &checkpoint.Release{WakeAt: s.Now().Add(time.Hour).UnixNano()}
					}
					if err := <-s.start(a); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	require.NoError(b, s.Close())
	return path
}

// BenchmarkOpen opens a file with a hundred thousand suspended executions: none
// of them may be read.
func BenchmarkOpen(b *testing.B) {
	path := suspended(b, 1)
	for b.Loop() {
		s, err := Open(path, nil)
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}

// BenchmarkVerify verifies a file with a hundred thousand executions. most-MB is the
// most of the heap that was seen in use.
func BenchmarkVerify(b *testing.B) {
	path := suspended(b, 5)
	info, err := os.Stat(path)
	require.NoError(b, err)
	b.SetBytes(info.Size())
	var before, now runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	for b.Loop() {
		n := 0
		done, err := Verify(b.Context(), path, &VerifyOptions{Progress: func(Verified) {
			if n++; n%8 == 0 {
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
			}
		}})
		require.NoError(b, err)
		require.EqualValues(b, 100_000, done.Executions)
	}
	b.ReportMetric(float64(most)/(1<<20), "most-MB")
}

// BenchmarkBackup takes backups of a file with a hundred thousand executions, while
// appends come one behind the other. Their latencies are those without a backup, then
// those with.
func BenchmarkBackup(b *testing.B) {
	s, err := Open(suspended(b, 5), nil)
	require.NoError(b, err)
	defer s.Close()
	_, _, err = s.Create(b.Context(), checkpoint.Creation{ID: "appending", Claim: true, Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f"}})
	require.NoError(b, err)
	tail := uint64(1)
	latencies := func(until <-chan struct{}) (all []time.Duration) {
		for {
			select {
			case <-until:
				return all
			default:
			}
			begun := time.Now()
			if err := <-s.start(step("appending", tail)); err != nil {
				b.Error(err)
				return all
			}
			tail++
			all = append(all, time.Since(begun))
		}
	}
	report := func(all []time.Duration, when string) {
		slices.Sort(all)
		if len(all) > 0 {
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us-"+when)
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us-"+when)
		}
	}
	quiet, cancel := context.WithTimeout(b.Context(), 3*time.Second)
	without := latencies(quiet.Done())
	cancel()
	copied, done := make(chan struct{}), make(chan []time.Duration)
	go func() { done <- latencies(copied) }()
	for b.Loop() {
		n, err := s.Backup(b.Context(), io.Discard)
		require.NoError(b, err)
		b.SetBytes(n)
	}
	close(copied)
	report(without, "without")
	report(<-done, "with")
}

// BenchmarkCompact compacts a file most of which was deleted.
func BenchmarkCompact(b *testing.B) {
	path := suspended(b, 5)
	s, err := Open(path, &Options{UnsafeNoSync: true})
	require.NoError(b, err)
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; i < 80_000; i += 64 {
				id := fmt.Sprintf("execution-%d", i)
				if _, err := s.End(b.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}}); err != nil {
					b.Error(err)
				}
				if err := s.Delete(b.Context(), id); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.NoError(b, s.Close())
	first := true
	for b.Loop() {
		done, err := Compact(b.Context(), path)
		require.NoError(b, err)
		if first {
			b.ReportMetric(float64(done.Before)/(1<<20), "MB-before")
			b.ReportMetric(float64(done.After)/(1<<20), "MB-after")
		}
		first = false
	}
}
