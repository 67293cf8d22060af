package pgstore_test

import (
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// TestKeptIsChecked has another process replace an execution that this one owned, and
// keeps: no answer may come from what is kept alone.
func TestKeptIsChecked(t *testing.T) {
	c := need(t)
	t.Parallel()
	replaced := func(t *testing.T) (a, b *pgstore.Store) {
		schema := c.Schema()
		a, b = open(t, schema, pgstore.Options{}), open(t, schema, pgstore.Options{})
		create(t, a, "x", true)
		ended, err := b.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		require.True(t, ended)
		return a, b
	}
	t.Run("AnEndedOneIsNotRunning", func(t *testing.T) {
		a, _ := replaced(t)
		got, created, err := a.Create(t.Context(), creation("x", "f", false))
		require.NoError(t, err)
		require.False(t, created)
		require.Equal(t, checkpoint.Stopped, got.Status)
	})
	t.Run("ADeletedOneIsMadeAgain", func(t *testing.T) {
		a, b := replaced(t)
		require.NoError(t, b.Delete(t.Context(), "x"))
		create(t, a, "x", false)
	})
	t.Run("ANewOneGetsItsNews", func(t *testing.T) {
		a, b := replaced(t)
		require.NoError(t, b.Delete(t.Context(), "x"))
		again := creation("x", "f", false)
		again.Incarnation[15]++
		_, created, err := b.Create(t.Context(), again)
		require.NoError(t, err)
		require.True(t, created)
		change := step(create(t, a, "child", true), 1)
		change.Deliver = []checkpoint.Delivery{{ID: "x", Incarnation: again.Incarnation, Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1", Time: time.Now().UnixNano()}}}
		require.NoError(t, appendTo(a, change))
		inbox, err := b.Inbox(t.Context(), "x", 0)
		require.NoError(t, err)
		require.Len(t, inbox, 1)
	})
}
