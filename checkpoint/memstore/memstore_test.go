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

func TestSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := memstore.New()
		defer s.Close()
		started := func(function string) checkpoint.Record {
			return checkpoint.Record{Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted, Time: 1, Function: function, Payload: []byte("1"), Flags: checkpoint.FlagPayload}
		}
		create := func(id string, claim bool) checkpoint.Summary {
			sum, created, err := s.Create(ctx, checkpoint.Creation{ID: id, Incarnation: checkpoint.Incarnation{1}, Digest: []byte(id), Started: started("f"), Claim: claim})
			require.NoError(t, err)
			require.True(t, created)
			return sum
		}
		do := func(a checkpoint.Append) {
			done := make(chan error, 1)
			s.Append(a, func(err error) { done <- err })
			require.NoError(t, <-done)
		}
		owned := create("owned", true)
		do(checkpoint.Append{ID: "owned", Epoch: owned.Epoch, Tail: 1, Records: []checkpoint.Record{
			{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.CallbackStarted, SubType: checkpoint.Callback, OperationID: "1", Time: 2}}})
		require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: "owned", Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"}}))
		asleep := create("asleep", true)
		wakeAt := time.Now().Add(time.Hour)
		do(checkpoint.Append{ID: "asleep", Epoch: asleep.Epoch, Tail: 1, Release: &checkpoint.Release{WakeAt: wakeAt.UnixNano()}})
		create("new", false)

		data, err := s.Snapshot()
		require.NoError(t, err)
		require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: "asleep", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}), "after the snapshot")
		r, err := memstore.Restore(data)
		require.NoError(t, err)
		defer r.Close()
		require.Equal(t, s.Secret(), r.Secret())

		claims, err := r.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 10})
		require.NoError(t, err)
		lost := map[string]bool{}
		for _, c := range claims {
			lost[c.ID] = c.Lost
		}
		require.Equal(t, map[string]bool{"owned": true, "new": false}, lost)
		inbox, err := r.Inbox(ctx, "owned", 0)
		require.NoError(t, err)
		require.Len(t, inbox, 1)
		err = r.Deliver(ctx, checkpoint.Delivery{ID: "owned", Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"}})
		require.ErrorIs(t, err, checkpoint.ErrCallbackClosed)
		due, err := r.NextDue(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 10})
		require.NoError(t, err)
		require.True(t, due.Equal(wakeAt), due)
		time.Sleep(time.Hour)
		claims, err = r.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 10})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		sum, created, err := r.Create(ctx, checkpoint.Creation{ID: "later", Incarnation: checkpoint.Incarnation{2}, Started: started("f")})
		require.NoError(t, err)
		require.True(t, created)
		require.EqualValues(t, 4, sum.Number)
		_, err = memstore.Restore([]byte("not a snapshot"))
		require.Error(t, err)
	})
}
