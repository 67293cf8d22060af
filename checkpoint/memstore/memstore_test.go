package memstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/checkpoint/storetest"
	"github.com/stretchr/testify/require"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) checkpoint.Store { return memstore.New() })
}

func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		var hints []checkpoint.Hint
		s.Watch(func(h checkpoint.Hint) { hints = append(hints, h) })
		_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: "a", Claim: true, Started: checkpoint.Record{Function: "f"}})
		require.NoError(t, err)
		done := make(chan error)
		s.Append(checkpoint.Append{ID: "a", Epoch: 1, Tail: 1, Release: &checkpoint.Release{WakeAt: time.Now().Add(time.Hour).UnixNano()}}, func(err error) { done <- err })
		require.NoError(t, <-done)
		synctest.Wait()
		require.Equal(t, []checkpoint.Hint{{Kind: checkpoint.HintDue}}, hints)

		r := checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 1}
		claims, err := s.Claim(t.Context(), r)
		require.NoError(t, err)
		require.Empty(t, claims)
		due, err := s.NextDue(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, time.Hour, time.Until(due))
		time.Sleep(time.Until(due))
		claims, err = s.Claim(t.Context(), r)
		require.NoError(t, err)
		require.Len(t, claims, 1)
		require.NoError(t, s.Close())
	})
}

// A hundred thousand suspended executions must not make anything slower than
// its logarithm.
func BenchmarkClaimAmongSuspended(b *testing.B) {
	s := memstore.New()
	defer s.Close()
	now := time.Now().UnixNano()
	id := make([]byte, 0, 16)
	for i := range 100_000 {
		id = append(id[:0], byte(i), byte(i>>8), byte(i>>16), 'x')
		_, _, err := s.Create(b.Context(), checkpoint.Creation{ID: string(id), Claim: true, Started: checkpoint.Record{Function: "f"}})
		require.NoError(b, err)
		s.Append(checkpoint.Append{ID: string(id), Epoch: 1, Tail: 1, Release: &checkpoint.Release{WakeAt: now + int64(time.Hour) + int64(i)}}, func(error) {})
	}
	r := checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 1}
	_, _, err := s.Create(b.Context(), checkpoint.Creation{ID: "due", Started: checkpoint.Record{Function: "f"}})
	require.NoError(b, err)
	for b.Loop() {
		claims, err := s.Claim(b.Context(), r)
		require.NoError(b, err)
		s.Append(checkpoint.Append{ID: "due", Epoch: claims[0].Epoch, Tail: 1, Release: &checkpoint.Release{WakeAt: now}}, func(error) {})
	}
}
