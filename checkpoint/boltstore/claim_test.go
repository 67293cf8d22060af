package boltstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// BenchmarkClaim claims and releases the one execution that is due among ten
// thousand that are suspended for an hour.
func BenchmarkClaim(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "store"), nil)
	require.NoError(b, err)
	defer s.Close()
	wake := s.Now().Add(time.Hour).UnixNano()
	var all sync.WaitGroup
	for worker := range 500 {
		all.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("suspended-%d-%d", worker, i)
				_, _, err := s.Create(b.Context(), checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Function: "f"}})
				if err != nil {
					b.Error(err)
				}
				released := make(chan error, 1)
				s.Append(checkpoint.Append{ID: id, Epoch: 1, Tail: 1, Release: &checkpoint.Release{WakeAt: wake}}, func(err error) { released <- err })
				if err := <-released; err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	_, _, err = s.Create(b.Context(), checkpoint.Creation{ID: "due", Started: checkpoint.Record{Function: "f"}})
	require.NoError(b, err)
	due := checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 1}
	released := make(chan error, 1)
	for b.Loop() {
		claims, err := s.Claim(b.Context(), due)
		require.NoError(b, err)
		require.Len(b, claims, 1)
		s.Append(checkpoint.Append{ID: "due", Epoch: claims[0].Epoch, Tail: 1, Release: &checkpoint.Release{WakeAt: s.Now().UnixNano()}}, func(err error) { released <- err })
		require.NoError(b, <-released)
	}
}
