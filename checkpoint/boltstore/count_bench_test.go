package boltstore_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// BenchmarkLooks is what a console asks for each second, with 100,000 executions.
func BenchmarkLooks(b *testing.B) {
	s, err := boltstore.Open(filepath.Join(b.TempDir(), "store.db"), &boltstore.Options{UnsafeNoSync: true})
	require.NoError(b, err)
	defer s.Close()
	var all errgroup.Group
	for worker := range 64 {
		all.Go(func() error {
			for i := worker; i < 100_000; i += 64 {
				c := checkpoint.Creation{ID: fmt.Sprintf("execution-%08d", i), Status: checkpoint.Succeeded,
					Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f", Payload: make([]byte, 200)},
					Records: []checkpoint.Record{{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.ExecutionSucceeded}}}
				if i%100 == 0 {
					c.Status, c.Records[0].Type = checkpoint.Failed, checkpoint.ExecutionFailed
				}
				if _, _, err := s.Create(b.Context(), c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(b, all.Wait())
	b.Run("Count", func(b *testing.B) {
		for b.Loop() {
			counts, err := s.Count(b.Context(), checkpoint.Query{})
			require.NoError(b, err)
			require.Equal(b, 99_000, counts[checkpoint.Succeeded])
		}
	})
	for name, q := range map[string]checkpoint.Query{
		"ListFailed":  {Status: checkpoint.Failed, Limit: 50},
		"ListRunning": {Status: checkpoint.Running, Limit: 50},
		"ListPrefix":  {IDPrefix: "execution-00000007"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for _, err := range s.List(b.Context(), q) {
					require.NoError(b, err)
				}
			}
		})
	}
}
