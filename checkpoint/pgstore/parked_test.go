package pgstore_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// What comes for an execution that a process has parked while it was alone needs no look at
// it before, and has the right answer when it was not alone after all.
func TestParkedIsKept(t *testing.T) {
	c := need(t)
	t.Parallel()
	park := func(t *testing.T, s *pgstore.Store, id string) {
		t.Helper()
		sum := create(t, s, id, true)
		require.NoError(t, appendTo(s, checkpoint.Append{ID: id, Epoch: sum.Epoch, Tail: 1, Records: []checkpoint.Record{
			{Seq: 2, Type: checkpoint.CallbackStarted, OperationID: "1"}, {Seq: 3, Type: checkpoint.InvocationCompleted},
		}, Release: &checkpoint.Release{}}))
	}
	succeed := func(s *pgstore.Store, id string) error {
		return s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"}})
	}
	t.Run("Alone", func(t *testing.T) {
		a, spy := spied(t, c.url, c.Schema())
		park(t, a, "x")
		sent, locked := spy.rounds.Load(), spy.locked.Load()
		require.NoError(t, succeed(a, "x"))
		require.EqualValues(t, 1, spy.rounds.Load()-sent)
		require.EqualValues(t, locked, spy.locked.Load())
		require.ErrorIs(t, succeed(a, "x"), checkpoint.ErrCallbackClosed)
		entries, err := a.Inbox(t.Context(), "x", 0)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		claims, err := a.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		require.Len(t, claims[0].Inbox, 1)
	})
	t.Run("NotAlone", func(t *testing.T) {
		schema := c.Schema()
		a, _ := spied(t, c.url, schema)
		for _, id := range []string{"claimed", "closed", "ended", "deleted", "recreated"} {
			park(t, a, id)
		}
		b := open(t, schema, pgstore.Options{NoListen: true})
		end := func(id string) {
			ended, err := b.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			require.NoError(t, err)
			require.True(t, ended)
		}
		require.NoError(t, succeed(b, "closed"))
		for _, id := range []string{"ended", "deleted", "recreated"} {
			end(id)
		}
		require.NoError(t, b.Delete(t.Context(), "deleted"))
		require.NoError(t, b.Delete(t.Context(), "recreated"))
		create(t, b, "recreated", false)
		require.NoError(t, b.Deliver(t.Context(), checkpoint.Delivery{ID: "claimed", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		claims, err := b.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
		require.NoError(t, err)
		require.Len(t, claims, 3)

		require.NoError(t, succeed(a, "claimed"))
		entries, err := b.Inbox(t.Context(), "claimed", 0)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		require.ErrorIs(t, succeed(a, "closed"), checkpoint.ErrCallbackClosed)
		require.ErrorIs(t, succeed(a, "ended"), checkpoint.ErrCallbackClosed)
		require.ErrorIs(t, succeed(a, "deleted"), checkpoint.ErrNotFound)
		require.ErrorIs(t, succeed(a, "recreated"), checkpoint.ErrNotFound)
	})
	t.Run("Many", func(t *testing.T) {
		a, spy := spied(t, c.url, c.Schema())
		const n = 1200 // more than are kept
		park(t, a, "0")
		var all sync.WaitGroup
		for i := 1; i < n-1; i++ {
			all.Go(func() { park(t, a, fmt.Sprint(i)) })
		}
		all.Wait()
		park(t, a, fmt.Sprint(n-1))
		locked := spy.locked.Load()
		require.NoError(t, succeed(a, fmt.Sprint(n-1)))
		require.Equal(t, locked, spy.locked.Load())
		require.NoError(t, succeed(a, "0"))
		require.Equal(t, locked+1, spy.locked.Load())
	})
}
